//! How the application is told and asked, beside what the rules file says.

use std::path::PathBuf;

use clap::Args;
use serde::{Serialize, Serializer};

use crate::config::{Bytes, HooksConfig, NatsConfig};
use crate::limits::DEAD_LETTERS_BYTES_DEFAULT;

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Hooks")]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) struct Hooks {
    /// The NATS server for hooks with a subject: nats://HOST:4222, or tls://HOST:4222
    ///
    /// Hooks stand in the file of --rules; see docs/messaging.md. Certificates are checked with those that this host trusts.
    #[arg(long, env = "ANNULUS_NATS_URL", value_name = "URL", value_parser = parse_nats_url)]
    pub nats_url: Option<String>,

    /// A file with what NATS wants to know: a token, or a name and a password with a colon between
    ///
    /// Read for each connection.
    #[arg(long, env = "ANNULUS_NATS_CREDENTIALS_FILE", value_name = "FILE", requires = "nats_url")]
    #[serde(serialize_with = "text_of_one")]
    pub nats_credentials_file: Option<PathBuf>,

    /// A file for events that could not be delivered [default: they are lost]
    ///
    /// A hook tries as often as it says in `attempts`. `annulus hooks replay` sends them again.
    #[arg(long, env = "ANNULUS_HOOKS_DEAD_LETTERS", value_name = "FILE")]
    #[serde(serialize_with = "text_of_one")]
    pub hooks_dead_letters: Option<PathBuf>,

    /// Bytes that this file may have
    ///
    /// What comes beyond is lost, and counted in annulus_hooks_lost_total.
    #[arg(long, env = "ANNULUS_HOOKS_DEAD_LETTERS_BYTES", value_name = "BYTES", default_value_t = Bytes(DEAD_LETTERS_BYTES_DEFAULT))]
    pub hooks_dead_letters_bytes: Bytes,
}

impl Hooks {
    pub fn config(&self) -> HooksConfig {
        HooksConfig {
            dead_letters: self.hooks_dead_letters.clone(),
            dead_letters_bytes: self.hooks_dead_letters_bytes.0,
            nats: self.nats(),
        }
    }

    fn nats(&self) -> Option<NatsConfig> {
        let config = NatsConfig::parse(self.nats_url.as_ref()?).expect("the parser of the flag has looked");
        Some(NatsConfig { credentials_file: self.nats_credentials_file.clone(), ..config })
    }
}

fn parse_nats_url(url: &str) -> Result<String, &'static str> {
    NatsConfig::parse(url).map(|_| url.to_owned())
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn text_of_one<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.display().to_string()).serialize(serializer)
}
