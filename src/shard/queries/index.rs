//! An index of one field: what a view shows of a map, in the order of that field, so that the first of a query, or what it needs,
//! is found without looking at the rest.
//!
//! ```text
//!  --index tasks:due        place = the field as `query/order.rs` encodes it | key
//!
//!  sort ["due"], limit 50   ├──────────►  until more are found than are kept            in order
//!  where due = 7               ├──┤       all of them                                   a pin
//!  where due ≥ 5, < 9            ├────┤   all of them, one more at each end at most     a span
//! ```
//! It is filled by the scan that the first query needs anyway, and kept as each change comes. Invariant: once `is_whole`, a row is in
//! it exactly if its entry may be seen, with the field that it has as of the last change that was looked at.

use super::rows::{Row, Rows};
use crate::crdt::Time;
use crate::query::{Fields, Query};

/// Rows that a way takes from its index at once.
const BATCH_ROWS: usize = 64;
/// A pin or a span is the way if it has no more rows than so many times those that are kept of the query; else rows come in the
/// order of its list, if there is an index for it.
const ROWS_PER_KEPT: usize = 8;

/// See the module.
#[derive(Debug)]
pub struct Index {
    /// Of the field, in its group.
    slot: u32,
    rows: Rows,
    /// While it is filled: as of a query that a scan looks for.
    pub joined: Option<(Time, bool)>,
    is_whole: bool,
    /// There was no memory for it.
    is_given_up: bool,
}

/// What places begin with: from the first to the last, both included.
type Ends = (Box<[u8]>, Box<[u8]>);

/// What a query looks at of an index, and how far it has come.
#[derive(Debug)]
pub struct Way {
    /// Among those of the group.
    index: usize,
    /// The next one last.
    spans: Vec<Ends>,
    /// Whether rows come in the order of the list, so that what is behind the last that is kept need not be looked at.
    is_in_order: bool,
    descends: bool,
    /// The last row that was looked at, in the span at hand.
    at: Option<Row>,
}

impl Index {
    /// Nothing is in it.
    pub fn new(slot: u32) -> Self {
        Self { slot, rows: Rows::default(), joined: None, is_whole: false, is_given_up: false }
    }

    /// A scan of all the map begins, which fills it.
    pub const fn begin(&mut self) {
        if !self.is_whole && !self.is_given_up {
            self.joined = Some((Time::ZERO, false));
        }
    }

    pub const fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub const fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    /// Whether it is kept: it is whole, or being filled.
    pub const fn is_kept(&self) -> bool {
        self.is_whole || self.joined.is_some()
    }

    /// Takes an entry in, if it is not there.
    pub fn put(&mut self, fields: &Fields, key: &str, place: &mut Vec<u8>) {
        self.write_place(fields, key, place);
        if !self.rows.contains(place) {
            self.rows.insert(Row::new(place, key.as_bytes()));
        }
    }

    /// Lets go of an entry that had these fields.
    pub fn take_out(&mut self, fields: &Fields, key: &str, place: &mut Vec<u8>) {
        self.write_place(fields, key, place);
        self.rows.remove(place);
    }

    /// The scan is over.
    pub fn complete(&mut self) {
        (self.joined, self.is_whole) = (None, true);
    }

    /// Nothing is in it, as nothing is in the map.
    pub fn clear(&mut self) {
        self.rows = Rows::default();
        self.complete();
    }

    /// It is kept no more.
    pub fn give_up(&mut self) {
        *self = Self { is_given_up: true, ..Self::new(self.slot) };
    }

    fn write_place(&self, fields: &Fields, key: &str, place: &mut Vec<u8>) {
        place.clear();
        place.extend_from_slice(fields.of(self.slot));
        place.extend_from_slice(key.as_bytes());
    }

    fn count(&self, (first, last): &Ends) -> usize {
        let before = self.rows.rank_by(|row| row.place() < &**first);
        self.rows.rank_by(|row| is_through(row, last)).saturating_sub(before)
    }
}

/// Whether a row is not behind those that begin so.
fn is_through(row: &Row, last: &[u8]) -> bool {
    &row.place()[..last.len().min(row.place().len())] <= last
}

