//! The rules file: TOML, of which nothing is passed over that is not known.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use super::action::Actions;
use super::channels::ChannelEntry;
use super::condition::{BadCondition, Condition};
use super::known::LooksAt;
use super::pattern::{BadPattern, Template};
use super::{Rule, Rules};
use crate::config::{BadRates, Rates};
use crate::hooks::{BadHook, Entries, HookEntry, Questions, WelcomeEntry};
use crate::limits::{ROLE_BYTES_MAX, RULES_BYTES_MAX, RULES_MAX};

/// What everybody is who says nothing, and who may do everything.
const BUILT_IN_ROLES: [&str; 2] = [crate::auth::ANONYMOUS, super::ADMIN];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    role: Vec<RoleEntry>,
    #[serde(default)]
    rule: Vec<RuleEntry>,
    #[serde(default)]
    channel: Vec<ChannelEntry>,
    #[serde(default)]
    limits: BTreeMap<Box<str>, Rates>,
    #[serde(default)]
    hook: Vec<HookEntry>,
    #[serde(default)]
    question: Questions,
    #[serde(default)]
    welcome: Vec<WelcomeEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleEntry {
    name: Box<str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    allow: Option<Actions>,
    deny: Option<Actions>,
    maps: Vec<String>,
    keys: Option<Vec<String>>,
    roles: Option<Vec<Box<str>>>,
    fields: Option<Vec<Box<str>>>,
    when: Option<String>,
}

/// Why a file has no rules. A rule's number is its place in the file, from 1.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadRules {
    #[error("it has more than {RULES_BYTES_MAX} bytes")]
    TooLong,
    #[error("it has more than {RULES_MAX} rules, or entries about channels")]
    TooMany,
    #[error("{0}")]
    Syntax(String),
    #[error("a role has a name of 1 to {ROLE_BYTES_MAX} bytes")]
    Role,
    #[error("rule {rule}: it says either allow or deny, and what")]
    AllowOrDeny { rule: usize },
    #[error("rule {rule}: there is no role {name:?}; name it with [[role]]")]
    UnknownRole { rule: usize, name: Box<str> },
    #[error("rule {rule}: {what:?} is empty: leave it out where it is about all")]
    Empty { rule: usize, what: &'static str },
    #[error("rule {rule}: {text:?}: {error}")]
    Pattern { rule: usize, text: String, error: BadPattern },
    #[error("rule {rule}: when: {error}")]
    Condition { rule: usize, error: BadCondition },
    #[error("channel {entry}: {what}")]
    Channel { entry: usize, what: &'static str },
    #[error("[limits.{role}]: there is no such role; name it with [[role]]")]
    LimitsOfNobody { role: Box<str> },
    #[error("[limits.anonymous]: anonymous is no user; --connection-rates and --address-rates limit it")]
    LimitsOfAnonymous,
    #[error("[limits.{role}]: {error}")]
    Limits { role: Box<str>, error: BadRates },
    #[error("{table}: {error}")]
    Hook { table: String, error: BadHook },
}

impl Rules {
    /// # Errors
    /// [`BadRules`].
    pub fn parse(text: &str) -> Result<Self, BadRules> {
        if text.len() > RULES_BYTES_MAX {
            return Err(BadRules::TooLong);
        }
        let file: File = toml::from_str(text).map_err(|error| BadRules::Syntax(error.to_string()))?;
        if file.rule.len().max(file.channel.len()) > RULES_MAX {
            return Err(BadRules::TooMany);
        }
        if !file.role.iter().all(|role| (1..=ROLE_BYTES_MAX).contains(&role.name.len())) {
            return Err(BadRules::Role);
        }
        let roles: Vec<&str> = file.role.iter().map(|role| &*role.name).chain(BUILT_IN_ROLES).collect();
        let numbered = file.rule.into_iter().zip(1..);
        let rules = numbered.map(|(entry, rule)| entry.compile(rule, &roles)).collect::<Result<_, _>>()?;
        let limits = file.limits.into_iter().map(|(role, rates)| {
            if *role == *crate::auth::ANONYMOUS {
                return Err(BadRules::LimitsOfAnonymous);
            }
            if !roles.contains(&&*role) {
                return Err(BadRules::LimitsOfNobody { role });
            }
            match rates.checked() {
                Ok(rates) => Ok((role, rates)),
                Err(error) => Err(BadRules::Limits { role, error }),
            }
        });
        let limits = limits.collect::<Result<_, _>>()?;
        let numbered = file.channel.into_iter().zip(1..);
        let channels = numbered.map(|(entry, place)| entry.compile(place)).collect::<Result<_, _>>()?;
        let rules: Vec<Rule> = rules;
        let looks_at = LooksAt::of(&rules);
        let entries = Entries { hook: file.hook, question: file.question, welcome: file.welcome };
        let hooks = entries.compile(&roles).map_err(|(table, error)| BadRules::Hook { table, error })?;
        Ok(Self { rules, digest: xxh3_64(text.as_bytes()), limits, channels, looks_at, hooks })
    }
}

impl RuleEntry {
    fn compile(self, rule: usize, roles: &[&str]) -> Result<Rule, BadRules> {
        let (is_deny, actions) = match (self.allow, self.deny) {
            (Some(actions), None) => (false, actions),
            (None, Some(actions)) => (true, actions),
            _ => return Err(BadRules::AllowOrDeny { rule }),
        };
        if actions == Actions::default() {
            return Err(BadRules::AllowOrDeny { rule });
        }
        let is_empty = |what, list: Option<usize>| match list {
            Some(0) => Err(BadRules::Empty { rule, what }),
            _ => Ok(()),
        };
        is_empty("maps", Some(self.maps.len()))?;
        is_empty("keys", self.keys.as_ref().map(Vec::len))?;
        is_empty("roles", self.roles.as_ref().map(Vec::len))?;
        is_empty("fields", self.fields.as_ref().map(Vec::len))?;
        let unknown = self.roles.iter().flatten().find(|name| !roles.contains(&&***name));
        if let Some(name) = unknown {
            return Err(BadRules::UnknownRole { rule, name: name.clone() });
        }
        let templates = |texts: Vec<String>| {
            let parse = |text: String| {
                Template::parse(&text).map_err(|error| BadRules::Pattern { rule, text, error })
            };
            texts.into_iter().map(parse).collect::<Result<Box<[_]>, _>>()
        };
        // A key is a name of the user's own making: `*` alone is every one.
        let keys = self.keys.filter(|keys| !keys.iter().any(|key| key == "*" || key == "**"));
        let when = self.when.map(|text| Condition::compile(&text)).transpose();
        Ok(Rule {
            is_deny,
            actions,
            maps: templates(self.maps)?,
            keys: keys.map(templates).transpose()?,
            roles: self.roles.map(Vec::into_boxed_slice),
            fields: self
                .fields
                .map(|names| names.into_iter().collect::<std::collections::BTreeSet<_>>().into()),
            when: when.map_err(|error| BadRules::Condition { rule, error })?,
        })
    }
}
