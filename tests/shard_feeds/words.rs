//! The dialect of the tests: a message is words with spaces between them, and so is what the server says.

use std::cell::Cell;
use std::fmt::Write;
use std::str;

use annulus::mesh::{Action, At, Entry, EntryState, Filter, TagList};
use annulus::shard::{
    AckLevel, Caller, Change, Dialect, Event, Frames, From, MessageKind, Now, Op, Ops, Session, Shard,
    SnapshotEnd, Subscribe,
};
use annulus::wire::websocket::{Opcode, write_frame};
use annulus::wire::{Close, Payload, Reject, Ticket};

/// See the module. The mark begins everything that is said, and tells two such dialects apart.
pub struct Words {
    pub mark: &'static str,
}

/// At `/v1` and at `/other`.
pub static DIALECTS: &[&dyn Dialect] = &[&Words { mark: "" }, &Words { mark: "~" }];

thread_local! {
    static ENCODED: Cell<u32> = const { Cell::new(0) };
}

/// Changes encoded since the last call, for many or for one.
pub fn encoded() -> u32 {
    ENCODED.take()
}

impl Words {
    fn say(&self, text: &str, out: &mut Vec<u8>) {
        write_frame(out, Opcode::Text, format!("{}{text}", self.mark).as_bytes());
    }

    fn say_change(&self, change: Change<'_>, out: &mut Vec<u8>) {
        ENCODED.set(ENCODED.get() + 1);
        self.say(&format!("change {}{}", change.map, said(change.entries())), out);
    }
}

/// ` key=value`, ` key=` for one that is gone, ` key+tag=value` and ` key-tag`.
fn said<'a>(entries: impl Iterator<Item = Entry<'a>>) -> String {
    let mut text = String::new();
    let value_of = |value: &'a [u8]| str::from_utf8(value).unwrap();
    for Entry { key, state } in entries {
        match state {
            EntryState::Value { value, .. } => {
                write!(text, " {key}={}", value_of(value.unwrap_or_default())).unwrap();
            }
            EntryState::Tags { added, removed } => {
                for tagged in added {
                    write!(text, " {key}+{}={}", tagged.tag, value_of(tagged.value)).unwrap();
                }
                removed.iter().for_each(|tag| write!(text, " {key}-{tag}").unwrap());
            }
            EntryState::Count(count) => write!(text, " {key}={count}").unwrap(),
            EntryState::Gone => write!(text, " {key}=").unwrap(),
        }
    }
    text
}

impl Dialect for Words {
    fn name(&self) -> &'static str {
        "words"
    }

    fn opened(&self, _: &mut Shard, _: Caller) {}

    fn message(
        &self,
        shard: &mut Shard,
        caller: Caller,
        _: MessageKind,
        payload: Payload<'_>,
    ) -> Result<(), Close> {
        let text = str::from_utf8(payload.bytes()).unwrap().to_owned();
        let words: Vec<&str> = text.split(' ').collect();
        let at = At::Now;
        let (map, key, action) = match words[..] {
            ["subscribe", map] => return self.subscribe(shard, caller, map, None),
            ["subscribe", map, "prefix", prefix] => {
                return self.subscribe(shard, caller, map, Some(Filter::Prefix(prefix.into())));
            }
            ["subscribe", map, "keys", keys] => {
                let filter = shard.keys_filter(map, keys.split(','));
                return self.subscribe(shard, caller, map, Some(filter));
            }
            ["unsubscribe", map] => {
                shard.unsubscribe(caller, map);
                return Ok(());
            }
            ["set", map, key, value] => (map, key, Action::Set { value: value.as_bytes(), at, ttl_ms: None }),
            ["add", map, key, tag, value] => {
                (map, key, Action::Add { value: value.as_bytes(), tag: Some(tag), at })
            }
            ["remove", map, key, tag] => {
                let mut tags = Vec::new();
                TagList::push(&mut tags, tag);
                let one =
                    One { op: Some(Op { map, key, action: Action::RemoveTags { tags: TagList(&tags) } }) };
                shard.write(caller, None, AckLevel::None, one);
                return Ok(());
            }
            _ => panic!("{text}"),
        };
        shard.write(caller, None, AckLevel::None, One { op: Some(Op { map, key, action }) });
        Ok(())
    }

    fn event(&self, event: Event<'_>, _: &mut Session, _: Now, out: &mut Vec<u8>) {
        match event {
            Event::Snapshot { map, entries, end, .. } => {
                let end = if end == SnapshotEnd::More { "more" } else { "last" };
                self.say(&format!("snapshot {map} {end}{}", said(entries)), out);
            }
            Event::Rejected { reject, .. } => self.say(&format!("rejected {}", reject.code()), out),
            _ => {}
        }
    }

    fn change(&self, change: Change<'_>, _: &Session, out: &mut Vec<u8>) {
        self.say_change(change, out);
    }

    fn change_for_all(&self, change: Change<'_>, out: &mut Frames) {
        self.say_change(change, &mut out.bytes);
    }
}

impl Words {
    fn subscribe(
        &self,
        shard: &mut Shard,
        caller: Caller,
        map: &str,
        filter: Option<Filter>,
    ) -> Result<(), Close> {
        let ticket: Option<Ticket> = None;
        shard.subscribe(caller, ticket, Subscribe { map, from: From::Everything, filter, echo: false });
        Ok(())
    }
}

/// One operation.
struct One<'o> {
    op: Option<Op<'o>>,
}

impl Ops for One<'_> {
    fn targets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.op.iter().map(|op| (op.map, op.key))
    }

    fn for_each(self, _: &mut Vec<u8>, carry_out: impl FnMut(Result<&Op<'_>, Reject>)) {
        self.op.as_ref().map(Ok).into_iter().for_each(carry_out);
    }
}
