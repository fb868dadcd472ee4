//! What carries the state of a member to everybody in its room: presence, or a map with a key for each member, with which
//! it is compared.

use crate::failure::{Failure, excerpt};
use crate::json::{self, Malformed};
use crate::message::{Message, key_number};
use crate::value::{Stamp, Values, write_number};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    Map,
    Presence,
}

/// The key of a member in a map.
const PREFIX: &str = "m";

/// What a member is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// Its name; in a map, its key.
    pub name: &'a [u8],
    pub stamp: Stamp,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The answer to coming in.
    Entered { id: u64 },
    /// The answer to going.
    Gone { id: u64 },
    /// All who are there, for who was too slow for what had changed.
    All,
    /// What has changed.
    Changed,
    /// How many there are, and nothing else.
    Counted,
}

/// A message of a room, read.
#[derive(Clone, Copy, Debug)]
pub struct News<'a> {
    pub kind: Kind,
    pub room: &'a [u8],
    /// Those there are; `None` from a map.
    pub count: Option<u64>,
    /// Raw lists.
    members: &'a [u8],
    joined: &'a [u8],
    updated: &'a [u8],
    left: &'a [u8],
    medium: Medium,
}

impl<'a> News<'a> {
    /// # Errors
    /// [`Failure::Wrong`] for what is about no room, [`Failure::Refused`] for an error of the server.
    pub fn read(medium: Medium, text: &'a [u8]) -> Result<Self, Failure> {
        let message = Message::read(text)?;
        let mut news = Self {
            kind: Kind::Changed,
            room: message.map,
            count: None,
            members: b"[]",
            joined: b"[]",
            updated: b"[]",
            left: b"[]",
            medium,
        };
        if medium == Medium::Map {
            news.updated = message.entries;
            news.kind = match (message.kind, message.id) {
                (b"snapshot", Some(id)) if !message.more => Kind::Entered { id },
                (b"change", None) => Kind::Changed,
                _ => return Err(Failure::Wrong(format!("a watcher of a map got {}", excerpt(text)))),
            };
            return Ok(news);
        }
        json::each_field(text, |name, raw| {
            match name {
                b"room" => news.room = json::plain_string(raw).ok_or(Malformed)?,
                b"count" => news.count = json::number(raw),
                b"members" => news.members = raw,
                b"joined" => news.joined = raw,
                b"updated" => news.updated = raw,
                b"left" => news.left = raw,
                _ => {}
            }
            Ok::<(), Malformed>(())
        })?;
        news.kind = match (message.kind, message.id) {
            (b"presence.state", Some(id)) => Kind::Entered { id },
            (b"presence.state", None) => Kind::All,
            (b"presence.diff", None) => Kind::Changed,
            (b"presence.count", None) => Kind::Counted,
            (b"presence.left", Some(id)) => Kind::Gone { id },
            _ => return Err(Failure::Wrong(format!("a member got {}", excerpt(text)))),
        };
        Ok(news)
    }

    /// Calls `each` with every member that is told of, once it is there with one connection.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for a member that nobody is, [`Failure::Lost`] for one that is gone or away, or what `each`
    /// returns.
    pub fn each_told(
        &self,
        values: &Values,
        mut each: impl FnMut(Told<'a>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.left != b"[]" {
            return Err(Failure::Lost(format!("members have left that are there: {}", excerpt(self.left))));
        }
        for list in [self.members, self.joined, self.updated] {
            json::each_element(list, |raw| each(self.told(values, raw)?))?;
        }
        Ok(())
    }

