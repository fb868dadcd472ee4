//! `neighbours`: an ordinary client, the victim, beside one heavy or hostile client at a time. What a client may suffer from
//! another one.
//!
//! Each row is a behaviour, in a file of its own that says what it does and what in the server bounds it; it has a server
//! of its own. The target of each row, with the server on one core: the victim's p99 is at most 5 ms above its own alone, the
//! server's memory at most 64 MiB above what is stored.

mod awareness_flood;
mod behaviour;
mod big_or_key;
mod chunk_flood;
mod close_flood;
mod crowd;
mod expiries;
mod half_open;
mod heard;
mod held_answers;
mod held_awareness;
mod hot_map;
mod importer;
mod one_byte_frames;
mod paused;
mod peer;
mod ping_flood;
mod read_or_key;
mod reconnects;
mod removes;
mod removes_by_value;
mod repeated_read;
mod replaced_subscribes;
mod requests;
mod scrapes;
mod segment;
mod siege;
mod slow_subscriber;
mod stage;
mod stale_walk;
mod subscriptions;
mod sync_requests;
mod synckit_documents;
mod synckit_states;
mod tombstones;
mod unread_snapshots;
mod victim;
mod volley;

use std::fmt::Write as _;

use behaviour::{Row, Size};
use stage::Stage;

use crate::failure::Failure;
use crate::report::figures::{Outcome, Summary};
use crate::rig::{Rig, Run};
use crate::server::warm_memory::parse_size;
use crate::streams;

/// In the order of the page.
const ROWS: [&Row; 28] = [
    &tombstones::ROW,
    &stale_walk::ROW,
    &repeated_read::ROW,
    &read_or_key::ROW,
    &big_or_key::ROW,
    &removes::ROW,
    &removes_by_value::ROW,
    &importer::ROW,
    &expiries::ROW,
    &subscriptions::ROW,
    &replaced_subscribes::ROW,
    &unread_snapshots::ROW,
    &slow_subscriber::ROW,
    &hot_map::ROW,
    &held_answers::ROW,
    &paused::ROW,
    &ping_flood::ROW,
    &one_byte_frames::ROW,
    &reconnects::ROW,
    &close_flood::ROW,
    &half_open::ROW,
    &scrapes::ROW,
    &synckit_states::ROW,
    &synckit_documents::ROW,
    &sync_requests::ROW,
    &chunk_flood::ROW,
    &awareness_flood::ROW,
    &held_awareness::ROW,
];

/// How long the victim is alone, of the seconds that are measured beside.
const ALONE_SHARE: f64 = 0.6;
/// What `--quick` measures, at most.
const QUICK_NS_MAX: u64 = 1_500_000_000;

#[derive(Clone, Debug, clap::Args)]
pub struct NeighboursOptions {
    /// Only these behaviours, in the order of the page [such as tombstones,importer]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = known)]
    pub only: Vec<String>,
    /// Smaller crowds and a shorter window: for a test of every change, not for figures
    #[arg(long)]
    pub quick: bool,
    /// Say which behaviours there are, and run none
    #[arg(long)]
    pub list: bool,
    /// End with 1 when any row misses the target
    #[arg(long)]
    pub check: bool,
    /// Resident memory of the server at which a row is given up, so that it does not take the machine with it
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = parse_size)]
    pub memory_max: usize,
}

fn known(name: &str) -> Result<String, String> {
    match ROWS.iter().find(|row| row.name == name) {
        Some(row) => Ok(row.name.to_owned()),
        None => Err("no behaviour has this name; --list says which there are".to_owned()),
    }
}

/// The names, with what each does.
pub fn list() -> String {
    ROWS.iter().fold(String::new(), |mut list, row| {
        let _ = writeln!(list, "{:<20} {}", row.name, row.says);
        list
    })
}

/// Runs one row after the other.
///
/// # Errors
/// [`Failure::Setup`] for `--url`, and when no server can be started.
pub fn run(rig: &Rig<'_>, options: &NeighboursOptions, run: &Run) -> Result<Vec<Outcome>, Failure> {
    if rig.is_remote() {
        return Err(Failure::Setup("each behaviour needs a server of its own: leave out --url".to_owned()));
    }
    let asked_ns = rig.timing().window_ns;
    let window_ns = if options.quick { asked_ns.min(QUICK_NS_MAX) } else { asked_ns };
    let size = Size { quick: options.quick, alone_ns: (window_ns as f64 * ALONE_SHARE) as u64 };
    let stage = Stage { rig, run, size, window_ns, memory_bytes_max: options.memory_max as u64 };
    let is_wanted = |row: &&&Row| options.only.is_empty() || options.only.iter().any(|name| name == row.name);
    let rows: Vec<&&Row> = ROWS.iter().filter(is_wanted).collect();
    let mut outcomes = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        streams::say(&format!("{:>2}/{} {:<20} ", number + 1, rows.len(), row.name));
        match stage.run(row) {
            Ok(outcome) => {
                let missed = outcome.figures.number("missed") == Some(1.0);
                streams::say(&format!("{}{}\n", if missed { "MISSED: " } else { "" }, outcome.checked));
                outcomes.push(outcome);
            }
            // Without the first server there is none; a later one that does not start must not cost the rows before.
            Err(failure) if outcomes.is_empty() => return Err(failure),
            Err(failure) => streams::say(&format!("not run: {failure}\n")),
        }
    }
    Ok(outcomes)
}

/// # Errors
/// [`Failure::Missed`] when a row misses the target in at least half of the runs.
pub fn check(results: &[Summary]) -> Result<(), Failure> {
    let missed = results.iter().filter(|summary| summary.is_missed());
    let missed: Vec<&str> = missed.map(|summary| summary.title.as_str()).collect();
    if missed.is_empty() {
        return Ok(());
    }
    Err(Failure::Missed(format!("{} of {} rows: {}", missed.len(), results.len(), missed.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_behaviour_has_a_name_of_its_own_and_says_what_it_does() {
        let mut names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
        assert!(ROWS.iter().all(|row| row.name.len() <= 20 && row.says.len() > 10));
        assert!(known("tombstones").is_ok() && known("none").is_err());
    }
}
