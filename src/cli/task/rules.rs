//! Rules without a server: whether a file can be used, and what it lets somebody do.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value};

use super::TaskError;
use crate::cli::action::Question;
use crate::cli::stdout;
use crate::service::desk::{read_hooks, read_rules};
use crate::service::explaining::{self, NoAnswer};

pub(super) fn check(file: &Path, has_nats: bool) -> Result<(), TaskError> {
    let rules = read_rules(file)?;
    read_hooks(file, has_nats)?;
    let text = format!("{}: {} rules, which can be used\n", file.display(), rules.len());
    stdout::print(&text).map_err(TaskError::Stdout)
}

/// Prints what each rule has to say, and what comes of that.
pub(super) fn explain(file: Option<&Path>, question: &Question) -> Result<(), TaskError> {
    let file = file.ok_or_else(|| TaskError::Usage("name the file of rules with --rules".to_owned()))?;
    let rules = read_rules(file)?;
    let asked = explaining::Question {
        user: question.user.clone(),
        roles: question.roles.clone(),
        claims: claims(question)?,
        action: question.action.clone(),
        map: question.map.clone(),
        key: question.key.clone(),
        value: json_of("--value", question.value.as_deref())?,
        current: json_of("--current", question.current.as_deref())?,
    };
    let explained = explaining::explain(&rules, &asked).map_err(|error| {
        TaskError::Usage(match error {
            NoAnswer::Action(action, known) => format!("there is no --action {action:?}; there are {known}"),
            error => error.to_string(),
        })
    })?;
    let mut text = String::new();
    for (rule, says) in (1..).zip(&explained.rules) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "rule {rule}: {says}");
    }
    let explaining::Explained { user, action, outcome, .. } = explained;
    let _ = writeln!(text, "{user} {action} of {:?}: {outcome}", question.map);
    stdout::print(&text).map_err(TaskError::Stdout)
}

fn claims(question: &Question) -> Result<Map<String, Value>, TaskError> {
    let mut claims = Map::new();
    for claim in &question.claims {
        let bad = || TaskError::Usage(format!("--claim {claim:?} has no value; write team=red"));
        let (name, value) = claim.split_once('=').ok_or_else(bad)?;
        // What is no JSON is a text.
        claims.insert(name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::from(value)));
    }
    Ok(claims)
}

fn json_of(flag: &str, text: Option<&str>) -> Result<Option<Value>, TaskError> {
    let bad = |error| TaskError::Usage(format!("{flag} is no JSON: {error}"));
    text.map(serde_json::from_str).transpose().map_err(bad)
}
