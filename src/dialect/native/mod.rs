//! Protocol v1, the dialect of `/v1` and of `docs/protocol.md`: JSON in text frames.
//!
//! ```text
//! message/      what clients say          operations.rs  a write's operations, ready for their owners
//! encode/       what the server says      requests.rs    messages to commands of the shard
//! strict.rs     what is probably a slip   faulty.rs      what can be read of a message that cannot be read whole
//! slips.rs      refuses a slip            plain.rs       the usual write, read without the parser
//! presence.rs, channels.rs, directs.rs    requests about rooms, channels and direct messages to commands of the shard
//! data.rs       what a message says
//! ```
//!
//! order: mod → requests → { faulty, channels, directs, presence } → { plain, slips, operations } → { data, strict, encode, message }

pub mod encode;
pub mod message;
pub mod plain;

mod channels;
mod data;
mod directs;
mod faulty;
mod operations;
mod presence;
mod requests;
mod slips;
mod strict;

pub use operations::Operations;

use std::iter;

use crate::mesh::{Entry, EntryState, Gathered};
use crate::shard::Caller;
use crate::shard::{
    About, Change, ChannelMessage, Dialect, DirectMessage, Event, ListStep, ListSteps, MessageKind, Now,
    Session, Shard,
};
use crate::wire::{Close, Cursor, Payload, Reject, Ticket};

/// See the module.
pub struct Native {
    /// Whether what is unknown is refused instead of ignored.
    is_strict: bool,
}

impl Native {
    pub const LENIENT: Self = Self { is_strict: false };
    pub const STRICT: Self = Self { is_strict: true };
}

