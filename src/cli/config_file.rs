//! The file of `--config`: TOML whose keys are the flags without their hyphens, flat.
//!
//! ```text
//! listen = ["127.0.0.1:9000", "[::1]:9000"]
//! max-connections = 1000
//! no-page = true
//! ```
//!
//! What neither the command line nor a variable has set is put before the arguments as the flags that the keys name, so that
//! one parser looks at all of it, with one set of rules. A refusal names the line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::synonyms::flag_meant;

/// The flag that names the file, which no key of it can be.
const CONFIG: &str = "config";
/// Bytes that a file may have: a hundred times what all keys take.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How like a name must be to be suggested, from 0 to 1; what clap takes for flags.
const LIKENESS_MIN: f64 = 0.7;

/// What the file has set: the lines of those keys that neither the command line nor a variable has set.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    path: PathBuf,
    lines: BTreeMap<String, usize>,
}

impl ConfigFile {
    /// Reads the file that `arguments` or the environment name, if they do, and puts its flags into `arguments`.
    ///
    /// # Errors
    /// [`ConfigError::File`], which names file and line.
    pub fn fill(arguments: &mut Vec<OsString>, command: &Command) -> Result<Self, ConfigError> {
        // Whatever is wrong with the rest is told once the file is read, as it may have what is missing.
        let lenient = command.clone().ignore_errors(true).try_get_matches_from(&*arguments);
        let Ok(matches) = lenient else { return Ok(Self::default()) };
        let Some(path) = matches.get_one::<PathBuf>(CONFIG).cloned() else { return Ok(Self::default()) };
        let text = read(&path).map_err(|error| ConfigError::File {
            place: path.display().to_string(),
            problem: format!("{error}; name a file of settings, or see `annulus config --sample`"),
        })?;
        let mut file = Self { path, lines: BTreeMap::new() };
        let flags = file.flags(&text, command, &matches)?;
        let at = arguments.len().min(1);
        arguments.splice(at..at, flags);
        Ok(file)
    }

    /// The flags that stand for what `text` sets.
    fn flags(
        &mut self,
        text: &str,
        command: &Command,
        matches: &ArgMatches,
    ) -> Result<Vec<OsString>, ConfigError> {
        let line_of = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(span.start));
            self.wrong(line, &format!("{}; write it as `max-connections = 1000`", error.message()))
        })?;
        let mut flags = Vec::new();
        for (key, value) in table.get_ref() {
            let line = line_of(key.span().start);
            let name: &str = key.get_ref();
            if matches!(value.get_ref(), DeValue::Table(_)) {
                let advice =
                    "is a section, and keys stand without any; write the names of flags, such as listen";
                return Err(self.wrong(line, &format!("{name} {advice}")));
            }
            let arg = command.get_arguments().find(|arg| arg.get_long() == Some(name));
            let Some(arg) = arg.filter(|arg| arg.get_help_heading().is_some()) else {
                return Err(self.wrong(line, &unknown(name, command)));
            };
            if name == CONFIG {
                return Err(self.wrong(line, "a file cannot name another one; take config out of it"));
            }
            let is_chosen = matches!(
                matches.value_source(arg.get_id().as_str()),
                Some(ValueSource::CommandLine | ValueSource::EnvVariable)
            );
            let words = flag(name, arg, value.get_ref()).map_err(|why| self.wrong(line, &why))?;
            if !is_chosen {
                self.lines.insert(name.to_owned(), line);
                flags.extend(words.into_iter().map(OsString::from));
            }
        }
        Ok(flags)
    }

    fn wrong(&self, line: usize, problem: &str) -> ConfigError {
        ConfigError::File { place: format!("{}:{line}", self.path.display()), problem: problem.to_owned() }
    }

    /// `file:line`, where the file has set this flag.
    pub fn place(&self, long: &str) -> Option<String> {
        self.lines.get(long).map(|line| format!("{}:{line}", self.path.display()))
    }

    /// Whether a refusal of clap's is about something in the file: then it is told with its place there.
    pub fn refusal(&self, error: &clap::Error, told: ConfigError) -> ConfigError {
        let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return told };
        let long = flag.trim_start_matches('-').split([' ', '=']).next().unwrap_or_default();
        let Some(place) = self.place(long) else { return told };
        let variable = format!("--{long} or ANNULUS_{}", long.replace('-', "_").to_uppercase());
        ConfigError::File { place, problem: told.to_string().replace(&variable, long) }
    }

    /// Says which of the flags that a broken rule names come from the file.
    pub fn blame(&self, error: ConfigError) -> ConfigError {
        let text = error.to_string();
        let is_named = |long: &str| {
            let flag = format!("--{long}");
            let next = |at: usize| text[at + flag.len()..].chars().next();
            text.match_indices(&flag)
                .any(|(at, _)| next(at).is_none_or(|c| !c.is_ascii_alphanumeric() && c != '-'))
        };
        let named: Vec<String> = self
            .lines
            .keys()
            .filter(|long| is_named(long))
            .filter_map(|long| Some(format!("--{long} comes from {}", self.place(long)?)))
            .collect();
        if named.is_empty() { error } else { ConfigError::Usage(format!("{text}; {}", named.join(", "))) }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// A key and its value as words of a command line.
fn flag(name: &str, arg: &Arg, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    if !arg.get_action().takes_values() {
        return match value {
            DeValue::Boolean(true) => Ok(vec![format!("--{name}")]),
            DeValue::Boolean(false) => Ok(Vec::new()),
            _ => Err(format!("{name} is on or off; write true or false")),
        };
    }
    let values = match value {
        DeValue::Array(items) => items
            .iter()
            .map(|item| scalar(item.get_ref()))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| format!("{name} has a list in its list; write texts or numbers"))?,
        value => vec![scalar(value).ok_or_else(|| {
            format!("{name} takes a text or a number; write `annulus config --sample` for its form")
        })?],
    };
    let is_repeatable = matches!(arg.get_action(), ArgAction::Append);
    if is_repeatable {
        return Ok(values.into_iter().map(|value| format!("--{name}={value}")).collect());
    }
    // A list of cores or of networks is one text.
    Ok(vec![format!("--{name}={}", values.join(","))])
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok().map(|n| n.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().replace('_', "")),
        DeValue::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}

fn unknown(name: &str, command: &Command) -> String {
    let plain = name.trim_start_matches('-').to_lowercase().replace('_', "-");
    let known = || command.get_arguments().filter(|arg| arg.get_help_heading().is_some());
    let like = || {
        let named = known().filter_map(Arg::get_long).filter(|long| *long != CONFIG);
        let likeness = named.map(|long| (strsim::jaro(&plain, long), long));
        let (likeness, nearest) = likeness.max_by(|left, right| left.0.total_cmp(&right.0))?;
        (likeness >= LIKENESS_MIN).then_some(nearest)
    };
    match flag_meant(&plain).or_else(like) {
        Some(nearest) => format!("{name} is no setting; did you mean {nearest}?"),
        None => format!("{name} is no setting; see `annulus config --sample`"),
    }
}
