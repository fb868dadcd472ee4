//! What everybody may do: a file of rules, compiled once.
//!
//! ```text
//!  rules.toml ──parse──► Rules ──grant(identity)──► Grant ──view(action, map)──► View ──► fields of a value, or nothing
//! ```
//! Denials win over permissions, and nothing is allowed that no rule allows. A condition without an answer denies.

mod action;
mod channels;
mod condition;
mod explain;
mod fields;
mod file;
mod known;
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
use crate::hooks::HookSet;
use channels::ChannelRule;
use fields::Names;
use known::{Known, LooksAt};

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
    /// What channels keep; the first that is about one counts.
    channels: Vec<ChannelRule>,
    /// What of somebody any of them looks at.
    looks_at: LooksAt,
    /// What the application hears of, and is asked; `None`: nothing.
    hooks: Option<Arc<HookSet>>,
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
    about: About,
    /// Of what it is about.
    hash: u64,
    /// Whether all of them deny.
    is_nothing: bool,
}

/// Whom they are about.
#[derive(Debug, PartialEq, Eq, Hash)]
enum About {
    /// Who may do what stands here.
    Listed(Box<[Clause]>),
    /// Somebody of whom this is known. What the rules are for them is made of it where it is asked for: with 200 rules that
    /// name their user it would take 28 KiB of each.
    Known {
        /// A bit for each rule: whether it is about them.
        rules: Box<[u64]>,
        who: Known,
    },
}

/// One rule that is about somebody.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Clause {
    maps: Box<[Pattern]>,
    part: Part,
}

impl Clause {
    /// Bytes of one that lists documents, which are names as they stand.
    fn bytes(&self) -> usize {
        let names = self.maps.iter().map(|pattern| size_of::<Pattern>() + pattern.bytes());
        size_of::<Self>() + names.sum::<usize>()
    }
}

impl PartialEq for Clauses {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || self.hash == other.hash && Arc::ptr_eq(&self.rules, &other.rules) && self.about == other.about
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

    /// What the application hears of, and is asked; `None`: nothing.
    pub const fn hooks(&self) -> Option<&Arc<HookSet>> {
        self.hooks.as_ref()
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
        let (mut rules, mut is_nothing) = (vec![0_u64; self.rules.len().div_ceil(64)], true);
        for (index, rule) in self.rules.iter().enumerate() {
            if rule.clause(index, &asker).is_some() {
                rules[index / 64] |= 1 << (index % 64);
                is_nothing &= rule.is_deny;
            }
        }
        let about = About::Known { rules: rules.into(), who: self.looks_at.known(&asker) };
        Grant::Some(Arc::new(Clauses::new(Arc::clone(self), about, is_nothing)))
    }
}

impl Grant {
    /// Whether it allows nothing at all, whatever is asked for.
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Everything => false,
            Self::Some(clauses) => clauses.is_nothing,
        }
    }

    /// Whether it is of these rules, or of none where there are none.
    pub fn is_of(&self, rules: Option<&Arc<Rules>>) -> bool {
        match (self, rules) {
            (Self::Some(clauses), Some(rules)) => Arc::ptr_eq(&clauses.rules, rules),
            (Self::Some(clauses), None) => matches!(clauses.about, About::Listed(_)),
            // To whom rules allow everything they allow it for its role.
            (Self::Everything, _) => false,
        }
    }

    /// Bytes that it takes beside itself, at most.
    pub fn bytes(&self) -> usize {
        let Self::Some(clauses) = self else { return 0 };
        size_of::<Clauses>()
            + match &clauses.about {
                About::Listed(list) => list.iter().map(Clause::bytes).sum::<usize>(),
                About::Known { rules, who } => size_of_val::<[u64]>(rules) + who.bytes(),
            }
    }

    /// How many rules are about its owner: what each [`Self::view`] looks at.
    pub fn rules(&self) -> usize {
        match self {
            Self::Everything => 0,
            Self::Some(clauses) => match &clauses.about {
                About::Listed(list) => list.len(),
                About::Known { rules, .. } => rules.iter().map(|bits| bits.count_ones() as usize).sum(),
            },
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
    fn new(rules: Arc<Rules>, about: About, is_nothing: bool) -> Self {
        let hash = HASHER.hash_one(&about);
        Self { rules, about, hash, is_nothing }
    }

    /// Those that are about one way to do something with one map.
    fn parts(&self, action: Action, map: &str) -> Vec<Part> {
        let covers = |part: usize| self.rules.rule(part).actions.cover(action);
        let matches = |clause: &Clause| clause.maps.iter().any(|pattern| pattern.matches(map));
        match &self.about {
            About::Listed(list) => {
                let found = list.iter().filter(|clause| covers(clause.part.rule) && matches(clause));
                found.map(|clause| clause.part.clone()).collect()
            }
            About::Known { rules, who } => {
                let identity = who.identity();
                let asker = Asker::from(&identity);
                let is_of = |index: &usize| rules[index / 64] & (1 << (index % 64)) != 0;
                let found = (0..self.rules.len()).filter(|index| is_of(index) && covers(*index));
                let clauses = found.filter_map(|index| self.rules.rule(index).named(index, &asker, matches));
                clauses.collect()
            }
        }
    }

    /// Equal for equal ones of this process.
    pub const fn hash_of(&self) -> u64 {
        self.hash
    }

    fn view(&self, action: Action, map: &str) -> View {
        let rule = |part: &Part| self.rules.rule(part.rule);
        let found = self.parts(action, map);
        let parts: Vec<&Part> = found.iter().collect();
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
        let maps = patterns(&self.maps, asker)?;
        Some(Clause { maps, part: self.part(index, asker)? })
    }

    /// The same of one of whom it is known that it is about them, if its maps are those.
    fn named(&self, index: usize, asker: &Asker<'_>, is_it: impl Fn(&Clause) -> bool) -> Option<Part> {
        let maps = patterns(&self.maps, asker)?;
        let bare = Clause { maps, part: Part { rule: index, keys: None, bound: None } };
        is_it(&bare).then(|| self.part(index, asker)).flatten()
    }

    fn part(&self, index: usize, asker: &Asker<'_>) -> Option<Part> {
        let keys = match &self.keys {
            None => None,
            Some(keys) => Some(patterns(keys, asker)?),
        };
        let bound = self.when.as_ref().map(|when| Arc::new(when.bind(asker)));
        Some(Part { rule: index, keys, bound })
    }
}

fn patterns(templates: &[Template], asker: &Asker<'_>) -> Option<Box<[Pattern]>> {
    let patterns: Box<[_]> = templates.iter().filter_map(|template| template.of(asker)).collect();
    (!patterns.is_empty()).then_some(patterns)
}
