//! `mixed`: rooms of people who edit and watch. Each client subscribes to its room's map and has one action in
//! flight: in ten of a hundred it edits its own key, otherwise it reads the key of somebody in the room. Every edit
//! is delivered to the others of the room.
//!
//! Checked: every edit reaches every other member once and in order; a read finds a value its owner wrote, and never
//! an older one than this client has already been sent.

use super::fanout_checks::Barrier;
use super::setup::{SubscribeToEmpty, ask_each, rest_while};
use super::write::value_bytes;
use crate::ack::{AckLevel, answered_level};
use crate::bench::Bench;
use crate::clock::{now_ns, seconds};
use crate::dialect::{Codec, Dialect};
use crate::drive::Scenario;
use crate::failure::{Failure, excerpt};
use crate::fleet::{Handler, Wire};
use crate::message::{Message, Request, Set, key_number};
use crate::report::figures::Outcome;
use crate::tally::Tally;
use crate::value::{Stamp, Values};

#[derive(Clone, Debug, clap::Args)]
pub struct MixedOptions {
    /// Clients in all; whole rooms of them
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(2..))]
    pub clients: u32,
    /// Clients in one room
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..))]
    pub room: u32,
    /// Of a hundred actions, how many are edits
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub edit_percent: u64,
    /// Bytes of one value as JSON text
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    pub value_bytes: usize,
    /// Level of the acks: memory or durable
    #[arg(long, value_name = "LEVEL", default_value = "memory", value_parser = answered_level)]
    pub ack: AckLevel,
    /// Milliseconds between the last subscription and the first edit: a server of several shards catches up on the
    /// others after a snapshot, and what is edited meanwhile may come as conflated state, one's own edits included
    #[arg(long, default_value_t = 200)]
    pub settle_ms: u64,
}

/// Edits whose sending time is remembered, for the latency of their deliveries.
const EDITS_REMEMBERED: usize = 16;
/// Members' keys are `m<number>`.
const PREFIX: &str = "m";

/// # Errors
/// What went wrong on the wire.
pub fn run(bench: &Bench, options: &MixedOptions) -> Result<Outcome, Failure> {
    let room = options.room as usize;
    let rooms = (options.clients as usize / room).max(1);
    let maps: Vec<String> = (0..rooms).map(|index| format!("mixed-{}-{index}", bench.run)).collect();
    let (mut fleet, range) = bench.open(rooms * room)?;
    let mut question = SubscribeToEmpty {
        codec: Codec::new(Dialect::Native, options.ack),
        echo: false,
        map_of: &|index| maps[index / room].as_str(),
    };
    ask_each(&mut fleet, range, &mut question, bench.timing.timeout_ns)?;
    let settled_ns = now_ns() + options.settle_ms * 1_000_000;
    rest_while(&mut fleet, || now_ns() < settled_ns)?;
    let mut mixed = Mixed::new(options, maps);
    let window = bench.measure(&mut fleet, &mut mixed)?;
    fleet.close();
    let mut figures = window.figures(&mixed.tally);
    figures.set("deliveries_per_second", mixed.deliveries.operations as f64 / seconds(mixed.elapsed_ns()));
    figures.set_latency("delivery", &mixed.deliveries.latency_ns);
    let MixedOptions { edit_percent, value_bytes, ack, .. } = options;
    let ack = ack.name();
    let title = format!(
        "mixed   {rooms} rooms of {room}, {edit_percent} % edits, values of {value_bytes} B, acks {ack}"
    );
    let delivered = mixed.deliveries.operations;
    let checked = format!("all {delivered} deliveries came once and in order; no read was stale");
    Ok(Outcome { title, operation: "action", figures, checked })
}

struct Mixed {
    options: MixedOptions,
    maps: Vec<String>,
    values: Values,
    clients: Vec<Client>,
    /// By client, then member of its room: the next edit of that member it is owed.
    owed: Vec<u64>,
    /// State of a small generator (xorshift); the same actions in every run.
    random: u64,
    /// Actions in flight, and deliveries that have not come.
    waiting: usize,
    undelivered: u64,
    request: Request,
    barrier: Barrier,
    stopping: bool,
    started_ns: u64,
    latest_ns: u64,
    deliveries: Tally,
    tally: Tally,
}

