//! The one way out. Every cause, a peer's close, a fault, a limit, a timer, a stop, ends here, and each step
//! is taken exactly once, in this order, as the phase of the connection only moves forward:
//!
//! ```text
//! Open ──disconnect──► Flushing ──all sent──► Lingering ──peer's end or timer──► Disconnected ──► slot free
//!        stop reading            close frame is out,         transport is closed,   after the last
//!        leave, tell             our side is ended           `finish`               completion
//! ```

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
        let Self { turn, clients, maps, feeds, rooms, .. } = self;
        if !clients.get(id).is_some_and(super::Connection::is_connected) {
            return;
        }
        clients.log_ended(turn, id, close, cause);
        let Some(mut leaving) = clients.leave(turn, id) else { return };
        let (heard, set) = (leaving.subscriptions.len() + leaving.watches.len(), leaving.members.len());
        turn.spend(work::DISCONNECT + work::RECEIVER * heard as u64 + work::FRAME * set as u64);
        // Leave every subscription, which tells the owners where this was the last. An end is an answer to everything.
        for subscription in leaving.subscriptions.drain(..) {
            let _owed = feeds.end_subscription(turn, maps, subscription);
        }
        // Leave every room: first as a watcher, then with the members that it has set, of which the home tells the others as it
        // comes to it: a thousand that go at once are a million messages where there are a thousand watchers.
        for watch in leaving.watches.drain(..) {
            rooms.end_watch(turn, clients, watch);
        }
        for member in std::mem::take(&mut leaving.members).into_all() {
            rooms.release_member(turn, id, &member);
        }
        // Tell who else must know.
        if let Some(address) = leaving.counted {
            clients.depart(turn, address);
        }
        clients.say_goodbye(turn, id, close, &leaving);
    }
}
