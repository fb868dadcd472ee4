//! One list, as a client has it: from a snapshot on, step by step.

use super::table::{Row, Table, read_row};
use crate::failure::{Failure, excerpt};
use crate::json::{self, Malformed};

#[derive(Default)]
pub struct Screen {
    rows: Vec<(Vec<u8>, Row)>,
    is_whole: bool,
}

/// What one entry of a message says.
#[derive(Default)]
struct Told<'a> {
    key: &'a [u8],
    value: &'a [u8],
    event: &'a [u8],
    rank: usize,
}

impl Screen {
    /// Takes a message of a `snapshot`.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for what is no part of one.
    pub fn begin(&mut self, entries: &[u8], more: bool) -> Result<(), Failure> {
        if self.is_whole {
            (self.rows, self.is_whole) = (Vec::new(), false);
        }
        each_told(entries, |told| {
            if told.rank != self.rows.len() {
                return Err(Failure::Wrong(format!(
                    "rank {} of {} behind {}",
                    told.rank,
                    excerpt(told.key),
                    self.rows.len()
                )));
            }
            self.rows.push((told.key.to_vec(), read_row(told.value)?));
            Ok(())
        })?;
        self.is_whole = !more;
        Ok(())
    }

    /// Takes the steps of a `change`; calls `shown` with the write of each value that is shown now, but for those that may have been
    /// written long ago and take the place of one that has left. How many steps they were.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for a step that does not fit.
    pub fn change(
        &mut self,
        table: &Table,
        entries: &[u8],
        mut shown: impl FnMut(u64),
    ) -> Result<u64, Failure> {
        let (mut steps, mut has_left) = (0, false);
        each_told(entries, |told| {
            steps += 1;
            if told.event != b"enter" {
                let place = self.rows.iter().position(|(key, _)| key == told.key);
                let place =
                    place.ok_or_else(|| Failure::Wrong(format!("{} was not shown", excerpt(told.key))))?;
                if told.event == b"leave" && place != told.rank {
                    return Err(Failure::Wrong(format!(
                        "{} left {}, it was at {place}",
                        excerpt(told.key),
                        told.rank
                    )));
                }
                self.rows.remove(place);
            } else if self.rows.iter().any(|(key, _)| key == told.key) {
                return Err(Failure::Duplicated(format!("{} is shown already", excerpt(told.key))));
            }
            has_left |= told.event == b"leave";
            if told.event != b"leave" {
                let row = read_row(told.value)?;
                if told.rank > self.rows.len() {
                    return Err(Failure::Wrong(format!("rank {} of {}", told.rank, self.rows.len())));
                }
                self.rows.insert(told.rank, (told.key.to_vec(), row));
                let place = |at: usize| self.rows.get(at).map(|(key, row)| table.place(key, row));
                let own = place(told.rank);
                if told.rank > 0 && place(told.rank - 1) > own
                    || place(told.rank + 1).is_some_and(|next| Some(next) < own)
                {
                    return Err(Failure::Wrong(format!("{} is not in its place", excerpt(told.key))));
                }
                let is_last = told.rank + 1 == self.rows.len();
                if !(told.event == b"enter" && is_last && has_left) {
                    shown(row.seq);
                }
            }
            Ok(())
        })?;
        Ok(steps)
    }

    pub const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// # Errors
    /// [`Failure::Wrong`] or [`Failure::Lost`] for another list than this.
    pub fn expect(&self, query: u32, shown: &[(Vec<u8>, u64)]) -> Result<(), Failure> {
        let own: Vec<(&[u8], u64)> = self.rows.iter().map(|(key, row)| (&key[..], row.seq)).collect();
        let wanted: Vec<(&[u8], u64)> = shown.iter().map(|(key, seq)| (&key[..], *seq)).collect();
        if own == wanted {
            return Ok(());
        }
        let at = own.iter().zip(&wanted).take_while(|(own, wanted)| own == wanted).count();
        let name = |row: Option<&(&[u8], u64)>| {
            row.map_or_else(|| "nothing".to_owned(), |(key, seq)| format!("{} of write {seq}", excerpt(key)))
        };
        let (own, wanted) = (name(own.get(at)), name(wanted.get(at)));
        Err(Failure::Wrong(format!("query {query} shows {own} at {at}, not {wanted}")))
    }
}

fn each_told<'a>(
    entries: &'a [u8],
    mut each: impl FnMut(Told<'a>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    json::each_element(entries, |raw| {
        let mut told = Told::default();
        json::each_field(raw, |name, value| {
            match name {
                b"key" => told.key = json::plain_string(value).ok_or(Malformed)?,
                b"value" => told.value = value,
                b"event" => told.event = json::plain_string(value).ok_or(Malformed)?,
                b"rank" => told.rank = json::number(value).ok_or(Malformed)? as usize,
                _ => {}
            }
            Ok::<(), Malformed>(())
        })?;
        each(told)
    })
}