    fn told(&self, values: &Values, raw: &'a [u8]) -> Result<Told<'a>, Failure> {
        let (mut name, mut value, mut connections, mut away) = (&b""[..], &b""[..], &b"1"[..], &b"false"[..]);
        json::each_field(raw, |field, raw| {
            match field {
                b"key" | b"member" => name = json::plain_string(raw).ok_or(Malformed)?,
                b"value" | b"state" => value = raw,
                b"connections" => connections = raw,
                b"away" => away = raw,
                _ => {}
            }
            Ok::<(), Malformed>(())
        })?;
        if connections != b"1" || away != b"false" {
            return Err(Failure::Lost(format!("a member is not there: {}", excerpt(raw))));
        }
        let stamp = values.read(value)?;
        if self.medium == Medium::Map && key_number(name, PREFIX)? != u64::from(stamp.writer) {
            return Err(Failure::Wrong(format!("a member under the key of another: {}", excerpt(raw))));
        }
        Ok(Told { name, stamp })
    }
}

/// Builds requests in one buffer that is used again and again.
#[derive(Default)]
pub struct Request {
    text: Vec<u8>,
}

impl Request {
    /// Comes into a room, where there are rooms with this state.
    pub fn enter(&mut self, medium: Medium, id: u64, room: &str, values: &Values, stamp: Stamp) -> &[u8] {
        match medium {
            Medium::Map => {
                self.open(br#"{"type":"subscribe","echo":true,"map":""#, room);
            }
            Medium::Presence => {
                self.open(br#"{"type":"presence.join","room":""#, room);
                self.text.extend_from_slice(br#","state":"#);
                values.write(&mut self.text, stamp);
            }
        }
        self.close_with(id)
    }

    /// Goes out of a room; of a map nobody does.
    pub fn leave(&mut self, id: u64, room: &str) -> &[u8] {
        self.open(br#"{"type":"presence.leave","room":""#, room);
        self.close_with(id)
    }

    pub fn watch(&mut self, id: u64, room: &str) -> &[u8] {
        self.open(br#"{"type":"presence.watch","room":""#, room);
        self.close_with(id)
    }

    /// Has another state from now on, which is not answered.
    pub fn update(&mut self, medium: Medium, room: &str, values: &Values, stamp: Stamp) -> &[u8] {
        match medium {
            Medium::Map => {
                self.open(br#"{"type":"write","id":0,"ack":"none","ops":[{"op":"set","map":""#, room);
                self.text.extend_from_slice(b",\"key\":\"");
                self.text.extend_from_slice(PREFIX.as_bytes());
                write_number(&mut self.text, u64::from(stamp.writer));
                self.text.extend_from_slice(br#"","value":"#);
                values.write(&mut self.text, stamp);
                self.text.extend_from_slice(b"}]}");
            }
            Medium::Presence => {
                self.open(br#"{"type":"presence.update","room":""#, room);
                self.text.extend_from_slice(br#","state":"#);
                values.write(&mut self.text, stamp);
                self.text.push(b'}');
            }
        }
        &self.text
    }

    fn open(&mut self, start: &[u8], room: &str) {
        self.text.clear();
        self.text.extend_from_slice(start);
        self.text.extend_from_slice(room.as_bytes());
        self.text.push(b'"');
    }

    fn close_with(&mut self, id: u64) -> &[u8] {
        self.text.extend_from_slice(br#","id":"#);
        write_number(&mut self.text, id);
        self.text.push(b'}');
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = "\"000003.0000000007.\"";

    fn member(rest: &str) -> String {
        format!(r#"{{"member":"anon:0-5-17","user":null,"state":{STATE},"since":1,{rest}}}"#)
    }

    fn told(medium: Medium, text: &str) -> Result<Vec<Stamp>, Failure> {
        let mut stamps = Vec::new();
        News::read(medium, text.as_bytes())?.each_told(&Values::new(20), |told| {
            stamps.push(told.stamp);
            Ok(())
        })?;
        Ok(stamps)
    }

    #[test]
    fn diff_and_change_say_the_same() {
        let member = member(r#""connections":1,"away":false"#);
        let diff = format!(
            r#"{{"type":"presence.diff","room":"r","joined":[],"updated":[{member}],"left":[],"count":4}}"#
        );
        let change = format!(
            r#"{{"type":"change","map":"r","entries":[{{"key":"m3","value":{STATE}}}],"cursor":"c"}}"#
        );
        let right = vec![Stamp { writer: 3, sequence: 7 }];
        assert_eq!(told(Medium::Presence, &diff).unwrap(), right);
        assert_eq!(told(Medium::Map, &change).unwrap(), right);
        assert!(matches!(told(Medium::Map, &change.replace("m3", "m4")), Err(Failure::Wrong(_))));
    }

    #[test]
    fn member_that_is_gone_away_or_twice_there_is_noticed() {
        let texts = [
            format!(r#""joined":[],"updated":[{}],"left":[]"#, member(r#""connections":0,"away":true"#)),
            format!(r#""joined":[],"updated":[{}],"left":[]"#, member(r#""connections":2,"away":false"#)),
            r#""joined":[],"updated":[],"left":["anon:0-5-17"]"#.to_owned(),
        ];
        for lists in texts {
            let diff = format!(r#"{{"type":"presence.diff","room":"r",{lists},"count":4}}"#);
            assert!(matches!(told(Medium::Presence, &diff), Err(Failure::Lost(_))), "{diff}");
        }
    }

    #[test]
    fn answers_are_told_from_news() {
        let kind =
            |text: &str| News::read(Medium::Presence, text.as_bytes()).map(|news| (news.kind, news.count));
        let state = r#"{"type":"presence.state","id":5,"room":"r","member":"m","count":9}"#;
        assert_eq!(kind(state).unwrap(), (Kind::Entered { id: 5 }, Some(9)));
        assert_eq!(
            kind(r#"{"type":"presence.count","room":"r","count":9}"#).unwrap(),
            (Kind::Counted, Some(9))
        );
        assert!(kind(r#"{"type":"pong","id":5}"#).is_err());
    }
}
