//! `presence --join-burst`: thousands come into one room within a second, while somebody pings and somebody watches the room.
//! Once all of them know how many they are, all but those two drop at once.
//!
//! Checked: as long as they come, nobody is told of fewer than before, and while they go of more, nor of more than there are;
//! all end with the right count, and the watcher with 0; the watcher is told no more often than once a tick; and the server
//! counts no bytes of members in the end.

use super::PresenceOptions;
use super::medium::{Kind, Medium, News, Request};
use crate::bench::Bench;
use crate::clock::{NANOS_PER_SECOND, now_ns, seconds};
use crate::cpu::Subject;
use crate::drive::{Drive, Scenario, Timing};
use crate::failure::{Failure, excerpt};
use crate::fleet::{Fleet, Handler, Wire};
use crate::report::figures::{Figures, Outcome};
use crate::scenario::pinger::{Pinged, Pinger};
use crate::scenario::setup::rest_while;
use crate::server::metrics;
use crate::tally::Tally;
use crate::value::{Stamp, Values};

/// In which all of them ask to join.
const BURST_NS: u64 = NANOS_PER_SECOND;
/// How long there are pings beside the joins: until all are to know the right count, at the latest.
const JOINING_NS: u64 = BURST_NS + 2 * NANOS_PER_SECOND;
/// And beside the drop.
const DROPPING_NS: u64 = 3 * NANOS_PER_SECOND;
/// How long the server is left alone before its memory is read.
const SETTLE_NS: u64 = NANOS_PER_SECOND / 2;
const WATCHER: usize = 0;
const ROOM: &str = "crowd";

/// # Errors
/// What went wrong on the wire, or was told wrong.
pub fn run(bench: &Bench, options: &PresenceOptions, members: usize) -> Result<Outcome, Failure> {
    let (mut fleet, _) = bench.open(1)?;
    let mut crowd = Crowd::new(options, format!("{ROOM}-{}", bench.run), members);
    let mut drive = Drive::new(bench.timing.timeout_ns, bench.meter.progress);
    crowd.watch(&mut fleet.wire());
    drive.run_until_quiet(&mut fleet, &mut crowd)?;
    let rss = || bench.meter.subject.and_then(Subject::resident_bytes);
    let empty = rss();
    fleet.open(members, crate::dialect::Dialect::Native, bench.timing.timeout_ns)?;
    rest(&mut fleet, SETTLE_NS)?;
    let opened = rss();

    let joining = beside(bench, options, JOINING_NS)?;
    let window = bench.meter.open_window();
    crowd.begin_joining(now_ns());
    drive.run_until_quiet(&mut fleet, &mut crowd)?;
    let right_ns = now_ns();
    let window = window.close(&bench.meter, members as u64);
    run_while(&mut drive, &mut fleet, &mut crowd, || !is_done(joining.as_ref()))?;
    let joining = joining.map(Pinger::finish).transpose()?;
    let joined = rss();

    let dropping = beside(bench, options, DROPPING_NS)?;
    crowd.drop_all(&mut fleet.wire(), now_ns());
    let dropped_ns = now_ns();
    drive.run_until_quiet(&mut fleet, &mut crowd)?;
    let gone_ns = now_ns();
    let (news, longest_ns) = (crowd.news, gone_ns - crowd.dropped_ns);
    run_while(&mut drive, &mut fleet, &mut crowd, || !is_done(dropping.as_ref()))?;
    let dropping = dropping.map(Pinger::finish).transpose()?;
    drive.run_for(&mut fleet, &mut crowd, SETTLE_NS)?;
    let gone = rss();
    expect_nothing_kept(bench)?;
    // News of the time in which they went; one may have been due before.
    let (took_ms, tick_ms) = (longest_ns / 1_000_000, options.tick_ms);
    if news > took_ms / tick_ms + 2 {
        return Err(Failure::Wrong(format!(
            "the watcher was told {news} times in {took_ms} ms, a tick is {tick_ms} ms"
        )));
    }
    fleet.close();

    let mut figures = Figures::default();
    let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
    window.set_costs(&mut figures);
    figures.set("joins_per_second", members as f64 / seconds(crowd.last_join_ns - crowd.start_ns));
    figures.set("right_count_ms", ms(crowd.last_join_ns, right_ns));
    figures.set("gone_ms", ms(crowd.dropped_ns, gone_ns));
    figures.set("dropping_ms", ms(crowd.dropped_ns, dropped_ns));
    figures.set("counts_told", crowd.counts as f64);
    figures.set("news_of_the_drop", news as f64);
    figures.set("errors", 0.0);
    set_pings(&mut figures, "ping_joining", joining);
    set_pings(&mut figures, "ping_dropping", dropping);
    let memory = [("rss_empty", empty), ("rss_opened", opened), ("rss_joined", joined), ("rss_gone", gone)];
    for (name, bytes) in memory.into_iter().filter_map(|(name, bytes)| Some((name, bytes?))) {
        figures.set(&format!("{name}_mib"), bytes as f64 / f64::from(1 << 20));
    }
    let title = format!("presence   {members} join one room within a second, and drop at once");
    let checked =
        "counts grew and fell and were right in the end for everybody; no bytes of members are left"
            .to_owned();
    Ok(Outcome { title, operation: "join", figures, checked })
}

