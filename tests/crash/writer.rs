//! One connection that writes until the server is gone, and notes what it is promised.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::client::{Client, Gone};
use crate::maps;
use crate::op::{self, Op};
use crate::promises::Promises;
use crate::random::Random;
use crate::replica::Stamp;
use crate::tally::Tally;

/// Codes an operation may be refused with while the disk or the memory is behind.
const REJECTIONS: [&str; 2] = ["overloaded", "timeout"];

/// See the module. Lives as long as its data directory.
pub struct Writer {
    pub name: String,
    pub random: Random,
    /// The last value it made.
    pub number: u64,
    /// The first of the maps it writes to at the moment.
    hot: usize,
    pub totals: BTreeMap<(usize, String), (i64, i64)>,
    pub tally: Tally,
}

/// A request without its answer.
struct Asked {
    id: u64,
    ops: Vec<Op>,
    is_durable: bool,
}

impl Writer {
    pub fn new(index: usize, seed: u64) -> Self {
        Self {
            name: format!("w{index}"),
            random: Random::new(seed ^ (index as u64 + 1) << 32),
            number: 0,
            hot: 0,
            totals: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// Writes until the connection ends, or hears nothing any more as `is_deaf`. `is_believing` takes every ack for a durable one.
    pub fn run(
        &mut self,
        address: SocketAddr,
        promises: &Mutex<Promises>,
        is_believing: bool,
        is_deaf: &AtomicBool,
    ) {
        let Ok(mut client) = Client::connect(address) else { return };
        let mut asked = VecDeque::new();
        let window = self.random.between(1, 4);
        while !is_deaf.load(Ordering::SeqCst)
            && self.step(&mut client, &mut asked, window, promises, is_believing, is_deaf).is_ok()
        {}
        self.tally.unanswered += asked.iter().map(|asked: &Asked| asked.ops.len() as u64).sum::<u64>();
    }

    fn step(
        &mut self,
        client: &mut Client,
        asked: &mut VecDeque<Asked>,
        window: usize,
        promises: &Mutex<Promises>,
        is_believing: bool,
        is_deaf: &AtomicBool,
    ) -> Result<(), Gone> {
        if asked.len() < window {
            let (request, ops, is_durable) = self.request(promises);
            // Noted before it is sent, and whether or not it can be: it may be applied from then on.
            asked.push_back(Asked { id: 0, ops, is_durable });
            let id = client.send(&request)?;
            asked.back_mut().expect("it was just put there").id = id;
            return Ok(());
        }
        let answer = client.receive()?;
        if is_deaf.load(Ordering::SeqCst) {
            return Err(Gone);
        }
        let id = answer.get_u64("id").unwrap_or_else(|| panic!("no answer: {answer}"));
        // Keys live on different cores, and some acks wait for a disk.
        let place = asked.iter().position(|asked| asked.id == id).expect("an answer to what was asked");
        let asked = asked.remove(place).expect("it was just found");
        let is_any_rejected = self.answered(asked, &answer, &mut promises.lock().unwrap(), is_believing);
        if is_any_rejected {
            // Less than it is told, as a round is short.
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn request(&mut self, promises: &Mutex<Promises>) -> (String, Vec<Op>, bool) {
        let mut promises = promises.lock().unwrap();
        let count = self.random.pick(&[1, 1, 4, 10, 30]);
        // A few maps at a time, mostly, so that others turn cold.
        if self.random.per_mille(50) {
            self.hot = self.random.below(maps::all().len());
        }
        let usual = (self.hot + self.random.below(3)) % maps::all().len();
        let (mut ops, mut list) = (Vec::new(), String::new());
        for _ in 0..count {
            let is_usual = self.random.per_mille(980);
            let map = if is_usual { usual } else { self.random.below(maps::all().len()) };
            let op = Op::of(map, self, &promises);
            promises.sending(&self.name, self.number, &op);
            list.push_str(if list.is_empty() { "" } else { "," });
            op.write_to(&mut list);
            ops.push(op);
        }
        let is_durable = self.random.per_mille(850);
        let ack = if is_durable { "durable" } else { "memory" };
        (format!(r#"{{"type":"write","ack":"{ack}","ops":[{list}]}}"#), ops, is_durable)
    }

    /// Takes note of an ack; whether some of it was rejected.
    fn answered(
        &mut self,
        asked: Asked,
        answer: &Value,
        promises: &mut Promises,
        is_believing: bool,
    ) -> bool {
        assert_eq!(answer["type"], "ack", "{answer}");
        let is_late = answer.get_bool("timeout") == Some(true);
        let is_durable = answer.get_str("level") == Some("durable");
        assert!(asked.is_durable || !is_durable, "durable without having been asked: {answer}");
        let is_applied = answer.get_usize("applied").is_some_and(|applied| applied > 0);
        let is_as_asked = is_durable || is_believing || !asked.is_durable || !is_applied;
        assert!(is_as_asked || is_late, "not durable: {answer}");
        let stamps = answer.get_array("stamps").expect("an ack has stamps");
        let mut is_rejected = vec![false; asked.ops.len()];
        for rejected in answer.get_array("rejected").into_iter().flatten() {
            let code = rejected.get_str("code").expect("a code");
            assert!(REJECTIONS.contains(&code), "{rejected}");
            is_rejected[rejected.get_usize("index").expect("an index")] = true;
            self.tally.rejected += 1;
        }
        let is_any_rejected = is_rejected.contains(&true);
        for ((op, stamp), is_rejected) in asked.ops.into_iter().zip(stamps).zip(is_rejected) {
            let stamp = stamp.as_str().map(Stamp::parse);
            // Of a late ack only what has a stamp is known to be applied.
            if is_rejected || is_late && stamp.is_none() {
                continue;
            }
            let is_kept = is_durable || is_believing && asked.is_durable;
            *if is_kept { &mut self.tally.acked_durable } else { &mut self.tally.acked_memory } += 1;
            promises.acked(op, stamp, is_kept);
        }
        is_any_rejected
    }

    pub fn value(&mut self, map: usize, key: &str) -> String {
        self.number += 1;
        op::value(&self.name, self.number, map, key)
    }

    /// A stamp of its own, of a clock that is right, late or early; never the same twice.
    pub fn stamp(&mut self) -> Stamp {
        let behind_ms = self.random.pick(&[0, 0, 500, 60_000]);
        let ahead_ms = self.random.pick(&[0, 0, 300]);
        self.number += 1;
        let millis = now_ms() - behind_ms + ahead_ms;
        Stamp { millis, counter: self.number % 60_000, node: self.name.clone() }
    }
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}
