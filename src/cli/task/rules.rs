//! Rules without a server: whether a file can be used, and what it lets somebody do.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::TaskError;
use crate::auth::rules::{Action, Asked, Bearing, Facts, Fields, Rules, View};
use crate::auth::{BadIdentity, Claims, Identity};
use crate::cli::action::Question;
use crate::cli::stdout;
use crate::service::desk::{read_hooks, read_rules};

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
    let identity = identity(question)?;
    let known = || Action::ALL.map(Action::name).join(", ");
    let unknown =
        || TaskError::Usage(format!("there is no --action {:?}; there are {}", question.action, known()));
    let action = Action::named(&question.action).ok_or_else(unknown)?;
    let value = canonical("--value", question.value.as_deref())?;
    let current = canonical("--current", question.current.as_deref())?;
    // Of what is read or removed, that is what is there.
    let current = if action == Action::Write { current } else { current.or_else(|| value.clone()) };
    let value = value.or_else(|| current.clone().filter(|_| action != Action::Write));
    let facts = Facts::new(&question.map, &question.key, value.as_deref(), current.as_deref());
    let mut text = String::new();
    for (rule, bearing) in (1..).zip(rules.bearings(&identity, action, &facts)) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "rule {rule}: {}", sentence(bearing));
    }
    let outcome = outcome(&rules, &identity, action, &facts);
    let _ = writeln!(text, "{} {} of {:?}: {outcome}", identity.user, action.name(), question.map);
    stdout::print(&text).map_err(TaskError::Stdout)
}

/// Whom the question is about, as a token would name them.
fn identity(question: &Question) -> Result<Identity, TaskError> {
    let mut claims = Map::new();
    for claim in &question.claims {
        let bad = || TaskError::Usage(format!("--claim {claim:?} has no value; write team=red"));
        let (name, value) = claim.split_once('=').ok_or_else(bad)?;
        // What is no JSON is a text.
        claims.insert(name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::from(value)));
    }
    if question.user.is_none() && question.roles.is_empty() {
        return Ok(Identity { claims: claims.into(), ..Identity::anonymous() });
    }
    let user = question.user.as_deref().unwrap_or(crate::auth::ANONYMOUS);
    claims.insert("sub".to_owned(), json!(user));
    claims.insert("roles".to_owned(), json!(question.roles));
    let bad = |error: BadIdentity| TaskError::Usage(format!("no token names such a user: {}", error.text()));
    Identity::of_claims(&Claims::from(claims), "roles").map_err(bad)
}

/// A value as a server has it: without spaces, its names in order.
fn canonical(flag: &str, text: Option<&str>) -> Result<Option<Vec<u8>>, TaskError> {
    let bad = |error| TaskError::Usage(format!("{flag} is no JSON: {error}"));
    let value: Option<Value> = text.map(serde_json::from_str).transpose().map_err(bad)?;
    Ok(value.map(|value| value.to_string().into_bytes()))
}

fn sentence(bearing: Bearing) -> &'static str {
    match bearing {
        Bearing::OtherUsers => "is about others",
        Bearing::OtherActions => "is about other actions",
        Bearing::OtherMaps => "is about other maps",
        Bearing::OtherKeys => "is about other keys",
        Bearing::NoChange => "lets none of the fields change that would",
        Bearing::NotMet => "its condition is not met",
        Bearing::Undecided { is_deny: false } => "its condition has no answer, which allows nothing",
        Bearing::Undecided { is_deny: true } => "its condition has no answer, which denies",
        Bearing::Allows => "allows it",
        Bearing::Denies => "denies it",
        Bearing::AllowsFields => "allows it, for its fields",
        Bearing::DeniesFields => "denies it, for its fields",
    }
}

/// What comes of it, as the server decides.
fn outcome(rules: &std::sync::Arc<Rules>, identity: &Identity, action: Action, facts: &Facts<'_>) -> String {
    const NO: &str = "forbidden";
    let view = rules.grant(identity).view(action, facts.map);
    let asked = &mut Asked::default();
    if let (View::Parts(parts), Action::Write, Some(_)) = (&view, action, facts.value) {
        return match parts.written(facts, asked) {
            Some(written) => format!("allowed; what is written is {}", String::from_utf8_lossy(&written)),
            None => NO.to_owned(),
        };
    }
    let Some(fields) = view.fields(facts, asked) else { return NO.to_owned() };
    match (fields.is_every(), facts.value) {
        (true, _) => "allowed".to_owned(),
        (false, _) if action == Action::Delete => format!("{NO}: some of its fields may not go"),
        (false, Some(value)) => shown(&fields, value),
        (false, None) => "allowed, for some fields; say --value to see which".to_owned(),
    }
}

fn shown(fields: &Fields, value: &[u8]) -> String {
    match fields.seen(value) {
        Some(seen) => format!("allowed; what is shown is {}", String::from_utf8_lossy(&seen)),
        None => "nothing of the value may be seen".to_owned(),
    }
}
