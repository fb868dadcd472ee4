//! What happens to users, rooms, channels and maps, as the application is told of it.

use std::sync::Arc;

use serde::Deserialize;

use crate::wire::json::{write_integer, write_string};

/// A kind of event.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Connected,
    Disconnected,
    Joined,
    Left,
    Published,
    Sent,
    Changed,
}

/// Some kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u8);

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub unix_ms: u64,
    pub what: Happened,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// The first connection of a user has come.
    Connected {
        user: Arc<str>,
        session: Option<Box<str>>,
    },
    /// The last one is gone; why, as its close code and in words.
    Disconnected {
        user: Arc<str>,
        code: u16,
        reason: &'static str,
    },
    /// Somebody is in a room or a channel; `user`: `None` of who is anonymous.
    Joined {
        place: Place,
        name: Arc<str>,
        user: Option<Arc<str>>,
    },
    Left {
        place: Place,
        name: Arc<str>,
        user: Option<Arc<str>>,
    },
    /// A message of a channel. `data` is JSON.
    Published {
        channel: Arc<str>,
        offset: u64,
        from: Option<Arc<str>>,
        data: Box<[u8]>,
    },
    /// A direct message.
    Sent {
        to: Arc<str>,
        from: Option<Arc<str>>,
        message: Box<str>,
        data: Box<[u8]>,
    },
    /// Keys of a map have other values than before, or none.
    Changed {
        map: Arc<str>,
        keys: Vec<Box<str>>,
    },
}

/// Where somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Room,
    Channel,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Joined => "joined",
            Self::Left => "left",
            Self::Published => "published",
            Self::Sent => "sent",
            Self::Changed => "changed",
        }
    }

    /// Whether this server has such events.
    pub const fn is_told(self) -> bool {
        matches!(self, Self::Connected | Self::Disconnected | Self::Published | Self::Changed)
    }
}

impl Kinds {
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |bits, kind| bits | 1 << kind as u8))
    }
}

impl Happened {
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Connected { .. } => Kind::Connected,
            Self::Disconnected { .. } => Kind::Disconnected,
            Self::Joined { .. } => Kind::Joined,
            Self::Left { .. } => Kind::Left,
            Self::Published { .. } => Kind::Published,
            Self::Sent { .. } => Kind::Sent,
            Self::Changed { .. } => Kind::Changed,
        }
    }

    /// What it is about, by which hooks choose: a user, a room, a channel or a map.
    pub const fn name(&self) -> &Arc<str> {
        match self {
            Self::Connected { user: name, .. }
            | Self::Disconnected { user: name, .. }
            | Self::Joined { name, .. }
            | Self::Left { name, .. }
            | Self::Published { channel: name, .. }
            | Self::Sent { to: name, .. }
            | Self::Changed { map: name, .. } => name,
        }
    }

    /// Bytes that it takes, by and large.
    pub fn bytes(&self) -> usize {
        let own = match self {
            Self::Connected { session, .. } => session.as_ref().map_or(0, |session| session.len()),
            Self::Disconnected { .. } | Self::Joined { .. } | Self::Left { .. } => 0,
            Self::Published { data, .. } => data.len(),
            Self::Sent { message, data, .. } => message.len() + data.len(),
            Self::Changed { keys, .. } => keys.iter().map(|key| size_of::<Box<str>>() + key.len()).sum(),
        };
        size_of::<Self>() + self.name().len() + own
    }
}

