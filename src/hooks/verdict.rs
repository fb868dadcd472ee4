//! What the application answers when it is asked.

use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::{Before, is_map};
use crate::limits::{
    CLOSE_REASON_BYTES_MAX, MAP_NAME_BYTES_MAX, PARSE_PADDING_BYTES, QUESTION_MESSAGES_MAX, ROLES_MAX,
};
use crate::wire::Payload;
use crate::wire::json::{Parser, Value};

/// Whether something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow(Box<Allowed>),
    /// With a reason for the client, if the application gives one.
    Deny {
        reason: Option<Box<str>>,
    },
}

/// What the application adds to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Roles beside those of its token.
    pub roles: Box<[Box<str>]>,
    /// Messages to send first, each as JSON.
    pub welcome: Box<[Box<[u8]>]>,
    /// Maps to subscribe to.
    pub subscribe: Box<[Box<str>]>,
    /// What is to be published or sent in place of what was, as canonical JSON.
    pub data: Option<Box<[u8]>>,
}

/// Why an answer is none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadVerdict {
    #[error("it is no JSON object as docs/messaging.md has it: {0}")]
    Syntax(String),
    #[error("it gives the role {0:?}, which [[role]] does not name")]
    Role(Box<str>),
    #[error("it has more than {QUESTION_MESSAGES_MAX} messages and maps, or {ROLES_MAX} roles")]
    TooMany,
    #[error(
        "it subscribes to what no client may: a map has 1 to {MAP_NAME_BYTES_MAX} bytes, and is not the server's own"
    )]
    Map,
    #[error("it has {0}, which is no answer to {1}")]
    Field(&'static str, &'static str),
    #[error("its data is JSON that nothing here can hold")]
    Data,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer<'a> {
    allow: bool,
    reason: Option<String>,
    #[serde(default)]
    roles: Vec<Box<str>>,
    #[serde(borrow, default)]
    welcome: Vec<&'a RawValue>,
    #[serde(default)]
    subscribe: Vec<Box<str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl Verdict {
    /// Reads the body of an answer. An empty one allows.
    ///
    /// # Errors
    /// [`BadVerdict`].
    pub fn read(body: &[u8], before: Before, may_give: &[Box<str>]) -> Result<Self, BadVerdict> {
        if body.is_empty() {
            return Ok(Self::Allow(Box::default()));
        }
        let syntax = |error: serde_json::Error| BadVerdict::Syntax(error.to_string());
        let answer: Answer<'_> = serde_json::from_slice(body).map_err(syntax)?;
        if !answer.allow {
            return Ok(Self::Deny { reason: answer.reason.map(|reason| shortened(&reason).into()) });
        }
        let unfit = match before {
            Before::Connect => answer.data.is_some().then_some("data"),
            Before::Publish | Before::Send if !answer.roles.is_empty() => Some("roles"),
            Before::Publish | Before::Send if !answer.welcome.is_empty() => Some("welcome"),
            Before::Publish | Before::Send => (!answer.subscribe.is_empty()).then_some("subscribe"),
        };
        if let Some(field) = unfit {
            return Err(BadVerdict::Field(field, before.name()));
        }
        if let Some(role) = answer.roles.iter().find(|role| !may_give.contains(role)) {
            return Err(BadVerdict::Role(role.clone()));
        }
        let messages = answer.welcome.len() + answer.subscribe.len();
        if messages > QUESTION_MESSAGES_MAX || answer.roles.len() > ROLES_MAX {
            return Err(BadVerdict::TooMany);
        }
        if !answer.subscribe.iter().all(|map| is_map(map)) {
            return Err(BadVerdict::Map);
        }
        let json = |raw: &RawValue| Box::from(raw.get().as_bytes());
        Ok(Self::Allow(Box::new(Allowed {
            roles: answer.roles.into(),
            welcome: answer.welcome.into_iter().map(json).collect(),
            subscribe: answer.subscribe.into(),
            data: answer.data.map(canonical).transpose()?,
        })))
    }
}