impl Way {
    /// The best way for a query of which `rows_max` are kept, if any is better than a scan.
    pub fn best(indexes: &[Index], query: &Query, slots: &[u32], rows_max: usize) -> Option<Self> {
        let whole = || indexes.iter().enumerate().filter(|(_, index)| index.is_whole);
        let of = |path: u16| whole().find(|(_, index)| index.slot == slots[usize::from(path)]);
        let pins = query.pins();
        let pinned = pins.iter().filter_map(|pin| {
            let spans = pin.values.iter().rev().map(|value| (value.clone(), value.clone())).collect();
            Some((of(pin.path)?, spans))
        });
        let wanted = query.spans();
        let spanned = wanted.iter().filter_map(|span| {
            let ends = [span.first, span.last].map(|end| Box::from(end.to_be_bytes()));
            Some((of(span.path)?, Vec::from([ends.into()])))
        });
        let few = pinned
            .chain(spanned)
            .map(|((index, of), spans): (_, Vec<_>)| {
                let count: usize = spans.iter().map(|span| of.count(span)).sum();
                (count, Self { index, spans, is_in_order: false, descends: false, at: None })
            })
            .min_by_key(|(count, _)| *count);
        let in_order = query.sort().first().and_then(|by| {
            let (index, _) = of(by.path)?;
            let span = wanted.iter().find(|span| span.path == by.path);
            let ends = span.map_or_else(Ends::default, |span| {
                [span.first, span.last].map(|end| Box::from(end.to_be_bytes())).into()
            });
            Some(Self { index, spans: vec![ends], is_in_order: true, descends: by.descends, at: None })
        });
        match few {
            Some((count, few)) if count <= ROWS_PER_KEPT * rows_max || in_order.is_none() => Some(few),
            _ => in_order,
        }
    }

    pub const fn index(&self) -> usize {
        self.index
    }

    pub const fn is_in_order(&self) -> bool {
        self.is_in_order
    }

    pub const fn descends(&self) -> bool {
        self.descends
    }

    /// This row was looked at.
    pub fn pass(&mut self, row: &Row) {
        self.at = Some(row.clone());
    }

    /// The next rows; of none, nothing is left.
    pub fn next(&mut self, index: &Index) -> Vec<Row> {
        while let Some((first, last)) = self.spans.last() {
            let rows = &index.rows;
            let start = rows.rank_by(|row| row.place() < &**first);
            let end = rows.rank_by(|row| is_through(row, last));
            let batch: Vec<Row> = if self.descends {
                let end = self.at.as_ref().map_or(end, |at| rows.rank(at.place()));
                let start = start.max(end.saturating_sub(BATCH_ROWS));
                let mut batch: Vec<Row> = rows.from(start).take(end.saturating_sub(start)).cloned().collect();
                batch.reverse();
                batch
            } else {
                let start = self.at.as_ref().map_or(start, |at| rows.count_through(at.place()));
                rows.from(start).take(end.saturating_sub(start).min(BATCH_ROWS)).cloned().collect()
            };
            if !batch.is_empty() {
                return batch;
            }
            self.at = None;
            self.spans.pop();
        }
        Vec::new()
    }
}

/// The indexes of a group: bytes that they take.
pub fn bytes(indexes: &[Index]) -> usize {
    indexes.iter().map(Index::bytes).sum()
}

/// Takes a change into the indexes of a group: what could be seen before and what can be now, if anything.
pub fn change(
    indexes: &mut [Index],
    key: &str,
    (before, after): (Option<&Fields>, Option<&Fields>),
    place: &mut Vec<u8>,
) {
    for index in indexes.iter_mut().filter(|index| index.is_kept()) {
        let is_same = before.map(|fields| fields.of(index.slot)) == after.map(|fields| fields.of(index.slot));
        if is_same && index.is_whole {
            continue;
        }
        if let Some(before) = before {
            index.take_out(before, key, place);
        }
        if let Some(after) = after {
            index.put(after, key, place);
        }
    }
}
