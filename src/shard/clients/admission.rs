//! Who may connect: the total, the rate, the count of each client address, and the count of those who have yet to ask for
//! anything.
//!
//! A socket is a **handshake** until its WebSocket opens, and one of the **connections** from then on; each kind has a limit of
//! its own. So whoever connects and says nothing takes the place of no client. Where there are too many handshakes, the oldest is
//! ended and not the new one turned away: who asks at once is done long before its turn comes, and who floods ends itself.
//!
//! A client over another limit is taken, answered 1013 with a time to come back, and let go.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;

use super::Clients;
use super::connection::Phase;
use crate::config::Config;
use crate::limits::CLOSING_RESERVE;
use crate::mesh::{Answer, ConnectionId, Item, Payer, ReplyTo, Request, TurnedAway};
use crate::metrics::Refusal;
use crate::shard::turn::{Random, Turn};
use crate::shard::{Now, Shared};
use crate::wire::Close;
use crate::wire::http::is_trusted;

/// Milliseconds after which a client that was turned away may come back, at the least and at the most.
const RETRY_AFTER_MS: std::ops::Range<u32> = 500..5_000;
/// Names in the line of handshakes beyond twice as many as there are, past which it is swept.
const STALE_MAX: usize = 64;

/// As many sockets as may be are being closed.
pub struct NoRoom;

pub struct Admission {
    /// Of all shards.
    connections: Arc<AtomicUsize>,
    connections_max: usize,
    /// Handshakes of this shard, and those that were and are being closed.
    handshakes: usize,
    handshakes_max: usize,
    closing: usize,
    closing_max: usize,
    /// Handshakes in the order in which they were accepted, and some that are none any more.
    line: VecDeque<ConnectionId>,
    per_ip_max: usize,
    /// Bits of an IPv6 address that connections are counted by.
    ipv6_prefix: u8,
    /// Accepts this shard may still make in the current second, and when that began.
    accepts_left: u32,
    accepts_per_second: u32,
    second_began_ms: u64,
    /// Connections of the addresses this shard keeps count of.
    by_address: HashMap<IpAddr, usize>,
}

/// Accepts of one shard.
fn accepts_per_second(config: &Config, shards: usize) -> u32 {
    match config.accepts_per_second_max {
        0 => u32::MAX,
        limit => limit.div_ceil(u32::try_from(shards).expect("there are no more than `SHARDS_MAX`")),
    }
}

impl Admission {
    pub fn new(shared: &Shared, shards: usize, now: Now) -> Self {
        let accepts_per_second = accepts_per_second(&shared.config, shards);
        Self {
            connections: Arc::clone(&shared.connections),
            connections_max: shared.config.connections_max,
            handshakes: 0,
            handshakes_max: shared.config.handshakes_max.div_ceil(shards),
            closing: 0,
            closing_max: CLOSING_RESERVE.div_ceil(shards),
            line: VecDeque::new(),
            per_ip_max: shared.config.connections_per_ip_max,
            ipv6_prefix: shared.config.ipv6_prefix,
            accepts_left: accepts_per_second,
            accepts_per_second,
            second_began_ms: now.timer_ms(),
            by_address: HashMap::new(),
        }
    }

    /// Goes on with other limits, which count for who comes from then on: where addresses were not counted, those that are here are none of them.
    pub fn configure(&mut self, config: &Config, shards: usize) {
        self.connections_max = config.connections_max;
        self.handshakes_max = config.handshakes_max.div_ceil(shards);
        self.per_ip_max = config.connections_per_ip_max;
        self.accepts_per_second = accepts_per_second(config, shards);
        self.accepts_left = self.accepts_left.min(self.accepts_per_second);
    }

    /// Whether one more may be accepted in this second.
    fn accept(&mut self, now: Now) -> bool {
        if now.timer_ms() >= self.second_began_ms + 1000 {
            self.second_began_ms = now.timer_ms();
            self.accepts_left = self.accepts_per_second;
        }
        let is_within = self.accepts_left > 0;
        self.accepts_left -= u32::from(is_within);
        is_within
    }

