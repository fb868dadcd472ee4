//! What the server says, read in one pass where it lies; and what we say to it.

use crate::ack::AckLevel;
use crate::failure::{Failure, excerpt};
use crate::json::{self, Malformed};
use crate::value::{Stamp, Values, write_number};

/// The fields of a server message that we look at; everything else is skipped, as the protocol asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Message<'a> {
    pub kind: &'a [u8],
    pub id: Option<u64>,
    pub protocol: Option<u64>,
    pub map: &'a [u8],
    /// Whose list it is about.
    pub query: Option<u64>,
    /// Raw JSON: a list of entries, an object with a field for each, or the number of a digest.
    pub entries: &'a [u8],
    /// Of a message that is about one entry and has no `entries`.
    pub entry: Option<Entry<'a>>,
    pub cursor: &'a [u8],
    /// Of an ack: what was reached.
    pub level: &'a [u8],
    pub applied: Option<u64>,
    pub rejected: &'a [u8],
    pub code: &'a [u8],
    pub text: &'a [u8],
    /// Of a digest: 16 hex digits over all cells.
    pub hash: &'a [u8],
    /// Of a channel.
    pub offset: Option<u64>,
    pub epoch: &'a [u8],
    /// Why something is not as it was asked.
    pub reason: &'a [u8],
    pub recovered: bool,
    pub more: bool,
    pub resumed: bool,
    pub reset: bool,
    pub timeout: bool,
}

/// One entry of an LWW map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry<'a> {
    pub key: &'a [u8],
    /// Raw JSON text.
    pub value: &'a [u8],
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Self {
        Self::Wrong("JSON that does not add up".to_owned())
    }
}

impl<'a> Message<'a> {
    /// # Errors
    /// [`Failure::Wrong`] for what is not an object with a `type`; [`Failure::Refused`] for an `error` message.
    pub fn read(text: &'a [u8]) -> Result<Self, Failure> {
        let mut message = Self::default();
        let walked = json::each_field(text, |key, raw| {
            match key {
                b"type" => message.kind = json::plain_string(raw).ok_or(Malformed)?,
                b"id" => message.id = json::number(raw),
                b"protocol" => message.protocol = json::number(raw),
                b"map" => message.map = json::plain_string(raw).unwrap_or_default(),
                b"query" => message.query = json::number(raw),
                b"entries" => message.entries = raw,
                b"cursor" => message.cursor = json::plain_string(raw).unwrap_or_default(),
                b"level" => message.level = json::plain_string(raw).unwrap_or_default(),
                b"hash" => message.hash = json::plain_string(raw).unwrap_or_default(),
                b"applied" => message.applied = json::number(raw),
                b"rejected" => message.rejected = raw,
                b"code" => message.code = raw,
                b"message" => message.text = raw,
                b"offset" => message.offset = json::number(raw),
                b"epoch" => message.epoch = json::plain_string(raw).unwrap_or_default(),
                b"reason" => message.reason = raw,
                b"recovered" => message.recovered = raw == b"true",
                b"more" => message.more = raw == b"true",
                b"resumed" => message.resumed = raw == b"true",
                b"reset" => message.reset = raw == b"true",
                b"timeout" => message.timeout = raw == b"true",
                _ => {}
            }
            Ok::<(), Malformed>(())
        });
        match (walked, message.kind) {
            (Err(Malformed), _) | (_, b"") => Err(Failure::Wrong(format!("no message: {}", excerpt(text)))),
            (Ok(()), b"error") => Err(Failure::Refused(format!(
                "the server answered {} {}",
                excerpt(message.code),
                excerpt(message.text)
            ))),
            _ => Ok(message),
        }
    }