fn beside(bench: &Bench, options: &PresenceOptions, window_ns: u64) -> Result<Option<Pinger>, Failure> {
    if options.ping_rate == 0 {
        return Ok(None);
    }
    let timing = Timing { warmup_ns: 0, window_ns, ..bench.timing };
    let pinger = Pinger::connect(bench, timing, options.ping_rate)?;
    pinger.begin();
    Ok(Some(pinger))
}

fn is_done(pinger: Option<&Pinger>) -> bool {
    pinger.is_none_or(Pinger::is_done)
}

fn set_pings(figures: &mut Figures, name: &str, pinged: Option<Pinged>) {
    if let Some(pinged) = pinged {
        figures.set_latency(name, &pinged.tally.latency_ns);
    }
}

fn run_while(
    drive: &mut Drive,
    fleet: &mut Fleet,
    crowd: &mut Crowd,
    goes_on: impl Fn() -> bool,
) -> Result<(), Failure> {
    const STEP_NS: u64 = NANOS_PER_SECOND / 50;
    while goes_on() {
        drive.run_for(fleet, crowd, STEP_NS)?;
    }
    Ok(())
}

fn rest(fleet: &mut Fleet, ns: u64) -> Result<(), Failure> {
    let end = now_ns() + ns;
    rest_while(fleet, || now_ns() < end)
}

