//! Channels as if they were maps, so that what they cost is compared with that: a publish is a write of one key, and its data are
//! the key and the value.

use crate::failure::{Failure, excerpt};
use crate::json::{self, Malformed};
use crate::message::{Entry, Message, Set, begin, write_field};
use crate::value::{Values, write_number};

/// How the server begins a message of a channel.
pub const MESSAGE: &[u8] = br#"{"type":"message","#;

/// Reads a message of the server.
///
/// # Errors
/// As [`Message::read`].
pub fn read(text: &[u8]) -> Result<Message<'_>, Failure> {
    let mut message = Message::read(text)?;
    match message.kind {
        b"joined" => (message.kind, message.entries) = (b"snapshot", b"[]"),
        b"published" => message.kind = b"ack",
        b"message" => return read_message(text),
        _ => return Ok(message),
    }
    message.map = channel_of(text)?;
    Ok(message)
}

/// Reads what was said in a channel, whatever says that it is that.
///
/// # Errors
/// [`Failure::Wrong`] for what is not ours.
pub fn read_message(text: &[u8]) -> Result<Message<'_>, Failure> {
    let (mut message, mut entry) = (Message { kind: b"change", ..Message::default() }, Entry::default());
    let walked = json::each_field(text, |name, raw| {
        match name {
            b"offset" => message.offset = json::number(raw),
            b"channel" => message.map = json::plain_string(raw).ok_or(Malformed)?,
            b"data" => json::each_field(raw, |name, raw| {
                match name {
                    b"k" => entry.key = json::plain_string(raw).ok_or(Malformed)?,
                    b"v" => entry.value = raw,
                    _ => {}
                }
                Ok::<(), Malformed>(())
            })?,
            _ => {}
        }
        Ok::<(), Malformed>(())
    });
    if walked.is_err() || entry.key.is_empty() || entry.value.is_empty() {
        return Err(Failure::Wrong(format!("no message of ours: {}", excerpt(text))));
    }
    message.entry = Some(entry);
    Ok(message)
}

fn channel_of(text: &[u8]) -> Result<&[u8], Failure> {
    let mut channel = &b""[..];
    json::each_field(text, |name, raw| {
        if name == b"channel" {
            channel = json::plain_string(raw).ok_or(Malformed)?;
        }
        Ok::<(), Malformed>(())
    })?;
    Ok(channel)
}

/// The data of a message: the key and the value of a set.
pub fn write_data(out: &mut Vec<u8>, values: &Values, set: &Set<'_>) {
    out.extend_from_slice(br#"{"k":""#);
    out.extend_from_slice(set.prefix.as_bytes());
    write_number(out, set.key);
    out.extend_from_slice(br#"","v":"#);
    values.write(out, set.stamp);
    out.push(b'}');
}

/// Builds requests in one buffer that is used again and again.
#[derive(Default)]
pub struct Request {
    text: Vec<u8>,
    echo: bool,
}

impl Request {
    pub fn ping(&mut self, id: u64) -> &[u8] {
        begin(&mut self.text, "ping", id);
        self.close()
    }

    /// `echo`: whether what is published from now on is to come back.
    pub fn join(&mut self, id: u64, channel: &str, echo: bool) -> &[u8] {
        self.echo = echo;
        begin(&mut self.text, "join", id);
        self.channel(channel);
        self.close()
    }

    /// Comes back: what was said after `offset` of `epoch` is to come first.
    pub fn join_since(&mut self, id: u64, channel: &str, epoch: &[u8], offset: u64) -> &[u8] {
        begin(&mut self.text, "join", id);
        self.channel(channel);
        self.text.extend_from_slice(br#","since":{"epoch":""#);
        self.text.extend_from_slice(epoch);
        self.text.extend_from_slice(br#"","offset":"#);
        write_number(&mut self.text, offset);
        self.text.push(b'}');
        self.close()
    }

    /// One message; there is but one in `sets`.
    pub fn publish<'a>(&mut self, id: u64, values: &Values, sets: impl Iterator<Item = Set<'a>>) -> &[u8] {
        for set in sets {
            begin(&mut self.text, "publish", id);
            self.channel(set.map);
            self.text.extend_from_slice(br#","data":"#);
            write_data(&mut self.text, values, &set);
            if self.echo {
                self.text.extend_from_slice(br#","echo":true"#);
            }
        }
        self.close()
    }

    fn channel(&mut self, name: &str) {
        write_field(&mut self.text, "channel", &[name.as_bytes()]);
    }

    fn close(&mut self) -> &[u8] {
        self.text.push(b'}');
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Stamp;

    #[test]
    fn a_message_is_read_as_the_change_that_it_stands_for() {
        let text = br#"{"type":"message","channel":"m","offset":7,"data":{"k":"k0-1","v":"x"},"time":1}"#;
        let message = read(text).expect("a message");
        assert_eq!((message.kind, message.map), (&b"change"[..], &b"m"[..]));
        assert_eq!(message.entry, Some(Entry { key: b"k0-1", value: b"\"x\"" }));
        let ack = read(br#"{"type":"published","id":3,"channel":"m","offset":7}"#).expect("an answer");
        assert_eq!((ack.kind, ack.id), (&b"ack"[..], Some(3)));
        assert!(read(br#"{"type":"message","channel":"m","offset":7,"data":1,"time":1}"#).is_err());
        assert!(read(br#"{"type":"gap","channel":"m","from":7,"to":8}"#).is_ok_and(|gap| gap.kind == b"gap"));
    }

    #[test]
    fn a_set_is_published() {
        let set = Set { map: "m", prefix: "k0-", key: 7, stamp: Stamp { writer: 0, sequence: 7 } };
        let mut request = Request::default();
        let text = request.publish(9, &Values::new(20), std::iter::once(set));
        let expected =
            r#"{"type":"publish","id":9,"channel":"m","data":{"k":"k0-7","v":"000000.0000000007."}}"#;
        assert_eq!(String::from_utf8_lossy(text), expected);
    }
}
