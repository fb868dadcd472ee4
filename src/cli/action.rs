//! The commands of `annulus`, as `--help` teaches them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::asked::Asked;

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(super) enum Action {
    /// Run the server (what `annulus` alone does)
    Serve,
    /// Check kernel, ring features, limits and data directory, and say what to raise and how
    Doctor,
    /// Print the effective configuration as JSON, after flags, variables, the file and presets
    ///
    ///   annulus config --explain                        each setting, where it comes from, what it means
    ///   annulus config --sample > annulus.toml          a file for --config with every key, commented out
    ///   annulus --config annulus.toml config --check    whether it can be served; the exit code is 2 if not
    #[command(verbatim_doc_comment)]
    Config(ConfigForm),
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
    /// Put another version in the place of the running server, and refuse nobody meanwhile
    ///
    /// The new program is asked whether it can serve the settings of the running one. Then that one drains as at SIGTERM,
    /// syncs, and becomes the new one: the same process, with the same arguments and listeners, in which whoever comes waits
    /// until it serves. With --storage memory there is no such way, and nothing to keep. --data-dir says which server:
    ///
    ///   apt-get install ./annulus.deb && annulus --data-dir /var/lib/annulus upgrade
    ///   annulus upgrade --binary /opt/annulus-2/annulus
    #[command(verbatim_doc_comment)]
    Upgrade {
        /// The program [default: what is now where the server was started from]
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
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
        /// Take stamps further ahead of the wall clock than --max-clock-drift-ms, and the clock with them
        ///
        /// They win over everybody until then, and so does what the server stamps after them. `annulus clock` says
        /// how far that is, and dates it to now.
        #[arg(long)]
        allow_future: bool,
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
    /// Make, list and revoke API keys, for backends and scripts
    ///
    /// They are in the file of --api-keys, of which a running server takes changes at once:
    ///
    ///   annulus key create --name backend --role service
    ///   annulus key list
    ///   annulus key revoke --name backend
    #[command(verbatim_doc_comment)]
    Key {
        #[command(subcommand)]
        action: KeyAction,
    },
    /// Revoke a token, or all tokens that a user has so far
    ///
    /// It is said in the file of --revoked, of which a running server takes changes at once: who came
    /// with such a token is closed with 4002:
    ///
    ///   annulus revoke --token 6f1c0a2e
    ///   annulus revoke --user anna
    ///   annulus revoke --user anna --issued-before 2026-11-26T20:00:00Z
    ///   annulus revoke list
    #[command(verbatim_doc_comment, subcommand_negates_reqs = true)]
    Revoke {
        #[command(flatten)]
        what: RevokeWhat,
        #[command(subcommand)]
        action: Option<RevokeAction>,
    },
    /// Send again what the application could not be told
    ///
    /// Events that were tried as often as their hook says are in the file of --hooks-dead-letters. They go to
    /// the hook of --rules that has the same URL or subject; the server may run meanwhile. What cannot be
    /// delivered now either stays for the next time, and the exit code is 1:
    ///
    ///   annulus hooks replay --rules rules.toml --hooks-dead-letters dead.jsonl
    #[command(verbatim_doc_comment)]
    Hooks {
        #[command(subcommand)]
        action: HooksAction,
    },
    /// Print the manual page, for `man`
    ///
    ///   annulus man > annulus.1
    #[command(verbatim_doc_comment)]
    Man,
    /// Print what completes words of the command line in a shell
    ///
    ///   annulus completions bash > /etc/bash_completion.d/annulus
    #[command(verbatim_doc_comment)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    #[command(flatten)]
    Asked(Box<Asked>),
    /// Check a file of rules, and say what they let somebody do
    ///
    ///   annulus rules check rules.toml
    ///   annulus rules explain --rules rules.toml --user anna --role member --claim team=red \
    ///     --action read --map board:red --key card-1 --value '{"title":"a","team":"red"}'
    #[command(verbatim_doc_comment)]
    Rules {
        #[command(subcommand)]
        action: RulesAction,
    },
}

/// How the configuration is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
#[group(multiple = false)]
pub(super) struct ConfigForm {
    /// Each setting with its value, where that comes from, and what it means
    #[arg(long)]
    pub explain: bool,
    /// A file for --config with every key commented out
    #[arg(long)]
    pub sample: bool,
    /// Nothing but whether it can be served, keys and rules included
    #[arg(long)]
    pub check: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(super) enum KeyAction {
    /// Make a key and print it, which is done this once
    Create {
        /// Who it is for; its user is key:NAME
        #[arg(long)]
        name: String,
        /// A role of that user; may be repeated
        #[arg(long = "role", value_name = "ROLE", value_delimiter = ',')]
        roles: Vec<String>,
    },
    /// Print what keys there are
    List,
    /// Take a key away: who came with it is closed with 4002
    Revoke {
        /// Its name
        #[arg(long)]
        name: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[group(required = true, multiple = true)]
pub(super) struct RevokeWhat {
    /// The `jti` of a token
    #[arg(long, value_name = "JTI", conflicts_with = "user")]
    pub token: Option<String>,
    /// The `sub` of tokens
    #[arg(long)]
    pub user: Option<String>,
    /// Only tokens that were issued (`iat`) before then, and those that do not say when [default: now]
    #[arg(long, value_name = "TIME", requires = "user", conflicts_with = "token")]
    pub issued_before: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(super) enum RevokeAction {
    /// Print what is revoked
    List,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub(super) enum HooksAction {
    /// Send all dead letters again, in their order
    Replay,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(super) enum RulesAction {
    /// Say whether a file can be used, and where not; the exit code is 1 then
    Check {
        /// The file
        file: PathBuf,
    },
    /// Say what the rules of --rules let somebody do, and by which of them
    Explain(Box<Question>),
}

/// Who asks for what.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Question {
    /// The user [default: who shows no token]
    #[arg(long)]
    pub user: Option<String>,
    /// A role of the user; may be repeated
    #[arg(long = "role", value_name = "ROLE", value_delimiter = ',')]
    pub roles: Vec<String>,
    /// A claim of the token, such as team=red or level=3; may be repeated
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    pub claims: Vec<String>,
    /// What is to be done: read, write, delete, subscribe, publish, presence, send or admin
    #[arg(long)]
    pub action: String,
    /// The name of the map, or channel:NAME, room:NAME, user:NAME
    #[arg(long)]
    pub map: String,
    /// The key
    #[arg(long, default_value = "")]
    pub key: String,
    /// The value that is read or written, as JSON
    #[arg(long, value_name = "JSON")]
    pub value: Option<String>,
    /// The value that is there before it is written, as JSON
    #[arg(long, value_name = "JSON")]
    pub current: Option<String>,
}
