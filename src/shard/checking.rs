//! Whether everything is as it must be: each subscription has a connection and a map that know it, each member its connection, and each
//! counter is what there is to count. On demand and once an hour, a share a turn; the simulator asks for it at the end of each seed.
//!
//! ```text
//!  counts ─► subscriptions ─► connections ─► maps ─► members of channels ─► stays ─► watches ─► ties of rooms ─► users ─► suspects
//! ```
//! What is looked at belongs together at any moment between two calls, so nothing has to stand still. But a connection that is gone leaves
//! its room and its user by a message, which may be on its way: who has no connection is a **suspect**, and a violation only if it still is
//! one [`SUSPECTED_MS`] later.
//!
//! Invariant: a look changes nothing.

use super::Shard;
use super::work;
use crate::handover::inspection::{Checked, Finding, Told};
use crate::mesh::{ConnectionId, SubscriptionRef, Writer};

/// Slots that one share looks at: a tenth of a millisecond.
const LOOKS: u32 = 512;
/// Milliseconds after which whoever is still suspect has been forgotten.
const SUSPECTED_MS: u64 = 5_000;
/// Suspects that are remembered, and problems that are told.
const SUSPECTS_MAX: usize = 1024;
const PROBLEMS_MAX: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Counts,
    Subscriptions,
    Connections,
    Maps,
    Channels,
    Stays,
    Watches,
    Ties,
    Users,
    /// Until then, in milliseconds of the monotonic clock.
    Suspects {
        until_ms: u64,
    },
}

/// Who has no connection.
enum Suspect {
    Member { room: Box<str>, member: Box<str>, by: Writer },
    OfUser { place: u32, by: Writer },
}

/// A look that is under way.
pub struct Checking {
    /// Of the question.
    number: u64,
    stage: Stage,
    /// Where the stage goes on: a slot, and a name within.
    from: u32,
    within: Option<Box<str>>,
    suspects: Vec<Suspect>,
    found: Found,
}

#[derive(Default)]
struct Found(Checked);

impl Found {
    fn fault(&mut self, problem: String) {
        self.0.violations += 1;
        if self.0.problems.len() < PROBLEMS_MAX {
            self.0.problems.push(problem);
        }
    }
}

impl Checking {
    fn new(number: u64) -> Self {
        Self {
            number,
            stage: Stage::Counts,
            from: 0,
            within: None,
            suspects: Vec::new(),
            found: Found::default(),
        }
    }

    pub const fn has_work_left(&self) -> bool {
        !matches!(self.stage, Stage::Suspects { .. }) || self.suspects.is_empty()
    }

    pub const fn next_us(&self) -> Option<u64> {
        match self.stage {
            Stage::Suspects { until_ms } => Some(until_ms * 1000),
            _ => None,
        }
    }

    /// The stage goes on from there; `None`: it is over.
    fn go_on(&mut self, next: Option<u32>, then: Stage) {
        (self.from, self.stage) = match next {
            Some(next) => (next, self.stage),
            None => (0, then),
        };
    }

    fn suspect(&mut self, suspect: Suspect) {
        if self.suspects.len() < SUSPECTS_MAX {
            self.suspects.push(suspect);
        }
    }
}

impl Shard {
    /// Begins to look at everything; one that is under way is given up, and answered as far as it is.
    pub(super) fn begin_check(&mut self, number: u64) {
        if let Some(before) = self.inspection.checking.take() {
            self.end_check(*before);
        }
        self.inspection.checking = Some(Box::new(Checking::new(number)));
    }

    /// Looks at one more share, if there is a look under way.
    pub(super) fn go_on_checking(&mut self) {
        let Some(mut checking) = self.inspection.checking.take() else { return };
        if let Stage::Suspects { until_ms } = checking.stage
            && self.turn.now.timer_ms() < until_ms
            && !checking.suspects.is_empty()
        {
            self.inspection.checking = Some(checking);
            return;
        }
        if self.look_on(&mut checking) {
            self.end_check(*checking);
        } else {
            self.inspection.checking = Some(checking);
        }
    }

    /// The same at once, of a shard that is at rest: what it finds, with each connection that a member of a room or a user has anywhere.
    /// O(everything): for tests.
    pub fn check_now(&mut self) -> (Checked, Vec<(String, Writer)>) {
        let (mut checking, work) = (Checking::new(0), self.turn.work());
        while !self.look_on(&mut checking) {}
        // It is no part of any turn, and must not keep the next from anything.
        self.turn.set_work(work);
        let mut elsewhere = Vec::new();
        for slot in 0..self.presence.slot_count() {
            self.presence.ties(slot, None, usize::MAX, |room, member, by| {
                elsewhere.push((format!("member {member:?} of room {room:?}"), by));
            });
        }
        (checking.found.0, elsewhere)
    }

    /// Whether a connection is here, open or not.
    pub fn has_connection(&self, id: ConnectionId) -> bool {
        self.clients.get(id).is_some()
    }

