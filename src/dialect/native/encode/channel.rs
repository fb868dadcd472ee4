//! Messages, answers and events of channels.

use super::{begin_about, separate, write_about};
use crate::mesh::{History, Messages, Recovery};
use crate::shard::ChannelMessage;
use crate::wire::json::{write_integer, write_string};
use crate::wire::{Ticket, write_hex};

/// Appends a `message`.
pub fn channel_message(out: &mut Vec<u8>, message: ChannelMessage<'_>) {
    out.extend_from_slice(b"{\"type\":\"message\",\"channel\":");
    write_string(out, message.channel);
    out.push(b',');
    write_said(out, message);
}

/// Appends what a message says, with the bracket that ends it.
fn write_said(out: &mut Vec<u8>, message: ChannelMessage<'_>) {
    out.extend_from_slice(b"\"offset\":");
    write_integer(out, message.offset);
    if !message.said.from.is_empty() {
        out.extend_from_slice(b",\"from\":");
        write_string(out, message.said.from);
    }
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(message.said.data);
    out.extend_from_slice(b",\"time\":");
    write_integer(out, message.time_ms);
    out.push(b'}');
}

/// Appends a `joined`.
pub fn joined(
    out: &mut Vec<u8>,
    id: Option<&Ticket>,
    channel: &str,
    (epoch, offset): (u64, u64),
    recovery: Recovery,
) {
    begin_about(out, "joined", id, ("channel", channel));
    write_epoch(out, epoch);
    out.extend_from_slice(b",\"offset\":");
    write_integer(out, offset);
    out.extend_from_slice(match recovery {
        Recovery::NotAsked => b"}",
        Recovery::Whole => b",\"recovered\":true}",
        Recovery::Epoch => b",\"recovered\":false,\"reason\":\"epoch\"}",
        Recovery::Trimmed => b",\"recovered\":false,\"reason\":\"trimmed\"}",
    });
}

/// Appends a `published`.
pub fn published(out: &mut Vec<u8>, id: Option<&Ticket>, channel: &str, offset: u64, timeout: bool) {
    begin_about(out, "published", id, ("channel", channel));
    out.extend_from_slice(b",\"offset\":");
    write_integer(out, offset);
    out.extend_from_slice(if timeout { b",\"timeout\":true}" } else { b"}" });
}

/// Appends a `history`.
pub fn history(out: &mut Vec<u8>, id: Option<&Ticket>, channel: &str, history: History<&[u8]>) {
    begin_about(out, "history", id, ("channel", channel));
    if let Some(epoch) = history.epoch {
        write_epoch(out, epoch);
    }
    out.extend_from_slice(b",\"messages\":[");
    for message in Messages(history.messages) {
        separate(out);
        out.push(b'{');
        write_said(out, ChannelMessage::of(channel, message));
    }
    out.extend_from_slice(if history.more { b"],\"more\":true}" } else { b"],\"more\":false}" });
}

/// Appends a `left`.
pub fn left(out: &mut Vec<u8>, id: Option<&Ticket>, channel: &str) {
    write_about(out, "left", id, ("channel", channel));
}

/// Appends a `gap`.
pub fn gap(out: &mut Vec<u8>, channel: &str, from: u64, to: u64) {
    begin_about(out, "gap", None, ("channel", channel));
    out.extend_from_slice(b",\"from\":");
    write_integer(out, from);
    out.extend_from_slice(b",\"to\":");
    write_integer(out, to);
    out.push(b'}');
}

fn write_epoch(out: &mut Vec<u8>, epoch: u64) {
    out.extend_from_slice(b",\"epoch\":\"");
    write_hex(out, epoch);
    out.push(b'"');
}