struct Client {
    edits: u64,
    acked: u64,
    edited_ns: [u64; EDITS_REMEMBERED],
    action: Action,
    action_ns: u64,
    next_id: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Action {
    None,
    Edit,
    /// Of this member of the room.
    Read(usize),
}

impl Mixed {
    fn new(options: &MixedOptions, maps: Vec<String>) -> Self {
        let room = options.room as usize;
        let count = maps.len() * room;
        let client = || Client {
            edits: 0,
            acked: 0,
            edited_ns: [0; EDITS_REMEMBERED],
            action: Action::None,
            action_ns: 0,
            next_id: 0,
        };
        Self {
            options: options.clone(),
            maps,
            values: Values::new(options.value_bytes),
            clients: (0..count).map(|_| client()).collect(),
            owed: vec![0; count * room],
            random: 0x9e37_79b9_7f4a_7c15,
            waiting: 0,
            undelivered: 0,
            request: Request::asking(options.ack),
            barrier: Barrier::new(Dialect::Native),
            stopping: false,
            started_ns: 0,
            latest_ns: 0,
            deliveries: Tally::new(),
            tally: Tally::new(),
        }
    }

    fn elapsed_ns(&self) -> u64 {
        self.latest_ns.saturating_sub(self.started_ns).max(1)
    }

    fn room_size(&self) -> usize {
        self.options.room as usize
    }

    fn act(&mut self, wire: &mut Wire<'_>, index: usize, now: u64) {
        let first = self.clients[index].edits == 0;
        if first || self.draw(100) < self.options.edit_percent {
            self.edit(wire, index, now);
        } else {
            self.read(wire, index);
        }
        let client = &mut self.clients[index];
        client.action_ns = now;
        client.next_id += 1;
        self.waiting += 1;
    }

    fn edit(&mut self, wire: &mut Wire<'_>, index: usize, now: u64) {
        let room = self.room_size();
        let client = &mut self.clients[index];
        let sequence = client.edits;
        client.edits += 1;
        client.edited_ns[sequence as usize % EDITS_REMEMBERED] = now;
        client.action = Action::Edit;
        self.undelivered += room as u64 - 1;
        let stamp = Stamp { writer: index as u32, sequence };
        let set = Set { map: &self.maps[index / room], prefix: PREFIX, key: (index % room) as u64, stamp };
        wire.send(index, self.request.write(client.next_id, &self.values, std::iter::once(set)));
    }

