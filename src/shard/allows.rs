//! What the writer of an operation may do with a key: what a request asks before it hands the operation to its owner.

use std::sync::Arc;

use super::access::{Access, GrantId};
use super::turn::Turn;
use crate::auth::rules::{Action as Right, Asked, Parts, View};

/// The answer to one operation.
#[derive(Clone, Copy, Debug)]
pub enum May<'a> {
    Yes,
    No,
    /// It depends on values, so the owner of the key decides.
    AskOwner(&'a Arc<Parts>),
}

/// Who decides.
pub trait Allows {
    fn may(&mut self, turn: &mut Turn, right: Right, map: &str, key: &str) -> May<'_>;
}

/// Everything, which everybody may where there are no rules.
pub struct Everything;

impl Allows for Everything {
    #[inline]
    fn may(&mut self, _: &mut Turn, _: Right, _: &str, _: &str) -> May<'_> {
        May::Yes
    }
}

/// A grant. Operations on one map mostly follow each other, so what it allows with the last is remembered.
pub struct ByGrant<'a> {
    access: &'a mut Access,
    grant: GrantId,
    map: String,
    /// Writing in the map, and deleting.
    views: Option<(View, View)>,
}

impl<'a> ByGrant<'a> {
    pub fn new(access: &'a mut Access, grant: GrantId) -> Self {
        let mut map = access.take_scratch();
        map.clear();
        Self { access, grant, map, views: None }
    }
}

impl Drop for ByGrant<'_> {
    fn drop(&mut self) {
        self.access.keep_scratch(std::mem::take(&mut self.map));
    }
}

impl Allows for ByGrant<'_> {
    fn may(&mut self, turn: &mut Turn, right: Right, map: &str, key: &str) -> May<'_> {
        if self.map != map {
            map.clone_into(&mut self.map);
            self.views = None;
        }
        let (access, grant) = (&mut *self.access, self.grant);
        let (write, delete) = self.views.get_or_insert_with(|| {
            let mut view = |right| access.view(turn, grant, right, map);
            (view(Right::Write), view(Right::Delete))
        });
        May::of(turn, if right == Right::Delete { delete } else { write }, (map, key))
    }
}

impl<'a> May<'a> {
    /// What a view says of a key: where that alone decides, at once.
    fn of(turn: &mut Turn, view: &'a View, (map, key): (&str, &str)) -> Self {
        match view {
            View::All => Self::Yes,
            View::None => Self::No,
            View::Parts(parts) if parts.need_values() => Self::AskOwner(parts),
            View::Parts(parts) => {
                let mut asked = Asked::default();
                let is_allowed = parts.allow_key(map, key, &mut asked);
                turn.count_asked(asked);
                if is_allowed { Self::Yes } else { Self::No }
            }
        }
    }
}