/// What the server counts of members once none are left.
fn expect_nothing_kept(bench: &Bench) -> Result<(), Failure> {
    let Some(target) = &bench.meter.metrics else { return Ok(()) };
    for name in ["annulus_presence_user_members", "annulus_presence_bytes"] {
        if let Some(kept) = metrics::gauge(target, name).filter(|&kept| kept != 0.0) {
            return Err(Failure::Wrong(format!("everybody is gone, and {name} is {kept}")));
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The watcher is alone.
    Watching,
    Joining,
    Dropping,
}

struct Crowd {
    room: String,
    values: Values,
    request: Request,
    members: usize,
    phase: Phase,
    /// What each connection was told last, the watcher first; `None`: it has not joined.
    counts_told: Vec<Option<u64>>,
    /// Those, the watcher with them, who were not told the right count last.
    wrong: usize,
    asked: usize,
    start_ns: u64,
    last_join_ns: u64,
    dropped_ns: u64,
    /// Messages with a count that have come, and those of the watcher since the drop.
    counts: u64,
    news: u64,
    tally: Tally,
}

impl Crowd {
    fn new(options: &PresenceOptions, room: String, members: usize) -> Self {
        Self {
            room,
            values: Values::new(options.state_bytes),
            request: Request::default(),
            members,
            phase: Phase::Watching,
            counts_told: vec![None; members + 1],
            wrong: 1,
            asked: 0,
            start_ns: 0,
            last_join_ns: 0,
            dropped_ns: 0,
            counts: 0,
            news: 0,
            tally: Tally::new(),
        }
    }

    fn watch(&mut self, wire: &mut Wire<'_>) {
        wire.send(WATCHER, self.request.watch(WATCHER as u64, &self.room));
    }

    fn begin_joining(&mut self, now: u64) {
        self.phase = Phase::Joining;
        self.start_ns = now;
        self.wrong = self.members + 1;
    }

    fn join(&mut self, wire: &mut Wire<'_>) {
        self.asked += 1;
        let stamp = Stamp { writer: self.asked as u32, sequence: 0 };
        let text = self.request.enter(Medium::Presence, self.asked as u64, &self.room, &self.values, stamp);
        wire.send(self.asked, text);
        self.last_join_ns = now_ns();
    }

    fn drop_all(&mut self, wire: &mut Wire<'_>, now: u64) {
        self.phase = Phase::Dropping;
        self.dropped_ns = now;
        self.wrong = 1;
        for index in 1..=self.members {
            wire.drop_connection(index);
        }
    }

    /// The count that is right for all who are there.
    fn right(&self) -> u64 {
        if self.phase == Phase::Joining { self.members as u64 } else { 0 }
    }

    fn told(&mut self, from: usize, count: u64, text: &[u8]) -> Result<(), Failure> {
        let before = self.counts_told[from].replace(count);
        let asked = self.asked as u64;
        let (least, most) = match (self.phase, before) {
            (Phase::Dropping, Some(before)) => (0, before),
            (_, before) => (before.unwrap_or(0), asked),
        };
        if count < least {
            return Err(Failure::OutOfOrder(format!(
                "{from} was told of {count} after {least}: {}",
                excerpt(text)
            )));
        }
        if count > most {
            return Err(Failure::Wrong(format!("{from} was told of {count} of {most}: {}", excerpt(text))));
        }
        let right = self.right();
        self.wrong = self.wrong + usize::from(before == Some(right)) - usize::from(count == right);
        Ok(())
    }
}

impl Handler for Crowd {
    fn message(&mut self, _: &mut Wire<'_>, from: usize, text: &[u8], _: u64) -> Result<(), Failure> {
        let news = News::read(Medium::Presence, text)?;
        let is_answer = matches!(news.kind, Kind::Entered { id } if id == from as u64);
        if news.room != self.room.as_bytes() || is_answer == self.counts_told[from].is_some() {
            return Err(Failure::Wrong(format!("connection {from} got {}", excerpt(text))));
        }
        let Some(count) = news.count else {
            return Err(Failure::Wrong(format!("no count: {}", excerpt(text))));
        };
        self.tally.operations += 1;
        self.counts += 1;
        self.news += u64::from(from == WATCHER && self.phase == Phase::Dropping);
        self.told(from, count, text)
    }
}

impl Scenario for Crowd {
    fn start(&mut self, _: &mut Wire<'_>, _: u64) {}

    fn tick(&mut self, wire: &mut Wire<'_>, now: u64) -> Result<Option<u64>, Failure> {
        while self.phase == Phase::Joining && self.asked < self.members {
            let due = self.start_ns + self.asked as u64 * BURST_NS / self.members as u64;
            if due > now {
                return Ok(Some(due));
            }
            self.join(wire);
        }
        Ok(None)
    }

    fn stop(&mut self) {}

    fn is_quiet(&self) -> bool {
        self.wrong == 0
    }

    fn missing(&self) -> Failure {
        let right = self.right();
        let first = self.counts_told.iter().position(|&told| told != Some(right));
        let told = first.and_then(|first| self.counts_told[first]);
        Failure::Lost(format!("{} were not told of {right}, the first, {first:?}, of {told:?}", self.wrong))
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
