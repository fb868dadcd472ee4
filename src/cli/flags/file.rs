//! Where settings are read from beside the command line and the environment.

use std::path::PathBuf;

use clap::Args;
use serde::{Serialize, Serializer};

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Configuration")]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) struct File {
    /// A file of settings: the flags without their hyphens as keys, in TOML [default: none]
    ///
    /// A flag wins over its variable, and that over the file. `annulus config --sample` prints a file with all keys, and
    /// `annulus config --explain` what counts and where it comes from. Read at the start only: SIGHUP does not read it again.
    #[arg(long, env = "ANNULUS_CONFIG", value_name = "FILE")]
    #[serde(serialize_with = "text_of_one")]
    pub config: Option<PathBuf>,
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn text_of_one<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.display().to_string()).serialize(serializer)
}
