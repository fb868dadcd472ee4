//! What is revoked: adds to it, and lists it.

use std::path::Path;

use super::{TaskError, say};
use crate::auth::{Revoked, Time};
use crate::cli::stdout;
use crate::config::DataMode;
use crate::io::{Clock, entries};
use crate::limits::REVOCATIONS_MAX;

pub(super) fn token(file: &Path, token: &str, mode: DataMode) -> Result<(), TaskError> {
    add(file, mode, |revoked| revoked.add_token(token, now()))?;
    say(&format!("the token {token:?} is revoked"));
    Ok(())
}

pub(super) fn user(
    file: &Path,
    user: &str,
    issued_before: Option<&str>,
    mode: DataMode,
) -> Result<(), TaskError> {
    let bad =
        |text| TaskError::Usage(format!("--issued-before {text:?} is no time; write 2026-11-26T20:00:00Z"));
    let before =
        issued_before.map_or_else(|| Ok(now()), |text| Time::parse(text).ok_or_else(|| bad(text)))?;
    add(file, mode, |revoked| revoked.add_user(user, before))?;
    say(&format!("tokens of {user:?} that were issued before {} are revoked", before.text()));
    Ok(())
}

pub(super) fn list(file: &Path) -> Result<(), TaskError> {
    let revoked = parse(file, &entries::read(file).map_err(|error| TaskError::file(file, error))?)?;
    let lines: String = revoked.sentences().map(|sentence| sentence + "\n").collect();
    stdout::print(&lines).map_err(TaskError::Stdout)
}

fn add(file: &Path, mode: DataMode, add: impl FnOnce(&mut Revoked)) -> Result<(), TaskError> {
    let change = |text: &str| {
        let mut revoked = parse(file, text)?;
        add(&mut revoked);
        if revoked.len() > REVOCATIONS_MAX {
            let problem =
                format!("it has {REVOCATIONS_MAX} lines; take out those whose tokens have all expired");
            return Err(TaskError::Content { file: file.to_owned(), problem });
        }
        Ok((revoked.text(), ()))
    };
    entries::change(file, mode, change, |error| TaskError::file(file, error))
}

fn parse(file: &Path, text: &str) -> Result<Revoked, TaskError> {
    let problem = |error| TaskError::Content { file: file.to_owned(), problem: format!("{error}") };
    Revoked::parse(text).map_err(problem)
}

fn now() -> Time {
    Time(Clock::start().now().unix_ms)
}
