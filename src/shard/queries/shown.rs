//! The part of a sorted list that is shown, and what a change of the list is to it.

use super::rows::{Row, Rows};

/// Ranks from the first that is shown to before the end.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub first: usize,
    pub end: usize,
}

/// What happens to the part that is shown. Ranks count from its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Leave,
    Enter,
    Update,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Zone {
    Before,
    Within,
    /// Or not in the list.
    Behind,
}

impl Shown {
    const fn zone(self, rank: Option<usize>) -> Zone {
        match rank {
            Some(rank) if rank < self.first => Zone::Before,
            Some(rank) if rank < self.end => Zone::Within,
            _ => Zone::Behind,
        }
    }

    /// Replaces a row of the list by another of the same key, takes it out, or puts it in, and calls `step` with what that is to
    /// the part that is shown, in order: two steps at most.
    pub fn replace(
        self,
        rows: &mut Rows,
        old: Option<&Row>,
        new: Option<&Row>,
        mut step: impl FnMut(Step, usize, &Row),
    ) {
        let Self { first, end } = self;
        let was_full = rows.len() >= end;
        let (was_first, was_last) = (rows.get(first).cloned(), rows.get(end - 1).cloned());
        let from = old.and_then(|old| rows.remove(old.place()));
        let to = new.map(|new| rows.insert(new.clone()));
        let last = end - 1 - first;
        let (from_zone, to_zone) = (self.zone(from), self.zone(to));
        let ranked = |rank: Option<usize>| rank.unwrap_or(first) - first;
        match (from_zone, old) {
            _ if from_zone == to_zone && from_zone != Zone::Within => return,
            (Zone::Within, Some(_)) if to_zone == Zone::Within => {}
            (Zone::Within, Some(old)) => step(Step::Leave, ranked(from), old),
            (Zone::Before, _) => {
                if let Some(row) = &was_first {
                    step(Step::Leave, 0, row);
                }
            }
            _ => {
                if let Some(row) = was_last.as_ref().filter(|_| was_full) {
                    step(Step::Leave, last, row);
                }
            }
        }
        match (to_zone, new) {
            (Zone::Within, Some(new)) if from_zone == Zone::Within => step(Step::Update, ranked(to), new),
            (Zone::Within, Some(new)) => step(Step::Enter, ranked(to), new),
            (Zone::Before, _) => {
                if let Some(row) = rows.get(first) {
                    step(Step::Enter, 0, row);
                }
            }
            _ => {
                if let Some(row) = rows.get(end - 1) {
                    step(Step::Enter, last, row);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(place: u8, key: u8) -> Row {
        Row::new(&[place, key], &[key])
    }

    /// What a client makes of steps.
    fn take(list: &mut Vec<String>, step: Step, rank: usize, row: &Row) {
        let key = row.key().to_owned();
        let at = list.iter().position(|other| *other == key);
        match step {
            Step::Leave => {
                assert_eq!(at, Some(rank));
                list.remove(rank);
            }
            Step::Enter => {
                assert_eq!(at, None);
                list.insert(rank, key);
            }
            Step::Update => {
                list.remove(at.unwrap());
                list.insert(rank, key);
            }
        }
    }

    #[test]
    fn whoever_takes_the_steps_has_what_is_shown() {
        for (first, end) in [(0, 1), (0, 3), (0, 100), (1, 2), (2, 5), (4, 100)] {
            let (mut rows, mut list) = (Rows::default(), Vec::new());
            let mut places: [Option<u8>; 12] = [None; 12];
            let mut random = 1_u32;
            for _ in 0..5_000 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let key = (random >> 8) as usize % 12;
                let place = ((random >> 16) % 40) as u8;
                let new = (random >> 24 & 3 != 0).then_some(place);
                let letter = b'a' + key as u8;
                let (old_row, new_row) =
                    (places[key].map(|old| row(old, letter)), new.map(|new| row(new, letter)));
                let mut steps = 0;
                Shown { first, end }.replace(
                    &mut rows,
                    old_row.as_ref(),
                    new_row.as_ref(),
                    |step, rank, row| {
                        steps += 1;
                        take(&mut list, step, rank, row);
                    },
                );
                assert!(steps <= 2);
                places[key] = new;
                let shown: Vec<String> =
                    rows.from(first).take(end - first).map(|row| row.key().to_owned()).collect();
                assert_eq!(list, shown);
            }
        }
    }
}
