//! The dialect of the tests: a message is words with spaces between them, and so is what the server says. Behind `#` stands a
//! stamp, behind `^` a cursor.

use std::cell::Cell;
use std::fmt::Write;
use std::str;

use annulus::mesh::{Action, At, Entry, EntryState, Filter, TagList};
use annulus::shard::{
    About, AckLevel, Caller, Change, Dialect, Event, Frames, From, MessageKind, Now, Op, Ops, Session, Shard,
    SnapshotEnd, Subscribe,
};
use annulus::wire::websocket::{Opcode, write_frame};
use annulus::wire::{Close, Cursor, Payload, Reject};

/// See the module.
pub struct Words;

pub static DIALECTS: &[&dyn Dialect] = &[&Words, &Words];

thread_local! {
    static ENCODED: Cell<u32> = const { Cell::new(0) };
}

/// Changes encoded since the last call, for many or for one.
pub fn encoded() -> u32 {
    ENCODED.take()
}

fn say(text: &str, out: &mut Vec<u8>) {
    write_frame(out, Opcode::Text, text.as_bytes());
}

fn say_change(change: Change<'_>, out: &mut Vec<u8>) {
    ENCODED.set(ENCODED.get() + 1);
    say(&format!("change {}{}", change.map, said(change.entries())), out);
}

/// ` key=value#stamp`, ` key=#stamp` for one that is gone, ` key+tag=value`, ` key-tag` and ` key=` for a counter that is gone.
fn said<'a>(entries: impl Iterator<Item = Entry<'a>>) -> String {
    let mut text = String::new();
    let value_of = |value: &'a [u8]| str::from_utf8(value).unwrap();
    for Entry { key, state } in entries {
        match state {
            EntryState::Value { value, at, .. } => {
                let value = value_of(value.unwrap_or_default());
                write!(text, " {key}={value}#{}", at.time.to_bits()).unwrap();
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
        let map = words[1];
        let at = At::Now;
        let mut tags = Vec::new();
        let (key, action) = match words[..] {
            ["subscribe", _, ref how @ ..] => {
                subscribe(shard, caller, map, how);
                return Ok(());
            }
            ["auth", token] => {
                shard.authenticate(caller, None, token);
                return Ok(());
            }
            ["read", _, keys] => {
                shard.read(caller, None, map, keys.split(','));
                return Ok(());
            }
            ["set", _, key, value] => (key, Action::Set { value: value.as_bytes(), at, ttl_ms: None }),
            ["set", _, key, value, ttl] => {
                (key, Action::Set { value: value.as_bytes(), at, ttl_ms: ttl.parse().ok() })
            }
            ["delete", _, key] => (key, Action::Delete { at, map_type: None }),
            ["add", _, key, tag, value] => (key, Action::Add { value: value.as_bytes(), tag: Some(tag), at }),
            ["remove", _, key, ref names @ ..] => {
                names.iter().for_each(|name| TagList::push(&mut tags, name));
                (key, Action::RemoveTags { tags: TagList(&tags) })
            }
            ["drop", _, key, value] => (key, Action::RemoveValue { value: value.as_bytes() }),
            ["count", _, key, by] => (key, Action::Increment { by: by.parse().unwrap() }),
            _ => panic!("{text}"),
        };
        let one = One { op: Some(Op { map, key, action }) };
        shard.write(caller, None, AckLevel::None, one);
        Ok(())
    }

    fn event(&self, event: Event<'_>, _: &mut Session, _: Now, out: &mut Vec<u8>) {
        match event {
            Event::Snapshot { map, entries, end: SnapshotEnd::More, .. } => {
                say(&format!("snapshot {map} more{}", said(entries)), out);
            }
            Event::Snapshot { map, entries, end: SnapshotEnd::Last { cursor, resumed, reset }, .. } => {
                let how = match (resumed, reset) {
                    (true, false) => " resumed",
                    (false, true) => " reset",
                    (false, false) => "",
                    _ => panic!("it is one of them"),
                };
                let mut at = Vec::new();
                cursor.write_to(&mut at);
                let at = String::from_utf8(at).unwrap();
                say(&format!("snapshot {map} last{how}{} ^{at}", said(entries)), out);
            }
            Event::Entries { map, entries, .. } => say(&format!("read {map}{}", said(entries)), out),
            Event::Authenticated { .. } => say("authenticated", out),
            Event::Rejected { reject, .. } => say(&format!("rejected {}", reject.code()), out),
            _ => {}
        }
    }

    fn forbidden(&self, shard: &mut Shard, caller: Caller, about: About<'_>) {
        about.end(shard, caller);
        if let About::Map(map) = about {
            shard.send_urgent(caller, |out| say(&format!("forbidden {map}"), out));
        }
    }

    fn change(&self, change: Change<'_>, _: &Session, out: &mut Vec<u8>) {
        say_change(change, out);
    }

    fn change_for_all(&self, change: Change<'_>, out: &mut Frames) {
        say_change(change, &mut out.bytes);
    }
}

fn subscribe(shard: &mut Shard, caller: Caller, map: &str, how: &[&str]) {
    let (mut filter, mut from, mut echo) = (None, From::Everything, false);
    for pair in how.chunks(2) {
        match *pair {
            ["prefix", prefix] => filter = Some(Filter::Prefix(prefix.into())),
            ["keys", keys] => filter = Some(shard.keys_filter(map, keys.split(','))),
            ["since", cursor] => from = From::Cursor(Cursor::parse(cursor).unwrap()),
            ["echo", _] => echo = true,
            _ => panic!("{how:?}"),
        }
    }
    shard.subscribe(caller, None, Subscribe { map, from, filter, echo });
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
