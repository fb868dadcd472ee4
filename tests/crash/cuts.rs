//! The rounds with power cuts: what was acknowledged as durable is there, and without syncs something is missed.

use std::any::Any;
use std::fs;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::life::{Life, World};
use crate::names;
use crate::options::Options;
use crate::power::PowerDisk;
use crate::tally::Tally;

/// Lives without syncs, of which one must miss something at least.
const LIVES_WITHOUT_SYNC: u64 = 5;
const ROUNDS_WITHOUT_SYNC: u64 = 4;

/// Whether nothing was lost; says so, or why there was none of it.
pub fn run(options: &Options) -> bool {
    if options.power_cuts == 0 {
        return true;
    }
    if let Err(why) = try_once() {
        println!("power cuts: skipped, as this machine allows none: {why}");
        return true;
    }
    let began = Instant::now();
    let mut tally = Tally::default();
    let lives = options.power_cuts.div_ceil(Life::ROUNDS);
    for life in 0..lives {
        let rounds = (options.power_cuts - life * Life::ROUNDS).min(Life::ROUNDS);
        let seed = options.seed + life;
        let mut life = Life::new(seed, World::PowerCuts { fsync_never: false });
        let end = catch_unwind(AssertUnwindSafe(|| {
            (0..rounds).for_each(|_| life.round());
            life.end();
        }));
        tally.add(&life.take_tally());
        if end.is_err() {
            eprintln!(
                "\nthe life with seed {seed} and power cuts failed; its logs and its disk are in {}",
                life.keep()
            );
            eprintln!("again: cargo test --test crash -- --rounds 0 --power-cuts {rounds} --seed {seed}\n");
            return false;
        }
        println!("{:4} s  power cuts: {}", began.elapsed().as_secs(), tally.line());
    }
    println!("{tally}");
    println!("{} rounds with power cuts in {} s, nothing lost", tally.rounds, began.elapsed().as_secs());
    if !names::run() {
        return false;
    }
    let is_missed = misses_without_sync(options.seed);
    if !is_missed {
        eprintln!("with --fsync never nothing was lost, so these rounds have shown nothing");
    }
    is_missed
}

/// Whether a power cut can be made here.
fn try_once() -> Result<(), String> {
    let root = std::env::temp_dir().join(format!("annulus-power-{}", std::process::id()));
    let tried = PowerDisk::new(&root).and_then(|disk| {
        println!("power cuts: ext4 on {}, in {}", disk.device(), root.display());
        disk.cut()?;
        disk.restore()
    });
    let _ = fs::remove_dir_all(&root);
    tried
}

/// Whether servers that never sync lose what they have acknowledged.
fn misses_without_sync(seed: u64) -> bool {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let is_missed = (0..LIVES_WITHOUT_SYNC).any(|life| {
        let mut life = Life::new(seed + life, World::PowerCuts { fsync_never: true });
        let end = catch_unwind(AssertUnwindSafe(|| (0..ROUNDS_WITHOUT_SYNC).for_each(|_| life.round())));
        let rounds = life.take_tally().rounds;
        life.forget();
        let said = end.err().map(|said| text_of(&*said));
        println!("--fsync never, after {rounds} rounds: {}", said.as_deref().unwrap_or("nothing is missed"));
        said.is_some_and(|said| said.starts_with("LOST"))
    });
    panic::set_hook(hook);
    is_missed
}

fn text_of(said: &(dyn Any + Send)) -> String {
    let text = said.downcast_ref::<String>().cloned();
    text.or_else(|| said.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