    /// Makes a handshake one of the connections, if there may be one more.
    fn enter(&mut self) -> bool {
        let is_within = self.connections.fetch_add(1, Ordering::Relaxed) < self.connections_max;
        if is_within {
            self.handshakes -= 1;
        } else {
            self.connections.fetch_sub(1, Ordering::Relaxed);
        }
        is_within
    }

    /// A handshake is being closed.
    pub fn close(&mut self) {
        self.handshakes -= 1;
        self.closing += 1;
    }

    /// A socket is closed, which was one of the connections or a handshake.
    pub fn released(&mut self, was_admitted: bool) {
        if was_admitted {
            self.connections.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.closing -= 1;
        }
    }

    /// Whether one more connection of `address` may be open.
    fn has_room(&self, address: IpAddr) -> bool {
        self.per_ip_max == 0 || self.by_address.get(&address).is_none_or(|&count| count < self.per_ip_max)
    }

    fn admitted(&mut self, address: IpAddr) {
        *self.by_address.entry(address).or_insert(0) += 1;
    }

    fn departed(&mut self, address: IpAddr) {
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

/// What a client is told that is turned away.
pub fn turned_away(turned_away: TurnedAway, random: &mut Random) -> Close {
    let retry_after_ms = turned_away.retry_after_ms.map_or_else(|| retry_after_ms(random), NonZeroU32::get);
    match turned_away.reason {
        Refusal::PerIp | Refusal::AddressRate => Close::TooManyOfAddress { retry_after_ms },
        Refusal::PerUser | Refusal::UserRate => Close::TooManyOfUser { retry_after_ms },
        Refusal::Session => Close::OtherSession,
        Refusal::Application => Close::Denied,
        Refusal::Connections | Refusal::Rate | Refusal::Handshakes => Close::TryAgainLater { retry_after_ms },
    }
}

fn retry_after_ms(random: &mut Random) -> u32 {
    let spread = RETRY_AFTER_MS.end - RETRY_AFTER_MS.start;
    let more = random.below(u64::from(spread));
    RETRY_AFTER_MS.start + u32::try_from(more).expect("it is below the spread")
}

impl Clients {
    /// Whether there may be one more socket; why to turn it away if it is one too many in its second.
    ///
    /// # Errors
    /// There is no room even for an answer.
    pub fn count_accept(&mut self, turn: &mut Turn) -> Result<Option<Refusal>, NoRoom> {
        let admission = &mut self.admission;
        if admission.handshakes >= admission.handshakes_max && admission.closing >= admission.closing_max {
            turn.metrics.count_refusal(Refusal::Handshakes);
            return Err(NoRoom);
        }
        admission.handshakes += 1;
        let is_within = admission.accept(turn.now);
        Ok((!is_within).then_some(Refusal::Rate))
    }

    /// Puts a new socket in the line of handshakes.
    pub fn line_up(&mut self, id: ConnectionId) {
        if self.admission.line.len() > 2 * self.admission.handshakes + STALE_MAX {
            let Self { admission, table, .. } = self;
            admission
                .line
                .retain(|id| table.get(id.index).is_some_and(|found| found.id == *id && !found.is_admitted));
        }
        self.admission.line.push_back(id);
    }

    /// Takes the oldest handshake that is not being closed, if there are too many.
    pub fn next_over_handshakes(&mut self) -> Option<ConnectionId> {
        if self.admission.handshakes <= self.admission.handshakes_max {
            return None;
        }
        loop {
            let id = self.admission.line.pop_front()?;
            let is_handshake =
                |found: &super::Connection| !found.is_admitted && found.phase != Phase::Disconnected;
            if self.get(id).is_some_and(is_handshake) {
                return Some(id);
            }
        }
    }

    /// Makes an opening WebSocket one of the connections; why to turn it away if it is one too many.
    pub fn enter(&mut self, id: ConnectionId) -> Option<Refusal> {
        if !self.admission.enter() {
            return Some(Refusal::Connections);
        }
        if let Some(connection) = self.get_mut(id) {
            connection.is_admitted = true;
        }
        None
    }

    /// Whether connections from `peer` are counted as its own, or else those of whom it names.
    pub fn counts_at_accept(&self, turn: &Turn, peer: IpAddr) -> bool {
        self.limits_addresses() && !is_trusted(peer, &turn.config.trusted_proxies)
    }

    pub fn limits_addresses(&self) -> bool {
        self.admission.per_ip_max > 0 || self.budgets.count_connections_of_addresses()
    }

    /// Asks for one more connection of `address`; whether it may be, if that is decided here. Otherwise the answer comes
    /// from another shard.
    pub fn request_admission(
        &mut self,
        turn: &mut Turn,
        reply: ReplyTo,
        address: IpAddr,
    ) -> Option<Result<(), TurnedAway>> {
        let address = counted_as(address, self.admission.ipv6_prefix);
        let target = Payer::Address(address).home(&turn.hasher, turn.shards);
        if target == turn.index {
            return Some(self.admit_here(turn, address));
        }
        turn.outgoing.push(target, Item::Request(Request::Admit { reply, address }));
        None
    }

    /// Another shard asks for one more connection of what it counts as `address`.
    pub fn admit(&mut self, turn: &mut Turn, reply: ReplyTo, address: IpAddr) {
        let outcome = self.admit_here(turn, address);
        turn.outgoing.push(reply.shard, Item::Answer(Answer::Admit { reply, outcome }));
    }

    /// Counts one more connection of what is counted here as `address`, if it may have one.
    fn admit_here(&mut self, turn: &Turn, address: IpAddr) -> Result<(), TurnedAway> {
        if !self.admission.has_room(address) {
            return Err(Refusal::PerIp.into());
        }
        let counted = self.budgets.count_connection_of_address(turn, &Payer::Address(address));
        counted
            .map_err(|ms| TurnedAway { reason: Refusal::AddressRate, retry_after_ms: NonZeroU32::new(ms) })?;
        self.admission.admitted(address);
        Ok(())
    }

    /// Tells the shard that counts `address` that a connection of it is gone.
    pub fn depart(&mut self, turn: &mut Turn, address: IpAddr) {
        let address = counted_as(address, self.admission.ipv6_prefix);
        let target = Payer::Address(address).home(&turn.hasher, turn.shards);
        if target == turn.index {
            self.departed(address);
        } else {
            turn.outgoing.push(target, Item::Departed { address });
        }
    }

    /// A connection of what is counted here as `address` is gone, here or elsewhere.
    pub fn departed(&mut self, address: IpAddr) {
        self.admission.departed(address);
    }
}

/// What stands for an address where connections are counted. Whoever has one IPv6 address has a whole network of them, 2^64
/// as a rule, so these count by their first bits. An IPv4 address is one, also where it is written as an IPv6 one.
pub(super) fn counted_as(address: IpAddr, ipv6_prefix: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let network = u128::MAX.checked_shl(128 - u32::from(ipv6_prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & network))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_counts_by_its_prefix_and_an_ipv4_address_whole() {
        let counted = |address: &str, prefix| counted_as(address.parse().unwrap(), prefix).to_string();
        for (address, prefix, expected) in [
            ("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff:ffff:ffff:ffff", 64, "2001:db8:1:2::"),
            ("2001:db8:1:2:3:4:5:6", 56, "2001:db8:1::"),
            ("2001:db8:1:2:3:4:5:6", 128, "2001:db8:1:2:3:4:5:6"),
            ("ffff::1", 1, "8000::"),
            ("192.0.2.1", 64, "192.0.2.1"),
            ("::ffff:192.0.2.1", 64, "192.0.2.1"),
        ] {
            assert_eq!(counted(address, prefix), expected, "{address}/{prefix}");
        }
    }
}
