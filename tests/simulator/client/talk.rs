//! A client in channels: what it says, and what it may be told of what others say.

use std::collections::{BTreeSet, VecDeque};

use simd_json::OwnedValue;
use simd_json::prelude::*;

use super::{Asked, Client, Context};
use crate::link::Link;
use crate::talk::CHANNELS;

/// See the module.
#[derive(Default)]
pub struct Talking {
    /// What it has asked to be in, by channel and in the order of its requests; the first is the one that it is in.
    members: [VecDeque<Member>; CHANNELS.len()],
    /// Up to where it was told, on whatever connection.
    known: [Option<(String, u64)>; CHANNELS.len()],
    said: u64,
    /// What it has said on this connection without `echo`.
    silent: BTreeSet<String>,
}

/// One membership.
#[derive(Debug)]
pub struct Member {
    id: u64,
    since: Option<(String, u64)>,
    /// Once it is in it.
    epoch: Option<String>,
    /// It was told everything after this, or that it was not.
    from: u64,
    through: u64,
    told: BTreeSet<u64>,
    gaps: Vec<(u64, u64)>,
    /// The request to leave.
    leaves: Option<u64>,
}

impl Talking {
    /// The connection is gone.
    pub fn disconnected(&mut self) {
        for (channel, members) in self.members.iter_mut().enumerate() {
            if let Some(Member { epoch: Some(epoch), through, .. }) = members.front() {
                self.known[channel] = Some((epoch.clone(), *through));
            }
            members.clear();
        }
        self.silent.clear();
    }

    /// Memberships that it has, when nothing is under way.
    pub fn count(&self) -> usize {
        self.members.iter().map(VecDeque::len).sum()
    }
}