impl Dialect for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn opened(&self, shard: &mut Shard, caller: Caller) {
        requests::greet(shard, caller, self.is_strict);
    }

    fn message(
        &self,
        shard: &mut Shard,
        caller: Caller,
        kind: MessageKind,
        payload: Payload<'_>,
    ) -> Result<(), Close> {
        match kind {
            MessageKind::Text => requests::handle(shard, caller, payload, self.is_strict),
            MessageKind::Binary => Err(Close::Unsupported),
        }
    }

    fn event(&self, event: Event<'_>, _: &mut Session, _: Now, out: &mut Vec<u8>) {
        encode::text_frame(out, |out| match event {
            Event::Acked { ticket, ack } => {
                let whole = encode::Ack { level: ack.level, applied: ack.applied(), timeout: ack.timeout };
                encode::ack(out, ticket, whole, ack.stamps(), ack.rejected());
            }
            Event::Rejected { ticket, reject } => encode::error(out, ticket, reject),
            Event::Denied { ticket, reason } => encode::denied(out, ticket, reason),
            Event::Authenticated { ticket, identity } => encode::authenticated(out, ticket, identity),
            Event::Welcome { data } => encode::welcome(out, data),
            Event::Dismissed { ticket, connections } => encode::disconnected(out, ticket, connections),
            Event::Expiring { expires_ms } => encode::expiring(out, expires_ms),
            Event::Digest { ticket, map, entries, hash } => encode::digest(out, ticket, map, entries, hash),
            Event::Entries { ticket, map, entries } => {
                encode::entries_start(out, ticket, map);
                write_entries(out, entries);
                encode::entries_end(out);
            }
            Event::Snapshot { ticket, map, map_type, entries, end } => {
                encode::snapshot_start(out, ticket, map, map_type);
                write_entries(out, entries);
                encode::snapshot_end(out, end);
            }
            Event::List { ticket, query, map, entries, end } => {
                encode::list_start(out, ticket, map, query);
                write_list(out, entries);
                encode::snapshot_end(out, end);
            }
            Event::ListResumed { ticket, query, map, entries, gone, count, cursor } => {
                encode::list_start(out, ticket, map, query);
                write_list(out, entries);
                encode::list_difference(out, gone, count);
                encode::list_resumed_end(out, cursor);
            }
            Event::ListEnded { query, map, reject } => encode::error_about_query(out, map, query, reject),
            Event::Gathered { ticket, room, member, gathered } => {
                encode::room_state(out, ticket, (room, member), gathered);
            }
            Event::MemberUpdated { ticket, room } => encode::member_updated(out, ticket, room),
            Event::People { ticket, room, people, has_more } => {
                encode::room_list(out, ticket, room, people, has_more);
            }
            Event::Joined { ticket, channel, epoch, offset, recovery } => {
                encode::joined(out, ticket, channel, (epoch, offset), recovery);
            }
            Event::Placed { ticket, channel, offset, timeout } => {
                encode::published(out, ticket, channel, offset, timeout);
            }
            Event::History { ticket, channel, history } => encode::history(out, ticket, channel, history),
            Event::Gap { channel, from, to } => encode::gap(out, channel, from, to),
            Event::Direct { ticket, event } => encode::direct_event(out, ticket, event),
            // Nobody who speaks this watches a room as others do.
            Event::Members { .. } => {}
        });
    }

    fn hears_directs(&self) -> bool {
        true
    }

    fn direct(&self, message: DirectMessage<'_>, out: &mut Vec<u8>) {
        encode::text_frame(out, |out| encode::direct(out, message));
    }

    fn takes_welcomes(&self) -> bool {
        true
    }

    fn forbidden(&self, shard: &mut Shard, caller: Caller, about: About<'_>) {
        about.end(shard, caller);
        shard.count_refusal();
        shard.send_urgent(caller, |out| {
            let about = match about {
                About::Map(map) => ("map", map),
                About::Room(room) => ("room", room),
                About::Channel(channel) => ("channel", channel),
            };
            encode::text_frame(out, |out| encode::error_about(out, about, Reject::Forbidden));
        });
    }

    fn gathered(&self, room: &str, gathered: Gathered<&[u8]>, out: &mut Vec<u8>) {
        encode::text_frame(out, |out| encode::room_news(out, room, gathered));
    }

    fn channel_message(&self, message: ChannelMessage<'_>, out: &mut Vec<u8>) {
        encode::text_frame(out, |out| encode::channel_message(out, message));
    }

    fn list_changes(&self, steps: ListSteps<'_>, cursor: Cursor, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"entries\":[");
        write_list(out, steps);
        encode::change_end(out, cursor);
    }

    fn list_changed(&self, map: &str, query: &Ticket, changes: &[u8], out: &mut Vec<u8>) {
        encode::text_frame(out, |out| {
            encode::list_change_start(out, map, query);
            out.extend_from_slice(changes);
        });
    }

    fn change(&self, change: Change<'_>, _: &Session, out: &mut Vec<u8>) {
        encode::text_frame(out, |out| {
            encode::change_start(out, change.map);
            write_entries(out, change.entries());
            encode::change_end(out, change.cursor);
        });
    }
}

fn write_list(out: &mut Vec<u8>, steps: ListSteps<'_>) {
    for (step, rank, entry) in steps {
        match step {
            ListStep::Leave => {
                encode::separate_entries(out);
                encode::entry_name(out, entry.key);
            }
            _ => write_entries(out, iter::once(entry)),
        }
        encode::ranked(out, step, rank);
    }
}

fn write_entries<'a>(out: &mut Vec<u8>, entries: impl Iterator<Item = Entry<'a>>) {
    for Entry { key, state } in entries {
        encode::separate_entries(out);
        match state {
            EntryState::Value { at, value, expires_ms } => {
                encode::entry_lww(out, key, &at, value, expires_ms);
            }
            EntryState::Tags { added, removed } => {
                let added = added.map(|tagged| (tagged.tag, tagged.value, tagged.at));
                encode::entry_or(out, key, added, removed.iter());
            }
            EntryState::Count(count) => encode::entry_counter(out, key, count),
            EntryState::Gone => encode::entry_gone(out, key),
        }
    }
}
