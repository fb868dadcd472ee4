//! Pages: parts of walks through the tables of one shard after the other. A cursor is where the walk goes on: `shard-slot`.
//!
//! Invariant: a page asks for as many shares as `LOOKED_AT_MAX` slots take, one more at most, and sorts nothing.

use serde::Serialize;

use super::answer::Refusal;
use super::fields::bad;
use super::shards::{Shards, other};
use crate::handover::inspection::{Finding, Inquiry, Share, Walk};
use crate::limits::INSPECTED_ROWS_MAX;

/// Slots that one page looks at, past which it ends.
const LOOKED_AT_MAX: u64 = 16_384;
const LIMIT_DEFAULT: u32 = 100;

/// What is asked of every list.
#[derive(Clone, Copy, Debug)]
pub struct PageOf {
    pub limit: u32,
    pub shard: usize,
    pub slot: u32,
}

impl PageOf {
    /// # Errors
    /// A limit or a cursor that is none.
    pub fn new(limit: Option<u32>, after: Option<&str>, shards: usize) -> Result<Self, Refusal> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if limit == 0 || limit > INSPECTED_ROWS_MAX {
            return Err(bad("bad_request", "limit is from 1 to 500"));
        }
        let parse = |text: &str| {
            let (shard, slot) = text.split_once('-')?;
            let (shard, slot) = (shard.parse().ok()?, slot.parse().ok()?);
            (shard < shards).then_some((shard, slot))
        };
        let (shard, slot) = match after.filter(|after| !after.is_empty()) {
            None => (0, 0),
            Some(after) => parse(after)
                .ok_or_else(|| bad("bad_cursor", "after is the `next` of an answer of this server"))?,
        };
        Ok(Self { limit, shard, slot })
    }
}

/// One page: rows with their shards.
pub struct Rows<T> {
    pub rows: Vec<(usize, T)>,
    pub looked_at: u64,
    pub next: Option<String>,
}

/// Asks for shares until the page is full, enough was looked at, or there is no more. `share` is what a shard has found.
///
/// # Errors
/// A shard does not answer.
pub async fn page<T>(
    shards: &Shards,
    of: PageOf,
    inquiry: impl Fn(Walk) -> Inquiry,
    mut share: impl FnMut(usize, Finding) -> Option<Share<T>>,
) -> Result<Rows<T>, Refusal> {
    let (mut rows, mut looked_at) = (Vec::new(), 0);
    let (mut shard, mut slot) = (of.shard, of.slot);
    while shard < shards.count() {
        let rows_max = of.limit - u32::try_from(rows.len()).unwrap_or(of.limit);
        if rows_max == 0 || looked_at >= LOOKED_AT_MAX {
            return Ok(Rows { rows, looked_at, next: Some(format!("{shard}-{slot}")) });
        }
        let found = shards.ask(shard, inquiry(Walk { from: slot, rows_max })).await?;
        let found = share(shard, found).ok_or_else(other)?;
        looked_at += u64::from(found.looked_at);
        rows.extend(found.rows.into_iter().map(|row| (shard, row)));
        (shard, slot) = found.next.map_or((shard + 1, 0), |next| (shard, next));
    }
    Ok(Rows { rows, looked_at, next: None })
}

/// A list as it is answered.
#[derive(Serialize)]
pub struct Listed<T> {
    #[serde(flatten)]
    pub rows: std::collections::BTreeMap<&'static str, Vec<T>>,
    pub looked_at: u64,
    pub next: Option<String>,
}

impl<T> Rows<T> {
    /// With each row as it is shown, under a name.
    pub fn listed<S>(self, name: &'static str, show: impl FnMut((usize, T)) -> S) -> Listed<S> {
        let rows = std::collections::BTreeMap::from([(name, self.rows.into_iter().map(show).collect())]);
        Listed { rows, looked_at: self.looked_at, next: self.next }
    }
}
