//! Queries over values: which entries of a map match, and in what order. `docs/queries.md` says what each word means.
//!
//! ```text
//!  json.rs       canonical JSON, read where it lies    parse.rs      a client's query, within its limits
//!  order.rs      the one order of all values, as bytes condition.rs  what of a value must be true
//!  paths.rs      fields of a value, all in one pass    sort.rs       the place of an entry, as bytes
//! ```
//! Everything is compared as bytes: a value is encoded once so that the order of the bytes is the order of values, and a test or
//! a place in a list is `memcmp` from there on.
//!
//! order: parse → mod → { condition, sort } → paths → order → json

mod condition;
mod json;
mod order;
mod parse;
mod paths;
mod sort;

use condition::Condition;

pub use condition::{Pin, Span};
pub use order::{encode, leading};
pub use paths::{Fields, Path, Paths};
pub use sort::By;

/// What a client wants to see of a map. Immutable, so that all shards read one copy. Two that ask for the same in the same
/// words are equal, however they were spelled.
#[derive(Debug)]
pub struct Query {
    /// Fields that are looked at; the others are named by their place in here.
    paths: Vec<Path>,
    condition: Condition,
    sort: Vec<By>,
    offset: u32,
    limit: u32,
    /// All of it once more, by which it is compared.
    digest: Box<[u8]>,
}

impl Query {
    /// Fields that it looks at, each once.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// What it is sorted by, the first first.
    pub fn sort(&self) -> &[By] {
        &self.sort
    }

    /// Entries before the first that is shown.
    pub const fn offset(&self) -> usize {
        self.offset as usize
    }

    /// Entries up to the last that is shown.
    pub const fn end(&self) -> usize {
        self.offset as usize + self.limit as usize
    }

    /// Whether a value matches whose fields are at these `slots` of `fields`.
    pub fn matches(&self, fields: &Fields, slots: &[u32]) -> bool {
        self.condition.is_met(&|path| fields.of(slots[usize::from(path)]))
    }

    /// Its conditions that a field is one of some values, each of which must be true. The same ones in the same order every time.
    pub fn pins(&self) -> Vec<Pin<'_>> {
        let mut pins = Vec::new();
        self.condition.push_pins(&mut pins);
        pins
    }

    /// The spans in which fields must be, one of a path at most. The same ones in the same order every time.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        self.condition.narrow_spans(&mut spans);
        spans
    }

    /// Appends the place of an entry: bytes that compare as entries do, of which no two are equal.
    pub fn write_place(&self, fields: &Fields, slots: &[u32], key: &[u8], out: &mut Vec<u8>) {
        sort::write_place(&self.sort, |path| fields.of(slots[usize::from(path)]), key, out);
    }

    /// What makes it this query and no other, the same after every start.
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// What makes asking it of a value more or less: its conditions and values, in bytes.
    pub fn asked_bytes(&self) -> usize {
        self.digest.len()
    }

    /// Bytes of memory it takes, by and large.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + 2 * self.digest.len()
    }
}

impl PartialEq for Query {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Query {}
