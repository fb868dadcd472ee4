//! What signals do to the server, from its start to its end: a thread that waits for them.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;

use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals as Incoming;
use signal_hook::low_level::signal_name;

use super::ending::EXIT_AT_ONCE;
use crate::io::{Control, host, log};

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
                  exit code is 0. A second one of them ends the process at once, with 1. While the server starts, \
                  nothing is served and one ends it at once, with 0.",
    },
    Meaning {
        signals: "SIGHUP",
        meaning: "Read again what can be read again, which is nothing yet: a line in the log says so. It stays ignored \
                  where it was ignored at the start, as under nohup.",
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

/// What the thread drains, once there is something.
type Shards = Arc<OnceLock<Vec<Control>>>;

/// The signals of this process, none of which does from here on what the kernel would do.
#[derive(Debug)]
pub struct Signals {
    shards: Shards,
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
        let shards = Shards::default();
        let drained = Arc::clone(&shards);
        thread::Builder::new().name("signals".to_owned()).spawn(move || wait(incoming, &drained))?;
        Ok(Self { shards })
    }

    /// From here on, what ends the process drains `shards` first.
    pub(crate) fn drain(self, shards: Vec<Control>) {
        // There is one server in a process that takes signals.
        let _ = self.shards.set(shards);
    }
}

fn wait(mut incoming: Incoming, shards: &Shards) {
    let mut is_draining = false;
    for signal in incoming.forever() {
        match (signal, shards.get()) {
            (SIGTERM | SIGINT, None) => {
                tracing::info!("told to end before anything was served");
                log::exit(0);
            }
            (SIGTERM | SIGINT, Some(_)) if is_draining => {
                tracing::warn!("a second signal: ending at once");
                log::exit(EXIT_AT_ONCE);
            }
            (SIGTERM | SIGINT, Some(shards)) => {
                is_draining = true;
                tracing::info!(
                    "draining, after --drain-lead-ms: clients are told to come back later; a second signal ends the \
                     process at once"
                );
                shards.iter().for_each(Control::drain);
            }
            (SIGHUP, _) => tracing::info!("SIGHUP: there is nothing yet that could be read again"),
            // The write that has failed says more.
            (SIGXFSZ, _) => {}
            _ => tracing::info!("{} means nothing here", signal_name(signal).unwrap_or("this signal")),
        }
    }
}
