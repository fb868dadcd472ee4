//! The commands of `annulus`, as `--help` teaches them.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(super) enum Action {
    /// Run the server (what `annulus` alone does)
    Serve,
    /// Check kernel, ring features, limits and data directory, and say what to raise and how
    Doctor,
    /// Print the effective configuration as JSON, after flags, variables and presets
    Config,
    /// Copy the data of a running server, as of now, into a new directory
    ///
    /// The server of --data-dir goes on serving meanwhile; without one the directory itself is
    /// copied. The copy is a data directory like any other:
    ///
    ///   annulus backup /backups/monday
    ///   annulus verify /backups/monday
    ///   annulus --data-dir /backups/monday
    #[command(verbatim_doc_comment)]
    Backup {
        /// Where the copy goes; must be empty or not there yet
        dir: PathBuf,
    },
    /// Write maps as JSON Lines, one line a key, with everything needed to bring them back
    ///
    /// All of it is of one moment. The server of --data-dir goes on serving meanwhile; without one
    /// the directory itself is read, or a backup. `set -o pipefail` lets a pipe fail with it:
    ///
    ///   annulus export --output all.jsonl
    ///   set -o pipefail; annulus export --map todos --map users | zstd > two.jsonl.zst
    ///   annulus --data-dir /backups/monday export
    #[command(verbatim_doc_comment)]
    Export {
        /// Only the map of this name; may be repeated [default: all]
        #[arg(long = "map", value_name = "NAME")]
        maps: Vec<String>,
        /// The file to write; it is there once it is whole [default: stdout]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Merge what `export` wrote into the data directory
    ///
    /// It merges as servers do: what is newer in the directory stays, and importing twice changes
    /// nothing. No server may use the --data-dir meanwhile, which is made if it is not there:
    ///
    ///   annulus import all.jsonl
    ///   zstd -dc two.jsonl.zst | annulus --data-dir ./other import
    #[command(verbatim_doc_comment)]
    Import {
        /// The file to read [default: stdin]
        file: Option<PathBuf>,
    },
    /// Say how far the clock of a data directory is ahead of the wall clock, and set it back
    ///
    /// A server's clock never runs back: where that of a host was once ahead, stamps of clients with a
    /// right clock lose until then. Changes nothing; the exit code is 1 if it is further ahead than
    /// --max-clock-drift-ms. With --set-back a copy is made in which everything of the future is dated
    /// to just before now, in the same order; clients that come with a cursor start anew:
    ///
    ///   annulus clock
    ///   annulus clock --set-back ./annulus-data-2
    ///   annulus --data-dir ./annulus-data-2
    #[command(verbatim_doc_comment)]
    Clock {
        /// Where the copy goes; must be empty or not there yet
        #[arg(long, value_name = "DIR")]
        set_back: Option<PathBuf>,
    },
    /// Check every record and every cell of a data directory, and print a digest for each map
    ///
    /// Changes nothing and says what is damaged; the exit code is 1 then. The digests are those of
    /// the protocol's `digest`, so that copies can be compared with each other and with a server:
    ///
    ///   annulus verify /backups/monday
    #[command(verbatim_doc_comment)]
    Verify {
        /// The directory to check [default: --data-dir]
        dir: Option<PathBuf>,
    },
}
