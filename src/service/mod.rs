//! The service thread: a `tokio-uring` runtime beside the shards, for what is neither a socket of a client nor
//! hot. Today it waits for signals and turns them into an orderly end.

use std::io;
use std::process;
use std::sync::mpsc;
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::io::Control;

/// Exit code after a second signal: the end was not orderly.
const EXIT_AT_ONCE: i32 = 1;

/// Starts the thread, which ends with the process. From the return on a signal drains the shards; before, it ends
/// the process.
///
/// # Errors
/// If no thread can be started.
pub fn start(shards: Vec<Control>) -> io::Result<()> {
    let (ready, is_ready) = mpsc::channel();
    let service = thread::Builder::new().name("service".to_owned());
    service.spawn(move || tokio_uring::start(serve(shards, ready)))?;
    // Fails only if signals cannot be waited for, which the thread has told.
    let _ = is_ready.recv();
    Ok(())
}

async fn serve(shards: Vec<Control>, ready: mpsc::Sender<()>) {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        tracing::error!("signals cannot be waited for: SIGTERM and SIGINT end the process without a drain");
        return;
    };
    let _ = ready.send(());
    next(&mut terminate, &mut interrupt).await;
    tracing::info!("draining: clients are told to come back later; a second signal ends the process at once");
    shards.iter().for_each(Control::drain);
    next(&mut terminate, &mut interrupt).await;
    tracing::warn!("a second signal: ending at once");
    process::exit(EXIT_AT_ONCE);
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
