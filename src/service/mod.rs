//! The threads beside the shards: one with a `tokio-uring` runtime, which writes the journal, those that fold, load, drop
//! and watch for it, and one that waits for signals.
//!
//! ```text
//! store.rs       opens a data directory        checkpoint.rs  folds complete segments into the base,
//! journal.rs     writes what the shards hand over   folding.rs  one of them step by step
//! data_set.rs    what these two and those work on   loader.rs  reads maps for the shards, loading.rs  one part step by step
//! files.rs       its files                     room.rs        what to do where the disk has little of it
//! segments.rs    which wait to be folded       pressure.rs    how fast clients may write for that
//! types.rs       of maps not folded yet        control.rs     what backup and export talk to
//! shards.rs      the way back to the shards         signals.rs   what signals do
//! parts.rs       what these threads share           ending.rs    the end of the process when it is not orderly
//! place.rs       whether a file is where it was      spares.rs      files that become segments
//! blocks.rs      memory for them                   desk/          who tokens name, and what is in force
//! admin/         what backends and administrators ask    hooks/         what the application is told and asked
//! explaining.rs  what rules let somebody do              conversing.rs  the other end of control.rs
//! drains.rs      the end of service, and what follows    supervisor.rs  the service manager
//! upgrade.rs     whether another program can take over   handle.rs      what others tell threads that read files
//! certificates.rs  of TLS, read again when they change   watching.rs    who changes files
//! reading.rs     small files, read whole
//! ```
//!
//! What decides is in `folding.rs`, `loading.rs`, `segments.rs` and `types.rs`, which know no thread and no clock: the threads drive
//! them, and so does `tests/simulator`, one step at a time and with anything in between.
//!
//! order: mod → admin → conversing → { store, control, checkpoint, signals, explaining } → { journal, desk, certificates } →
//! { loader, hooks, handle } → { watching, reading } → parts → spares → { folding, loading } → data_set →
//! { segments, shards, types, ending, room, files, pressure } → { place, blocks, drains, supervisor, upgrade }

pub mod admin;
mod blocks;
pub mod certificates;
mod checkpoint;
mod control;
mod conversing;
mod data_set;
pub mod desk;
pub mod drains;
mod ending;
pub mod explaining;
mod files;
mod folding;
mod handle;
pub mod hooks;
mod journal;
mod loader;
mod loading;
mod parts;
mod place;
mod pressure;
mod reading;
mod room;
mod segments;
mod shards;
pub mod signals;
mod spares;
mod store;
pub mod supervisor;
mod types;
pub mod upgrade;
mod watching;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use tokio_uring::Runtime;

pub use control::{CONTROL_SOCKET, Request, at_socket, in_directory};
pub use conversing::{Heard, NoReport, converse, converse_over};
pub use data_set::{DataSet, follow_timeline, read_journal};
pub use folding::{At, Folding};
pub use handle::Handle;
pub use loading::{Loading, Wanted, look_up};
pub use segments::{Pace, Segments};
pub use store::{Opening, Store, lock};
pub use types::Types;

use crate::crdt::Map;
use crate::io::ring_memory::patiently;
use crate::io::{Event, Pulse, host};
use crate::limits::SERVICE_RING_ENTRIES;
use crate::storage::{Journal, JournalOptions};
use journal::{Elsewhere, Roll, Writer};
use parts::Parts;

/// What runs beside the shards.
pub struct Service {
    /// The service thread first, as the others end when it does.
    threads: Vec<JoinHandle<()>>,
    storage: Option<Arc<Parts>>,
    pulse: Option<Pulse>,
}

