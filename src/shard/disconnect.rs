//! The one way out. Every cause, a peer's close, a fault, a limit, a timer, a stop, ends here, and each step
//! is taken exactly once, in this order, as the phase of the connection only moves forward:
//!
//! ```text
//! Open ──disconnect──► Flushing ──all sent──► Lingering ──peer's end or timer──► Disconnected ──► slot free
//!        stop reading     │ let go of what    close frame is out,  transport is closed,   after the last
//!                         │ it has, tell      our side is ended    `finish`               completion
//!                         └─► say goodbye
//! ```
//! A connection may have thousands of subscriptions, rooms and members. It lets go of them one after the other for as long as
//! the turn has work for it, and goes on in the next. Meanwhile nothing more is queued for it (`Connection::is_leaving`). It
//! says goodbye once it has nothing left, and its slot is free then at the earliest, so that nothing which names it finds
//! another tenant.

use super::clients::{Connection, Held};
use super::turn::Turn;
use super::{Shard, work};
use crate::mesh::ConnectionId;
use crate::wire::Close;

impl Shard {
    /// Ends the connection because of `close`; does nothing if it is ending already.
    pub(super) fn disconnect(&mut self, id: ConnectionId, close: Close) {
        self.disconnect_for(id, close, close.cause());
    }

    /// The same, where the log can say more than `close` does.
    pub(super) fn disconnect_for(&mut self, id: ConnectionId, close: Close, cause: &str) {
        let Self { turn, clients, .. } = self;
        if !clients.get(id).is_some_and(Connection::is_connected) {
            return;
        }
        clients.log_ended(turn, id, close, cause);
        let Some(leaving) = clients.leave(turn, id, close) else { return };
        turn.spend(work::DISCONNECT);
        self.end_identity(id, close);
        if self.let_go(id, |turn| !turn.is_spent()) {
            self.clients.say_goodbye(&mut self.turn, leaving);
        } else {
            self.clients.leave_later(leaving);
        }
    }

    /// Goes on with connections that have more to let go of, as much as the turn has work for: the one that has been leaving
    /// longest has a share in any case.
    pub(super) fn go_on_leaving(&mut self) {
        if !self.clients.has_leaving() {
            return;
        }
        self.turn.begin_share_of(work::CONNECTION_MAX);
        while let Some(leaving) = self.clients.next_leaving() {
            if !self.let_go(leaving.id, |turn| !turn.is_over()) {
                return self.clients.put_back_leaving(leaving);
            }
            self.clients.say_goodbye(&mut self.turn, leaving);
        }
    }

    /// Lets go of what a connection has, for as long as that `may_go_on`; whether it has nothing left.
    fn let_go(&mut self, id: ConnectionId, may_go_on: impl Fn(&Turn) -> bool) -> bool {
        let Self { turn, clients, maps, feeds, queries, rooms, presence, channels, .. } = self;
        while clients.get(id).is_some_and(Connection::holds_anything) {
            if !may_go_on(turn) {
                return false;
            }
            match clients.next_held(id) {
                // Owners are told where this was the last. An end is an answer to everything.
                Some(Held::Subscription(subscription)) => {
                    turn.spend(work::LET_GO);
                    let _owed = feeds.end_subscription(turn, maps, subscription);
                }
                Some(Held::Query(subscription)) => {
                    turn.spend(work::LET_GO);
                    let _owed = queries.end_subscription(turn, maps, subscription);
                }
                Some(Held::Watch(watch)) => {
                    turn.spend(work::LET_GO);
                    rooms.end_watch(turn, clients, watch);
                }
                Some(Held::Stay { stay, is_final }) => {
                    turn.spend(work::LET_GO);
                    presence.end_stay(turn, clients, stay, is_final);
                }
                Some(Held::Channel(member)) => {
                    turn.spend(work::LET_GO);
                    channels.end_member(turn, maps, member);
                }
                // The home of each tells the others as it comes to it: a thousand that go at once are a million messages
                // where there are a thousand watchers.
                Some(Held::Members(members)) => {
                    turn.spend(work::FRAME * members.len() as u64);
                    members.iter().for_each(|member| rooms.release_member(turn, id, member));
                }
                None => return true,
            }
        }
        true
    }
}
