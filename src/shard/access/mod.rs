//! Who may do what here: principals as the desk names them, and what their grants come to for a map.
//!
//! ```text
//!  upgrade or `auth` ──verify──► desk ──answer──► Principal ──enter──► GrantId of the connection ──view──► View
//! ```
//! Invariant: a connection holds its grant from [`Access::enter`] until [`Access::leave`], and a grant is kept while anybody
//! holds it.

mod grants;
mod life;

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

pub use grants::GrantId;
pub use life::{Due, Shown};

use grants::Grants;

use super::commons::DialectIndex;
use super::turn::Turn;
use crate::auth::Standing;
use crate::auth::rules::{Action, Asked, Grant, View};
use crate::config::AuthMode;
use crate::handover::{DeskPort, FromDesk, Verify};
use crate::limits::TOKENS_WAITING_BYTES_MAX;
use crate::mesh::ConnectionId;
use crate::metrics::DeskMetrics;
use crate::wire::Ticket;

/// See the module.
pub struct Access {
    mode: AuthMode,
    desk: Option<DeskPort>,
    standing: Arc<Standing>,
    /// Of who shows nothing.
    anonymous: Grant,
    grants: Grants,
    /// What the desk had no room for yet.
    unsent: VecDeque<Verify>,
    /// What waits for an answer of the desk; a connection is in it once at most.
    awaited: HashMap<ConnectionId, (Awaited, usize)>,
    /// Bytes of the credentials of those, and of those that are not handed on yet, of whom some may have left.
    waiting_bytes: usize,
    unsent_bytes: usize,
    /// Connections that are to be looked at again, since another standing is in force.
    review: Option<Review>,
    /// Connections with another grant than before, oldest first.
    regranted: VecDeque<Regranted>,
    /// The desk has said more than a turn had work for.
    has_more: bool,
    /// For the name of a map.
    scratch: String,
}

/// How far all connections have been looked at again.
#[derive(Clone, Copy)]
pub struct Review {
    /// The slot that is next.
    pub slot: u32,
    /// Whether there are other rules, and not only other revocations.
    pub are_rules_new: bool,
}

/// A connection whose subscriptions and watches have to be looked at, as it has another grant.
pub struct Regranted {
    pub id: ConnectionId,
    /// How many of each are left.
    pub subscriptions: usize,
    pub queries: usize,
    pub watches: usize,
    pub stays: usize,
    pub channels: usize,
    /// Whether the members that it has set are.
    pub members: bool,
}

/// A WebSocket that opens once it is clear who asks for it.
pub struct Upgrade {
    pub dialect: DialectIndex,
    pub response: Vec<u8>,
    /// What the client has shown.
    pub credential: Option<Box<str>>,
}

/// What a connection waits for the desk with.
pub enum Awaited {
    /// Its WebSocket opens then.
    Upgrade(Upgrade),
    /// The `auth` of a client, and what it calls that.
    Request(Option<Ticket>),
}

impl Access {
    pub fn new(mode: AuthMode, standing: Arc<Standing>, desk: Option<DeskPort>) -> Self {
        let anonymous = standing.anonymous();
        Self {
            mode,
            desk,
            standing,
            anonymous,
            grants: Grants::default(),
            unsent: VecDeque::new(),
            awaited: HashMap::new(),
            waiting_bytes: 0,
            unsent_bytes: 0,
            review: None,
            regranted: VecDeque::new(),
            has_more: false,
            scratch: String::new(),
        }
    }

    /// What the desk counts, if there is one.
    pub fn desk_metrics(&self) -> Option<&DeskMetrics> {
        self.desk.as_ref().map(|desk| &*desk.metrics)
    }

    /// Whether tokens are taken here.
    pub fn takes_tokens(&self) -> bool {
        self.mode != AuthMode::None && self.desk.is_some()
    }

    /// Whether who shows nothing is nobody.
    pub fn is_required(&self) -> bool {
        self.mode == AuthMode::Required
    }

