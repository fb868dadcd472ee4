//! Direct messages, and what is said about them.

use super::{write_about, write_id};
use crate::mesh::{MessageId, NotSent, Sent};
use crate::shard::{DirectAudience, DirectEvent, DirectMessage};
use crate::wire::json::{write_integer, write_string};
use crate::wire::write_hex;
use crate::wire::{Reject, Ticket};

/// Appends a `direct`.
pub fn direct(out: &mut Vec<u8>, message: DirectMessage<'_>) {
    out.extend_from_slice(b"{\"type\":\"direct\"");
    if let Some(id) = message.id {
        write_message(out, id);
    }
    match message.audience {
        DirectAudience::User => {}
        DirectAudience::All => out.extend_from_slice(b",\"to\":\"all\""),
        DirectAudience::Role(role) => {
            out.extend_from_slice(b",\"to\":");
            write_string(out, &format!("role:{role}"));
        }
    }
    out.extend_from_slice(b",\"from\":");
    write_string(out, message.from);
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(message.data);
    out.extend_from_slice(b",\"time\":");
    write_integer(out, message.time_ms);
    out.extend_from_slice(if message.is_queued { b",\"queued\":true}" } else { b",\"queued\":false}" });
}

/// Appends what a connection is told beside the messages.
pub fn direct_event(out: &mut Vec<u8>, id: Option<&Ticket>, event: DirectEvent<'_>) {
    match event {
        DirectEvent::Sent { sent, count, timeout } => write_sent(out, id, sent, count, timeout),
        DirectEvent::Denied { reason } => {
            out.extend_from_slice(b"{\"type\":\"sent\"");
            write_id(out, id);
            out.extend_from_slice(b",\"status\":\"refused\",\"reason\":");
            write_string(out, Reject::Denied.code());
            if let Some(reason) = reason {
                out.extend_from_slice(b",\"message\":");
                write_string(out, reason);
            }
            out.push(b'}');
        }
        DirectEvent::Dropped { count } => {
            out.extend_from_slice(b"{\"type\":\"queue.dropped\",\"count\":");
            write_integer(out, count);
            out.push(b'}');
        }
        DirectEvent::Acked { through } => {
            out.extend_from_slice(b"{\"type\":\"direct.acked\"");
            write_id(out, id);
            out.extend_from_slice(b",\"through\":");
            write_message_id(out, through);
            out.push(b'}');
        }
        DirectEvent::Blocked { user, is_blocked } => {
            write_about(out, if is_blocked { "blocked" } else { "unblocked" }, id, ("user", user));
        }
    }
}

fn write_sent(out: &mut Vec<u8>, id: Option<&Ticket>, sent: Sent, count: Option<u64>, timeout: bool) {
    out.extend_from_slice(b"{\"type\":\"sent\"");
    write_id(out, id);
    let (message, status) = match sent {
        Sent::Delivered { id } => (Some(id), "delivered"),
        Sent::Queued { id } => (Some(id), "queued"),
        Sent::Refused(_) => (None, "refused"),
    };
    // To many it has no name, as it is not kept.
    if let Some(message) = message.filter(|_| count.is_none()) {
        write_message(out, message);
    }
    out.extend_from_slice(b",\"status\":");
    write_string(out, status);
    if let Sent::Refused(why) = sent {
        out.extend_from_slice(b",\"reason\":");
        write_string(out, reason(why));
    }
    if let Some(count) = count {
        out.extend_from_slice(b",\"count\":");
        write_integer(out, count);
    }
    if timeout {
        out.extend_from_slice(b",\"timeout\":true");
    }
    out.push(b'}');
}

fn write_message(out: &mut Vec<u8>, id: MessageId) {
    out.extend_from_slice(b",\"message\":");
    write_message_id(out, id);
}

/// Which log it is of, and its place there: text that means nothing to clients.
fn write_message_id(out: &mut Vec<u8>, MessageId { epoch, offset }: MessageId) {
    out.push(b'"');
    write_hex(out, epoch);
    out.push(b'-');
    write_integer(out, offset);
    out.push(b'"');
}

const fn reason(why: NotSent) -> &'static str {
    match why {
        NotSent::Forbidden => "forbidden",
        NotSent::Blocked => "blocked",
        NotSent::TooLarge => "too_large",
        NotSent::QueueFull => "queue_full",
        NotSent::Absent => "absent",
    }
}
