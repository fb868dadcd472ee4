//! Where each setting comes from, and reading them again with some others, for whoever changes them while the server runs.

use std::ffi::OsString;
use std::sync::Arc;

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::Value;

use super::config_file::ConfigFile;
use super::flags::Flags;
use super::inherited::VARIABLES;
use super::{Command, Environment};
use crate::service::admin::{FromFlags, Read, Setting};

/// All settings of a server that was started with these arguments, and which variables of SyncKit's servers `used` counted.
pub(super) fn from_flags(
    flags: &Flags,
    (matches, file): (&ArgMatches, &ConfigFile),
    arguments: &[OsString],
    used: &[&'static str],
) -> FromFlags {
    let values = serde_json::to_value(flags).unwrap_or_default();
    let settings = values.as_object().into_iter().flatten().map(|(name, value)| {
        let source = if file.place(name).is_some() { "file" } else { source(name, matches, used) };
        Setting { name: name.clone(), value: value.clone(), source }
    });
    let arguments = arguments.to_vec();
    FromFlags { settings: settings.collect(), again: Arc::new(move |changed| again(&arguments, changed)) }
}

fn source(name: &str, matches: &ArgMatches, used: &[&'static str]) -> &'static str {
    let is_inherited = || {
        let flags = VARIABLES.iter().filter(|variable| used.contains(&variable.name));
        flags.filter_map(|variable| variable.flag?.strip_prefix("--")).any(|flag| flag == name)
    };
    match matches.value_source(&name.replace('-', "_")) {
        Some(ValueSource::CommandLine) => "flag",
        Some(ValueSource::EnvVariable) => "variable",
        _ if is_inherited() => "variable",
        _ => "default",
    }
}

/// Reads the command line once more, with further flags behind it.
fn again(arguments: &[OsString], changed: &[(String, String)]) -> Result<Read, String> {
    let further = changed.iter().map(|(name, value)| OsString::from(format!("--{name}={value}")));
    let arguments: Vec<OsString> = arguments.iter().cloned().chain(further).collect();
    let environment: Environment<'_> = &|name| std::env::var_os(name);
    match super::parse(arguments, environment) {
        Ok(Command::Serve(serve)) => {
            let settings = serve.from_flags.map(|flags| flags.settings).unwrap_or_default();
            let values = settings.into_iter().map(|setting| (setting.name, setting.value));
            Ok(Read {
                config: serve.config,
                values: values.collect::<std::collections::BTreeMap<String, Value>>(),
            })
        }
        Ok(_) => Err("the command line is that of another command".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
