//! What stands in the map, and what a query must show of it.
//!
//! Entry `k<number>` has `{"owner":"u<number>","rank":<number>,"seq":<number>,"text":"…"}`. A change gives it another rank, and one in
//! ten another owner. `seq` counts the writes, so that a value says which of them it is.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::{By, QueriesOptions};
use crate::ack::AckLevel;
use crate::failure::Failure;
use crate::json::{self, Malformed};
use crate::message::{Message, begin, write_field};
use crate::scenario::setup::Question;

/// Ranks are below this.
pub const RANKS: u32 = 1_000_000;
/// What each value has beside.
const TEXT: &str = "forty-eight characters of what people write down";

/// What an entry has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub owner: u32,
    pub rank: u32,
    pub seq: u64,
}

pub struct Table {
    pub map: String,
    pub rows: Vec<Row>,
    pub by: By,
    pub queries: u32,
    pub limit: u32,
    /// Until now.
    pub writes: u64,
    random: u64,
}

impl Table {
    pub fn new(options: &QueriesOptions, map: String) -> Self {
        let QueriesOptions { entries, queries, by, limit, .. } = *options;
        let mut table = Self {
            map,
            rows: vec![Row::default(); entries as usize],
            by,
            queries,
            limit,
            writes: 0,
            random: 0x9E37_79B9_7F4A_7C15,
        };
        for entry in 0..entries {
            table.rows[entry as usize].owner = table.below(queries);
            table.write(entry);
        }
        table
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((mixed >> 33) * u64::from(end)) >> 31) as u32
    }

    /// Changes an entry.
    pub fn write(&mut self, entry: u32) {
        let rank = self.below(RANKS);
        if self.below(10) == 0 {
            self.rows[entry as usize].owner = self.below(self.queries);
        }
        let row = &mut self.rows[entry as usize];
        (row.rank, row.seq) = (rank, self.writes);
        self.writes += 1;
    }

    /// Appends one operation of a `write`, for an entry as it is now.
    pub fn push_op(&self, text: &mut String, entry: u32) {
        let Row { owner, rank, seq } = self.rows[entry as usize];
        let _ = write!(
            text,
            "{{\"map\":\"{}\",\"key\":\"k{entry}\",\"op\":\"set\",\"value\":{{\"owner\":\"u{owner}\",\"rank\":{rank},\"seq\":{seq},\"text\":\"{TEXT}\"}}}}",
            self.map
        );
    }

    /// The `subscribe` of a query, under this id.
    pub fn subscribe(&self, id: u64, query: u32) -> Vec<u8> {
        let mut text = Vec::new();
        begin(&mut text, "subscribe", id);
        write_field(&mut text, "map", &[self.map.as_bytes()]);
        let limit = self.limit;
        let query = match self.by {
            By::Owner => {
                format!("{{\"where\":{{\"owner\":\"u{query}\"}},\"sort\":[\"-rank\"],\"limit\":{limit}}}")
            }
            By::Range => {
                let (first, end) = self.ranks(query);
                format!(
                    "{{\"where\":{{\"rank\":{{\"ge\":{first},\"lt\":{end}}}}},\"sort\":[\"rank\"],\"limit\":{limit}}}"
                )
            }
        };
        text.extend_from_slice(b",\"query\":");
        text.extend_from_slice(query.as_bytes());
        text.push(b'}');
        text
    }

    /// Where a row is in the list of a query: of two the lesser is the first.
    pub fn place<'k>(&self, key: &'k [u8], row: &Row) -> (u32, &'k [u8]) {
        let rank = match self.by {
            By::Owner => RANKS - row.rank,
            By::Range => row.rank,
        };
        (rank, key)
    }

    /// What each query shows: the keys with the writes of their values.
    pub fn shown(&self) -> Vec<Vec<(Vec<u8>, u64)>> {
        let mut matching: HashMap<u32, Vec<(u32, Vec<u8>, u64)>> = HashMap::new();
        for (entry, row) in self.rows.iter().enumerate() {
            let query = match self.by {
                By::Owner => row.owner,
                By::Range => (u64::from(row.rank) * u64::from(self.queries) / u64::from(RANKS)) as u32,
            };
            let key = format!("k{entry}").into_bytes();
            let (rank, _) = self.place(&key, row);
            matching.entry(query).or_default().push((rank, key, row.seq));
        }
        (0..self.queries)
            .map(|query| {
                let mut rows = matching.remove(&query).unwrap_or_default();
                rows.sort_unstable();
                rows.truncate(self.limit as usize);
                rows.into_iter().map(|(_, key, seq)| (key, seq)).collect()
            })
            .collect()
    }

    /// The ranks of a query by range: from the first to before the other.
    fn ranks(&self, query: u32) -> (u32, u32) {
        let border =
            |query: u32| (u64::from(query) * u64::from(RANKS)).div_ceil(u64::from(self.queries)) as u32;
        (border(query), border(query + 1))
    }
}

/// What a value says.
///
/// # Errors
/// [`Failure::Wrong`] for a value that nobody wrote.
pub fn read_row(value: &[u8]) -> Result<Row, Failure> {
    let mut row = Row::default();
    json::each_field(value, |name, raw| {
        match name {
            b"owner" => {
                let owner = json::plain_string(raw).and_then(|owner| json::number(owner.strip_prefix(b"u")?));
                row.owner = owner.ok_or(Malformed)? as u32;
            }
            b"rank" => row.rank = json::number(raw).ok_or(Malformed)? as u32,
            b"seq" => row.seq = json::number(raw).ok_or(Malformed)?,
            _ => {}
        }
        Ok::<(), Malformed>(())
    })?;
    Ok(row)
}

/// Writes some entries for the first time.
pub struct Fill {
    text: Vec<u8>,
    ops: u64,
}

impl Fill {
    /// Operations of one request.
    pub const OPS: u32 = 500;

    pub fn new(table: &mut Table, first: u32) -> Self {
        let end = (first + Self::OPS).min(table.rows.len() as u32);
        Self { text: write(table, 0, first..end), ops: u64::from(end - first) }
    }
}

/// A `write` of these entries as they are now.
pub fn write(table: &Table, id: u64, entries: impl Iterator<Item = u32>) -> Vec<u8> {
    let mut text = Vec::new();
    begin(&mut text, "write", id);
    text.extend_from_slice(b",\"ops\":[");
    let mut ops = String::new();
    for entry in entries {
        if !ops.is_empty() {
            ops.push(',');
        }
        table.push_op(&mut ops, entry);
    }
    text.extend_from_slice(ops.as_bytes());
    text.extend_from_slice(b"]}");
    text
}

impl Question for Fill {
    fn ask(&mut self, _: usize) -> &[u8] {
        &self.text
    }

    fn answer(&mut self, _: usize, message: &[u8]) -> Result<bool, Failure> {
        Message::read(message)?.expect_ack(0, self.ops, AckLevel::Memory)?;
        Ok(true)
    }
}
