//! What the application hears of and what it is asked: targets, events and questions of the rules file. No I/O and no clock.
//!
//! ```text
//! entry.rs  `[[hook]]`, `[question.…]`, `[[welcome]]`     event.rs    what happens, as JSON
//! url.rs    where messages may go                         verdict.rs  what the application answers
//! sign.rs   by what it knows that they are of this server
//! ```
//!
//! order: entry → { event, url, sign, verdict }

mod entry;
mod event;
mod sign;
mod url;
mod verdict;

pub use entry::{BadHook, Entries, HookEntry, Questions, WelcomeEntry};
pub use event::{Event, Happened, Kind, Kinds, Place, subject_token};
pub use sign::{SIGNATURE_HEADER, signature};
pub use url::BadUrl;
pub use verdict::{Allowed, BadVerdict, Verdict};

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use crate::auth::Identity;
use crate::auth::rules::Pattern;
use crate::limits::{MAP_NAME_BYTES_MAX, OWN_PREFIX};

/// Everything of one rules file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct HookSet {
    pub hooks: Vec<Arc<Hook>>,
    pub on_connect: Option<Arc<Question>>,
    pub on_publish: Option<Arc<Question>>,
    pub on_send: Option<Arc<Question>>,
    pub welcome: Vec<Welcome>,
    /// Of all hooks.
    kinds: Kinds,
}

/// Who hears of what.
#[derive(Debug, PartialEq, Eq)]
pub struct Hook {
    kinds: Kinds,
    /// `None`: all.
    names: Option<Box<[Pattern]>>,
    pub url: Option<Endpoint>,
    /// What subjects of NATS begin with.
    pub subject: Option<Box<str>>,
    /// Attempts to deliver a batch before it is a dead letter.
    pub attempts: u32,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub url: Box<str>,
    /// With what is in there they are signed; as from the folder of the rules file.
    pub secret_file: Option<PathBuf>,
    /// How long one may take, from the look-up of the name to the last byte of the answer.
    pub timeout_ms: u64,
}

/// What the application is asked before something is done.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    pub before: Before,
    /// Of channels or of receivers; `None`: all.
    names: Option<Box<[Pattern]>>,
    pub endpoint: Endpoint,
    /// What is done where there is no answer.
    pub otherwise: Otherwise,
    /// The roles that an answer may give.
    pub roles: Box<[Box<str>]>,
}

/// What is done once it is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Somebody comes in.
    Connect,
    /// Something is said in a channel.
    Publish,
    /// A direct message is sent.
    Send,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Otherwise {
    Allow,
    Deny,
}

/// What clients are sent first.
#[derive(Debug, PartialEq, Eq)]
pub struct Welcome {
    /// `None`: everybody.
    roles: Option<Box<[Box<str>]>>,
    pub what: Greeting,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Greeting {
    /// JSON.
    Data(Box<[u8]>),
    Key {
        map: Box<str>,
        key: Box<str>,
    },
}

impl HookSet {
    /// Whether any hook is about events of this kind.
    #[inline]
    pub const fn wants_any(&self, kind: Kind) -> bool {
        self.kinds.has(kind)
    }

    /// Whether any hook is about such an event.
    pub fn wants(&self, kind: Kind, name: &str) -> bool {
        self.wants_any(kind) && self.hooks.iter().any(|hook| hook.wants(kind, name))
    }

    /// Files with what messages are signed with.
    pub fn secret_files(&self) -> impl Iterator<Item = &PathBuf> {
        let of_hooks = self.hooks.iter().filter_map(|hook| hook.url.as_ref());
        let of_questions = [&self.on_connect, &self.on_publish, &self.on_send];
        let of_questions = of_questions.into_iter().flatten().map(|question| &question.endpoint);
        of_hooks.chain(of_questions).filter_map(|endpoint| endpoint.secret_file.as_ref())
    }

    /// Whether anything goes to NATS.
    pub fn needs_nats(&self) -> bool {
        self.hooks.iter().any(|hook| hook.subject.is_some())
    }
}

impl Hook {
    /// Whether it is about such an event.
    pub fn wants(&self, kind: Kind, name: &str) -> bool {
        self.kinds.has(kind) && is_one_of(self.names.as_deref(), name)
    }
}

impl Question {
    /// Whether it is asked about this channel, or this receiver.
    pub fn is_about(&self, name: &str) -> bool {
        is_one_of(self.names.as_deref(), name)
    }
}

impl Before {
    /// What the question is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "on_connect",
            Self::Publish => "on_publish",
            Self::Send => "on_send",
        }
    }
}

fn is_one_of(names: Option<&[Pattern]>, name: &str) -> bool {
    names.is_none_or(|names| names.iter().any(|pattern| pattern.matches(name)))
}

impl Welcome {
    /// Whether it is for them.
    pub fn is_for(&self, identity: &Identity) -> bool {
        self.roles.as_ref().is_none_or(|roles| roles.iter().any(|role| identity.has_role(role)))
    }
}

/// Whether a client may name such a map.
fn is_map(name: &str) -> bool {
    (1..=MAP_NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with(OWN_PREFIX)
}
