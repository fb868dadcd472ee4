//! Rooms, channels and direct messages of the stand-in.

use std::collections::{BTreeMap, BTreeSet};

use simd_json::OwnedValue;
use simd_json::prelude::*;

use super::Fault;
use super::presence::Room;

/// A text for a connection; `is_delivery`: a fault may be about it.
pub struct Sent {
    pub to: u64,
    pub text: String,
    pub is_delivery: bool,
}

impl Sent {
    fn answer(to: u64, text: String) -> Self {
        Self { to, text, is_delivery: false }
    }

    fn delivery(to: u64, text: String) -> Self {
        Self { to, text, is_delivery: true }
    }
}

pub struct Messaging {
    fault: Fault,
    rooms: BTreeMap<String, Room>,
    channels: BTreeMap<String, Channel>,
    users: BTreeMap<String, Mailbox>,
    publishes: u64,
    sends: u64,
    /// Whether the one member that stays was chosen.
    has_kept: bool,
}

#[derive(Default)]
struct Channel {
    members: BTreeSet<u64>,
    /// Data as JSON text; the first has offset 1.
    said: Vec<String>,
}

#[derive(Default)]
struct Mailbox {
    connections: BTreeSet<u64>,
    /// Number, sender and data of what was not acknowledged.
    kept: Vec<(u64, String, String)>,
}

