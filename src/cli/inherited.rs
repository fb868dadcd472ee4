//! The variables of SyncKit's servers, as defaults of our flags: whoever moves here can keep the environment as it is.
//!
//! What is on the command line, in a variable of our own or in the file of `--config` wins over them, and a variable that loses is not looked at. An
//! empty one counts as none, as it does there. A value that cannot be one of ours is ignored with a remark, as the variable
//! may be another program's; only what would leave a server open that should not be keeps it from starting.

use std::ffi::OsString;
use std::ops::RangeInclusive;

use clap::ArgMatches;
use clap::builder::{BoolishValueParser, TypedValueParser};
use clap::parser::ValueSource;

use super::error::ConfigError;
use super::flags::{Auth, Flags, HEARTBEAT_MS, HOUR_MS, Identity};
use super::listen::Listen;
use crate::config::Secret;

/// Characters of a value that are shown.
const SHOWN_CHARACTERS: usize = 40;

/// What the environment has for a name.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// One of the variables: the flag whose default it is, and what to know of it.
pub(super) struct Variable {
    pub name: &'static str,
    pub flag: Option<&'static str>,
    pub meaning: &'static str,
}

pub(super) const PORT: Variable = Variable {
    name: "PORT",
    flag: Some("--listen"),
    meaning: "Its port. The address stays 127.0.0.1 without `HOST`.",
};
pub(super) const HOST: Variable = Variable {
    name: "HOST",
    flag: Some("--listen"),
    meaning: "Its IP address, such as 0.0.0.0 or ::, or `localhost`. Other names are of other programs, as conda sets one.",
};
pub(super) const MAX_CONNECTIONS: Variable =
    Variable { name: "WS_MAX_CONNECTIONS", flag: Some("--max-connections"), meaning: "The same." };
pub(super) const MAX_CONNECTIONS_PER_IP: Variable = Variable {
    name: "SYNCKIT_MAX_CONNECTIONS_PER_IP",
    flag: Some("--max-connections-per-ip"),
    meaning: "The same; 0 is no limit here.",
};
pub(super) const MAX_MESSAGES_PER_MINUTE: Variable = Variable {
    name: "SYNCKIT_MAX_MESSAGES_PER_MINUTE",
    flag: Some("--max-messages-per-minute"),
    meaning: "Of each connection here, not of each address; 0 is no limit.",
};
pub(super) const HEARTBEAT_INTERVAL: Variable = Variable {
    name: "WS_HEARTBEAT_INTERVAL",
    flag: Some("--heartbeat-ms"),
    meaning: "Half of it: a client is pinged after the interval and has another to answer.",
};
pub(super) const AUTH_REQUIRED: Variable = Variable {
    name: "SYNCKIT_AUTH_REQUIRED",
    flag: Some("--auth"),
    meaning: "`true`: required. `false`: none, and with it --allow-anonymous.",
};
pub(super) const JWT_SECRET: Variable = Variable {
    name: "JWT_SECRET",
    flag: Some("--jwt-secret-file"),
    meaning: "The secret itself, where no flag names a key. Alone it makes --auth required, as it does there; beside \
              `SYNCKIT_AUTH_REQUIRED=false` it is not used. A file is better: what is in the environment can be read by \
              whoever sees the process.",
};
pub(super) const DATABASE_URL: Variable =
    Variable { name: "DATABASE_URL", flag: None, meaning: "Not used: maps are kept in --data-dir." };
pub(super) const REDIS_URL: Variable = Variable {
    name: "REDIS_URL",
    flag: None,
    meaning: "Not used: one process serves all cores, and there is nobody to tell.",
};

/// All of them.
pub(super) const VARIABLES: [&Variable; 10] = [
    &PORT,
    &HOST,
    &MAX_CONNECTIONS,
    &MAX_CONNECTIONS_PER_IP,
    &MAX_MESSAGES_PER_MINUTE,
    &HEARTBEAT_INTERVAL,
    &AUTH_REQUIRED,
    &JWT_SECRET,
    &DATABASE_URL,
    &REDIS_URL,
];

/// Whether a variable that is there changes anything.
pub(super) fn counts(name: &str) -> bool {
    ![DATABASE_URL, REDIS_URL].iter().any(|unused| unused.name == name)
}

/// What `--help` says of them.
pub(super) fn help() -> String {
    let mut text = "Variables of SyncKit's servers that are defaults here:\n".to_owned();
    for Variable { name, flag, meaning } in VARIABLES {
        text += &format!("  {name} [{}]\n          {meaning}\n", flag.unwrap_or("no flag"));
    }
    text
}

/// What became of the variables.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// Names of those that counted.
    pub used: Vec<&'static str>,
    /// A sentence for each that did not, as its value is none.
    pub ignored: Vec<String>,
}

