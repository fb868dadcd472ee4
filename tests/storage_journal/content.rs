//! Random changes, and what is read back as changes.

use annulus::crdt::{Count, Delta, MapType, Node, Stamp, Time};
use annulus::handover::{Batch, Body, Record};

use crate::random::Random;

/// One change, as a shard hands it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub map: String,
    pub key: Vec<u8>,
    pub applied: Time,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Type(MapType),
    Lww { at: Stamp, value: Option<Vec<u8>>, expires_ms: u64 },
    OrAdd { tag: String, value: Vec<u8>, at: Stamp },
    OrRemove { tag: String },
    Counter { replica: Node, added: u64, subtracted: u64 },
    CounterAbsorbed { count: i128, through: Time },
    Clear,
}

/// How many kinds [`Change::of_kind`] knows.
pub const KINDS: usize = 8;
/// Those from 1 to this one are deltas.
pub const DELTA_KINDS: usize = 6;

impl Change {
    pub fn random(random: &mut Random, applied: Time) -> Self {
        let kind = random.below(KINDS);
        Self::of_kind(kind, random, applied)
    }

    pub fn of_kind(kind: usize, random: &mut Random, applied: Time) -> Self {
        if kind == 7 {
            return Self { map: String::new(), key: Vec::new(), applied, what: What::Clear };
        }
        let characters = random.within(1..20);
        let map = random.text(characters);
        let key_len = if kind == 0 { 0 } else { random.below(30) };
        let what = match kind {
            0 => What::Type([MapType::Lww, MapType::Or, MapType::Counter][random.below(3)]),
            1 => What::Lww { at: stamp(random), value: Some(value(random)), expires_ms: random.next() },
            2 => What::Lww { at: stamp(random), value: None, expires_ms: 0 },
            3 => What::OrAdd { tag: tag(random), value: value(random), at: stamp(random) },
            4 => What::OrRemove { tag: tag(random) },
            5 => What::Counter { replica: node(random), added: random.next(), subtracted: random.next() },
            _ => What::CounterAbsorbed {
                count: i128::from(random.next()) - (1 << 70),
                through: Time::from_bits(random.next()),
            },
        };
        Self { map, key: random.bytes(key_len), applied, what }
    }

    /// `None` for a type, and for dropping all maps.
    pub fn delta(&self) -> Option<Delta<'_>> {
        Some(match &self.what {
            What::Type(_) | What::Clear => return None,
            What::Lww { at, value, expires_ms } => {
                Delta::Lww { at: *at, value: value.as_deref(), expires_ms: *expires_ms }
            }
            What::OrAdd { tag, value, at } => Delta::OrAdd { tag, value, at: *at },
            What::OrRemove { tag } => Delta::OrRemove { tag },
            What::Counter { replica, added, subtracted } => {
                Delta::Counter { replica: *replica, added: *added, subtracted: *subtracted }
            }
            &What::CounterAbsorbed { count, through } => {
                Delta::CounterAbsorbed { count: Count(count), through }
            }
        })
    }

    pub fn push_to(&self, batch: &mut Batch) {
        match (&self.what, self.delta()) {
            (_, Some(delta)) => batch.push(&self.map, &self.key, &delta, self.applied),
            (What::Type(map_type), None) => batch.push_type(&self.map, *map_type, self.applied),
            (What::Clear, None) => batch.push_clear(self.applied),
            (_, None) => unreachable!("all others have a delta"),
        }
    }

    /// What a record says; `None` for a mark.
    pub fn of(record: &Record<'_>) -> Option<Self> {
        let what = match record.body {
            Body::Mark { .. } => return None,
            Body::Type(map_type) => What::Type(map_type),
            Body::Clear => What::Clear,
            Body::Delta(delta) => of_delta(&delta),
        };
        Some(Self { map: record.map.to_owned(), key: record.key.to_vec(), applied: record.applied, what })
    }
}

pub fn of_delta(delta: &Delta<'_>) -> What {
    match *delta {
        Delta::Lww { at, value, expires_ms } => {
            What::Lww { at, value: value.map(<[u8]>::to_vec), expires_ms }
        }
        Delta::OrAdd { tag, value, at } => What::OrAdd { tag: tag.to_owned(), value: value.to_vec(), at },
        Delta::OrRemove { tag } => What::OrRemove { tag: tag.to_owned() },
        Delta::Counter { replica, added, subtracted } => What::Counter { replica, added, subtracted },
        Delta::CounterAbsorbed { count: Count(count), through } => What::CounterAbsorbed { count, through },
    }
}

fn value(random: &mut Random) -> Vec<u8> {
    let len = random.below(40);
    random.bytes(len)
}

fn tag(random: &mut Random) -> String {
    let characters = random.within(1..26);
    random.text(characters)
}

fn stamp(random: &mut Random) -> Stamp {
    Stamp { time: Time::from_bits(random.next()), node: node(random) }
}

fn node(random: &mut Random) -> Node {
    let len = random.within(1..41);
    let name: Vec<u8> = (0..len).map(|_| b"abcXYZ019-_~!"[random.below(13)]).collect();
    Node::new(&name).unwrap()
}
