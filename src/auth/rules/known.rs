//! What rules look at of somebody, and no more: whoever has the same of it may do the same.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::place::Place;
use super::{Rule, Template};
use crate::auth::{Asker, Identity, KeptClaims};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LooksAt {
    user: bool,
    session: bool,
    roles: bool,
    /// `None`: all of them.
    claims: Option<BTreeSet<Box<str>>>,
}

/// That of somebody, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Known(Box<str>);

impl LooksAt {
    /// What any of the rules looks at, but for the roles that it names.
    pub fn of(rules: &[Rule]) -> Self {
        let mut looks_at = Self { claims: Some(BTreeSet::new()), ..Self::default() };
        for rule in rules {
            let templates = rule.maps.iter().chain(rule.keys.iter().flatten());
            templates.flat_map(Template::places).for_each(|place| looks_at.add(place));
            let Some(when) = &rule.when else { continue };
            // Conditions see all of a user.
            let sees_user = when.looks_at_user();
            looks_at.user |= sees_user;
            looks_at.session |= sees_user;
            looks_at.roles |= sees_user;
            match (&mut looks_at.claims, when.claims()) {
                (Some(known), Some(names)) => known.extend(names.iter().cloned()),
                (claims, None) => *claims = None,
                (None, _) => {}
            }
        }
        looks_at
    }

    fn add(&mut self, place: &Place) {
        match place {
            Place::UserId => self.user = true,
            Place::Session => self.session = true,
            Place::Claim(path) => {
                if let Some(claims) = &mut self.claims {
                    // A path, or a name that holds dots itself.
                    let first = path.split('.').next().unwrap_or_default();
                    claims.extend([path.clone(), first.into()]);
                }
            }
        }
    }

    pub fn known(&self, asker: &Asker<'_>) -> Known {
        let Asker { identity, claims } = asker;
        let kept: Map<String, Value> = match &self.claims {
            None => claims.all().clone(),
            Some(names) => {
                let present = |name: &str| Some((name.to_owned(), claims.get(name)?.clone()));
                names.iter().filter_map(|name| present(name)).collect()
            }
        };
        let user = self.user.then_some(&*identity.user);
        let session = identity.session.as_deref().filter(|_| self.session);
        let roles = self.roles.then_some(&identity.roles);
        Known(json!([user, session, roles, kept]).to_string().into())
    }
}

impl Known {
    /// Bytes that it takes beside itself.
    pub const fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Somebody of whom nothing else is known.
    pub fn identity(&self) -> Identity {
        let (user, session, roles, claims): (Option<Box<str>>, _, Option<_>, Map<String, Value>) =
            serde_json::from_str(&self.0).expect("it was written so");
        Identity {
            user: user.unwrap_or_default().into(),
            session,
            roles: roles.unwrap_or_default(),
            claims: KeptClaims::from(claims),
            ..Identity::anonymous()
        }
    }
}
