//! Who is in rooms, as a client knows it, which has to be right at every step: who joins was not there, who is updated or leaves was,
//! and the count is how many there are. When all has come to rest nobody is there who is not.

use std::collections::{BTreeMap, BTreeSet};

use simd_json::OwnedValue;
use simd_json::prelude::*;

use super::{Client, Context};
use crate::link::Link;
use crate::scenario::GRACE_MS_MAX;
use crate::world::World;

const ROOMS: [&str; 3] = ["room-0", "room-1", "room-2"];
/// Codes a request about rooms may be refused with.
const CODES: [&str; 7] = [
    "timeout",
    "cancelled",
    "not_joined",
    "too_many_subscriptions",
    "overloaded",
    "auth_required",
    "too_large",
];

/// Rooms that a client is in or hears of on its connection.
#[derive(Default)]
pub struct Rooms {
    stays: BTreeMap<&'static str, Stay>,
    /// Requests without an answer, each of a stay, which may be over.
    asked: BTreeMap<u64, Request>,
}

/// A request about a room, of the stay with that number.
#[derive(Debug)]
struct Request {
    room: &'static str,
    stay: u64,
    joins: bool,
}

#[derive(Default)]
struct Stay {
    number: u64,
    /// It has asked to be in the room; as whom, once it was told.
    has_joined: bool,
    member: Option<String>,
    /// A request to join was answered: that another comes to nothing changes nothing.
    is_certain: bool,
    view: Option<View>,
}

/// Everybody in a room, as far as a client was told; `None`: only the count.
#[derive(Debug, Default, PartialEq)]
struct View {
    members: Option<BTreeMap<String, OwnedValue>>,
    count: u64,
}

impl View {
    fn hear(&mut self, kind: &str, message: &OwnedValue) {
        let list = |name: &str| message.get_array(name).cloned().unwrap_or_default();
        let named = |entry: OwnedValue| (entry.get_str("member").expect("a name").to_owned(), entry);
        self.count = message.get_u64("count").expect("a count");
        match kind {
            "presence.state" => {
                self.members =
                    message.get_array("members").map(|all| all.iter().cloned().map(named).collect());
            }
            "presence.count" => self.members = None,
            _ => {
                let members = self.members.as_mut().expect("a change comes after all members");
                for (name, entry) in list("joined").into_iter().map(named) {
                    assert!(members.insert(name, entry).is_none(), "was there already: {message}");
                }
                for (name, entry) in list("updated").into_iter().map(named) {
                    let before = members.insert(name, entry.clone());
                    assert!(before.is_some_and(|before| before != entry), "nothing new: {message}");
                }
                for name in list("left") {
                    assert!(
                        members.remove(name.as_str().expect("a name")).is_some(),
                        "was not there: {message}"
                    );
                }
            }
        }
        let counted = self.members.as_ref().map(|members| members.len() as u64);
        assert!(counted.is_none_or(|counted| counted == self.count), "{message}");
    }
}

impl Rooms {
    /// Nothing is asked that has no answer.
    pub fn check_settled(&self, whose: &str) {
        assert!(self.asked.is_empty(), "{whose} was never told of rooms: {:?}", self.asked);
    }

    /// Whether a request was one about rooms.
    pub(super) fn is_asked(&self, id: u64) -> bool {
        self.asked.contains_key(&id)
    }

    /// A request was refused. Who knew nothing of the room hears nothing of it.
    pub(super) fn refused(&mut self, id: u64, code: &str) {
        assert!(CODES.contains(&code), "a request about rooms was refused with {code}");
        let Some(request) = self.asked.remove(&id) else { return };
        let Some(stay) = self.stays.get_mut(request.room).filter(|stay| stay.number == request.stay) else {
            return;
        };
        let mut others = self.asked.values().filter(|other| other.stay == request.stay);
        if stay.view.is_none() && others.clone().next().is_none() {
            self.stays.remove(request.room);
        } else if request.joins {
            stay.has_joined = stay.is_certain || others.any(|other| other.joins);
        }
    }
}

