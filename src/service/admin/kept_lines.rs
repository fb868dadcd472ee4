//! The last lines of the log, as they are asked for.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::fields::{bad, number, said};
use crate::io::recent::{Line, Lines};

/// Lines that are kept, and told at once.
const KEPT: usize = 512;
const LIMIT_DEFAULT: usize = 100;

/// What `GET /admin/log` is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    #[serde(default, deserialize_with = "number")]
    after: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Shown<'a> {
    number: u64,
    unix_ms: u64,
    level: &'static str,
    target: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct Page<'a> {
    lines: Vec<Shown<'a>>,
    next: u64,
    lost: u64,
}

/// See the module.
#[derive(Default)]
pub struct KeptLines {
    taken: Option<Lines>,
    lines: VecDeque<(u64, Line)>,
    /// Of the last line.
    number: u64,
}

impl KeptLines {
    pub fn new(taken: Option<Lines>) -> Self {
        Self { taken, ..Self::default() }
    }

    /// Takes what was said meanwhile.
    pub fn take(&mut self) {
        let Some(taken) = &self.taken else { return };
        while let Some(line) = taken.take() {
            self.number += 1;
            if self.lines.len() == KEPT {
                self.lines.pop_front();
            }
            self.lines.push_back((self.number, line));
        }
        // They have numbers, so that they are missed.
        self.number += taken.take_lost();
    }

    /// `GET /admin/log`: the newest, in order.
    pub fn page(&mut self, asked: &Asked) -> Answer {
        self.take();
        let limit = asked.limit.unwrap_or(LIMIT_DEFAULT);
        if limit == 0 || limit > KEPT {
            return Err(bad("bad_request", "limit is from 1 to 512"));
        }
        let after = asked.after.unwrap_or(0);
        let fresh = self.lines.iter().filter(|(number, _)| *number > after).count();
        let skipped = self.lines.len() - fresh.min(limit);
        let lines: Vec<Shown<'_>> = self
            .lines
            .iter()
            .skip(skipped)
            .map(|(number, line)| Shown {
                number: *number,
                unix_ms: line.unix_ms,
                level: line.level,
                target: &line.target,
                message: &line.message,
            })
            .collect();
        let told = lines.len() as u64;
        let lost = self.number.saturating_sub(after).saturating_sub(told);
        said(&Page { lines, next: self.number, lost })
    }
}
