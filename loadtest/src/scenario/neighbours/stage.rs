//! One row: a server of its own, what the behaviour stores, the victim alone, the victim beside the behaviour.
//!
//! Invariant: no wait is without an end. A server that is gone, that answers nobody any more or that takes more memory than
//! the row may is a result, and the next row begins with another server.

use std::time::Duration;

use super::behaviour::{Behaviour, Row, Size};
use super::crowd::{Counts, Crowd};
use super::victim::{Phase, Told, Victim};
use crate::bench::Bench;
use crate::clock::now_ns;
use crate::cpu::Subject;
use crate::failure::Failure;
use crate::priority::Priority;
use crate::report::figures::{Figures, Outcome};
use crate::report::table;
use crate::rig::{Rig, Run};
use crate::server::metrics;
use crate::server::process::ServerProcess;
use crate::streams;

/// The victim's p99 may be later by this.
const LATER_MS_MAX: f64 = 5.0;
/// Resident memory may exceed what is stored by this.
const ABOVE_MIB_MAX: f64 = 64.0;
const MIB: f64 = (1 << 20) as f64;
/// Wait of one turn, and how often the server is looked at.
const TURN: Duration = Duration::from_millis(1);
const LOOK_NS: u64 = 10_000_000;
/// For how long nothing happens before the victim is measured alone: what was stored settles.
const SETTLE_NS: u64 = 300_000_000;
/// A victim that comes to its own requests later than this has measured more than the server.
const LATE_MS_MAX: f64 = 2.0;

/// What is the same for all rows of a run.
pub struct Stage<'a> {
    pub rig: &'a Rig<'a>,
    pub run: &'a Run,
    pub size: Size,
    /// How long the victim is beside the behaviour.
    pub window_ns: u64,
    /// Resident memory at which a row is given up.
    pub memory_bytes_max: u64,
}

/// What was measured beside the behaviour.
struct Beside {
    stored_bytes: u64,
    peak_bytes: u64,
    /// By how much what maps take has grown meanwhile.
    grown_bytes: f64,
    told: Told,
    /// Whether the server did not see the end of the row.
    is_cut_short: bool,
    faults: Vec<String>,
}

impl Stage<'_> {
    /// Runs `row` on a server of its own.
    ///
    /// # Errors
    /// [`Failure::Setup`] when there is no server to start. What goes wrong later is in the outcome.
    pub fn run(&self, row: &Row) -> Result<Outcome, Failure> {
        let data = self.rig.data_dir(false)?;
        let further: Vec<String> = row.server_arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut server = self.rig.start_server(data.as_ref(), &further)?;
        let bench = self.rig.bench(Some(&server), None, self.run)?;
        let mut crowd = Crowd::new(&bench.target, bench.timing.timeout_ns);
        let mut behaviour = (row.make)(self.size);
        let measured = self.measure(&bench, &mut server, &mut crowd, behaviour.as_mut());
        let counts = crowd.counts.to_string();
        crowd.drop_all();
        let mut figures = Figures::default();
        let faults = match measured {
            Ok(beside) => set_figures(&mut figures, beside),
            Err(failure) => {
                figures.set("not_measured", 1.0);
                vec![ended(&mut server).unwrap_or(failure).to_string()]
            }
        };
        // Its connections may be many and what it holds large: to stop it in order would take longer than the row.
        server.kill()?;
        figures.set("missed", if faults.is_empty() { 0.0 } else { 1.0 });
        let checked =
            [faults.join("; "), counts, noise(&figures)].into_iter().filter(|text| !text.is_empty());
        let checked = checked.collect::<Vec<String>>().join(" · ");
        Ok(Outcome { title: row.name.to_owned(), operation: table::OPERATION, figures, checked })
    }

    fn measure(
        &self,
        bench: &Bench,
        server: &mut ServerProcess,
        crowd: &mut Crowd,
        behaviour: &mut dyn Behaviour,
    ) -> Result<Beside, Failure> {
        let subject = Subject::Process(server.pid());
        behaviour.prepare(crowd)?;
        let victim = Victim::connect(bench)?;
        if victim.priority != Priority::RealTime {
            streams::say(&format!("(victim at {}) ", victim.priority));
        }
        rest(crowd, now_ns() + SETTLE_NS)?;
        victim.set_phase(Phase::Alone);
        rest(crowd, now_ns() + self.size.alone_ns)?;
        victim.set_phase(Phase::Warmup);
        rest(crowd, behaviour.ready_ns())?;
        let resident_before = metrics::map_resident_bytes(&bench.target).unwrap_or(0.0);
        let stored_bytes = subject.resident_bytes().unwrap_or(0);
        subject.reset_resident_peak();

        crowd.counts = Counts::default();
        victim.set_phase(Phase::Beside);
        let mut watch = Watch::new(subject, self.memory_bytes_max);
        let end = now_ns() + self.window_ns;
        while now_ns() < end && !watch.is_over(server) && !victim.is_done() {
            behaviour.tick(crowd, now_ns())?;
            crowd.turn(TURN)?;
        }
        victim.set_phase(Phase::Over);
        let deadline = now_ns() + bench.timing.timeout_ns;
        while !victim.is_done() && now_ns() < deadline && !watch.is_over(server) {
            crowd.turn(TURN)?;
        }
        let is_cut_short = watch.fault.is_some();
        let mut faults: Vec<String> = behaviour.fault(crowd).into_iter().collect();
        faults.extend(watch.fault.clone());
        if is_cut_short {
            // The victim waits for what will not come: a server that is gone says so at once.
            crowd.drop_all();
            server.kill_now()?;
        }
        let told = victim.finish();
        if !is_cut_short && told.failure.is_some() {
            // The end of a connection shows before the end of a process.
            rest(crowd, now_ns() + LOOK_NS)?;
            faults.extend(ended(server).map(|failure| failure.to_string()));
        }
        let resident_after = metrics::map_resident_bytes(&bench.target).unwrap_or(resident_before);
        let peak_bytes = subject.resident_bytes_peak().unwrap_or(0).max(watch.peak_bytes);
        let grown_bytes = (resident_after - resident_before).max(0.0);
        Ok(Beside { stored_bytes, peak_bytes, grown_bytes, told, is_cut_short, faults })
    }
}

