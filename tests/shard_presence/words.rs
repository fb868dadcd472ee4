//! The dialect of the tests: a message is words with spaces between them, and so is what the server says.

use std::cell::Cell;
use std::fmt::Write;
use std::str;

use annulus::mesh::Filter;
use annulus::shard::{
    Caller, Change, Dialect, Event, From, MemberChange, MessageKind, Now, Published, Session, SetPresence,
    Shard, Subscribe,
};
use annulus::wire::websocket::{Opcode, write_frame};
use annulus::wire::{Close, Payload, Ticket};

/// See the module. The mark begins everything that is said, and tells two such dialects apart: the one with a mark
/// understands no messages but its own.
pub struct Words {
    pub mark: &'static str,
}

/// At `/v1` and at `/other`.
pub static DIALECTS: &[&dyn Dialect] = &[&Words { mark: "" }, &Words { mark: "~" }];

thread_local! {
    static FRAMES_MADE: Cell<u32> = const { Cell::new(0) };
}

/// Frames for many that were made since the last call.
pub fn frames_made() -> u32 {
    FRAMES_MADE.take()
}

impl Words {
    fn say(&self, text: &str, out: &mut Vec<u8>) {
        write_frame(out, Opcode::Text, format!("{}{text}", self.mark).as_bytes());
    }
}

impl Dialect for Words {
    fn name(&self) -> &'static str {
        "words"
    }

    fn opened(&self, _: &mut Shard, _: Caller) {}

    fn message(
        &self,
        shard: &mut Shard,
        id: Caller,
        _: MessageKind,
        payload: Payload<'_>,
    ) -> Result<(), Close> {
        let text = str::from_utf8(payload.bytes()).unwrap().to_owned();
        let words: Vec<&str> = text.split(' ').collect();
        let ticket = |text: &str| Some(Ticket::new(&[text.as_bytes()]));
        match words[..] {
            ["watch", asked, room] => shard.watch_presence(id, ticket(asked), room),
            ["unwatch", room] => shard.unwatch_presence(id, room),
            ["set", room, member, clock, state] => {
                let (state, clock) = (Some(state.as_bytes()), clock.parse().unwrap());
                shard.set_presence(id, ticket(member), SetPresence { room, member, state, clock });
            }
            ["remove", room, member, clock] => {
                let clock = clock.parse().unwrap();
                shard.set_presence(id, ticket(member), SetPresence { room, member, state: None, clock });
            }
            ["subscribe", map] => {
                let subscribe = Subscribe { map, from: From::Everything, filter: None, echo: true };
                shard.subscribe(id, None, subscribe);
            }
            ["subscribe", map, prefix] => {
                let filter = Some(Filter::Prefix(prefix.into()));
                let subscribe = Subscribe { map, from: From::Nothing, filter, echo: true };
                shard.subscribe(id, None, subscribe);
            }
            ["unsubscribe", map] => shard.unsubscribe(id, map),
            ["publish", map, body] => shard.publish(id, map, body.as_bytes()),
            _ => panic!("{text}"),
        }
        Ok(())
    }

    fn event(&self, event: Event<'_>, _: &mut Session, _: Now, out: &mut Vec<u8>) {
        let said = |ticket: Option<&Ticket>| {
            ticket.map_or("-".to_owned(), |ticket| String::from_utf8(ticket.as_bytes().to_vec()).unwrap())
        };
        match event {
            Event::Members { ticket, room, members } => {
                let mut text = format!("members {} {room}", said(ticket));
                for member in members {
                    let state = str::from_utf8(member.state).unwrap();
                    write!(text, " {}={state}@{}", member.name, member.clock).unwrap();
                }
                self.say(&text, out);
            }
            Event::Rejected { ticket, reject } => {
                self.say(&format!("rejected {} {}", said(ticket), reject.code()), out);
            }
            _ => {}
        }
    }

    fn change(&self, _: Change<'_>, _: &Session, _: &mut Vec<u8>) {}

    fn member(&self, change: MemberChange<'_>, out: &mut Vec<u8>) {
        FRAMES_MADE.set(FRAMES_MADE.get() + 1);
        let MemberChange { room, member, state, clock, .. } = change;
        let state = state.map_or("gone", |state| str::from_utf8(state).unwrap());
        self.say(&format!("member {room} {member}={state}@{clock}"), out);
    }
    fn published(&self, message: Published<'_>, out: &mut Vec<u8>) {
        FRAMES_MADE.set(FRAMES_MADE.get() + 1);
        let Published { map, from, body, .. } = message;
        if self.mark.is_empty() || from == 1 {
            self.say(&format!("published {map} {from} {}", str::from_utf8(body).unwrap()), out);
        }
    }
}