impl Messaging {
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            rooms: BTreeMap::new(),
            channels: BTreeMap::new(),
            users: BTreeMap::new(),
            publishes: 0,
            sends: 0,
            has_kept: false,
        }
    }

    /// What comes of a request; `None` for one that is about something else.
    pub fn answer(&mut self, from: u64, user: Option<&str>, request: &OwnedValue) -> Option<Vec<Sent>> {
        let text = |name: &str| request.get_str(name).unwrap_or_default();
        let id = request.get_u64("id").unwrap_or(0);
        let room = || text("room").to_owned();
        Some(match text("type") {
            // Socket.IO's way to come in.
            "connect" => vec![Sent::answer(from, r#"{"type":"connected"}"#.to_owned())],
            "presence.join" => {
                self.room(&room()).join(from, id, request["state"].encode());
                Vec::new()
            }
            "presence.watch" => {
                self.room(&room()).watch(from, id);
                Vec::new()
            }
            "presence.update" => {
                self.room(&room()).update(from, request["state"].encode());
                Vec::new()
            }
            "presence.leave" => {
                self.room(&room()).leave(from);
                vec![Sent::answer(
                    from,
                    format!(r#"{{"type":"presence.left","id":{id},"room":"{}"}}"#, room()),
                )]
            }
            "join" => self.join(from, id, text("channel"), request.get("since")),
            "publish" => self.publish(from, id, text("channel"), &request["data"].encode()),
            "send" => self.send(from, id, (user?, text("to")), &request["data"].encode()),
            "direct.ack" => {
                let through = text("through");
                self.acknowledge(user?, through.parse().expect("it was told so"));
                vec![Sent::answer(
                    from,
                    format!(r#"{{"type":"direct.acked","id":{id},"through":"{through}"}}"#),
                )]
            }
            _ => return None,
        })
    }

    fn room(&mut self, name: &str) -> &mut Room {
        self.rooms.entry(name.to_owned()).or_insert_with(|| Room::new(name))
    }

    pub fn tick(&mut self) -> Vec<Sent> {
        self.rooms.values_mut().flat_map(Room::tick).collect()
    }

    pub fn leave(&mut self, connection: u64) {
        if self.fault == Fault::KeepMember && !std::mem::replace(&mut self.has_kept, true) {
            return;
        }
        self.rooms.values_mut().for_each(|room| room.leave(connection));
        self.channels.values_mut().for_each(|channel| {
            channel.members.remove(&connection);
        });
        self.users.values_mut().for_each(|mailbox| {
            mailbox.connections.remove(&connection);
        });
    }

    fn join(&mut self, from: u64, id: u64, name: &str, since: Option<&OwnedValue>) -> Vec<Sent> {
        let channel = self.channels.entry(name.to_owned()).or_default();
        channel.members.insert(from);
        let offset = channel.said.len();
        let known = since.and_then(|since| since.get_u64("offset"));
        let (missed, recovered) = match (known, self.fault) {
            (None, _) => (offset, ""),
            (Some(_), Fault::TrimChannel) => (offset, r#","recovered":false,"reason":"trimmed""#),
            (Some(_), Fault::EmptyResume) => (offset, r#","recovered":true"#),
            (Some(known), _) => (known as usize, r#","recovered":true"#),
        };
        let mut sent: Vec<Sent> = (missed..offset)
            .map(|place| Sent::delivery(from, said(name, place + 1, &channel.said[place])))
            .collect();
        let joined = format!(
            r#"{{"type":"joined","id":{id},"channel":"{name}","epoch":"e","offset":{offset}{recovered}}}"#
        );
        sent.push(Sent::answer(from, joined));
        sent
    }

    fn publish(&mut self, from: u64, id: u64, name: &str, data: &str) -> Vec<Sent> {
        let number = self.publishes;
        self.publishes += 1;
        if self.fault == Fault::RejectWrite(number) {
            return vec![Sent::answer(from, format!(r#"{{"type":"error","id":{id},"code":"forbidden"}}"#))];
        }
        let channel = self.channels.entry(name.to_owned()).or_default();
        channel.said.push(data.to_owned());
        let offset = channel.said.len();
        let members = channel.members.iter().filter(|&&member| member != from);
        let mut sent: Vec<Sent> =
            members.map(|&member| Sent::delivery(member, said(name, offset, data))).collect();
        if self.fault != Fault::LoseAck(number) {
            let text = format!(r#"{{"type":"published","id":{id},"channel":"{name}","offset":{offset}}}"#);
            sent.push(Sent::answer(from, text));
        }
        sent
    }

    fn send(&mut self, from: u64, id: u64, (user, to): (&str, &str), data: &str) -> Vec<Sent> {
        let number = self.sends;
        self.sends += 1;
        if self.fault == Fault::RejectWrite(number) {
            let text = format!(r#"{{"type":"sent","id":{id},"status":"refused","reason":"blocked"}}"#);
            return vec![Sent::answer(from, text)];
        }
        let to = to.strip_prefix("user:").expect("the load sends to users");
        let mailbox = self.users.entry(to.to_owned()).or_default();
        let status = if mailbox.connections.is_empty() { "queued" } else { "delivered" };
        let mut sent: Vec<Sent> = mailbox
            .connections
            .iter()
            .map(|&connection| Sent::delivery(connection, direct(number, user, data, false)))
            .collect();
        if self.fault != Fault::ForgetWrite(number) {
            mailbox.kept.push((number, user.to_owned(), data.to_owned()));
        }
        if self.fault != Fault::LoseAck(number) {
            let text = format!(r#"{{"type":"sent","id":{id},"message":"{number}","status":"{status}"}}"#);
            sent.push(Sent::answer(from, text));
        }
        sent
    }

    fn acknowledge(&mut self, user: &str, through: u64) {
        if self.fault != Fault::ForgetAcks {
            let mailbox = self.users.entry(user.to_owned()).or_default();
            mailbox.kept.retain(|(number, ..)| *number > through);
        }
    }

    pub fn user_comes(&mut self, connection: u64, user: &str) -> Vec<Sent> {
        let mailbox = self.users.entry(user.to_owned()).or_default();
        mailbox.connections.insert(connection);
        let kept = mailbox.kept.iter();
        kept.map(|(number, from, data)| Sent::delivery(connection, direct(*number, from, data, true)))
            .collect()
    }
}

fn said(channel: &str, offset: usize, data: &str) -> String {
    format!(r#"{{"type":"message","channel":"{channel}","offset":{offset},"data":{data},"time":1}}"#)
}

fn direct(number: u64, from: &str, data: &str, queued: bool) -> String {
    format!(
        r#"{{"type":"direct","message":"{number}","from":"{from}","data":{data},"time":1,"queued":{queued}}}"#
    )
}