    /// Whether one more credential of so many bytes may wait for the desk.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.waiting_bytes.max(self.unsent_bytes) + bytes <= TOKENS_WAITING_BYTES_MAX
    }

    /// Bytes of what waits for the desk.
    pub const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Has the desk say whom a credential names, for which there is room.
    pub fn verify(&mut self, turn: &mut Turn, id: ConnectionId, credential: Box<str>, awaited: Awaited) {
        self.waiting_bytes += credential.len();
        self.unsent_bytes += credential.len();
        self.awaited.insert(id, (awaited, credential.len()));
        self.unsent.push_back(Verify { connection: id, credential });
        self.send(turn);
    }

    /// Hands on what there is room for.
    pub fn send(&mut self, turn: &mut Turn) {
        let Some(desk) = &mut self.desk else { return };
        let mut has_sent = false;
        while let Some(verify) = self.unsent.pop_front() {
            let bytes = verify.credential.len();
            self.unsent_bytes -= bytes;
            // Who has left is not asked about.
            if !self.awaited.contains_key(&verify.connection) {
                continue;
            }
            if let Err(rtrb::PushError::Full(verify)) = desk.to_desk.push(verify) {
                self.unsent.push_front(verify);
                self.unsent_bytes += bytes;
                break;
            }
            has_sent = true;
        }
        if has_sent {
            turn.commands.push(super::Command::WakeDesk);
        }
    }

    /// Whether the desk must be looked at again soon, as it had no room.
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Takes what the desk has said next, if the turn has work for it.
    pub fn next_said(&mut self, may_take: bool) -> Option<FromDesk> {
        let from_desk = &mut self.desk.as_mut()?.from_desk;
        self.has_more = !may_take && !from_desk.is_empty();
        if may_take { from_desk.pop().ok() } else { None }
    }

    /// Whether the next turn has something to do of all this, even if nothing happens.
    pub fn has_work_left(&self) -> bool {
        self.has_more || self.review.is_some() || !self.regranted.is_empty()
    }

    /// A connection has another grant than before.
    pub fn regrant(&mut self, id: ConnectionId) {
        self.regranted.push_back(Regranted {
            id,
            subscriptions: usize::MAX,
            queries: usize::MAX,
            watches: usize::MAX,
            stays: usize::MAX,
            channels: usize::MAX,
            members: true,
        });
    }

    /// Takes the connection that was given another grant first.
    pub fn next_regranted(&mut self) -> Option<Regranted> {
        self.regranted.pop_front()
    }

    /// Puts back one of which something is left.
    pub fn put_back(&mut self, regranted: Regranted) {
        self.regranted.push_front(regranted);
    }

    /// Takes what a connection waits for, if it still does.
    pub fn take_awaited(&mut self, id: ConnectionId) -> Option<Awaited> {
        let (awaited, bytes) = self.awaited.remove(&id)?;
        self.waiting_bytes -= bytes;
        Some(awaited)
    }

    /// Takes note of a grant that a connection has from now on.
    pub fn enter(&mut self, grant: &Grant) -> GrantId {
        self.grants.take(grant)
    }

    /// The same for a connection that shows nothing.
    pub fn enter_anonymous(&mut self) -> GrantId {
        self.grants.take(&self.anonymous)
    }

    /// A connection has this grant no longer.
    pub fn leave(&mut self, grant: GrantId) {
        self.grants.give_back(grant);
    }

    /// What a grant allows in one way with one map.
    pub fn view(&mut self, turn: &mut Turn, grant: GrantId, action: Action, map: &str) -> View {
        self.grants.view(turn, grant, action, map)
    }

    /// Room for the name of a map, so that no message has to make it anew.
    pub fn take_scratch(&mut self) -> String {
        std::mem::take(&mut self.scratch)
    }

    pub fn keep_scratch(&mut self, scratch: String) {
        self.scratch = scratch;
    }

    /// Whether a grant allows something that is about no value.
    pub fn may(&mut self, turn: &mut Turn, grant: GrantId, action: Action, name: &str) -> bool {
        match self.view(turn, grant, action, name) {
            View::All => true,
            View::None => false,
            View::Parts(parts) => {
                let mut asked = Asked::default();
                let may = parts.allow_key(name, "", &mut asked);
                turn.count_asked(asked);
                may
            }
        }
    }

    /// Whether a grant allows to be in a room, and to know who is.
    pub fn may_be_in(&mut self, turn: &mut Turn, grant: GrantId, room: &str) -> bool {
        grant == GrantId::EVERYTHING || self.may(turn, grant, Action::Presence, &room_name(room))
    }

    /// Whether a grant allows something in a channel.
    pub fn may_in_channel(&mut self, turn: &mut Turn, grant: GrantId, action: Action, channel: &str) -> bool {
        grant == GrantId::EVERYTHING || self.may(turn, grant, action, &format!("channel:{channel}"))
    }

    /// Another standing is in force: every connection is looked at again.
    pub fn stand(&mut self, standing: Arc<Standing>) {
        let rules = [&self.standing, &standing].map(|standing| standing.rules.as_ref().map(Arc::as_ptr));
        let are_rules_new = rules[0] != rules[1] || self.review.is_some_and(|review| review.are_rules_new);
        self.anonymous = standing.anonymous();
        self.standing = standing;
        self.review = Some(Review { slot: 0, are_rules_new });
    }

    pub const fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// Who is to be looked at again.
    pub const fn review(&self) -> Option<Review> {
        self.review
    }

    /// The same from now on.
    pub const fn set_review(&mut self, review: Option<Review>) {
        self.review = review;
    }
}

/// What rules call a room.
fn room_name(room: &str) -> String {
    format!("room:{room}")
}
