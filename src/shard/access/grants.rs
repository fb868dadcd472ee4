//! Grants, each once, and what was asked of them.

use hashbrown::{HashMap, HashTable};
use slab::Slab;

use super::super::turn::Turn;
use super::super::{slots, work};
use crate::auth::rules::{Action, Grant, View};

/// Views remembered of one grant; of more maps the rules are asked each time that all were forgotten.
const VIEWS_MAX: usize = 64;

/// A grant, by its place among those that connections of this shard hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantId(u32);

impl GrantId {
    /// Everything, which nobody has to look up.
    pub const EVERYTHING: Self = Self(u32::MAX);
    /// Nothing: of who has yet to say who it is.
    pub const NOTHING: Self = Self(u32::MAX - 1);
}

#[derive(Default)]
pub struct Grants {
    held: Slab<Held>,
    by_grant: HashTable<u32>,
}

struct Held {
    grant: Grant,
    holders: u32,
    views: [HashMap<Box<str>, View>; Action::ALL.len()],
}

impl Grants {
    /// One more holds it.
    pub fn take(&mut self, grant: &Grant) -> GrantId {
        let Grant::Some(clauses) = grant else { return GrantId::EVERYTHING };
        let found = self.by_grant.find(clauses.hash_of(), |&slot| self.held[slot as usize].grant == *grant);
        let slot = found.copied().unwrap_or_else(|| {
            let held = Held { grant: grant.clone(), holders: 0, views: Default::default() };
            let slot = slots::slot(self.held.insert(held));
            let held = &self.held;
            let hash = |&slot: &u32| match &held[slot as usize].grant {
                Grant::Some(clauses) => clauses.hash_of(),
                Grant::Everything => 0,
            };
            self.by_grant.insert_unique(clauses.hash_of(), slot, hash);
            slot
        });
        self.held[slot as usize].holders += 1;
        GrantId(slot)
    }

    /// One less does.
    pub fn give_back(&mut self, id: GrantId) {
        let Some(held) = self.held.get_mut(id.0 as usize) else { return };
        held.holders -= 1;
        if held.holders > 0 {
            return;
        }
        let held = self.held.remove(id.0 as usize);
        if let Grant::Some(clauses) = &held.grant
            && let Ok(entry) = self.by_grant.find_entry(clauses.hash_of(), |&slot| slot == id.0)
        {
            entry.remove();
        }
    }

    /// What it allows in one way with one map.
    pub fn view(&mut self, turn: &mut Turn, id: GrantId, action: Action, map: &str) -> View {
        match id {
            GrantId::EVERYTHING => return View::All,
            GrantId::NOTHING => return View::None,
            GrantId(_) => {}
        }
        let Some(held) = self.held.get_mut(id.0 as usize) else { return View::None };
        let views = &mut held.views[action as usize];
        if let Some(view) = views.get(map) {
            return view.clone();
        }
        let view = held.grant.view(action, map);
        turn.spend(work::PASSED_OVER * held.grant.rules() as u64);
        if views.len() == VIEWS_MAX {
            views.clear();
        }
        // Names that somebody may not even see are anybody's invention.
        if view != View::None {
            views.insert(map.into(), view.clone());
        }
        view
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::auth::Identity;
    use crate::auth::rules::Rules;

    fn grant(rules: &Arc<Rules>, claims: &str) -> Grant {
        let claims = serde_json::from_str(claims).expect("claims");
        rules.grant(&Identity::of_claims(&claims, "roles").expect("an identity"))
    }

    #[test]
    fn equal_grants_are_one_and_leave_with_their_last_holder() {
        let text = "[[rule]]\nallow = [\"read\"]\nmaps = [\"own:{user.id}\"]";
        let rules = Arc::new(Rules::parse(text).expect("rules"));
        let mut grants = Grants::default();
        let [a, again, b] = [r#"{"sub":"a"}"#, r#"{"sub":"a","iat":7}"#, r#"{"sub":"b"}"#]
            .map(|claims| grants.take(&grant(&rules, claims)));
        assert!(a == again && a != b);
        assert_eq!(grants.take(&Grant::Everything), GrantId::EVERYTHING);
        for id in [a, b, again, GrantId::EVERYTHING, GrantId::NOTHING] {
            assert!(grants.held.len() <= 2);
            grants.give_back(id);
        }
        assert!(grants.held.is_empty() && grants.by_grant.is_empty(), "nothing is left behind");
    }
}