impl Client {
    pub(super) fn talk(&mut self, link: &mut Link, context: &mut Context<'_>) {
        let channel = context.random.below(CHANNELS.len());
        let name = CHANNELS[channel];
        let is_in = self.talking.members[channel].back().is_some_and(|member| member.leaves.is_none());
        match context.random.below(20) {
            0..11 => {
                self.talking.said += 1;
                let echo = context.random.per_mille(300);
                let text = format!("{}.{}.{}", self.name, self.connection, self.talking.said);
                if !echo {
                    self.talking.silent.insert(text.clone());
                }
                let wants_durable =
                    context.scenario.keeps_durable_channels() && context.random.per_mille(400);
                let member = self.talking.members[channel].front();
                let member = member.filter(|member| member.epoch.is_some() && member.leaves.is_none());
                let member = member.map(|member| member.id);
                let filler = "~".repeat(context.random.pick(&[0, 0, 20, 700]));
                let ack = if wants_durable { "durable" } else { "memory" };
                let id = self.ask(Asked::Publish { text: text.clone(), wants_durable, member });
                self.send_text(
                    link,
                    context,
                    &format!(
                        r#"{{"type":"publish","id":{id},"channel":"{name}","data":["{text}","{filler}"],"ack":"{ack}","echo":{echo}}}"#
                    ),
                );
            }
            11..16 if !is_in => {
                let since = self.talking.known[channel].clone().filter(|_| context.random.per_mille(800));
                let id = self.ask(Asked::Join { channel });
                let json = since.as_ref().map_or("null".to_owned(), |(epoch, offset)| {
                    format!(r#"{{"epoch":"{epoch}","offset":{offset}}}"#)
                });
                let from = since.as_ref().map_or(0, |(_, offset)| *offset);
                self.talking.members[channel].push_back(Member {
                    id,
                    since,
                    epoch: None,
                    from,
                    through: from,
                    told: BTreeSet::new(),
                    gaps: Vec::new(),
                    leaves: None,
                });
                let text = format!(r#"{{"type":"join","id":{id},"channel":"{name}","since":{json}}}"#);
                self.send_text(link, context, &text);
            }
            16..18 => {
                let id = self.ask(Asked::Leave);
                if let Some(member) =
                    self.talking.members[channel].back_mut().filter(|member| member.leaves.is_none())
                {
                    member.leaves = Some(id);
                }
                let text = format!(r#"{{"type":"leave","id":{id},"channel":"{name}"}}"#);
                self.send_text(link, context, &text);
            }
            _ => {
                let limit = context.random.between(1, 20) as u64;
                let before = context.random.per_mille(500).then(|| context.random.between(1, 200));
                let before = before.map_or("null".to_owned(), |before| before.to_string());
                let id = self.ask(Asked::History { limit });
                let text = format!(
                    r#"{{"type":"history","id":{id},"channel":"{name}","before":{before},"limit":{limit}}}"#
                );
                self.send_text(link, context, &text);
            }
        }
    }

    /// Handles a message or a gap.
    pub(super) fn handle_talk(&mut self, kind: &str, message: &OwnedValue, context: &mut Context<'_>) {
        let channel = channel_of(message);
        let member = self.talking.members[channel].front_mut();
        let member = member.unwrap_or_else(|| panic!("it is not in it: {message}"));
        let number = |name: &str| message.get_u64(name).expect("a number");
        if kind == "gap" {
            context.oracle.talk.counts.gaps += 1;
            let (from, to) = (number("from"), number("to"));
            assert!(member.epoch.is_some() && member.through < from && from <= to, "{message}, {member:?}");
            member.gaps.push((from, to));
            member.through = to;
            return;
        }
        context.oracle.talk.counts.told += 1;
        let (offset, text) = (number("offset"), text_of(message));
        context.oracle.decided.told(&text, message["data"][1].as_str());
        assert!(offset > member.through, "{message} after {}", member.through);
        let epoch = member.epoch.as_ref().or(member.since.as_ref().map(|(epoch, _)| epoch));
        let epoch = epoch.unwrap_or_else(|| panic!("it has not joined: {message}"));
        context.oracle.talk.told(channel, epoch, offset, &text);
        assert!(member.epoch.is_none() || !self.talking.silent.contains(&text), "its own: {message}");
        member.told.insert(offset);
        member.through = offset;
    }

    /// Handles an answer.
    pub(super) fn handle_talked(
        &mut self,
        id: u64,
        asked: &Asked,
        message: &OwnedValue,
        context: &mut Context<'_>,
    ) {
        let channel = channel_of(message);
        let talk = &mut context.oracle.talk;
        let members = &mut self.talking.members[channel];
        match asked {
            Asked::Publish { text, wants_durable, member } => {
                talk.counts.published += 1;
                let offset = message.get_u64("offset").expect("an offset");
                talk.placed(channel, offset, text);
                let front = members.front().filter(|front| Some(front.id) == *member);
                let epoch = front.and_then(|front| front.epoch.clone());
                if let Some(epoch) = epoch {
                    talk.told(channel, &epoch, offset, text);
                    if *wants_durable && message.get_bool("timeout") != Some(true) {
                        talk.is_durable(channel, &epoch, offset);
                    }
                }
            }
            Asked::Join { .. } => {
                let member = members.front_mut().filter(|member| member.id == id);
                let member = member.unwrap_or_else(|| panic!("it has left: {message}"));
                let epoch = message.get_str("epoch").expect("an epoch").to_owned();
                let last = message.get_u64("offset").expect("an offset");
                match (&member.since, message.get_bool("recovered"), message.get_str("reason")) {
                    (None, None, None) => (member.from, member.through) = (last, last),
                    (Some((known, from)), Some(true), None) => {
                        talk.counts.recovered += 1;
                        assert_eq!(*known, epoch);
                        assert!(member.through <= last, "{message}");
                        for (offset, text) in talk.certain(channel, &epoch, *from, last) {
                            assert!(member.told.contains(&offset), "{offset}, {text}, is missing: {message}");
                        }
                        member.through = last;
                    }
                    (Some(_), Some(false), Some(reason)) => {
                        talk.counts.trimmed += u64::from(reason == "trimmed");
                        talk.counts.other_epochs += u64::from(reason == "epoch");
                        (member.from, member.through) = (last, last);
                    }
                    _ => panic!("{message}"),
                }
                member.epoch = Some(epoch);
            }
            Asked::Leave => {
                while let Some(member) = members.front()
                    && member.id < id
                {
                    self.talking.known[channel] = member.epoch.clone().map(|epoch| (epoch, member.through));
                    members.pop_front();
                }
            }
            Asked::History { limit } => {
                let messages = message.get_array("messages").expect("messages");
                assert!(messages.len() as u64 <= *limit);
                let mut last = 0;
                for said in messages.iter() {
                    let offset = said.get_u64("offset").expect("an offset");
                    assert!(offset > last, "{message}");
                    last = offset;
                    let epoch = message.get_str("epoch").expect("an epoch");
                    talk.told(channel, epoch, offset, &text_of(said));
                }
            }
            _ => panic!("{message}"),
        }
    }

    /// A request about channels was refused.
    pub(super) fn talk_refused(&mut self, id: u64, asked: &Asked, code: &str) {
        match (asked, code) {
            (
                Asked::Join { channel },
                "timeout" | "too_many_subscriptions" | "cancelled" | "load_failed" | "overloaded",
            ) => {
                self.talking.members[*channel].retain(|member| member.id != id);
            }
            (Asked::Publish { .. }, "timeout" | "overloaded" | "read_only" | "load_failed") => {}
            (Asked::History { .. }, "timeout" | "overloaded" | "load_failed") => {}
            _ => panic!("{asked:?} was refused with {code}"),
        }
    }

    /// Nothing is under way: it was told everything that is known, or that it was not.
    pub fn check_talk(&self, talk: &crate::talk::Talk) {
        for (channel, members) in self.talking.members.iter().enumerate() {
            assert!(members.len() <= 1, "{} never left: {members:?}", self.name);
            let Some(member) = members.front() else { continue };
            let epoch =
                member.epoch.as_ref().unwrap_or_else(|| panic!("{} never joined: {member:?}", self.name));
            for (offset, text) in talk.certain(channel, epoch, member.from, u64::MAX) {
                let is_told = member.told.contains(&offset)
                    || member.gaps.iter().any(|(from, to)| (*from..=*to).contains(&offset))
                    || self.talking.silent.contains(text);
                assert!(is_told, "{} was never told {offset}, {text}, of {channel}: {member:?}", self.name);
            }
        }
    }
}

fn channel_of(message: &OwnedValue) -> usize {
    let name = message.get_str("channel").expect("a channel");
    CHANNELS.iter().position(|channel| *channel == name).expect("one of these")
}

fn text_of(message: &OwnedValue) -> String {
    message["data"][0].as_str().expect("what somebody said").to_owned()
}
