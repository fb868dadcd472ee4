//! Why somebody may do something or not: what each rule has to say.

use std::sync::Arc;

use super::fields::Fields;
use super::view::{Asked, Facts, holds};
use super::{Action, Clause, Rule, Rules};
use crate::auth::{Asker, Identity};

/// What one rule has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearing {
    /// Their roles are others, or what its names are made of is missing.
    OtherUsers,
    OtherActions,
    OtherMaps,
    OtherKeys,
    /// Of what is written it allows nothing.
    NoChange,
    NotMet,
    Undecided {
        is_deny: bool,
    },
    Allows,
    Denies,
    AllowsFields,
    DeniesFields,
}

impl Rules {
    /// What each rule has to say, in the order of the file.
    pub fn bearings(
        self: &Arc<Self>,
        identity: &Identity,
        action: Action,
        facts: &Facts<'_>,
    ) -> Vec<Bearing> {
        let asker = Asker::from(identity);
        let bearing = |(index, rule): (usize, &Rule)| match rule.clause(index, &asker) {
            Some(clause) => rule.bearing(&clause, action, facts),
            None => Bearing::OtherUsers,
        };
        self.rules.iter().enumerate().map(bearing).collect()
    }
}

impl Rule {
    fn bearing(&self, Clause { maps, part }: &Clause, action: Action, facts: &Facts<'_>) -> Bearing {
        if !self.actions.cover(action) {
            return Bearing::OtherActions;
        }
        if !maps.iter().any(|pattern| pattern.matches(facts.map)) {
            return Bearing::OtherMaps;
        }
        if part.keys.as_ref().is_some_and(|keys| !keys.iter().any(|key| key.matches(facts.key))) {
            return Bearing::OtherKeys;
        }
        // A write is asked about by what comes of it.
        let mut own = Fields::none();
        own.allow(self.fields.as_ref());
        let written = match (action, self.is_deny, facts.value) {
            (Action::Write, false, Some(value)) => match own.written(value, facts.current) {
                Some(written) => Some(written),
                None => return Bearing::NoChange,
            },
            _ => None,
        };
        let value = written.as_deref().or(facts.value);
        let about = Facts::new(facts.map, facts.key, value, facts.current);
        match (holds(part, self, &about, &mut Asked::default()), self.is_deny, &self.fields) {
            (None, is_deny, _) => Bearing::Undecided { is_deny },
            (Some(false), ..) => Bearing::NotMet,
            (Some(true), false, None) => Bearing::Allows,
            (Some(true), true, None) => Bearing::Denies,
            (Some(true), false, Some(_)) => Bearing::AllowsFields,
            (Some(true), true, Some(_)) => Bearing::DeniesFields,
        }
    }
}
