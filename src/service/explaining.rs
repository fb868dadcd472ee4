//! What rules let somebody do, and by which of them.

use serde_json::{Map, Value, json};

use crate::auth::rules::{Action, Asked, Bearing, Facts, Fields, Rules, View};
use crate::auth::{BadIdentity, Claims, Identity};

/// Who asks for what.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Without it and roles it is about who shows no token.
    pub user: Option<String>,
    pub roles: Vec<String>,
    pub claims: Map<String, Value>,
    pub action: String,
    pub map: String,
    pub key: String,
    /// That is read or written.
    pub value: Option<Value>,
    /// That is there before.
    pub current: Option<Value>,
}

/// What comes of it.
#[derive(Debug)]
pub struct Explained {
    pub user: String,
    pub action: &'static str,
    /// What each rule has to say, in their order.
    pub rules: Vec<&'static str>,
    pub outcome: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error("there is no action {0:?}; there are {1}")]
    Action(String, String),
    #[error("no token names such a user: {0}")]
    Identity(String),
}

/// What rules let somebody do.
///
/// # Errors
/// The question makes no sense.
pub fn explain(rules: &std::sync::Arc<Rules>, question: &Question) -> Result<Explained, NoAnswer> {
    let identity = identity(question)?;
    let known = || Action::ALL.map(Action::name).join(", ");
    let unknown = || NoAnswer::Action(question.action.clone(), known());
    let action = Action::named(&question.action).ok_or_else(unknown)?;
    let value = question.value.as_ref().map(canonical);
    let current = question.current.as_ref().map(canonical);
    // Of what is read or removed, that is what is there.
    let current = if action == Action::Write { current } else { current.or_else(|| value.clone()) };
    let value = value.or_else(|| current.clone().filter(|_| action != Action::Write));
    let facts = Facts::new(&question.map, &question.key, value.as_deref(), current.as_deref());
    Ok(Explained {
        rules: rules.bearings(&identity, action, &facts).into_iter().map(sentence).collect(),
        outcome: outcome(rules, &identity, action, &facts),
        user: identity.user.to_string(),
        action: action.name(),
    })
}

/// Whom the question is about, as a token would name them.
fn identity(question: &Question) -> Result<Identity, NoAnswer> {
    let mut claims = question.claims.clone();
    if question.user.is_none() && question.roles.is_empty() {
        return Ok(Identity { claims: claims.into(), ..Identity::anonymous() });
    }
    let user = question.user.as_deref().unwrap_or(crate::auth::ANONYMOUS);
    claims.insert("sub".to_owned(), json!(user));
    claims.insert("roles".to_owned(), json!(question.roles));
    let bad = |error: BadIdentity| NoAnswer::Identity(error.text().to_owned());
    Identity::of_claims(&Claims::from(claims), "roles").map_err(bad)
}

/// A value as a server has it: without spaces, its names in order.
fn canonical(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
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