/// Lets time pass up to `until_ns`; heartbeats are answered meanwhile.
fn rest(crowd: &mut Crowd, until_ns: u64) -> Result<(), Failure> {
    while now_ns() < until_ns {
        crowd.turn(TURN)?;
    }
    Ok(())
}

/// Why the server has ended, if it has.
fn ended(server: &mut ServerProcess) -> Option<Failure> {
    server
        .ended()
        .map(|status| Failure::Closed(format!("the server ended with {status}: {}", last_line(server))))
}

fn last_line(server: &mut ServerProcess) -> String {
    server.last_output().lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
}

/// Looks now and then whether the server is there, and how much it takes.
struct Watch {
    subject: Subject,
    memory_bytes_max: u64,
    looked_ns: u64,
    peak_bytes: u64,
    fault: Option<String>,
}

impl Watch {
    fn new(subject: Subject, memory_bytes_max: u64) -> Self {
        Self { subject, memory_bytes_max, looked_ns: 0, peak_bytes: 0, fault: None }
    }

    /// Whether the row cannot go on.
    fn is_over(&mut self, server: &mut ServerProcess) -> bool {
        if self.fault.is_some() || now_ns() < self.looked_ns + LOOK_NS {
            return self.fault.is_some();
        }
        self.looked_ns = now_ns();
        if let Some(failure) = ended(server) {
            self.fault = Some(failure.to_string());
        } else if let Some(bytes) = self.subject.resident_bytes() {
            self.peak_bytes = self.peak_bytes.max(bytes);
            if bytes > self.memory_bytes_max {
                self.fault = Some(format!("given up at {} MiB of memory", bytes >> 20));
            }
        }
        self.fault.is_some()
    }
}

/// What else was on the machine, as far as the victim has felt it: then the row is to be measured again.
fn noise(figures: &Figures) -> String {
    let p99_ms = |name: &str| figures.number(&format!("{name}_p99_us")).map_or(0.0, |us| us / 1e3);
    let mut noise = Vec::new();
    if p99_ms("alone") > LATER_MS_MAX {
        noise.push("alone it was not quiet".to_owned());
    }
    if p99_ms("victim_late") > LATE_MS_MAX {
        noise.push(format!("the victim left its own requests {:.1} ms late at p99", p99_ms("victim_late")));
    }
    noise.join(", ")
}

/// Sets what the page shows; returns in which ways the row is missed.
fn set_figures(figures: &mut Figures, beside: Beside) -> Vec<String> {
    let Beside { stored_bytes, peak_bytes, grown_bytes, told, is_cut_short, mut faults } = beside;
    figures.set_latency("alone", &told.alone);
    figures.set_latency("beside", &told.beside);
    figures.set_latency("beside_ping", &told.pings);
    figures.set_latency("beside_write", &told.writes);
    figures.set_latency("victim_late", &told.late);
    figures.set("unanswered", told.unanswered as f64);
    let p99_ms = |name: &str| figures.number(&format!("{name}_p99_us")).map(|us| us / 1e3);
    // Of a server that was given up or has ended the victim can only say that it is gone.
    if let Some(failure) = told.failure.as_ref().filter(|_| !is_cut_short) {
        faults.push(format!("the victim's connection: {failure}"));
    }
    if told.unanswered > 0 && !is_cut_short {
        faults.push(format!("the victim was not answered {} times", told.unanswered));
    }
    let later_ms = p99_ms("beside").zip(p99_ms("alone")).map(|(beside, alone)| beside - alone);
    match later_ms {
        Some(ms) if ms > LATER_MS_MAX => faults.push("p99".to_owned()),
        Some(_) => {}
        None => faults.push("the victim could not ask anything".to_owned()),
    }
    let above_mib = (peak_bytes as f64 - stored_bytes as f64 - grown_bytes).max(0.0) / MIB;
    if above_mib > ABOVE_MIB_MAX {
        faults.push("memory".to_owned());
    }
    if let Some(ms) = later_ms {
        figures.set("p99_later_us", ms * 1e3);
    }
    figures.set("stored_mib", stored_bytes as f64 / MIB);
    figures.set("grown_mib", grown_bytes / MIB);
    figures.set("peak_mib", peak_bytes as f64 / MIB);
    figures.set("above_mib", above_mib);
    faults
}
