//! The service manager, where there is one (`NOTIFY_SOCKET`, sd_notify(3)): it is told how the server is, keeps the listeners for
//! its next life, and is told now and then that it is alive.
//!
//! ```text
//! start     FDSTORE=1 with each listener … READY=1        SIGHUP    RELOADING=1, READY=1
//! SIGTERM   STOPPING=1                                     upgrade   RELOADING=1 … (the next program) … READY=1
//! watchdog  ask every shard and the service thread ──a quarter of WatchdogSec──► all have answered: WATCHDOG=1
//! ```
//! A thread that hangs does not answer, so that the manager hears nothing and ends the process. A disk that hangs keeps no thread
//! from answering: the service thread waits for it as for everything else.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::io::{Pulse, inherited};

/// For how long the next program may start in an upgrade before the manager takes it for dead, in microseconds: a start reads
/// what of the journal is not in the base.
const UPGRADE_USEC: u32 = 600_000_000;

/// Whether the environment names a manager.
pub fn is_there() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Has the manager keep the listeners, if it does so (`FileDescriptorStoreMax=`).
pub fn keep<'a>(listeners: impl Iterator<Item = (SocketAddr, BorrowedFd<'a>)>) {
    for (address, listener) in listeners {
        let name = inherited::name(address);
        told(sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(&name)], &[listener]));
    }
}

/// Has the manager forget the listeners at this address.
pub fn forget(address: SocketAddr) {
    let name = inherited::name(address);
    tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]);
}

/// The server serves.
pub fn serves(status: &str) {
    let status = NotifyState::Status(status);
    match sd_notify::watchdog_enabled() {
        // After an upgrade it is longer.
        Some(every) => {
            let usec = u32::try_from(every.as_micros()).unwrap_or(u32::MAX);
            tell(&[NotifyState::Ready, status, NotifyState::WatchdogUsec(usec)]);
        }
        None => tell(&[NotifyState::Ready, status]),
    }
}

/// Reads its files again, and serves meanwhile.
pub fn reloads() {
    let states = NotifyState::monotonic_usec_now().map(|now| [NotifyState::Reloading, now]);
    told(states.and_then(|states| sd_notify::notify(&states)));
    tell(&[NotifyState::Ready]);
}

/// It drains, and ends then.
pub fn stops() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// It drains, and another program takes its place then.
pub fn upgrades() {
    let states = NotifyState::monotonic_usec_now().map(|now| {
        let status = NotifyState::Status("draining for an upgrade");
        [NotifyState::Reloading, now, status, NotifyState::WatchdogUsec(UPGRADE_USEC)]
    });
    told(states.and_then(|states| sd_notify::notify(&states)));
}

fn tell(states: &[NotifyState<'_>]) {
    told(sd_notify::notify(states));
}

fn told(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!("the service manager cannot be told: {error}");
    }
}

/// The thread that asks whether all are alive.
pub struct Watchdog {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    /// Starts it, if the manager wants to know (`WatchdogSec=`).
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(asked: Vec<(String, Pulse)>) -> io::Result<Option<Self>> {
        let Some(within) = sd_notify::watchdog_enabled().filter(|_| is_there()) else { return Ok(None) };
        let (stop, is_stopped) = mpsc::channel();
        let body = move || watch(&asked, within / 4, &is_stopped, || tell(&[NotifyState::Watchdog]));
        let thread = thread::Builder::new().name("watchdog".to_owned()).spawn(body)?;
        Ok(Some(Self { stop, thread }))
    }

    /// Ends it: from here on threads end in order.
    pub fn stop(self) {
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the watchdog panicked; the log above says where");
        }
    }
}

/// Asks all, gives them until the end of the interval, and says that they are alive if all have answered.
fn watch(
    asked: &[(String, Pulse)],
    interval: Duration,
    is_stopped: &mpsc::Receiver<()>,
    mut are_alive: impl FnMut(),
) {
    loop {
        asked.iter().for_each(|(_, pulse)| pulse.ask());
        if !matches!(is_stopped.recv_timeout(interval), Err(RecvTimeoutError::Timeout)) {
            return;
        }
        let mut silent =
            asked.iter().filter(|(_, pulse)| !pulse.is_answered()).map(|(name, _)| name).peekable();
        if silent.peek().is_none() {
            are_alive();
        }
        for name in silent {
            tracing::error!("{name} makes no turn; the service manager ends this process if it goes on so");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Event;

    #[test]
    fn one_thread_that_does_not_answer_is_enough_to_say_nothing() {
        let pulses = [Pulse::new(Event::new().unwrap()), Pulse::new(Event::new().unwrap())];
        let asked: Vec<_> = pulses.iter().map(|pulse| ("a thread".to_owned(), pulse.clone())).collect();
        let (stop, is_stopped) = mpsc::channel();
        let (alive, are_alive) = mpsc::channel();
        thread::scope(|scope| {
            let asked = &asked;
            let interval = Duration::from_millis(50);
            scope.spawn(move || watch(asked, interval, &is_stopped, || alive.send(()).unwrap()));
            let hears = |within_ms| are_alive.recv_timeout(Duration::from_millis(within_ms)).is_ok();
            let answering = |threads: &[Pulse], hears: &dyn Fn() -> bool| {
                for _ in 0..40 {
                    threads.iter().for_each(Pulse::answer);
                    if hears() {
                        return true;
                    }
                }
                false
            };
            assert!(answering(&pulses, &|| hears(5)), "all answer");
            while hears(0) {}
            assert!(!answering(&pulses[..1], &|| hears(5)), "one does not");
            assert!(answering(&pulses, &|| hears(5)), "it does again");
            stop.send(()).unwrap();
        });
    }
}
