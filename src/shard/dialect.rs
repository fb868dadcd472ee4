//! What a shard asks of a dialect: bytes of a client become commands of the shard, and what happens becomes bytes.
//!
//! A dialect is a codec plus a small translation. It knows the shard; the shard knows this trait alone, and a
//! connection's dialect by its place in the list that [`super::Shared`] brings. Dialects have no state of their own:
//! what one must remember of a connection lies in that connection's [`Session`].

use std::any::Any;

use super::caller::Caller;
use super::commons::Commons;
use super::direct::DirectMessage;
use super::lists::ListSteps;
use super::outbox::{Frames, Parts, Personal};
use super::told::{Change, ChannelMessage, Event, MemberChange, Published};
use super::{Now, Shard};
use crate::config::Config;
use crate::mesh::{Entry, Gathered};
use crate::wire::{Close, Cursor, Payload, Ticket};

/// What a dialect remembers of one connection; `None`: nothing, which costs nothing.
pub type Session = Option<Box<dyn Any + Send>>;

/// See the module.
pub trait Dialect: Sync {
    /// What the log calls it.
    fn name(&self) -> &'static str;

    /// The connection is open.
    fn opened(&self, shard: &mut Shard, caller: Caller);

    /// A message has come.
    ///
    /// # Errors
    /// Why the connection must end.
    fn message(
        &self,
        shard: &mut Shard,
        caller: Caller,
        kind: MessageKind,
        payload: Payload<'_>,
    ) -> Result<(), Close>;

    /// Appends the frames, if any, that tell one connection of `event`.
    fn event(&self, event: Event<'_>, session: &mut Session, now: Now, out: &mut Vec<u8>);

    /// Appends what follows an event that ended a snapshot or refused a request, in parts that others may be sent, too. It is
    /// asked again by [`Shard::answer`].
    fn answer(
        &self,
        _session: &mut Session,
        _commons: &mut Commons,
        _now: Now,
        _out: &mut Parts<'_>,
    ) -> Answered {
        Answered::default()
    }

    /// The caller has become somebody, or has other rights than before.
    fn identified(&self, _shard: &mut Shard, _caller: Caller) {}

    /// The caller is subscribed to a map, watches a room or is in a channel, and may not any more: it is to be ended and told.
    fn forbidden(&self, shard: &mut Shard, caller: Caller, about: About<'_>) {
        about.end(shard, caller);
    }

    /// Whether clients of this dialect may be sent what they have not asked for: [`Event::Welcome`], and entries and snapshots
    /// without a ticket.
    fn takes_welcomes(&self) -> bool {
        false
    }

    /// Goes on with what lasts for more than a turn, as was asked for with [`Commons::go_on`].
    fn go_on(&self, _shard: &mut Shard) {}

    /// A connection is gone, and its session goes next. Who is named is told that it has drained.
    fn closed(&self, _session: &mut Session, _commons: &mut Commons, _caller: Caller) -> Option<Caller> {
        None
    }

    /// Bytes of memory that a session took when that was last asked, and that it takes now, by and large.
    fn session_bytes(&self, _session: &mut Session) -> (usize, usize) {
        (0, 0)
    }

    /// The same of what this dialect remembers of all connections: it is asked in every turn.
    fn commons_bytes(&self, _commons: &Commons) -> usize {
        0
    }

    /// All that was queued for a connection has been sent, as was asked with [`Shard::call_when_drained`].
    fn drained(&self, _shard: &mut Shard, _caller: Caller) {}

    /// Appends the frames that tell one subscriber of a change: one that gets less than others, such as who made part
    /// of it, or gets it later.
    fn change(&self, change: Change<'_>, session: &Session, out: &mut Vec<u8>);

    /// Appends the frames that tell subscribers of a change: once for all that get the same, but for what
    /// [`Self::personalize`] puts into their hole.
    fn change_for_all(&self, change: Change<'_>, out: &mut Frames) {
        self.change(change, &None, &mut out.bytes);
    }

    /// Appends frames with a hole as one subscriber gets them; `false`, and nothing is appended, if it gets them as they are.
    fn personalize(&self, _frames: &Frames, _session: &Session, _out: &mut Personal<'_>) -> bool {
        false
    }

    /// Appends what becomes of the list of a query, as all who have it are told.
    fn list_changes(&self, _steps: ListSteps<'_>, _cursor: Cursor, _out: &mut Vec<u8>) {}

    /// Appends the frames that tell one of them, who knows the query by that name, with what [`Self::list_changes`] has appended.
    fn list_changed(&self, _map: &str, _query: &Ticket, _changes: &[u8], _out: &mut Vec<u8>) {}

    /// Appends the frames that tell watchers of a room of a change in it. They are made once for all.
    fn member(&self, _change: MemberChange<'_>, _out: &mut Vec<u8>) {}

    /// Appends the frames that tell those who hear of a room what became of it. They are made once for all.
    fn gathered(&self, _room: &str, _gathered: Gathered<&[u8]>, _out: &mut Vec<u8>) {}

    /// Appends the frames, if any, that tell subscribers of a map of a message. They are made once for all. A dialect
    /// understands the bodies of no other, unless they have agreed on it.
    fn published(&self, _message: Published<'_>, _out: &mut Vec<u8>) {}

    /// Appends the frames that tell a member of a channel of a message. They are made once for all.
    fn channel_message(&self, _message: ChannelMessage<'_>, _out: &mut Vec<u8>) {}

    /// Whether its connections are sent direct messages.
    fn hears_directs(&self) -> bool {
        false
    }

    /// Appends the frames that tell a connection of a direct message. They are made once for all that get it.
    fn direct(&self, _message: DirectMessage<'_>, _out: &mut Vec<u8>) {}

    /// Whether a subscriber that wants its own changes wants this one.
    fn echoes(&self, _own: &Entry<'_>) -> bool {
        true
    }

    /// Bytes of the longest message that is taken; a longer one ends its connection with [`Close::TooBig`].
    fn message_bytes_max(&self, config: &Config) -> usize {
        config.message_bytes_max
    }

    /// The JSON of this dialect's own page about how the server is; `None`: it has no such page.
    fn health(&self, _health: Health) -> Option<String> {
        None
    }

    /// How this dialect says that a connection ends.
    fn close(&self, close: Close) -> Close {
        close
    }
}

/// What a connection hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About<'a> {
    Map(&'a str),
    Room(&'a str),
    Channel(&'a str),
}

impl About<'_> {
    /// Has it hear nothing more of it.
    pub fn end(self, shard: &mut Shard, caller: Caller) {
        match self {
            Self::Map(map) => {
                shard.unsubscribe(caller, map);
                shard.unsubscribe_query(caller, map, None);
            }
            Self::Room(room) => {
                shard.unwatch_presence(caller, room);
                shard.leave_room(caller, room);
            }
            Self::Channel(channel) => shard.leave_channel(caller, channel),
        }
    }
}

/// What follows from an answer.
#[derive(Clone, Copy, Default)]
pub struct Answered {
    /// Who is told that it has drained, as it may go on.
    pub next: Option<Caller>,
    /// Whether the answer is yet to be made, so that changes of maps wait: as for a peer that is slow, they are told after it.
    pub holds_changes: bool,
}

/// The two kinds of WebSocket messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    Text,
    Binary,
}

/// How the whole process is, for a page of a dialect.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    pub is_draining: bool,
    pub unix_ms: u64,
    pub uptime_ms: u64,
    pub connections: u64,
    /// Maps in memory.
    pub maps: u64,
    pub subscriptions: u64,
}
