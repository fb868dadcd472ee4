//! Presence of `/v1` between shards: what a shard asks the home of a room, and what the home tells. Members are packed into bytes.
//!
//! ```text
//! name_len u16, name | since u64 | connections u32 | away u8 | state_len u32, state          a list of them is one after the other
//! name_len u16, name                                                                        of those who have left
//! ```

use std::sync::Arc;

use super::entry::{pack_long, pack_name, take, take_long, take_name, take_number};
use super::{ReplyTo, Span, Writer};

/// One member of a room as it is told: a user with its connections, or a client of another dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person<'a> {
    pub name: &'a str,
    /// Canonical JSON.
    pub state: &'a [u8],
    /// Unix milliseconds at which the first of its connections came.
    pub since_ms: u64,
    pub connections: u32,
    /// Its last connection is gone without a word, and may come back.
    pub is_away: bool,
}

/// How the name of a user's member begins.
pub const USER_PREFIX: &str = "user:";

impl<'a> Person<'a> {
    /// Whose member it is; `None`: that of nobody in particular.
    pub fn user(&self) -> Option<&'a str> {
        self.name.strip_prefix(USER_PREFIX)
    }

    /// Appends it to packed [`People`].
    pub fn pack(&self, out: &mut Vec<u8>) {
        pack_name(self.name, out);
        out.extend_from_slice(&self.since_ms.to_le_bytes());
        out.extend_from_slice(&self.connections.to_le_bytes());
        out.push(u8::from(self.is_away));
        pack_long(self.state, out);
    }
}

/// Packed members, one by one. They come from [`Person::pack`] alone, so reading them cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct People<'a>(pub &'a [u8]);

impl<'a> Iterator for People<'a> {
    type Item = Person<'a>;

    fn next(&mut self) -> Option<Person<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let name = take_name(&mut self.0);
        let since_ms = u64::from_le_bytes(take_number(&mut self.0));
        let connections = u32::from_le_bytes(take_number(&mut self.0));
        let is_away = take(&mut self.0, 1) == [1];
        Some(Person { name, since_ms, connections, is_away, state: take_long(&mut self.0) })
    }
}

/// Packed names, one by one, of [`pack_name`].
#[derive(Clone, Copy, Debug)]
pub struct Names<'a>(pub &'a [u8]);

impl<'a> Iterator for Names<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        (!self.0.is_empty()).then(|| take_name(&mut self.0))
    }
}

/// Who is in a room, as far as it is told: bytes are [`People`], and [`Names`] of those who have left.
#[derive(Clone, Copy, Debug)]
pub struct Gathered<B> {
    pub count: u64,
    pub crowd: Crowd<B>,
}

#[derive(Clone, Copy, Debug)]
pub enum Crowd<B> {
    /// Everybody.
    All(B),
    /// What has changed since it was told last.
    Diff { joined: B, updated: B, left: B },
    /// There are too many to be named.
    Count,
}

impl<B> Gathered<B> {
    /// The same with its bytes elsewhere.
    pub fn map<'a, C>(&'a self, mut put: impl FnMut(&'a B) -> C) -> Gathered<C> {
        let crowd = match &self.crowd {
            Crowd::All(all) => Crowd::All(put(all)),
            Crowd::Diff { joined, updated, left } => {
                Crowd::Diff { joined: put(joined), updated: put(updated), left: put(left) }
            }
            Crowd::Count => Crowd::Count,
        };
        Gathered { count: self.count, crowd }
    }
}

impl<B: AsRef<[u8]>> Gathered<B> {
    /// Bytes of all that it lists.
    pub fn bytes(&self) -> usize {
        match &self.crowd {
            Crowd::All(all) => all.as_ref().len(),
            Crowd::Diff { joined, updated, left } => {
                joined.as_ref().len() + updated.as_ref().len() + left.as_ref().len()
            }
            Crowd::Count => 0,
        }
    }
}

/// What a shard asks of the home of a room.
pub enum RoomRequest {
    /// Count a connection as one of a member, and send what becomes of the room from then on. Without a state the member keeps
    /// the one it has.
    Join { reply: ReplyTo, room: Arc<str>, member: Span, state: Option<Span>, grace_ms: u32 },
    /// Send what becomes of the room.
    Watch { reply: ReplyTo, room: Arc<str> },
    /// Send no more of it.
    Unwatch { room: Arc<str> },
    /// Change the state of a member.
    Update { reply: ReplyTo, room: Arc<str>, member: Span, state: Span },
    /// A connection is no longer one of a member; `is_final`: it does not come back. There is no answer.
    Leave { room: Arc<str>, member: Span, by: Writer, is_final: bool },
    /// Answer with members whose names come after that, so many at most.
    List { reply: ReplyTo, room: Arc<str>, after: Span, limit: usize },
}

/// What becomes of these.
pub enum RoomAnswer {
    /// To those of one shard who have joined or watch: who is there, from which on they are told what changes.
    Gathered {
        replies: Vec<ReplyTo>,
        room: Arc<str>,
        gathered: Gathered<Span>,
    },
    Updated {
        reply: ReplyTo,
    },
    Listed {
        reply: ReplyTo,
        people: Span,
        has_more: bool,
    },
    Refused {
        reply: ReplyTo,
        reject: crate::wire::Reject,
    },
}

/// What the home of a room tells all shards that hear of it.
pub struct RoomNews {
    pub room: Arc<str>,
    pub gathered: Gathered<Span>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_names_come_back_as_they_were_packed() {
        let long = "é".repeat(crate::limits::KEY_BYTES_MAX / 2);
        let people = [
            Person { name: "user:a", state: b"{}", since_ms: 0, connections: 1, is_away: false },
            Person {
                name: &long,
                state: &[b'x'; 70_000],
                since_ms: u64::MAX,
                connections: u32::MAX,
                is_away: true,
            },
            Person { name: "client:c", state: b"", since_ms: 7, connections: 0, is_away: false },
        ];
        let mut packed = Vec::new();
        people.iter().for_each(|person| person.pack(&mut packed));
        assert!(People(&packed).eq(people));
        let mut packed = Vec::new();
        people.iter().for_each(|person| pack_name(person.name, &mut packed));
        assert!(Names(&packed).eq(people.map(|person| person.name)));
    }
}
