//! Answers to the admin thread: what is here, and whether it is as it must be.
//!
//! Invariant: nobody asks, and it costs one look at an empty queue a turn. A turn answers one question at least, and no further one once it
//! has done what it may; what one costs is bounded by what it looks at and by what it makes (`INSPECTED_SLOTS_MAX`, `INSPECTED_BYTES_MAX`).

use super::checking::Checking;
use super::{Command, Shard, work};
use crate::crdt::HashedKey;
use crate::handover::inspection::{
    Ask, ClientDetail, Finding, Inquiry, InspectionPort, KeysOf, MapPart, RoomRow, Share, Told, Walk,
};
use crate::limits::{INSPECTED_SLOTS_MAX, INSPECTED_TAGS_MAX};
use crate::mesh::ConnectionId;
use crate::metrics::AdminMetrics;

/// See the module.
#[derive(Default)]
pub struct Inspection {
    port: Option<InspectionPort>,
    /// A look at everything that is under way.
    pub(super) checking: Option<Box<Checking>>,
}

impl Inspection {
    /// Whether the next turn has something to do of all this, even if nothing happens.
    pub fn has_work_left(&self) -> bool {
        let has_asks = self.port.as_ref().is_some_and(|port| !port.asked.is_empty());
        has_asks || self.checking.as_ref().is_some_and(|checking| checking.has_work_left())
    }

    /// When a look at everything goes on that waits, in microseconds of the monotonic clock.
    pub fn next_us(&self) -> Option<u64> {
        self.checking.as_ref()?.next_us()
    }

    /// What the thread counts, for who is asked for it.
    pub fn metrics(&self) -> Option<&AdminMetrics> {
        Some(&self.port.as_ref()?.metrics)
    }

    fn next(&mut self) -> Option<Ask> {
        self.port.as_mut()?.asked.pop().ok()
    }

    /// Hands on an answer, for which there is room: the thread asks no more than that.
    pub(super) fn tell(&mut self, commands: &mut Vec<Command>, told: Told) {
        if let Some(port) = &mut self.port
            && port.told.push(told).is_ok()
        {
            commands.push(Command::WakeAdmin);
        }
    }
}

impl Shard {
    /// From now on the admin thread may ask.
    pub fn open_to_inspection(&mut self, port: InspectionPort) {
        self.inspection.port = Some(port);
    }

    /// Answers what the admin thread has asked, as much as a turn may, one question at least.
    pub(super) fn answer_inspections(&mut self) {
        if self.inspection.port.is_none() {
            return;
        }
        self.go_on_checking();
        let mut is_first = true;
        while is_first || !self.turn.is_spent() {
            let Some(Ask { number, inquiry }) = self.inspection.next() else { return };
            is_first = false;
            let Some(finding) = self.answer_inquiry(number, inquiry) else { continue };
            self.turn.spend(work::FRAME);
            let told = Told { number, at_us: self.turn.now.monotonic_us, finding };
            self.inspection.tell(&mut self.turn.commands, told);
        }
    }

    /// The answer; `None`: it follows.
    fn answer_inquiry(&mut self, number: u64, inquiry: Inquiry) -> Option<Finding> {
        Some(match inquiry {
            Inquiry::Metrics => {
                let metrics = Box::new(self.metrics_now());
                self.turn.spend(work::copied(size_of_val(&*metrics)) + work::CELL);
                Finding::Metrics(metrics)
            }
            Inquiry::Clients { walk, wanted } => {
                let found = self.clients.inspect(self.turn.now, walk, &wanted);
                Finding::Clients(self.looked(found))
            }
            Inquiry::Client { connection, walk } => Finding::Client(self.client_detail(connection, walk)),
            Inquiry::Kick { connection } => Finding::Kicked(u32::from(self.clients.kick(connection))),
            Inquiry::KickUser { user } => Finding::Kicked(self.dismiss_here(&user)),
            Inquiry::Maps { walk, prefix, map_type } => {
                let found = self.maps.inspect(&self.turn, walk, &prefix, map_type);
                Finding::Maps(self.looked(found))
            }
            Inquiry::MapParts { maps } => {
                Finding::MapParts(maps.iter().map(|map| self.map_part(map)).collect())
            }
            Inquiry::Keys { map, prefix, walk } => Finding::Keys(self.keys(&map, &prefix, walk)),
            Inquiry::Key { map, key } => {
                let hash = self.turn.hasher.map(&map);
                let hashed = HashedKey { hash: self.turn.hasher.key(hash, &key), bytes: key.as_bytes() };
                let (detail, may_be_stored) = self.maps.inspect_key(self.maps.find(&map, hash), hashed);
                self.turn.spend(work::CELL);
                if let Some(detail) = &detail {
                    self.turn
                        .spend(work::encoded(detail.state.len()) + work::TAG * 2 * INSPECTED_TAGS_MAX as u64);
                }
                Finding::Key { detail: detail.map(Box::new), may_be_stored }
            }
            Inquiry::Rooms { walk, prefix } => Finding::Rooms(self.rooms_of(walk, &prefix)),
            Inquiry::Channels { walk, prefix } => {
                let found = self.channels.inspect(walk, &prefix);
                Finding::Channels(self.looked(found))
            }
            Inquiry::ChannelMembers { channels } => {
                self.turn.spend(work::CELL * channels.len() as u64);
                let members = channels.iter().map(|channel| self.channels.members_of(&self.turn, channel));
                Finding::ChannelMembers(members.collect())
            }
            Inquiry::Users { walk, prefix } => {
                let found = self.directory.inspect(walk, &prefix);
                Finding::Users(self.looked(found))
            }
            Inquiry::Configure(config) => {
                self.configure(config);
                Finding::Configured
            }
            Inquiry::Check => {
                self.begin_check(number);
                return None;
            }
        })
    }