/// Starts it; without storage there is nothing to do.
///
/// # Errors
/// If a thread cannot be started, or has no memory for its ring.
pub fn start(store: Option<Store>) -> io::Result<Service> {
    let mut service = Service { threads: Vec::new(), storage: None, pulse: None };
    let Some(store) = store else { return Ok(service) };
    let pulse = Pulse::new(Event::new()?);
    service.pulse = Some(pulse.clone());
    let parts = Arc::clone(&store.parts);
    service.storage = Some(Arc::clone(&parts));
    let (loader, wanted) = mpsc::channel();
    let (look_ups, to_look_up) = mpsc::channel();
    let (evicted, to_drop) = mpsc::channel::<Box<Map>>();
    let (ready, is_ready) = mpsc::channel();
    let body = move || {
        let made = patiently(|| Runtime::new(tokio_uring::builder().entries(SERVICE_RING_ENTRIES)));
        let _ = match made {
            Ok(runtime) => {
                // Before anybody is told that it serves.
                let socket = control::Socket::open(&store.parts);
                let _ = ready.send(Ok(()));
                return serve(&runtime, store, Elsewhere { loader, look_ups, evicted }, socket, pulse);
            }
            Err(error) => ready.send(Err(error)),
        };
    };
    service.spawn("service", body)?;
    is_ready.recv().unwrap_or_else(|_| Err(io::Error::other("the service thread panicked")))?;
    service.spawn_with(&parts, "loader", move |parts| loader::run(parts, &wanted))?;
    service.spawn_with(&parts, "look-up", move |parts| loader::run_look_ups(parts, &to_look_up))?;
    service.spawn_with(&parts, "disk", Parts::watch)?;
    service.spawn_with(&parts, "spares", |parts| parts.spares.run(&parts.disk, &parts.room, &parts.event))?;
    service.spawn_with(&parts, "checkpoint", |parts| checkpoint::run(parts, Pace::Idle))?;
    service.spawn_with(&parts, "checkpoint-now", |parts| checkpoint::run(parts, Pace::Hurry))?;
    service.spawn("evicted", move || {
        // To drop a large map takes milliseconds, which no shard has.
        to_drop.iter().for_each(drop);
    })?;
    Ok(service)
}

impl Service {
    /// Whether the service thread makes turns; `None`: there is none.
    pub const fn pulse(&self) -> Option<&Pulse> {
        self.pulse.as_ref()
    }

    /// Has everything synced that the shards have handed over, and ends. Called once the shards have ended.
    pub fn stop(mut self) {
        let Some(parts) = self.storage.take() else { return };
        parts.is_stopping.store(true, Ordering::Release);
        parts.event.raise();
        for (index, thread) in self.threads.drain(..).enumerate() {
            if thread.join().is_err() {
                tracing::error!("a thread of the storage panicked; the log above says where");
            }
            if index == 0 {
                parts.segments.stop();
                parts.spares.stop();
                parts.room.stop();
            }
        }
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name.to_owned()).spawn(body)?);
        Ok(())
    }

    fn spawn_with(
        &mut self,
        parts: &Arc<Parts>,
        name: &str,
        body: impl FnOnce(&Parts) + Send + 'static,
    ) -> io::Result<()> {
        let parts = Arc::clone(parts);
        self.spawn(name, move || body(&parts))
    }
}

/// Answers whoever asks whether this thread makes turns.
async fn answer(pulse: Pulse) {
    // Without it the watchdog hears nothing, which says as much.
    let Ok(file) = pulse.file() else { return };
    let file = tokio_uring::fs::File::from_std(file);
    let mut buffer = vec![0; 8];
    loop {
        let (read, same) = file.read_at(buffer, 0).await;
        if read.is_err() {
            return;
        }
        pulse.answer();
        buffer = same;
    }
}

/// The service thread where there is storage.
fn serve(
    runtime: &Runtime,
    store: Store,
    elsewhere: Elsewhere,
    socket: Option<control::Socket>,
    pulse: Pulse,
) {
    let Store { parts, from_shards, next_sequence, .. } = store;
    if let Some(core) = parts.config.service_core
        && let Err(error) = host::pin_to(core)
    {
        tracing::warn!("the service thread cannot be kept on --service-core {core}: {error}");
    }
    let options = JournalOptions {
        epoch: parts.format.epoch,
        next_sequence,
        segment_bytes: parts.config.segment_bytes,
        fsync: parts.config.fsync,
        shards: from_shards.len(),
    };
    let journal = Journal::new(options, || {
        getrandom::u32()
            .unwrap_or_else(|error| ending::end_process("no random numbers for a segment", &error))
    });
    let writer = Writer::new(Arc::clone(&parts), journal, from_shards, elsewhere);
    runtime.block_on(async move {
        tokio_uring::spawn(answer(pulse));
        let (asks, rolls) = tokio::sync::mpsc::unbounded_channel::<Roll>();
        if let Some(socket) = socket {
            tokio_uring::spawn(socket.serve(asks.clone()));
        }
        if let Err(error) = writer.run(rolls).await {
            ending::end_process("the journal cannot be written, and nothing more can be promised", &error);
        }
    });
}
