//! API keys: makes, lists and revokes them.

use std::path::Path;

use super::{TaskError, say};
use crate::auth::{API_KEY_RANDOM_BYTES, ApiKey, ApiKeys, Time};
use crate::cli::stdout;
use crate::config::DataMode;
use crate::io::{Clock, entries};

/// Prints the key, and says what it is for people.
pub(super) fn create(file: &Path, name: &str, roles: &[String], mode: DataMode) -> Result<(), TaskError> {
    let mut random = [0; API_KEY_RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(TaskError::Random)?;
    let created = Time(Clock::start().now().unix_ms).text();
    let roles: Vec<Box<str>> = roles.iter().map(|role| role.as_str().into()).collect();
    let create = |text: &str| {
        let mut keys = parse(file, text)?;
        let key = keys.create(name, &roles, &created, &random);
        let key = key.map_err(|error| TaskError::Usage(format!("--name {name:?}: {error}")))?;
        Ok((keys.text(), key))
    };
    let key = entries::change(file, mode, create, |error| TaskError::file(file, error))?;
    stdout::print(&format!("{key}\n")).map_err(TaskError::Stdout)?;
    say(&format!("this is the only time that the key is shown; {} has its SHA-256", file.display()));
    Ok(())
}

pub(super) fn list(file: &Path) -> Result<(), TaskError> {
    let keys = parse(file, &entries::read(file).map_err(|error| TaskError::file(file, error))?)?;
    let line = |ApiKey { name, id, roles, created, .. }: &ApiKey| {
        let roles = if roles.is_empty() { "none".to_owned() } else { roles.join(",") };
        format!("{name}  id {id}  roles {roles}  created {created}\n")
    };
    stdout::print(&keys.iter().map(line).collect::<String>()).map_err(TaskError::Stdout)
}

pub(super) fn revoke(file: &Path, name: &str, mode: DataMode) -> Result<(), TaskError> {
    let remove = |text: &str| {
        let mut keys = parse(file, text)?;
        let none =
            || TaskError::Usage(format!("there is no key of the name {name:?}; see `annulus key list`"));
        let key = keys.remove(name).ok_or_else(none)?;
        Ok((keys.text(), key))
    };
    let key = entries::change(file, mode, remove, |error| TaskError::file(file, error))?;
    say(&format!("the key {name:?} of {} is revoked", key.created));
    Ok(())
}

fn parse(file: &Path, text: &str) -> Result<ApiKeys, TaskError> {
    let problem = |error| TaskError::Content { file: file.to_owned(), problem: format!("{error}") };
    ApiKeys::parse(text).map_err(problem)
}