    /// Counts what a look at slots has cost.
    fn looked<T>(&mut self, share: Share<T>) -> Share<T> {
        self.turn.spend(work::WALKED * u64::from(share.looked_at) + work::FRAME * share.rows.len() as u64);
        share
    }

    fn client_detail(&mut self, id: ConnectionId, walk: Walk) -> Option<Box<ClientDetail>> {
        let row = self.clients.row(self.turn.now, id)?;
        let walk = Walk { rows_max: walk.rows_max.min(INSPECTED_SLOTS_MAX), ..walk };
        let connection = self.clients.get(id)?;
        let subscriptions = self.feeds.inspect(&self.maps, connection, walk);
        let joined = connection.joined.members().iter().take(100);
        let detail = ClientDetail {
            row,
            waits: self.clients.waits(id),
            is_paused: connection.paused,
            is_sending: connection.outbox.is_sending(),
            behind: self.feeds.behind(connection),
            unread_bytes: connection.unread.len(),
            subscriptions,
            channels: joined.map(|&member| Box::from(&*self.channels.channel_of(member))).collect(),
        };
        let looks = connection.subscriptions.len() + detail.channels.len();
        self.turn.spend(work::PASSED_OVER * looks as u64);
        self.looked(share_of(&detail.subscriptions));
        Some(Box::new(detail))
    }

    fn map_part(&mut self, map: &str) -> MapPart {
        self.turn.spend(work::CELL);
        let slot = self.maps.find(map, self.turn.hasher.map(map));
        let (subscribers, feeds) = slot.map_or((0, 0), |slot| self.feeds.counts_of(&self.maps, slot));
        self.turn.spend(work::PASSED_OVER * feeds);
        MapPart { subscribers, feeds, ..self.maps.part(slot) }
    }

    fn keys(&mut self, map: &str, prefix: &str, walk: Walk) -> KeysOf {
        let found = self.maps.inspect_keys(self.maps.find(map, self.turn.hasher.map(map)), prefix, walk);
        if let KeysOf::Loaded(keys) = &found {
            let bytes: usize =
                keys.rows.iter().map(|row| row.value.as_ref().map_or(0, |value| value.len())).sum();
            self.turn.spend(work::encoded(bytes));
            self.looked(share_of(keys));
        }
        found
    }

    /// Rooms of `/v1`, whose slots have even numbers in the walk, and then those of SyncKit's clients.
    fn rooms_of(&mut self, walk: Walk, prefix: &str) -> Share<RoomRow> {
        let (half, is_synckit) = (walk.from / 2, walk.from % 2 == 1);
        let halved = Walk { from: half, ..walk };
        let found = match is_synckit {
            false => self.presence.inspect(halved, prefix),
            true => self.rooms.inspect(halved, prefix),
        };
        let next = match found.next {
            Some(next) => Some(next * 2 + u32::from(is_synckit)),
            None if !is_synckit => Some(1),
            None => None,
        };
        self.looked(Share { next, ..found })
    }
}

/// The same without rows.
const fn share_of<T>(share: &Share<T>) -> Share<()> {
    Share { rows: Vec::new(), looked_at: share.looked_at, next: share.next }
}