/// Fills the flags that neither the command line nor a variable of our own has set.
///
/// # Errors
/// [`ConfigError`] that names the variable.
pub(super) fn fill(
    flags: &mut Flags,
    matches: &ArgMatches,
    environment: Environment<'_>,
) -> Result<Inherited, ConfigError> {
    let mut reader = Reader { environment, found: Inherited::default() };
    let is_open = |id| matches.value_source(id).is_none_or(|source| source == ValueSource::DefaultValue);
    let connections = &mut flags.connections;
    if is_open("listen") {
        reader.listen(&mut flags.listening.listen);
    }
    if is_open("max_connections")
        && let Some(count) = reader.number(&MAX_CONNECTIONS, 1..=u32::MAX)
    {
        connections.max_connections = count as usize;
    }
    if is_open("max_connections_per_ip")
        && let Some(count) = reader.number(&MAX_CONNECTIONS_PER_IP, 0..=u32::MAX)
    {
        connections.max_connections_per_ip = count as usize;
    }
    if is_open("max_messages_per_minute")
        && let Some(count) = reader.number(&MAX_MESSAGES_PER_MINUTE, 0..=u32::MAX)
    {
        connections.max_messages_per_minute = count;
    }
    if is_open("heartbeat_ms")
        && let Some(interval_ms) = reader.number(&HEARTBEAT_INTERVAL, INTERVAL_MS)
    {
        connections.heartbeat_ms = 2 * u64::from(interval_ms);
    }
    reader.auth(&mut flags.identity, is_open("auth"))?;
    for unused in [&DATABASE_URL, &REDIS_URL] {
        reader.read(unused);
    }
    Ok(reader.found)
}

/// Half of what --heartbeat-ms may be.
const INTERVAL_MS: RangeInclusive<u32> =
    (*HEARTBEAT_MS.start() / 2) as u32..=(*HEARTBEAT_MS.end() / 2) as u32;
const _: () = assert!(HOUR_MS <= u32::MAX as u64);

/// Names the variable where a rule between flags is broken by a flag that has its value from one of the `used`.
pub(super) fn blame(error: ConfigError, used: &[&str]) -> ConfigError {
    let text = error.to_string();
    let is_meant = |flag: &str| text.contains(&format!("{flag} "));
    for Variable { name, flag, .. } in VARIABLES {
        if let Some(flag) = flag.filter(|flag| is_meant(flag) && used.contains(name)) {
            return ConfigError::Usage(format!("{text}; {flag} comes from {name}"));
        }
    }
    error
}

struct Reader<'a> {
    environment: Environment<'a>,
    found: Inherited,
}

impl Reader<'_> {
    /// The value of a variable that is there, which counts from here on.
    fn read(&mut self, variable: &Variable) -> Option<String> {
        self.read_as(variable, "a text", |value| Some(value.to_owned()))
    }

    fn number(&mut self, variable: &Variable, range: RangeInclusive<u32>) -> Option<u32> {
        let rule = format!("a whole number from {} to {}", range.start(), range.end());
        self.read_as(variable, &rule, |value| {
            value.trim().parse().ok().filter(|number| range.contains(number))
        })
    }

    /// What `parse` makes of the value of a variable that is there; it counts if that is anything.
    fn read_as<T>(
        &mut self,
        variable: &Variable,
        rule: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = (self.environment)(variable.name).filter(|value| !value.is_empty())?;
        let value = value.to_string_lossy();
        let parsed = parse(&value);
        let name = variable.name;
        match (&parsed, variable.flag) {
            (Some(_), _) => self.found.used.push(name),
            (None, flag) => {
                let shown: String = value.chars().take(SHOWN_CHARACTERS).collect();
                let flag = flag.unwrap_or("--no-synckit");
                self.found
                    .ignored
                    .push(format!("{name}={shown:?} is not {rule} and does not count; set {flag}"));
            }
        }
        parsed
    }

    /// Changes the port and the address of the first of `listen`.
    fn listen(&mut self, listen: &mut [Listen]) {
        let Some(first) = listen.first_mut() else { return };
        if let Some(port) = self.number(&PORT, 0..=u32::from(u16::MAX)) {
            first.set_port(port as u16);
        }
        let rule = "an IP address or localhost";
        self.read_as(&HOST, rule, |value| first.set_host(value.trim()).then_some(()));
    }

    /// There, tokens are asked for unless this is `false`. Where neither it nor a secret is there, nobody wishes for any.
    fn auth(&mut self, identity: &mut Identity, is_open: bool) -> Result<(), ConfigError> {
        if is_open {
            let is_required = self.read(&AUTH_REQUIRED).map(is_true).transpose()?;
            let has_secret = (self.environment)(JWT_SECRET.name).is_some_and(|value| !value.is_empty());
            identity.auth = match is_required {
                Some(false) => Auth::None,
                Some(true) => Auth::Required,
                None if has_secret => Auth::Required,
                None => identity.auth,
            };
            identity.allow_anonymous |= is_required == Some(false);
            if is_required == Some(false) && has_secret {
                self.found
                    .ignored
                    .push("JWT_SECRET is not used beside SYNCKIT_AUTH_REQUIRED=false; set it to true".into());
            }
        }
        if identity.auth != Auth::None && !identity.has_keys() {
            identity.secret = self.read(&JWT_SECRET).map(|secret| Secret(secret.into()));
        }
        Ok(())
    }
}

fn is_true(value: String) -> Result<bool, ConfigError> {
    let parsed = BoolishValueParser::new().parse_ref(&clap::Command::default(), None, value.trim().as_ref());
    parsed.map_err(|_| refusal(&AUTH_REQUIRED, value, "true or false"))
}

fn refusal(variable: &Variable, value: String, rule: &str) -> ConfigError {
    ConfigError::Variable { name: variable.name, value, rule: format!("{rule}, or set --no-synckit") }
}
