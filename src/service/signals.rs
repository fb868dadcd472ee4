//! What signals do to the server, from its start to its end: a thread that waits for them.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;

use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals as Incoming;
use signal_hook::low_level::signal_name;

use super::drains::Drains;
use super::ending::EXIT_AT_ONCE;
use super::handle::Handle;
use super::supervisor;
use crate::io::{host, log};

/// Some signals, and what they do.
pub struct Meaning {
    pub signals: &'static str,
    pub meaning: &'static str,
}

/// For `--help` and `docs/flags.md`.
pub const MEANINGS: [Meaning; 5] = [
    Meaning {
        signals: "SIGTERM, SIGINT",
        meaning: "Drain, after --drain-lead-ms in which all goes on: nobody else is let in, every client is told when to come back, what was accepted is synced. The \
                  exit code is 0. Where a service manager keeps the listeners, whoever comes waits for the next start. A second one of them ends the process at once, with 1. While the server starts, \
                  nothing is served and one ends it at once, with 0.",
    },
    Meaning {
        signals: "SIGHUP",
        meaning: "Read again --rules with the secrets of its hooks, --api-keys, --revoked, the keys for tokens and the certificates of TLS. What cannot be used is said in the log, \
                  and what was in force stays. The file of --config is not read again. It stays ignored where it was ignored at the start, as under nohup.",
    },
    Meaning { signals: "SIGUSR1, SIGUSR2, SIGALRM", meaning: "Nothing; a line in the log says so." },
    Meaning {
        signals: "SIGPIPE, SIGXFSZ",
        meaning: "Nothing: a reader that is gone and a file that may not grow are errors of the write.",
    },
    Meaning {
        signals: "SIGQUIT",
        meaning: "What the kernel does: it ends the process at once and leaves a core, to see why it hangs. As after \
                  SIGKILL, what was acknowledged as durable is on the disk, and other writes of the last moment may \
                  not be. Where it was ignored at the start, as in background jobs of a shell script, it stays so.",
    },
];

/// Whom the thread tells, once there is somebody.
type Told = Arc<OnceLock<(Drains, Vec<Handle>)>>;

/// The signals of this process, none of which does from here on what the kernel would do.
#[derive(Debug)]
pub struct Signals {
    told: Told,
}

impl Signals {
    /// Takes them, and starts the thread.
    ///
    /// # Errors
    /// If there is no thread or descriptor to be had.
    pub fn take() -> io::Result<Self> {
        let mut taken = vec![SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGALRM, SIGXFSZ];
        if !host::ignores_signal(SIGHUP) {
            taken.push(SIGHUP);
        }
        let incoming = Incoming::new(taken)?;
        let told = Told::default();
        let tells = Arc::clone(&told);
        thread::Builder::new().name("signals".to_owned()).spawn(move || wait(incoming, &tells))?;
        Ok(Self { told })
    }

    /// From here on, what ends the process is told to `drains` first, and `readers` read again what they have read.
    pub(crate) fn tell(self, drains: Drains, readers: Vec<Handle>) {
        // There is one server in a process that takes signals.
        let _ = self.told.set((drains, readers));
    }
}

fn wait(mut incoming: Incoming, told: &Told) {
    for signal in incoming.forever() {
        match (signal, told.get()) {
            (SIGTERM | SIGINT, None) => {
                tracing::info!("told to end before anything was served");
                log::exit(0);
            }
            (SIGTERM | SIGINT, Some((drains, _))) => {
                if !drains.stop() {
                    tracing::warn!("a second signal: ending at once");
                    log::exit(EXIT_AT_ONCE);
                }
                tracing::info!(
                    "draining, after --drain-lead-ms: clients are told to come back later; a second signal ends the \
                     process at once"
                );
                supervisor::stops();
            }
            (SIGHUP, Some((_, readers))) if !readers.is_empty() => {
                readers.iter().for_each(Handle::reload);
                supervisor::reloads();
            }
            (SIGHUP, _) => tracing::info!("SIGHUP: there is nothing that could be read again"),
            // The write that has failed says more.
            (SIGXFSZ, _) => {}
            _ => tracing::info!("{} means nothing here", signal_name(signal).unwrap_or("this signal")),
        }
    }
}