    fn read(&mut self, wire: &mut Wire<'_>, index: usize) {
        let room = self.room_size();
        let member = self.draw(room as u64) as usize;
        let client = &mut self.clients[index];
        client.action = Action::Read(member);
        let keys = std::iter::once(member as u64);
        wire.send(index, self.request.read(client.next_id, &self.maps[index / room], PREFIX, keys));
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn answered(
        &mut self,
        wire: &mut Wire<'_>,
        from: usize,
        message: &Message<'_>,
        now: u64,
    ) -> Result<(), Failure> {
        let id = self.clients[from].next_id.wrapping_sub(1);
        if message.id != Some(id) {
            return Err(Failure::Wrong(format!(
                "client {from} waits for the answer {id}, got {:?}",
                message.id
            )));
        }
        match self.clients[from].action {
            Action::Edit => {
                message.expect_ack(id, 1, self.request.ack())?;
                self.clients[from].acked += 1;
            }
            Action::Read(member) => self.check_read(from, member, message)?,
            Action::None => {
                return Err(Failure::Duplicated(format!("client {from} got a second answer {id}")));
            }
        }
        let client = &mut self.clients[from];
        client.action = Action::None;
        self.tally.done(client.action_ns, now);
        self.waiting -= 1;
        self.latest_ns = now;
        if !self.stopping {
            self.act(wire, from, now);
        }
        Ok(())
    }

    fn check_read(&self, from: usize, member: usize, message: &Message<'_>) -> Result<(), Failure> {
        message.expect("entries")?;
        let owner = self.owner(from, member);
        let mut found = 0;
        message.each_entry(|entry| {
            found += 1;
            let stamp = self.values.read(entry.value)?;
            let right_key = key_number(entry.key, PREFIX)? == member as u64;
            if !right_key || stamp.writer as usize != owner || stamp.sequence >= self.clients[owner].edits {
                return Err(Failure::Wrong(format!(
                    "client {from} read {stamp:?} as the value of client {owner}"
                )));
            }
            let seen = self.owed[from * self.room_size() + member];
            if owner != from && stamp.sequence + 1 < seen {
                return Err(Failure::OutOfOrder(format!(
                    "client {from} read edit {} of client {owner} after it was sent {}",
                    stamp.sequence,
                    seen - 1
                )));
            }
            Ok(())
        })?;
        let must_be_there = self.owed[from * self.room_size() + member] > 0;
        match found {
            1 => Ok(()),
            0 if !must_be_there => Ok(()),
            0 => Err(Failure::Lost(format!("client {from} does not find the key of client {owner}"))),
            _ => Err(Failure::Duplicated(format!("client {from} read one key and got {found} entries"))),
        }
    }

    fn changed(&mut self, from: usize, message: &Message<'_>, now: u64) -> Result<(), Failure> {
        let room = self.room_size();
        if message.map != self.maps[from / room].as_bytes() {
            return Err(Failure::Wrong(format!("client {from} got a change of {}", excerpt(message.map))));
        }
        message.each_entry(|entry| {
            let member = key_number(entry.key, PREFIX)? as usize;
            let stamp = self.values.read(entry.value)?;
            let owner = self.owner(from, member);
            if member >= room || stamp.writer as usize != owner || owner == from {
                return Err(Failure::Wrong(format!(
                    "client {from} got {stamp:?} under {}",
                    excerpt(entry.key)
                )));
            }
            let owed = &mut self.owed[from * room + member];
            let (edit, next) = (stamp.sequence, *owed);
            if edit >= self.clients[owner].edits {
                return Err(Failure::Wrong(format!(
                    "client {from} got edit {edit} of client {owner} too early"
                )));
            }
            if edit < next {
                return Err(Failure::Duplicated(format!(
                    "client {from} got edit {edit} of client {owner} again"
                )));
            }
            if edit > next {
                let what = format!("client {from} got edit {edit} of client {owner}, edit {next} never came");
                return Err(Failure::Lost(what));
            }
            *owed += 1;
            self.undelivered -= 1;
            let edited_ns = self.clients[owner].edited_ns[edit as usize % EDITS_REMEMBERED];
            self.deliveries.done(edited_ns, now);
            Ok(())
        })
    }

    fn owner(&self, from: usize, member: usize) -> usize {
        from / self.room_size() * self.room_size() + member
    }
}

impl Handler for Mixed {
    fn message(&mut self, wire: &mut Wire<'_>, from: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        let message = Message::read(text)?;
        if message.kind == b"change" {
            return self.changed(from, &message, now);
        }
        if self.barrier.passes(&message) {
            self.tally.operations += 1;
            return Ok(());
        }
        self.answered(wire, from, &message, now)
    }
}

impl Scenario for Mixed {
    fn start(&mut self, wire: &mut Wire<'_>, now: u64) {
        self.started_ns = now;
        self.deliveries.open_window(now);
        for index in 0..self.clients.len() {
            self.act(wire, index, now);
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.deliveries.close_window();
    }

    fn is_quiet(&self) -> bool {
        self.waiting == 0 && self.undelivered == 0 && self.barrier.waiting == 0
    }

    fn missing(&self) -> Failure {
        let room = self.room_size();
        if let Some(client) = self.clients.iter().position(|client| client.action != Action::None) {
            let id = self.clients[client].next_id - 1;
            return Failure::Lost(format!("client {client} never got the answer {id}"));
        }
        for (index, &owed) in self.owed.iter().enumerate() {
            let (client, owner) = (index / room, self.owner(index / room, index % room));
            if client != owner && owed < self.clients[owner].edits {
                return Failure::Lost(format!("client {client} never got edit {owed} of client {owner}"));
            }
        }
        Failure::Lost(format!("{} closing pongs never came", self.barrier.waiting))
    }

    fn ask_proof(&mut self, wire: &mut Wire<'_>) {
        self.barrier.ask(wire, self.clients.len());
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