    /// Checks that this is the whole and only answer to a `write` of `ops` operations, at the level that was asked.
    ///
    /// # Errors
    /// [`Failure::Wrong`] when it is another message, [`Failure::Refused`] when not every operation was applied,
    /// [`Failure::Weaker`] when the level is another one, whether in time or not.
    pub fn expect_ack(&self, id: u64, ops: u64, asked: AckLevel) -> Result<(), Failure> {
        if self.kind != b"ack" || self.id != Some(id) {
            let kind = excerpt(self.kind);
            return Err(Failure::Wrong(format!("waited for ack {id}, got {kind} {:?}", self.id)));
        }
        let whole = self.applied == Some(ops) && matches!(self.rejected, b"" | b"[]");
        if !whole || (self.timeout && self.level == asked.name().as_bytes()) {
            return Err(Failure::Refused(format!(
                "write {id}: {:?} of {ops} operations applied, timeout: {}, rejected: {}",
                self.applied,
                self.timeout,
                excerpt(self.rejected)
            )));
        }
        if self.level != asked.name().as_bytes() {
            let (reached, asked) = (excerpt(self.level), asked.name());
            let why = if self.timeout {
                "its --ack-timeout-ms was over"
            } else {
                "does the server offer that level?"
            };
            return Err(Failure::Weaker(format!("write {id} asked for {asked} and got {reached}: {why}")));
        }
        Ok(())
    }

    /// Milliseconds after which to repeat a `write`, if the server rejected operations because it had too much to do;
    /// `None` when it rejected none.
    ///
    /// # Errors
    /// [`Failure::Refused`] when one was rejected for another reason.
    pub fn overloaded_for_ms(&self) -> Result<Option<u64>, Failure> {
        if self.rejected.is_empty() {
            return Ok(None);
        }
        let mut longest_ms = None;
        json::each_element(self.rejected, |raw| {
            let (mut overloaded, mut wait_ms) = (false, 0);
            json::each_field(raw, |key, value| {
                match key {
                    b"code" => overloaded = value == br#""overloaded""#,
                    b"retry_after_ms" => wait_ms = json::number(value).unwrap_or(0),
                    _ => {}
                }
                Ok::<(), Malformed>(())
            })?;
            if !overloaded {
                return Err(Failure::Refused(format!("an operation was rejected: {}", excerpt(raw))));
            }
            longest_ms = longest_ms.max(Some(wait_ms));
            Ok(())
        })?;
        Ok(longest_ms)
    }

    /// Calls `each` with every entry of a `change`, `snapshot` or `entries`.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for text that holds no entries, or what `each` returns.
    pub fn each_entry(&self, mut each: impl FnMut(Entry<'a>) -> Result<(), Failure>) -> Result<(), Failure> {
        if let Some(entry) = self.entry {
            return each(entry);
        }
        if self.entries.starts_with(b"{") {
            return json::each_field(self.entries, |key, value| each(Entry { key, value }));
        }
        json::each_element(self.entries, |raw| {
            let mut entry = Entry::default();
            json::each_field(raw, |key, value| {
                match key {
                    b"key" => entry.key = json::plain_string(value).ok_or(Malformed)?,
                    b"value" => entry.value = value,
                    _ => {}
                }
                Ok::<(), Malformed>(())
            })?;
            each(entry)
        })
    }

    /// # Errors
    /// [`Failure::Wrong`], when this is of another kind.
    pub fn expect(&self, kind: &str) -> Result<(), Failure> {
        if self.kind == kind.as_bytes() {
            return Ok(());
        }
        Err(Failure::Wrong(format!("waited for {kind}, got {} id {:?}", excerpt(self.kind), self.id)))
    }
}

/// Builds requests in one buffer that is used again and again.
#[derive(Default)]
pub struct Request {
    text: Vec<u8>,
    ack: AckLevel,
}

/// One `set` of a `write`. Keys are `<prefix><number>`.
pub struct Set<'a> {
    pub map: &'a str,
    pub prefix: &'a str,
    pub key: u64,
    pub stamp: Stamp,
}

impl Request {
    /// Requests whose writes are to be acked so.
    pub fn asking(ack: AckLevel) -> Self {
        Self { text: Vec::new(), ack }
    }

    pub fn ack(&self) -> AckLevel {
        self.ack
    }