    fn end_check(&mut self, checking: Checking) {
        let Checking { number, found, .. } = checking;
        for problem in &found.0.problems {
            tracing::error!("the server is not as it must be, please report this: {problem}");
        }
        let told = Told { number, at_us: self.turn.now.monotonic_us, finding: Finding::Checked(found.0) };
        self.inspection.tell(&mut self.turn.commands, told);
    }

    /// One share; whether that was the last.
    fn look_on(&mut self, checking: &mut Checking) -> bool {
        let Self { turn, clients, maps, feeds, queries, rooms, presence, channels, directory, .. } = self;
        let from = checking.from;
        turn.spend(work::WALKED * u64::from(LOOKS));
        checking.found.0.looked_at += u64::from(LOOKS);
        let found = &mut checking.found;
        match checking.stage {
            Stage::Counts => {
                clients.check_counts(turn, |problem| found.fault(problem));
                feeds.check_counts(turn, queries.subscriptions(), |problem| found.fault(problem));
                channels.check_counts(turn, |problem| found.fault(problem));
                directory.check_counts(turn, |problem| found.fault(problem));
                let (counted, held) =
                    (turn.metrics.presence_watches, rooms.watches_count() + presence.stays_count());
                if counted != held as u64 {
                    found.fault(format!("{counted} watches of rooms are counted, and {held} are held"));
                }
                checking.go_on(None, Stage::Subscriptions);
            }
            Stage::Subscriptions => {
                let next = feeds.check(clients, maps, from, LOOKS, |problem| found.fault(problem));
                checking.go_on(next, Stage::Connections);
            }
            Stage::Connections => {
                let end = clients.slots();
                // One may have thousands.
                let (mut at, mut looks) = (from, 0);
                while at < end && looks < LOOKS as usize {
                    let own = clients.in_slot(at).and_then(|(id, _)| clients.get(id));
                    let own: &[SubscriptionRef] = own.map_or(&[], |connection| &connection.subscriptions);
                    let lost = own.iter().filter(|own| !feeds.has(**own)).count();
                    if lost > 0 {
                        found.fault(format!("a connection has {lost} subscriptions that are none"));
                    }
                    looks += 1 + own.len();
                    at += 1;
                }
                turn.spend(work::WALKED * (looks as u64).saturating_sub(u64::from(LOOKS)));
                checking.go_on((at < end).then_some(at), Stage::Maps);
            }
            Stage::Maps => {
                let next = maps.check(turn, from, LOOKS, |problem| found.fault(problem));
                checking.go_on(next, Stage::Channels);
            }
            Stage::Channels => {
                let next = channels.check(clients, from, LOOKS, |problem| found.fault(problem));
                checking.go_on(next, Stage::Stays);
            }
            Stage::Stays => {
                let next = presence.check_stays(clients, from, LOOKS, |problem| found.fault(problem));
                checking.go_on(next, Stage::Watches);
            }
            Stage::Watches => {
                let next = rooms.check(clients, from, LOOKS, |problem| found.fault(problem));
                checking.go_on(next, Stage::Ties);
            }
            Stage::Ties => {
                let mut suspects = Vec::new();
                let (mut at, mut looks, mut within) = (from, 0, checking.within.take());
                while at < presence.slot_count() && looks < LOOKS as usize {
                    let left = LOOKS as usize - looks;
                    let (looked, next) = presence.ties(at, within.as_deref(), left, |room, member, by| {
                        if by.shard == turn.index && clients.get(by.connection).is_none() {
                            suspects.push(Suspect::Member { room: room.into(), member: member.into(), by });
                        }
                    });
                    looks += 1 + looked;
                    at += u32::from(next.is_none());
                    within = next;
                }
                suspects.into_iter().for_each(|suspect| checking.suspect(suspect));
                checking.within = within;
                checking.go_on((at < presence.slot_count()).then_some(at), Stage::Users);
            }
            Stage::Users => {
                let mut suspects = Vec::new();
                let each = |place, by: Writer| {
                    if clients.get(by.connection).is_none() {
                        suspects.push(Suspect::OfUser { place, by });
                    }
                };
                let next = directory.check(turn, from, LOOKS, (each, |problem| found.fault(problem)));
                suspects.into_iter().for_each(|suspect| checking.suspect(suspect));
                let until_ms = turn.now.timer_ms() + SUSPECTED_MS;
                checking.go_on(next, Stage::Suspects { until_ms });
            }
            Stage::Suspects { .. } => {
                turn.spend(work::CELL * checking.suspects.len() as u64);
                for suspect in std::mem::take(&mut checking.suspects) {
                    match suspect {
                        Suspect::Member { room, member, by }
                            if presence.is_tied(turn, &room, &member, by) =>
                        {
                            found.fault(format!("member {member:?} of room {room:?} has no connection"));
                        }
                        Suspect::OfUser { place, by } if directory.is_listed(place, by) => {
                            found.fault(format!("a user has connection {place}, which is none"));
                        }
                        Suspect::Member { .. } | Suspect::OfUser { .. } => {}
                    }
                }
                return true;
            }
        }
        false
    }
}
