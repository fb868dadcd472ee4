//! What stands in the rules file, and what is wrong with it.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use thiserror::Error;

use super::event::{Kind, Kinds};
use super::url::{self, BadUrl};
use super::{Before, Endpoint, Greeting, Hook, HookSet, Otherwise, Question, Welcome, is_map};
use crate::auth::rules::{BadPattern, Pattern, Template};
use crate::auth::{Asker, Identity};
use crate::limits::{
    HOOK_ATTEMPTS_MAX, HOOK_TIMEOUT_MS_MAX, HOOKS_MAX, KEY_BYTES_MAX, MAP_NAME_BYTES_MAX, WELCOME_BYTES_MAX,
};

/// Attempts of a hook that does not say how many: the last is some two minutes after the first.
const ATTEMPTS: u32 = 10;
/// Milliseconds that the answer to a webhook may take.
const HOOK_TIMEOUT_MS: u64 = 10_000;
/// Milliseconds that the answer to a question may take: somebody waits.
const QUESTION_TIMEOUT_MS: u64 = 2_000;

/// The tables of this kind in the rules file.
pub struct Entries {
    pub hook: Vec<HookEntry>,
    pub question: Questions,
    pub welcome: Vec<WelcomeEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookEntry {
    events: Vec<Kind>,
    names: Option<Vec<String>>,
    url: Option<String>,
    secret_file: Option<PathBuf>,
    #[serde(default)]
    allow_http: bool,
    timeout_ms: Option<u64>,
    subject: Option<String>,
    attempts: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Questions {
    on_connect: Option<QuestionEntry>,
    on_publish: Option<QuestionEntry>,
    on_send: Option<QuestionEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionEntry {
    names: Option<Vec<String>>,
    url: String,
    secret_file: Option<PathBuf>,
    #[serde(default)]
    allow_http: bool,
    timeout_ms: Option<u64>,
    otherwise: Otherwise,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WelcomeEntry {
    roles: Option<Vec<Box<str>>>,
    json: Option<String>,
    map: Option<Box<str>>,
    key: Option<Box<str>>,
}

/// What is wrong with one of them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadHook {
    #[error("there are more than {HOOKS_MAX} of them")]
    TooMany,
    #[error("events names none")]
    NoEvents,
    #[error("names is empty: leave it out where it is about all")]
    NoNames,
    #[error("names are of channels and receivers, and it is about neither")]
    Nameless,
    #[error("{text:?}: {error}")]
    Pattern { text: String, error: BadPattern },
    #[error("{0:?} has braces, which mean nothing where nobody asks")]
    Braces(String),
    #[error("it has neither a url nor a subject")]
    NoTarget,
    #[error("url {url:?}: {error}")]
    Url { url: String, error: BadUrl },
    #[error("{0} says something of a url, and there is none")]
    WithoutUrl(&'static str),
    #[error("subject {0:?} is no subject: letters, digits, - and _, with dots between")]
    Subject(String),
    #[error("attempts are 1 to {HOOK_ATTEMPTS_MAX}")]
    Attempts,
    #[error("timeout_ms is 1 to {HOOK_TIMEOUT_MS_MAX}")]
    Timeout,
    #[error("roles is empty: leave it out where it is for everybody")]
    NoRoles,
    #[error("there is no role {0:?}; name it with [[role]]")]
    UnknownRole(Box<str>),
    #[error("it has either json, or a map and a key")]
    Greeting,
    #[error("json: {0}")]
    Json(String),
    #[error("json has more than {WELCOME_BYTES_MAX} bytes")]
    TooLong,
    #[error(
        "a map has a name of 1 to {MAP_NAME_BYTES_MAX} bytes that is not the server's own, a key one of 1 to {KEY_BYTES_MAX}"
    )]
    Name,
}

impl Entries {
    /// What is meant; `None`: there is nothing of it. `roles` are all there are. What is wrong comes with the name of the table.
    ///
    /// # Errors
    /// The table, and [`BadHook`].
    pub fn compile(self, roles: &[&str]) -> Result<Option<Arc<HookSet>>, (String, BadHook)> {
        let Self { hook, question, welcome } = self;
        for (table, count) in [("hook", hook.len()), ("welcome", welcome.len())] {
            if count > HOOKS_MAX {
                return Err((format!("[[{table}]]"), BadHook::TooMany));
            }
        }
        let numbered = |table: &'static str| move |(number, error)| (format!("[[{table}]] {number}"), error);
        let hooks: Vec<_> = (1..)
            .zip(hook)
            .map(|(number, entry)| entry.compile().map(Arc::new).map_err(|error| (number, error)))
            .collect::<Result<_, _>>()
            .map_err(numbered("hook"))?;
        let welcome: Vec<_> = (1..)
            .zip(welcome)
            .map(|(number, entry)| entry.compile(roles).map_err(|error| (number, error)))
            .collect::<Result<_, _>>()
            .map_err(numbered("welcome"))?;
        let Questions { on_connect, on_publish, on_send } = question;
        let question = |entry: Option<QuestionEntry>, before: Before| {
            let compiled = entry.map(|entry| entry.compile(before, roles).map(Arc::new)).transpose();
            compiled.map_err(|error| (format!("[question.{}]", before.name()), error))
        };
        let on_connect = question(on_connect, Before::Connect)?;
        let on_publish = question(on_publish, Before::Publish)?;
        let on_send = question(on_send, Before::Send)?;
        let kinds = hooks.iter().fold(Kinds::default(), |kinds, hook: &Arc<Hook>| kinds.with(hook.kinds));
        let set = HookSet { hooks, on_connect, on_publish, on_send, welcome, kinds };
        Ok((set != HookSet::default()).then(|| Arc::new(set)))
    }
}

impl HookEntry {
    fn compile(self) -> Result<Hook, BadHook> {
        if self.events.is_empty() {
            return Err(BadHook::NoEvents);
        }
        let url = match self.url {
            Some(url) => {
                Some(endpoint(url, self.allow_http, self.secret_file, self.timeout_ms, HOOK_TIMEOUT_MS)?)
            }
            None if self.secret_file.is_some() => return Err(BadHook::WithoutUrl("secret_file")),
            None if self.timeout_ms.is_some() => return Err(BadHook::WithoutUrl("timeout_ms")),
            None if self.allow_http => return Err(BadHook::WithoutUrl("allow_http")),
            None if self.subject.is_none() => return Err(BadHook::NoTarget),
            None => None,
        };
        if let Some(subject) = self.subject.as_ref().filter(|subject| !is_subject(subject)) {
            return Err(BadHook::Subject(subject.clone()));
        }
        let attempts = self.attempts.unwrap_or(ATTEMPTS);
        if !(1..=HOOK_ATTEMPTS_MAX).contains(&attempts) {
            return Err(BadHook::Attempts);
        }
        Ok(Hook {
            kinds: self.events.into_iter().collect(),
            names: self.names.map(patterns).transpose()?,
            url,
            subject: self.subject.map(String::into_boxed_str),
            attempts,
        })
    }
}

impl QuestionEntry {
    fn compile(self, before: Before, roles: &[&str]) -> Result<Question, BadHook> {
        if self.names.is_some() && before == Before::Connect {
            return Err(BadHook::Nameless);
        }
        let endpoint =
            endpoint(self.url, self.allow_http, self.secret_file, self.timeout_ms, QUESTION_TIMEOUT_MS)?;
        // Who may do everything has a token that says so.
        let may_give = roles.iter().filter(|role| **role != crate::auth::rules::ADMIN);
        let roles = may_give.map(|role| Box::from(*role)).collect();
        Ok(Question {
            before,
            names: self.names.map(patterns).transpose()?,
            endpoint,
            otherwise: self.otherwise,
            roles,
        })
    }
}

impl WelcomeEntry {
    fn compile(self, roles: &[&str]) -> Result<Welcome, BadHook> {
        let named = self.roles.map(Vec::into_boxed_slice);
        if named.as_ref().is_some_and(|named| named.is_empty()) {
            return Err(BadHook::NoRoles);
        }
        if let Some(role) = named.iter().flatten().find(|role| !roles.contains(&&***role)) {
            return Err(BadHook::UnknownRole(role.clone()));
        }
        let what = match (self.json, self.map, self.key) {
            (Some(json), None, None) => {
                if json.len() > WELCOME_BYTES_MAX {
                    return Err(BadHook::TooLong);
                }
                let bad = |error: serde_json::Error| BadHook::Json(error.to_string());
                let value: serde_json::Value = serde_json::from_str(&json).map_err(bad)?;
                Greeting::Data(value.to_string().into_bytes().into())
            }
            (None, Some(map), Some(key)) => {
                let is_name = is_map(&map) && (1..=KEY_BYTES_MAX).contains(&key.len());
                if !is_name {
                    return Err(BadHook::Name);
                }
                Greeting::Key { map, key }
            }
            _ => return Err(BadHook::Greeting),
        };
        Ok(Welcome { roles: named, what })
    }
}

fn endpoint(
    url: String,
    allow_http: bool,
    secret_file: Option<PathBuf>,
    timeout_ms: Option<u64>,
    timeout_default_ms: u64,
) -> Result<Endpoint, BadHook> {
    if let Err(error) = url::check(&url, allow_http) {
        return Err(BadHook::Url { url, error });
    }
    let timeout_ms = timeout_ms.unwrap_or(timeout_default_ms);
    if !(1..=HOOK_TIMEOUT_MS_MAX).contains(&timeout_ms) {
        return Err(BadHook::Timeout);
    }
    Ok(Endpoint { url: url.into(), secret_file, timeout_ms })
}

fn patterns(names: Vec<String>) -> Result<Box<[Pattern]>, BadHook> {
    if names.is_empty() { Err(BadHook::NoNames) } else { names.into_iter().map(pattern).collect() }
}

fn pattern(text: String) -> Result<Pattern, BadHook> {
    let template = match Template::parse(&text) {
        Ok(template) => template,
        Err(error) => return Err(BadHook::Pattern { text, error }),
    };
    if template.places().next().is_some() {
        return Err(BadHook::Braces(text));
    }
    let nobody = Identity::anonymous();
    template.of(&Asker::from(&nobody)).ok_or(BadHook::Braces(text))
}

fn is_subject(subject: &str) -> bool {
    let is_token = |token: &str| {
        !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    subject.len() <= MAP_NAME_BYTES_MAX && subject.split('.').all(is_token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::rules::{BadRules, Rules};

    fn bad(text: &str) -> (String, BadHook) {
        match Rules::parse(text) {
            Err(BadRules::Hook { table, error }) => (table, error),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_with_a_table_is_said_with_its_place() {
        let url = "url = \"https://a.example/\"\n";
        let hook = |lines: &str| bad(&format!("[[hook]]\nevents = [\"changed\"]\n{lines}")).1;
        let (table, error) =
            bad(&format!("[[hook]]\nevents = [\"changed\"]\n{url}[[hook]]\nevents = []\n{url}"));
        assert_eq!((table.as_str(), error), ("[[hook]] 2", BadHook::NoEvents));
        assert_eq!(hook(""), BadHook::NoTarget);
        assert_eq!(hook("secret_file = \"s\"\nsubject = \"s\"\n"), BadHook::WithoutUrl("secret_file"));
        assert_eq!(hook("timeout_ms = 1\n"), BadHook::WithoutUrl("timeout_ms"));
        assert_eq!(hook("allow_http = true\n"), BadHook::WithoutUrl("allow_http"));
        assert_eq!(hook(&format!("{url}names = []\n")), BadHook::NoNames);
        assert!(matches!(hook(&format!("{url}names = [\"***\"]\n")), BadHook::Pattern { .. }));
        assert_eq!(hook(&format!("{url}names = [\"{{user.id}}\"]\n")), BadHook::Braces("{user.id}".into()));
        assert!(matches!(hook("url = \"http://a.example/\"\n"), BadHook::Url { error: BadUrl::Http, .. }));
        for subject in ["", "a b", "a.", ".a", "a.*", "a.>", "\u{e4}"] {
            assert_eq!(hook(&format!("subject = \"{subject}\"\n")), BadHook::Subject(subject.into()));
        }
        assert_eq!(hook(&format!("{url}attempts = 0\n")), BadHook::Attempts);
        assert_eq!(hook(&format!("{url}attempts = 501\n")), BadHook::Attempts);
        assert_eq!(hook(&format!("{url}timeout_ms = 60001\n")), BadHook::Timeout);
        let question = |lines: &str| bad(&format!("[question.on_connect]\notherwise = \"deny\"\n{lines}"));
        assert_eq!(
            question(&format!("{url}timeout_ms = 0\n")),
            ("[question.on_connect]".to_owned(), BadHook::Timeout)
        );
        assert_eq!(question(&format!("{url}names = [\"chat:*\"]\n")).1, BadHook::Nameless);
        let question =
            |name: &str, lines: &str| bad(&format!("[question.{name}]\notherwise = \"deny\"\n{url}{lines}"));
        let no_names = ("[question.on_publish]".to_owned(), BadHook::NoNames);
        assert_eq!(question("on_publish", "names = []\n"), no_names);
        assert!(matches!(question("on_send", "names = [\"***\"]\n").1, BadHook::Pattern { .. }));
        let welcome = |lines: &str| bad(&format!("[[welcome]]\n{lines}")).1;
        assert_eq!(welcome("roles = []\njson = \"1\"\n"), BadHook::NoRoles);
        assert_eq!(welcome("roles = [\"vip\"]\njson = \"1\"\n"), BadHook::UnknownRole("vip".into()));
        for lines in ["", "map = \"m\"\n", "key = \"k\"\n", "json = \"1\"\nmap = \"m\"\nkey = \"k\"\n"] {
            assert_eq!(welcome(lines), BadHook::Greeting, "{lines}");
        }
        assert!(matches!(welcome("json = \"{\"\n"), BadHook::Json(_)));
        assert_eq!(welcome(&format!("json = '\"{}\"'\n", "x".repeat(WELCOME_BYTES_MAX))), BadHook::TooLong);
        for name in ["", "__annulus:log"] {
            assert_eq!(welcome(&format!("map = \"{name}\"\nkey = \"k\"\n")), BadHook::Name);
        }
        let many = format!("[[hook]]\nevents = [\"changed\"]\n{url}").repeat(HOOKS_MAX + 1);
        assert_eq!(bad(&many), ("[[hook]]".to_owned(), BadHook::TooMany));
        for syntax in [
            "[[hook]]\nevents = [\"exploded\"]\n",
            "[[hook]]\nevents = [\"changed\"]\nurls = \"x\"\n",
            "[question.on_connect]\nurl = \"https://a.example/\"\n",
            "[question.on_connect]\notherwise = \"maybe\"\nurl = \"https://a.example/\"\n",
            "[question.on_read]\notherwise = \"deny\"\nurl = \"https://a.example/\"\n",
            "[[welcome]]\njson = 1\n",
        ] {
            assert!(matches!(Rules::parse(syntax), Err(BadRules::Syntax(_))), "{syntax}");
        }
    }

    #[test]
    fn hooks_hear_of_what_they_name() {
        let rules = Rules::parse(
            "[[hook]]\nevents = [\"changed\"]\nnames = [\"a:*\", \"b\"]\nurl = \"https://a.example/\"\n\
             [[hook]]\nevents = [\"connected\"]\nsubject = \"s.t-1\"\n",
        );
        let rules = rules.expect("rules");
        let hooks = rules.hooks().expect("hooks");
        for (kind, name, expected) in [
            (Kind::Changed, "a:1", true),
            (Kind::Changed, "a:1:2", false),
            (Kind::Changed, "b", true),
            (Kind::Connected, "anybody", true),
            (Kind::Disconnected, "b", false),
        ] {
            assert_eq!(hooks.wants(kind, name), expected, "{kind:?} {name}");
        }
        assert!(hooks.needs_nats() && Rules::parse("").expect("no rules").hooks().is_none());
    }
}