impl Client {
    /// Joins, watches, updates, leaves, by chance.
    pub(super) fn act_in_rooms(&mut self, link: &mut Link, context: &mut Context<'_>) {
        let room = context.random.pick(&ROOMS);
        self.next_id += 1;
        let id = self.next_id;
        let text = match context.random.below(10) {
            action @ 0..5 => {
                let stay =
                    self.rooms.stays.entry(room).or_insert_with(|| Stay { number: id, ..Stay::default() });
                self.rooms.asked.insert(id, Request { room, stay: stay.number, joins: action < 4 });
                if action == 4 {
                    format!(r#"{{"type":"presence.watch","id":{id},"room":"{room}"}}"#)
                } else {
                    stay.has_joined = true;
                    let grace_ms = context.random.below(GRACE_MS_MAX as usize);
                    let more = context.random.pick(&["", r#","state":{"x":1}"#, ","]);
                    let more =
                        if more == "," { format!(r#","grace_ms":{grace_ms}"#) } else { more.to_owned() };
                    format!(r#"{{"type":"presence.join","id":{id},"room":"{room}"{more}}}"#)
                }
            }
            5..8 => {
                self.rooms.asked.insert(id, Request { room, stay: 0, joins: false });
                let state = "s".repeat(context.random.below(300));
                format!(r#"{{"type":"presence.update","id":{id},"room":"{room}","state":"{state}"}}"#)
            }
            8 => {
                self.rooms.asked.insert(id, Request { room, stay: 0, joins: false });
                format!(r#"{{"type":"presence.list","id":{id},"room":"{room}","limit":2}}"#)
            }
            _ => {
                self.rooms.asked.insert(id, Request { room, stay: 0, joins: false });
                self.rooms.stays.remove(room);
                format!(r#"{{"type":"presence.leave","id":{id},"room":"{room}"}}"#)
            }
        };
        self.send_text(link, context, &text);
    }

    pub(super) fn hear_of_room(&mut self, kind: &str, message: &OwnedValue) {
        let Rooms { stays, asked } = &mut self.rooms;
        let room = message.get_str("room").expect("a room");
        let stay = stays.get_mut(room);
        if let Some(id) = message.get_u64("id") {
            let request = asked.remove(&id).unwrap_or_else(|| panic!("not asked: {message}"));
            assert_eq!(request.room, room, "{message}");
            let Some(stay) = stay.filter(|stay| kind == "presence.state" && stay.number == request.stay)
            else {
                return;
            };
            if let Some(member) = message.get_str("member") {
                stay.member = Some(member.to_owned());
            }
            stay.is_certain |= request.joins;
            return stay.view.get_or_insert_default().hear(kind, message);
        }
        // Before there is an answer it is of a stay that it has left meanwhile.
        if let Some(Stay { view: Some(view), member, has_joined, .. }) = stay {
            view.hear(kind, message);
            // To join may take longer than whoever asks for it waits, who is told then.
            if let Some(name) = message.get_str("member") {
                (*member, *has_joined) = (Some(name.to_owned()), true);
            }
        }
    }
}

impl World {
    /// At rest everybody in a room, and nobody else, is told to be there, alike to all who hear of it.
    pub fn check_rooms(&self) {
        let mut members = 0;
        for room in ROOMS {
            let stays =
                self.clients.iter().filter_map(|client| client.rooms.stays.get(room)).collect::<Vec<_>>();
            let mut names: BTreeMap<&str, u64> = BTreeMap::new();
            for stay in stays.iter().filter(|stay| stay.has_joined) {
                *names.entry(stay.member.as_deref().expect("it was told")).or_default() += 1;
            }
            members += names.len() as u64;
            for stay in &stays {
                let view = stay.view.as_ref().expect("it was told");
                assert_eq!(view.count, names.len() as u64, "of {room}: {view:?}, are {names:?}");
                let Some(named) = &view.members else { continue };
                let told: BTreeSet<(&str, u64)> = named
                    .iter()
                    .map(|(name, entry)| (&**name, entry.get_u64("connections").expect("a number")))
                    .collect();
                assert_eq!(told, names.iter().map(|(name, count)| (*name, *count)).collect(), "of {room}");
                let first = stays.iter().filter_map(|stay| stay.view.as_ref()?.members.as_ref()).next();
                assert_eq!(first, Some(named), "two are told different members of {room}");
            }
        }
        let kept: u64 = self.nodes.iter().map(|node| node.shard.metrics_now().presence_user_members).sum();
        assert_eq!(kept, members, "members are lost or left over");
    }
}
