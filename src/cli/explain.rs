//! `annulus config --explain`: every setting with its value, where that comes from, and what it means; and the sample of a
//! file, which has all of them commented out.

use std::fmt::Write;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use serde_json::{Map, Value};

use super::config_file::ConfigFile;
use super::inherited::{AUTH_REQUIRED, JWT_SECRET, VARIABLES};

const SAMPLE_HEAD: &str = "\
# Settings of annulus, for --config. Made by `annulus config --sample`: every setting is here, with its default or an example.
# A flag wins over its variable, and that over this file; a key that is none is an error. `annulus config --explain` says what
# counts and where it comes from. Read at the start only: SIGHUP does not read it again.
";

/// Where the values of the flags come from.
pub(super) struct Origins<'a> {
    pub matches: &'a ArgMatches,
    pub file: &'a ConfigFile,
    /// Variables of SyncKit's servers that counted.
    pub inherited: &'a [&'static str],
    /// The preset in force.
    pub preset: String,
}

impl Origins<'_> {
    fn of(&self, arg: &Arg) -> String {
        let long = arg.get_long().unwrap_or_default();
        if let Some(place) = self.file.place(long) {
            return place;
        }
        match self.matches.value_source(arg.get_id().as_str()) {
            Some(ValueSource::CommandLine) => format!("flag --{long}"),
            Some(ValueSource::EnvVariable) => {
                let name = arg.get_env().unwrap_or_default().to_string_lossy();
                format!("variable {name}")
            }
            _ => self.not_chosen(long),
        }
    }

    /// Of what neither a flag, nor a variable of ours, nor the file has set.
    fn not_chosen(&self, long: &str) -> String {
        let is_of_auth = matches!(long, "auth" | "allow-anonymous");
        let counted = |name: &str| self.inherited.contains(&name);
        let of_auth = [AUTH_REQUIRED.name, JWT_SECRET.name].into_iter().find(|name| counted(name));
        if let Some(name) = of_auth.filter(|_| is_of_auth) {
            return format!("variable {name}");
        }
        let flag = format!("--{long}");
        let names: Vec<&str> = VARIABLES
            .iter()
            .filter(|variable| variable.flag == Some(&*flag) && counted(variable.name))
            .map(|variable| variable.name)
            .collect();
        match names[..] {
            [] if long.starts_with("coalesce-") => format!("preset {}", self.preset),
            [] => "default".to_owned(),
            _ => format!("variable {}", names.join(" and ")),
        }
    }
}

/// Every setting, by topic. `values`: the flags as JSON.
pub(super) fn explain(command: &Command, values: &Map<String, Value>, origins: &Origins<'_>) -> String {
    let mut page = String::new();
    for (heading, args) in topics(command) {
        let _ = writeln!(page, "{}# {heading}", if page.is_empty() { "" } else { "\n" });
        for arg in args {
            let long = arg.get_long().unwrap_or_default();
            let value = values.get(long).unwrap_or(&Value::Null);
            let shown = match value {
                Value::Null => format!("# {long} is not set"),
                value => format!("{long} = {value}"),
            };
            let _ = writeln!(page, "{shown}\n    # {}: {}", origins.of(arg), meaning(arg));
        }
    }
    page
}

/// A file of settings with every key commented out. `values`: the flags as JSON, without what depends on the host.
pub(super) fn sample(command: &Command, values: &Map<String, Value>) -> String {
    let mut page = SAMPLE_HEAD.to_owned();
    for (heading, args) in topics(command) {
        if args.iter().all(|arg| arg.get_long() == Some("config")) {
            continue;
        }
        let _ = writeln!(page, "\n## {heading}");
        for arg in args {
            let long = arg.get_long().unwrap_or_default();
            let value = match values.get(long) {
                Some(value) if !value.is_null() => value.to_string(),
                _ => example(arg),
            };
            let _ = writeln!(page, "\n# {}\n#{long} = {value}", meaning(arg));
        }
    }
    page
}

/// What stands in for a value that has no default.
fn example(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let name = names.first().map_or("", |name| name.as_str());
    let text = match (arg.get_long().unwrap_or_default(), name) {
        ("cores", _) => "0-3",
        ("trusted-proxies", _) => "127.0.0.1",
        ("memory-limit", _) => "4GiB",
        ("node", _) => "eu-1",
        ("nats-url", _) => "nats://127.0.0.1:4222",
        ("jwks-url", _) => "https://login.example/.well-known/jwks.json",
        (_, "ADDR:PORT") => "127.0.0.1:9001",
        (_, "FILE") => "/etc/annulus/file",
        (_, "DIR") => "/var/lib/annulus",
        (_, "SIZE") => "64KiB",
        (_, "CORE" | "COUNT" | "MS" | "US") => return "1".to_owned(),
        _ => "…",
    };
    format!("\"{text}\"")
}

/// One line of what it means.
fn meaning(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default().replace('\n', " ")
}

/// All flags by their headings, in the order of their definition.
fn topics(command: &Command) -> Vec<(&str, Vec<&Arg>)> {
    let mut topics: Vec<(&str, Vec<&Arg>)> = Vec::new();
    for arg in command.get_arguments() {
        let Some(heading) = arg.get_help_heading() else { continue };
        match topics.last_mut() {
            Some((last, args)) if *last == heading => args.push(arg),
            _ => topics.push((heading, vec![arg])),
        }
    }
    topics
}