impl Event {
    /// The event as a JSON object. `id` is the same each time that it is sent, and no other event has it.
    pub fn encode(&self, id: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(96 + self.what.bytes());
        out.extend_from_slice(b"{\"id\":");
        write_string(&mut out, id);
        out.extend_from_slice(b",\"event\":\"");
        out.extend_from_slice(self.what.kind().name().as_bytes());
        out.extend_from_slice(b"\",\"time\":");
        write_integer(&mut out, self.unix_ms);
        match &self.what {
            Happened::Connected { user, session } => {
                text(&mut out, "user", user);
                if let Some(session) = session {
                    text(&mut out, "session", session);
                }
            }
            Happened::Disconnected { user, code, reason } => {
                text(&mut out, "user", user);
                name(&mut out, "code");
                write_integer(&mut out, u64::from(*code));
                text(&mut out, "reason", reason);
            }
            Happened::Joined { place, name, user } | Happened::Left { place, name, user } => {
                text(&mut out, place.field(), name);
                text_or_null(&mut out, "user", user.as_deref());
            }
            Happened::Published { channel, offset, from, data } => {
                text(&mut out, "channel", channel);
                name(&mut out, "offset");
                write_integer(&mut out, *offset);
                text_or_null(&mut out, "from", from.as_deref());
                name(&mut out, "data");
                out.extend_from_slice(data);
            }
            Happened::Sent { to, from, message, data } => {
                text(&mut out, "to", to);
                text_or_null(&mut out, "from", from.as_deref());
                text(&mut out, "message", message);
                name(&mut out, "data");
                out.extend_from_slice(data);
            }
            Happened::Changed { map, keys } => {
                text(&mut out, "map", map);
                name(&mut out, "keys");
                for (place, key) in keys.iter().enumerate() {
                    out.push(if place == 0 { b'[' } else { b',' });
                    write_string(&mut out, key);
                }
                out.extend_from_slice(if keys.is_empty() { b"[]" } else { b"]" });
            }
        }
        out.push(b'}');
        out
    }
}

impl Place {
    const fn field(self) -> &'static str {
        match self {
            Self::Room => "room",
            Self::Channel => "channel",
        }
    }
}

fn name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn text(out: &mut Vec<u8>, field: &str, value: &str) {
    name(out, field);
    write_string(out, value);
}

fn text_or_null(out: &mut Vec<u8>, field: &str, value: Option<&str>) {
    match value {
        Some(value) => text(out, field, value),
        None => {
            name(out, field);
            out.extend_from_slice(b"null");
        }
    }
}

/// A name as one token of a NATS subject: what means something there, or cannot be in one, is written as in a URL.
pub fn subject_token(name: &str) -> String {
    use std::fmt::Write;
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'.' | b'*' | b'>' | b'%') {
            token.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(token, "%{byte:02X}");
        }
    }
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(what: Happened) -> String {
        String::from_utf8(Event { unix_ms: 7, what }.encode("e-1")).expect("text")
    }

    #[test]
    fn each_kind_is_json_with_what_it_is_about() {
        let user = || Some(Arc::<str>::from("u\"1"));
        let data = || Box::from(*br#"{"a":1}"#);
        let (room, channel) = (Place::Room, Place::Channel);
        for (what, expected) in [
            (
                Happened::Connected { user: "u".into(), session: Some("s".into()) },
                r#""connected","time":7,"user":"u","session":"s"}"#,
            ),
            (
                Happened::Disconnected { user: "u".into(), code: 1001, reason: "r" },
                r#""disconnected","time":7,"user":"u","code":1001,"reason":"r"}"#,
            ),
            (
                Happened::Joined { place: room, name: "r".into(), user: user() },
                r#""joined","time":7,"room":"r","user":"u\"1"}"#,
            ),
            (
                Happened::Left { place: channel, name: "c".into(), user: None },
                r#""left","time":7,"channel":"c","user":null}"#,
            ),
            (
                Happened::Published { channel: "c".into(), offset: 3, from: None, data: data() },
                r#""published","time":7,"channel":"c","offset":3,"from":null,"data":{"a":1}}"#,
            ),
            (
                Happened::Sent { to: "v".into(), from: user(), message: "m".into(), data: data() },
                r#""sent","time":7,"to":"v","from":"u\"1","message":"m","data":{"a":1}}"#,
            ),
            (
                Happened::Changed { map: "m".into(), keys: vec!["a".into(), "\n".into()] },
                r#""changed","time":7,"map":"m","keys":["a","\n"]}"#,
            ),
            (
                Happened::Changed { map: "m".into(), keys: vec![] },
                r#""changed","time":7,"map":"m","keys":[]}"#,
            ),
        ] {
            let text = json(what);
            assert_eq!(text, format!(r#"{{"id":"e-1","event":{expected}"#));
            serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
        }
    }

    #[test]
    fn a_name_is_one_token_of_a_subject() {
        assert_eq!(subject_token("chat:1/a"), "chat:1/a");
        assert_eq!(subject_token("a.b *>%\u{e4}\n"), "a%2Eb%20%2A%3E%25%C3%A4%0A");
    }
}
