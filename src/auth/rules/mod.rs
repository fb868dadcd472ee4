//! What everybody may do: a file of rules, compiled once.
//!
//! ```text
//!  rules.toml ──parse──► Rules ──grant(identity)──► Grant ──view(action, map)──► View ──► fields of a value, or nothing
//! ```
//! Denials win over permissions, and nothing is allowed that no rule allows. A condition without an answer denies.

mod action;
mod condition;
mod explain;
mod fields;
mod file;
mod pattern;
mod permissions;
mod place;
mod view;

#[cfg(test)]
mod tests;

pub use action::{Action, Actions};
pub use condition::{BadCondition, Bound, Condition};
pub use explain::Bearing;
pub use fields::Fields;
pub use file::BadRules;
pub use pattern::{BadPattern, Pattern, Template};
pub use permissions::granted as granted_by_permissions;
pub use place::Place;
pub use view::{Asked, Facts, Part, Parts, View};

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

use super::{Asker, Identity};
use crate::config::Rates;
use fields::Names;

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The role that may do everything.
pub const ADMIN: &str = "admin";

/// The rules in force.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    /// Of the text that they were.
    digest: u64,
    /// Rates of roles, of those that have some.
    limits: BTreeMap<Box<str>, Rates>,
}

#[derive(Debug)]
struct Rule {
    is_deny: bool,
    actions: Actions,
    maps: Box<[Template]>,
    /// `None`: all.
    keys: Option<Box<[Template]>>,
    /// `None`: everybody.
    roles: Option<Box<[Box<str>]>>,
    fields: Option<Names>,
    when: Option<Condition>,
}

/// What somebody may do. Who has an equal one may do the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Grant {
    Everything,
    Some(Arc<Clauses>),
}

/// The rules that are about somebody.
#[derive(Debug)]
pub struct Clauses {
    /// Of which they are.
    rules: Arc<Rules>,
    list: Box<[Clause]>,
    /// Of the list.
    hash: u64,
}

/// One rule that is about somebody.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Clause {
    maps: Box<[Pattern]>,
    part: Part,
}

impl PartialEq for Clauses {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && Arc::ptr_eq(&self.rules, &other.rules) && self.list == other.list
    }
}

impl Eq for Clauses {}

impl Hash for Clauses {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Rules {
    fn rule(&self, index: usize) -> &Rule {
        &self.rules[index]
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.rules.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What somebody may send: of the rates of its roles, of each kind the most generous; `None`: none has any.
    pub fn rates(&self, identity: &Identity) -> Option<Rates> {
        let of_roles = identity.roles.iter().filter_map(|role| self.limits.get(role)).copied();
        of_roles.reduce(Rates::most_generous)
    }

    /// What they allow somebody. O(rules).
    pub fn grant(self: &Arc<Self>, identity: &Identity) -> Grant {
        if identity.has_role(ADMIN) {
            return Grant::Everything;
        }
        let asker = Asker::from(identity);
        let clause = |(index, rule): (usize, &Rule)| rule.clause(index, &asker);
        let list: Box<[Clause]> = self.rules.iter().enumerate().filter_map(clause).collect();
        Grant::Some(Arc::new(Clauses::new(Arc::clone(self), list)))
    }
}

impl Grant {
    /// Whether it allows nothing at all, whatever is asked for.
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Everything => false,
            Self::Some(clauses) => {
                clauses.list.iter().all(|clause| clauses.rules.rule(clause.part.rule).is_deny)
            }
        }
    }

    /// How many rules are about its owner: what each [`Self::view`] looks at.
    pub fn rules(&self) -> usize {
        match self {
            Self::Everything => 0,
            Self::Some(clauses) => clauses.list.len(),
        }
    }

    /// What it allows in one way with one map.
    pub fn view(&self, action: Action, map: &str) -> View {
        match self {
            Self::Everything => View::All,
            Self::Some(clauses) => clauses.view(action, map),
        }
    }
}

impl Clauses {
    fn new(rules: Arc<Rules>, list: Box<[Clause]>) -> Self {
        let hash = HASHER.hash_one(&list);
        Self { rules, list, hash }
    }

    /// Equal for equal ones of this process.
    pub const fn hash_of(&self) -> u64 {
        self.hash
    }

    fn view(&self, action: Action, map: &str) -> View {
        let rule = |part: &Part| self.rules.rule(part.rule);
        let is_about = |clause: &&Clause| {
            rule(&clause.part).actions.cover(action) && clause.maps.iter().any(|pattern| pattern.matches(map))
        };
        let parts: Vec<_> = self.list.iter().filter(is_about).map(|clause| &clause.part).collect();
        let is_whole = |part: &&&Part| {
            let rule = rule(part);
            part.keys.is_none() && rule.fields.is_none() && rule.when.is_none()
        };
        let is_deny = |part: &&&Part| rule(part).is_deny;
        if parts.iter().filter(is_deny).any(|part| is_whole(&part)) || parts.iter().all(|part| is_deny(&part))
        {
            return View::None;
        }
        // What is allowed without a condition makes other permissions idle.
        let whole = parts.iter().filter(|part| !is_deny(part)).find(is_whole).copied();
        let denied: Vec<_> = parts.iter().filter(is_deny).copied().collect();
        match whole {
            Some(_) if denied.is_empty() => View::All,
            Some(whole) => View::of(&self.rules, std::iter::once(whole).chain(denied)),
            None => View::of(&self.rules, parts.into_iter()),
        }
    }
}

impl Rule {
    /// What it is for somebody; `None` if it is about others.
    fn clause(&self, index: usize, asker: &Asker<'_>) -> Option<Clause> {
        let is_meant = |roles: &[Box<str>]| roles.iter().any(|role| asker.identity.has_role(role));
        if !self.roles.as_deref().is_none_or(is_meant) {
            return None;
        }
        let patterns = |templates: &[Template]| {
            let patterns: Box<[_]> = templates.iter().filter_map(|template| template.of(asker)).collect();
            (!patterns.is_empty()).then_some(patterns)
        };
        let maps = patterns(&self.maps)?;
        let keys = match &self.keys {
            None => None,
            Some(keys) => Some(patterns(keys)?),
        };
        let bound = self.when.as_ref().map(|when| Arc::new(when.bind(asker)));
        Some(Clause { maps, part: Part { rule: index, keys, bound } })
    }
}
