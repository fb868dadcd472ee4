//! Operations: how they are made, by chance, and what they look like.

use std::fmt::Write;

use crate::maps::{self, Kind};
use crate::promises::Promises;
use crate::random::Random;
use crate::replica::Stamp;
use crate::writer::{Writer, now_ms};

#[derive(Clone, Debug)]
pub struct Op {
    pub map: usize,
    pub key: String,
    pub change: Change,
    /// The stamp that had been promised at this key when the operation was made: what the server stamps is later.
    pub after: Option<Stamp>,
    /// When it was made, in unix milliseconds: a time to live without a stamp of the client begins later.
    pub made_ms: u64,
}

#[derive(Clone, Debug)]
pub enum Change {
    /// `value` is `None` for a delete.
    Put {
        value: Option<String>,
        at: Option<Stamp>,
        ttl_ms: Option<u64>,
    },
    Add {
        tag: String,
        value: String,
    },
    Remove {
        tags: Vec<String>,
    },
    Increment {
        by: i64,
    },
    /// Of the writer's own slot.
    Totals {
        replica: String,
        totals: (i64, i64),
    },
}

impl Op {
    pub fn of(map: usize, writer: &mut Writer, promises: &Promises) -> Self {
        let key = maps::key(&mut writer.random);
        let change = match maps::kind(map) {
            kind @ (Kind::Lww | Kind::Fleeting) => put(kind, map, &key, writer),
            Kind::Or => or(map, &key, writer, promises),
            Kind::Counter => count(map, &key, writer),
        };
        let after = promises.stamp(map, &key);
        Self { map, key, change, after, made_ms: now_ms() }
    }

    pub fn write_to(&self, out: &mut String) {
        let _ = write!(out, r#"{{"map":"{}","key":"{}","op":"#, maps::name(self.map), self.key);
        let _ = match &self.change {
            Change::Put { value, at, ttl_ms } => {
                let _ = match value {
                    Some(value) => write!(out, r#""set","value":"{value}""#),
                    None => write!(out, r#""delete""#),
                };
                let _ = ttl_ms.map(|ttl_ms| write!(out, r#","ttl_ms":{ttl_ms}"#));
                at.iter().try_for_each(|at| write!(out, r#","at":"{}""#, at.text()))
            }
            Change::Add { tag, value } => write!(out, r#""add","tag":"{tag}","value":"{value}""#),
            Change::Remove { tags } => write!(out, r#""remove","tags":{tags:?}"#),
            Change::Increment { by } => write!(out, r#""increment","by":{by}"#),
            Change::Totals { replica, totals: (added, subtracted) } => {
                write!(out, r#""increment","replica":"{replica}","added":{added},"subtracted":{subtracted}"#)
            }
        };
        out.push('}');
    }
}

fn put(kind: Kind, map: usize, key: &str, writer: &mut Writer) -> Change {
    let is_delete = writer.random.per_mille(150);
    let value = (!is_delete).then(|| writer.value(map, key));
    let is_fleeting = kind == Kind::Fleeting && !is_delete;
    let ttl_ms = is_fleeting.then(|| writer.random.pick(&[1, 200, 2_000, 3_600_000]));
    let at = writer.random.per_mille(200).then(|| writer.stamp());
    Change::Put { value, at, ttl_ms }
}

fn or(map: usize, key: &str, writer: &mut Writer, promises: &Promises) -> Change {
    let tags = promises.tags(map, key);
    if !tags.is_empty() && writer.random.per_mille(400) {
        let count = writer.random.between(1, 3);
        let tag = |random: &mut Random| tags[random.below(tags.len())].clone();
        return Change::Remove { tags: (0..count).map(|_| tag(&mut writer.random)).collect() };
    }
    let value = writer.value(map, key);
    Change::Add { tag: format!("{}-{}", writer.name, writer.number), value }
}

fn count(map: usize, key: &str, writer: &mut Writer) -> Change {
    if writer.random.per_mille(500) {
        return Change::Increment { by: writer.random.between(1, 20) as i64 - 6 };
    }
    let (added, subtracted) = (writer.random.below(9) as i64, writer.random.below(5) as i64);
    let totals = writer.totals.entry((map, key.to_owned())).or_default();
    *totals = (totals.0 + added, totals.1 + subtracted);
    Change::Totals { replica: writer.name.clone(), totals: *totals }
}

/// A value that says who wrote it where, and with so much behind it that damage would show.
pub fn value(writer: &str, number: u64, map: usize, key: &str) -> String {
    let len = (number * 37 % 3000) as usize;
    let letter = char::from(b'a' + (number % 26) as u8);
    let mut value = format!("{writer}.{number}.{map}.{key}.");
    value.extend(std::iter::repeat_n(letter, len));
    value
}