    pub fn ping(&mut self, id: u64) -> &[u8] {
        self.open("ping", id);
        self.close(b"}")
    }

    pub fn write<'a>(&mut self, id: u64, values: &Values, sets: impl Iterator<Item = Set<'a>>) -> &[u8] {
        self.open("write", id);
        // The server's default is left out, so that a request has the same bytes as ever.
        if self.ack != AckLevel::default() {
            self.field("ack", self.ack.name().as_bytes());
        }
        self.text.extend_from_slice(br#","ops":["#);
        for (index, set) in sets.enumerate() {
            self.text.extend_from_slice(if index == 0 { br#"{"map":""# } else { br#",{"map":""# });
            self.text.extend_from_slice(set.map.as_bytes());
            self.text.extend_from_slice(br#"","key":""#);
            self.text.extend_from_slice(set.prefix.as_bytes());
            write_number(&mut self.text, set.key);
            self.text.extend_from_slice(br#"","op":"set","value":"#);
            values.write(&mut self.text, set.stamp);
            self.text.push(b'}');
        }
        self.close(b"]}")
    }

    pub fn read(&mut self, id: u64, map: &str, prefix: &str, keys: impl Iterator<Item = u64>) -> &[u8] {
        self.open("read", id);
        self.field("map", map.as_bytes());
        self.text.extend_from_slice(br#","keys":["#);
        for (index, key) in keys.enumerate() {
            self.text.extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
            self.text.extend_from_slice(prefix.as_bytes());
            write_number(&mut self.text, key);
            self.text.push(b'"');
        }
        self.close(b"]}")
    }

    /// `since`: the cursor to resume from; empty for everything.
    pub fn subscribe(&mut self, id: u64, map: &str, since: &[u8]) -> &[u8] {
        self.open("subscribe", id);
        self.field("map", map.as_bytes());
        if !since.is_empty() {
            self.field("since", since);
        }
        self.close(b"}")
    }

    /// Asks for everything, and for one's own changes as well.
    pub fn subscribe_with_echo(&mut self, id: u64, map: &str) -> &[u8] {
        self.open("subscribe", id);
        self.field("map", map.as_bytes());
        self.close(br#","echo":true}"#)
    }

    pub fn digest(&mut self, id: u64, map: &str) -> &[u8] {
        self.open("digest", id);
        self.field("map", map.as_bytes());
        self.close(b"}")
    }

    pub fn unsubscribe(&mut self, id: u64, map: &str) -> &[u8] {
        self.open("unsubscribe", id);
        self.field("map", map.as_bytes());
        self.close(b"}")
    }

    fn open(&mut self, kind: &str, id: u64) {
        begin(&mut self.text, kind, id);
    }

    fn field(&mut self, name: &str, text: &[u8]) {
        write_field(&mut self.text, name, &[text]);
    }

    fn close(&mut self, end: &[u8]) -> &[u8] {
        self.text.extend_from_slice(end);
        &self.text
    }
}

/// Begins a request in the place of what is there.
pub fn begin(text: &mut Vec<u8>, kind: &str, id: u64) {
    text.clear();
    text.extend_from_slice(br#"{"type":""#);
    text.extend_from_slice(kind.as_bytes());
    text.extend_from_slice(br#"","id":"#);
    write_number(text, id);
}

/// Appends a field with text that needs no escapes, in its parts.
pub fn write_field(text: &mut Vec<u8>, name: &str, parts: &[&[u8]]) {
    text.extend_from_slice(b",\"");
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\":\"");
    parts.iter().for_each(|part| text.extend_from_slice(part));
    text.push(b'"');
}

/// Appends a field with a number.
pub fn write_number_field(text: &mut Vec<u8>, name: &str, number: u64) {
    text.extend_from_slice(b",\"");
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\":");
    write_number(text, number);
}

/// The number of a key `<prefix><number>`.
///
/// # Errors
/// [`Failure::Wrong`] for a key nobody wrote.
pub fn key_number(key: &[u8], prefix: &str) -> Result<u64, Failure> {
    key.strip_prefix(prefix.as_bytes())
        .and_then(json::number)
        .ok_or_else(|| Failure::Wrong(format!("a key nobody wrote: {}", excerpt(key))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ack_of_fewer_operations_is_refused() {
        let whole =
            br#"{"type":"ack","id":7,"level":"memory","applied":2,"stamps":["1:0:a","1:1:a"],"rejected":[]}"#;
        let message = Message::read(whole).unwrap();
        assert!(message.expect_ack(7, 2, AckLevel::Memory).is_ok());
        assert!(matches!(message.expect_ack(7, 3, AckLevel::Memory), Err(Failure::Refused(_))));
        assert!(matches!(message.expect_ack(8, 2, AckLevel::Memory), Err(Failure::Wrong(_))));
        let rejected =
            br#"{"type":"ack","id":7,"level":"memory","applied":2,"rejected":[{"index":0,"code":"forbidden"}]}"#;
        let message = Message::read(rejected).unwrap();
        assert!(matches!(message.expect_ack(7, 2, AckLevel::Memory), Err(Failure::Refused(_))));
    }

    #[test]
    fn ack_of_another_level_than_asked_is_weaker() {
        let late = br#"{"type":"ack","id":7,"level":"memory","applied":2,"timeout":true}"#;
        let memory = br#"{"type":"ack","id":7,"level":"memory","applied":2}"#;
        for text in [&late[..], memory] {
            let message = Message::read(text).unwrap();
            assert!(matches!(message.expect_ack(7, 2, AckLevel::Durable), Err(Failure::Weaker(_))));
        }
        let durable = Message::read(br#"{"type":"ack","id":7,"level":"durable","applied":2}"#).unwrap();
        assert!(durable.expect_ack(7, 2, AckLevel::Durable).is_ok());
    }

    #[test]
    fn overloaded_is_told_from_other_rejections() {
        let overloaded = |rejected: &str| {
            let text = format!(r#"{{"type":"ack","id":7,"rejected":[{rejected}]}}"#);
            Message::read(text.as_bytes()).unwrap().overloaded_for_ms()
        };
        let one = r#"{"index":0,"code":"overloaded","message":"x","retry_after_ms":20}"#;
        let longer = r#"{"index":1,"code":"overloaded","message":"x","retry_after_ms":30}"#;
        let other = r#"{"index":1,"code":"read_only","message":"x"}"#;
        assert_eq!(overloaded("").unwrap(), None);
        assert_eq!(overloaded(&format!("{longer},{one}")).unwrap(), Some(30));
        assert!(matches!(overloaded(&format!("{one},{other}")), Err(Failure::Refused(_))));
    }

    #[test]
    fn error_message_is_a_failure() {
        let text = br#"{"type":"error","code":"bad_json","message":"no"}"#;
        assert!(matches!(Message::read(text), Err(Failure::Refused(_))));
        assert!(matches!(Message::read(b"{}"), Err(Failure::Wrong(_))));
    }

    #[test]
    fn written_ops_are_the_json_the_protocol_asks_for() {
        let values = Values::new(20);
        let sets =
            (0..2).map(|n| Set { map: "m", prefix: "k", key: n, stamp: Stamp { writer: 1, sequence: n } });
        let mut request = Request::default();
        let text = String::from_utf8_lossy(request.write(3, &values, sets)).into_owned();
        let ops = concat!(
            r#"{"map":"m","key":"k0","op":"set","value":"000001.0000000000."},"#,
            r#"{"map":"m","key":"k1","op":"set","value":"000001.0000000001."}"#
        );
        assert_eq!(text, format!(r#"{{"type":"write","id":3,"ops":[{ops}]}}"#));
        let none = std::iter::empty();
        let text =
            String::from_utf8_lossy(Request::asking(AckLevel::Durable).write(4, &values, none)).into_owned();
        assert_eq!(text, r#"{"type":"write","id":4,"ack":"durable","ops":[]}"#);
    }
}