/// As a server has it that takes it from a client.
fn canonical(raw: &RawValue) -> Result<Box<[u8]>, BadVerdict> {
    let mut text = format!("{{\"data\":{raw}}}").into_bytes();
    let len = text.len();
    text.resize(len + PARSE_PADDING_BYTES, 0);
    let object = Parser::new().parse(Payload::new(&mut text, len)).map_err(|_| BadVerdict::Data)?;
    let (_, value) = object.members().next().ok_or(BadVerdict::Data)?;
    let mut canonical = Vec::with_capacity(len);
    Value::new(value, object.scratch()).write_canonical(&mut canonical);
    Ok(canonical.into())
}

impl Allowed {
    /// Whether nothing is added.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.welcome.is_empty() && self.subscribe.is_empty() && self.data.is_none()
    }
}

/// What of a reason fits into a close frame.
fn shortened(reason: &str) -> &str {
    let mut end = reason.len().min(CLOSE_REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Verdict, BadVerdict> {
        Verdict::read(body.as_bytes(), Before::Connect, &["vip".into()])
    }

    fn of_message(body: &str) -> Result<Verdict, BadVerdict> {
        Verdict::read(body.as_bytes(), Before::Publish, &["vip".into()])
    }

    #[test]
    fn an_answer_allows_denies_and_adds() {
        assert_eq!(read(""), Ok(Verdict::Allow(Box::default())));
        assert_eq!(read(r#"{"allow":true}"#), Ok(Verdict::Allow(Box::default())));
        assert_eq!(read(r#"{"allow":false}"#), Ok(Verdict::Deny { reason: None }));
        let long = format!(r#"{{"allow":false,"reason":"{}"}}"#, "\u{e4}".repeat(200));
        let Ok(Verdict::Deny { reason: Some(reason) }) = read(&long) else { panic!("it denies") };
        assert_eq!(reason.len(), 122, "a close frame has room for 123 bytes");
        let allowed = r#"{"allow":true,"roles":["vip"],"welcome":[{"a": 1},2],"subscribe":["m"]}"#;
        let Ok(Verdict::Allow(allowed)) = read(allowed) else { panic!("it allows") };
        assert_eq!((&*allowed.roles[0], &*allowed.welcome[0]), ("vip", &br#"{"a": 1}"#[..]));
        assert_eq!((&*allowed.subscribe[0], allowed.data.as_deref()), ("m", None));
        assert!(!allowed.is_empty());
        let replaced = of_message(r#"{"allow":true,"data":{"b": 1.50, "a":"\u00e4"}}"#);
        let Ok(Verdict::Allow(allowed)) = replaced else { panic!("{replaced:?}") };
        assert_eq!(allowed.data.as_deref(), Some("{\"a\":\"\u{e4}\",\"b\":1.5}".as_bytes()), "canonical");
        assert_eq!(of_message(""), Ok(Verdict::Allow(Box::default())));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for bad in [
            "null",
            "{}",
            "<html>",
            r#"{"allow":"yes"}"#,
            r#"{"allow":true,"role":"vip"}"#,
            "\u{0}",
            "[true]",
        ] {
            assert!(matches!(read(bad), Err(BadVerdict::Syntax(_))), "{bad}");
        }
        assert_eq!(read(r#"{"allow":true,"roles":["admin"]}"#), Err(BadVerdict::Role("admin".into())));
        for map in ["", "__annulus:log"] {
            assert_eq!(read(&format!(r#"{{"allow":true,"subscribe":["{map}"]}}"#)), Err(BadVerdict::Map));
        }
        let field = |name, question| Err(BadVerdict::Field(name, question));
        assert_eq!(read(r#"{"allow":true,"data":1}"#), field("data", "on_connect"));
        for (name, value) in [("roles", "[\"vip\"]"), ("welcome", "[1]"), ("subscribe", "[\"m\"]")] {
            let answer = format!(r#"{{"allow":true,"{name}":{value}}}"#);
            assert_eq!(of_message(&answer), field(name, "on_publish"));
        }
        for data in ["1e999", r#""\ud800""#, &format!("{}{}", "[".repeat(200), "]".repeat(200))] {
            let answer = of_message(&format!(r#"{{"allow":true,"data":{data}}}"#));
            assert!(matches!(answer, Err(BadVerdict::Data | BadVerdict::Syntax(_))), "{data}: {answer:?}");
        }
        let many = format!(r#"{{"allow":true,"welcome":[{}1]}}"#, "1,".repeat(QUESTION_MESSAGES_MAX));
        assert_eq!(read(&many), Err(BadVerdict::TooMany));
    }
}
