//! Commands that ask the running server of a data directory, or change it, as `--help` teaches them.

use clap::{Args, Subcommand};

/// One of them. All talk to `admin.sock` in --data-dir (`docs/admin.md`).
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Asked {
    /// Show what the running server does, second by second; q ends it
    ///
    /// Without a terminal, or with --once, one frame is printed as text:
    ///
    ///   annulus top
    ///   annulus --data-dir /var/lib/annulus top --once
    #[command(verbatim_doc_comment)]
    Top {
        /// Print one frame as text
        #[arg(long)]
        once: bool,
    },
    /// List connections, or show one of them
    ///
    ///   annulus clients --user anna
    ///   annulus clients --address 10.0.0.0/8 --limit 1000
    ///   annulus clients 0-5-17
    #[command(verbatim_doc_comment)]
    Clients {
        /// Show this connection, as its hello and the log call it
        connection: Option<String>,
        /// Only of this user
        #[arg(long)]
        user: Option<String>,
        /// Only from this address or network
        #[arg(long)]
        address: Option<String>,
        /// Only those that speak this: v1, v1-strict, synckit, synckit-text, echo
        #[arg(long)]
        dialect: Option<String>,
        #[command(flatten)]
        list: List,
    },
    /// List maps in memory, or show one of them, or a key with its stamps
    ///
    ///   annulus maps --prefix board: --min-keys 1000
    ///   annulus maps board:7
    ///   annulus maps board:7 card-1
    #[command(verbatim_doc_comment)]
    Maps {
        /// Show this map and its keys
        map: Option<String>,
        /// Show this key of it
        key: Option<String>,
        /// Only names that begin with this; of keys where a map is named
        #[arg(long)]
        prefix: Option<String>,
        /// Only of this type: lww, or, counter
        #[arg(long = "type", value_name = "TYPE")]
        map_type: Option<String>,
        /// Only with so many keys
        #[arg(long, value_name = "COUNT")]
        min_keys: Option<u64>,
        /// Only with so many subscribers
        #[arg(long, value_name = "COUNT")]
        min_subscribers: Option<u64>,
        #[command(flatten)]
        list: List,
    },
    /// List rooms with members
    Rooms {
        #[command(flatten)]
        names: Names,
    },
    /// List channels with members or a history
    Channels {
        #[command(flatten)]
        names: Names,
    },
    /// List users who are connected
    Users {
        #[command(flatten)]
        names: Names,
    },
    /// Close a connection, or all of a user, with 4003: its client does not come back by itself
    ///
    ///   annulus kick --connection 0-5-17
    ///   annulus kick --user anna
    #[command(verbatim_doc_comment)]
    Kick {
        #[command(flatten)]
        who: Kicked,
    },
    /// Stop the server as SIGTERM does, after a countdown
    ///
    ///   annulus drain --in-ms 30000
    ///   annulus drain --cancel
    #[command(verbatim_doc_comment)]
    Drain {
        /// Milliseconds until it begins; an hour at most
        #[arg(long, value_name = "MS", default_value_t = 0, conflicts_with = "cancel")]
        in_ms: u64,
        /// Stop the countdown
        #[arg(long)]
        cancel: bool,
    },
    /// Show the settings of the running server and where they come from, or change some until it ends
    ///
    /// A value of null takes a change back:
    ///
    ///   annulus settings
    ///   annulus settings heartbeat-ms=15000 log-level=debug
    ///   annulus settings heartbeat-ms=null
    #[command(verbatim_doc_comment)]
    Settings {
        /// What to change, as NAME=VALUE
        #[arg(value_name = "NAME=VALUE")]
        changes: Vec<String>,
        /// Print the answer as it came
        #[arg(long)]
        json: bool,
    },
    /// Have the running server look whether everything in it is as it must be
    ///
    /// It takes some seconds; the exit code is 1 if anything is not.
    #[command(verbatim_doc_comment)]
    Check,
}

/// How much of a list.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct List {
    /// Rows at most
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub limit: usize,
    /// Print answers as they came, one a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Names {
    /// Only names that begin with this
    #[arg(long)]
    pub prefix: Option<String>,
    #[command(flatten)]
    pub list: List,
}

#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[group(required = true, multiple = false)]
pub struct Kicked {
    /// This connection
    #[arg(long)]
    pub connection: Option<String>,
    /// All connections of this user
    #[arg(long)]
    pub user: Option<String>,
}
