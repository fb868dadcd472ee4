//! Messages, answers and events of channels.

use super::answer::write_reject;
use super::{separate, write_id};
use crate::mesh::{History, Messages, Recovery};
use crate::shard::ChannelMessage;
use crate::wire::json::{write_integer, write_string};
use crate::wire::{Reject, Ticket, write_hex};

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
    start(out, b"{\"type\":\"joined\"", id, channel);
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
    start(out, b"{\"type\":\"published\"", id, channel);
    out.extend_from_slice(b",\"offset\":");
    write_integer(out, offset);
    out.extend_from_slice(if timeout { b",\"timeout\":true}" } else { b"}" });
}

/// Appends a `history`.
pub fn history(out: &mut Vec<u8>, id: Option<&Ticket>, channel: &str, history: History<&[u8]>) {
    start(out, b"{\"type\":\"history\"", id, channel);
    if let Some(epoch) = history.epoch {
        write_epoch(out, epoch);
    }
    out.extend_from_slice(b",\"messages\":[");
    for message in Messages::new(history.messages) {
        separate(out);
        out.push(b'{');
        write_said(out, ChannelMessage::of(channel, message));
    }
    out.extend_from_slice(if history.more { b"],\"more\":true}" } else { b"],\"more\":false}" });
}

/// Appends a `left`.
pub fn left(out: &mut Vec<u8>, id: Option<&Ticket>, channel: &str) {
    start(out, b"{\"type\":\"left\"", id, channel);
    out.push(b'}');
}

/// Appends a `gap`.
pub fn gap(out: &mut Vec<u8>, channel: &str, from: u64, to: u64) {
    start(out, b"{\"type\":\"gap\"", None, channel);
    out.extend_from_slice(b",\"from\":");
    write_integer(out, from);
    out.extend_from_slice(b",\"to\":");
    write_integer(out, to);
    out.push(b'}');
}

/// Appends an `error` about a channel, which no request has asked for.
pub fn channel_error(out: &mut Vec<u8>, channel: &str, reject: Reject) {
    start(out, b"{\"type\":\"error\"", None, channel);
    write_reject(out, reject);
    out.push(b'}');
}

fn start(out: &mut Vec<u8>, kind: &[u8], id: Option<&Ticket>, channel: &str) {
    out.extend_from_slice(kind);
    write_id(out, id);
    out.extend_from_slice(b",\"channel\":");
    write_string(out, channel);
}

fn write_epoch(out: &mut Vec<u8>, epoch: u64) {
    out.extend_from_slice(b",\"epoch\":\"");
    write_hex(out, epoch);
    out.push(b'"');
}
