//! The application, in the hands of chance: it hears of what happens, and decides late and in any order on what is said.
//!
//! Only some seeds have one, of those with a desk. Its chance is its own, so that the others mean what they meant without it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use annulus::handover::{Answered, Ask, HooksEnd, HooksPort, connect_hooks};
use annulus::hooks::{Allowed, Before, Happened, Verdict};
use serde_json::Value;

use crate::letters;
use crate::oracle::Oracle;
use crate::random::Random;
use crate::talk::CHANNELS;
use crate::world::World;

/// Seeds of which one has an application: one of three of those that have a desk.
const SEEDS_PER_APPLICATION: u64 = 9;
/// What stands in the rules file for it.
pub const TABLES: &str = r#"
[[hook]]
events = ["connected", "disconnected", "joined", "left", "published", "sent", "changed"]
subject = "events"
[question.on_publish]
url = "http://localhost/"
otherwise = "deny"
[question.on_send]
url = "http://localhost/"
otherwise = "deny"
"#;
/// What it puts in the place of some data.
const REPLACED: &str = "replaced";

/// See the module.
pub struct Application {
    random: Random,
    ends: Vec<HooksEnd>,
    /// Questions without an answer, and which shard has asked.
    asked: Vec<(usize, Ask)>,
    /// Something may wait in a queue.
    pub is_woken: bool,
    held_until_us: u64,
    /// Users that it takes to be connected.
    users: BTreeSet<Arc<str>>,
    /// What it was told of by this process.
    published: BTreeSet<String>,
    sent: BTreeSet<u64>,
    pub counts: Counts,
}

/// What it has done, over all processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub events: u64,
    pub allowed: u64,
    pub replaced: u64,
    pub denied: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.allowed += other.allowed;
        self.replaced += other.replaced;
        self.denied += other.denied;
    }
}

/// On what it has decided. What is said is told apart by its text, or its number.
#[derive(Default)]
pub struct Decided {
    verdicts: BTreeMap<String, Said>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Allowed,
    Replaced,
    Denied,
}

impl Decided {
    /// Somebody was told of this.
    pub fn told(&self, text: &str, filler: Option<&str>) {
        let said = self.verdicts.get(text).copied().unwrap_or(Said::Allowed);
        assert_ne!(said, Said::Denied, "{text} was denied, and is told");
        assert_eq!(said == Said::Replaced, filler == Some(REPLACED), "{text}: {said:?}, {filler:?}");
    }

    /// It was refused, as the application does not want it.
    pub fn refused(&self, text: &str) {
        assert_eq!(self.verdicts.get(text), Some(&Said::Denied), "{text} is refused");
    }
}

impl Application {
    /// The one of a seed, if it has one.
    pub fn of(seed: u64) -> Option<Self> {
        (seed % SEEDS_PER_APPLICATION == 4).then(|| Self {
            random: Random::new(seed.rotate_left(32) ^ 0xa99),
            ends: Vec::new(),
            asked: Vec::new(),
            is_woken: false,
            held_until_us: 0,
            users: BTreeSet::new(),
            published: BTreeSet::new(),
            sent: BTreeSet::new(),
            counts: Counts::default(),
        })
    }

    /// Begins with the shards of another process.
    pub fn start(&mut self, shards: usize) -> Vec<HooksPort> {
        let (ports, ends) = connect_hooks(shards, &Arc::default()).into_iter().unzip();
        self.ends = ends;
        self.asked.clear();
        self.users.clear();
        self.published.clear();
        self.sent.clear();
        ports
    }

    fn take(&mut self, oracle: &mut Oracle) {
        for shard in 0..self.ends.len() {
            while let Some(event) = self.ends[shard].pop_event() {
                self.counts.events += 1;
                self.hear(event.what, oracle);
            }
            while let Ok(ask) = self.ends[shard].questions.pop() {
                self.asked.push((shard, ask));
            }
        }
    }

    fn hear(&mut self, what: Happened, oracle: &mut Oracle) {
        match what {
            Happened::Connected { user, .. } => assert!(self.users.insert(user), "it is connected already"),
            Happened::Disconnected { user, .. } => {
                assert!(self.users.remove(&user), "{user} was not connected")
            }
            Happened::Published { channel, offset, data, .. } => {
                let data: Value = serde_json::from_slice(&data).expect("JSON");
                let text = data[0].as_str().expect("what somebody said");
                oracle.decided.told(text, data[1].as_str());
                let place = CHANNELS.iter().position(|known| **known == *channel).expect("one of these");
                oracle.talk.placed(place, offset, text);
                assert!(self.published.insert(text.to_owned()), "{text} is told of twice");
            }
            Happened::Sent { to, message, data, .. } => {
                let number: u64 = serde_json::from_slice(&data).expect("a number");
                oracle.decided.told(&number.to_string(), None);
                oracle.letters.is_named(&to, &letters::name(&message), number);
                assert!(self.sent.insert(number), "{number} is told of twice");
            }
            Happened::Joined { .. } | Happened::Left { .. } | Happened::Changed { .. } => {}
        }
    }

    /// Decides on one thing; the shard that has asked.
    fn decide(&mut self, oracle: &mut Oracle) -> Option<usize> {
        if self.asked.is_empty() {
            return None;
        }
        let (shard, ask) = self.asked.swap_remove(self.random.below(self.asked.len()));
        let body: Value = serde_json::from_slice(&ask.body).expect("JSON");
        let is_publish = ask.question.before == Before::Publish;
        let data = &body["data"];
        let text = if is_publish { data[0].as_str().expect("a text").to_owned() } else { data.to_string() };
        let (said, verdict) = match self.random.below(10) {
            0..2 => (Said::Denied, Verdict::Deny { reason: Some("no".into()) }),
            2..4 if is_publish => {
                let data = serde_json::json!([text, REPLACED]).to_string().into_bytes();
                let allowed = Allowed { data: Some(data.into()), ..Allowed::default() };
                (Said::Replaced, Verdict::Allow(Box::new(allowed)))
            }
            _ => (Said::Allowed, Verdict::Allow(Box::default())),
        };
        match said {
            Said::Denied => self.counts.denied += 1,
            Said::Replaced => self.counts.replaced += 1,
            Said::Allowed => self.counts.allowed += 1,
        }
        let before = oracle.decided.verdicts.insert(text.clone(), said);
        assert_eq!(before, None, "{text} is asked about twice");
        let answered = Answered { connection: ask.connection, serial: ask.serial, verdict };
        self.ends[shard].answers.push(answered).expect("there is room for each answer");
        Some(shard)
    }
}

impl World {
    /// Something happens at the application, or nothing for a while.
    pub fn storm_application(&mut self) {
        let now_us = self.now_us;
        let Some(application) = self.application.as_mut().filter(|found| found.held_until_us <= now_us)
        else {
            return;
        };
        match application.random.below(1000) {
            0..10 => application.held_until_us = now_us + application.random.below(60_000) as u64,
            10..400 => drop(self.step_application()),
            _ => {}
        }
    }

    /// One step of the application, if it has any to do; whether it had.
    pub fn step_application(&mut self) -> bool {
        let Some(application) = &mut self.application else { return false };
        let was_woken = std::mem::take(&mut application.is_woken);
        if was_woken {
            application.take(&mut self.oracle);
        }
        let shard = application.decide(&mut self.oracle);
        shard.into_iter().for_each(|shard| self.nodes[shard].is_woken = true);
        was_woken || shard.is_some()
    }
}
