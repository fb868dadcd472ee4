//! What the home of a user keeps of it: messages, how many of them are lost, and whom it has nothing to do with.

use std::sync::Arc;

use hashbrown::HashSet;

use super::lost::Lost;
use crate::config::DirectConfig;
use crate::mesh::MessageId;
use crate::shard::log::{Bounds, Draft, Entry, Log, OwnMap, own_entries};
use crate::shard::maps::{MapSlot, Maps};
use crate::shard::turn::Turn;
use crate::wire::Reject;

/// Bytes that a name on a list takes beside itself.
const NAME_BYTES: usize = size_of::<Box<str>>() + 8;
/// Milliseconds for which an empty mailbox stays, so that not each message of a conversation begins one.
const REST_MS: u64 = 60_000;

/// See the module.
pub struct Mailbox {
    pub user: Arc<str>,
    /// Tells it from others that had its slot.
    pub serial: u32,
    map: OwnMap,
    log: Log,
    lost: Lost,
    /// Few have any.
    blocks: Option<Box<Blocks>>,
    /// When it is looked at next.
    pub due_ms: Option<u64>,
    used_ms: u64,
}

#[derive(Default)]
struct Blocks {
    blocked: HashSet<Box<str>>,
    blocked_by: HashSet<Box<str>>,
    bytes: usize,
}

/// Which list of names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// Whom the user has blocked.
    Blocked,
    /// Who has blocked the user.
    BlockedBy,
}

impl List {
    const ALL: [Self; 2] = [Self::Blocked, Self::BlockedBy];

    /// How the keys begin of the cells that have it.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Blocked => "__annulus:block:",
            Self::BlockedBy => "__annulus:blocked-by:",
        }
    }

    fn of(self, blocks: &mut Blocks) -> &mut HashSet<Box<str>> {
        match self {
            Self::Blocked => &mut blocks.blocked,
            Self::BlockedBy => &mut blocks.blocked_by,
        }
    }
}

/// What a queue may keep.
pub const fn bounds(config: &DirectConfig) -> Bounds {
    Bounds { entries: config.messages_max, bytes: config.bytes_max }
}

/// Bytes that a message counts as.
pub const fn cost(from: &str, data: &[u8]) -> usize {
    size_of::<Entry>() + from.len() + data.len()
}

impl Mailbox {
    /// The mailbox of a user, as it was left.
    ///
    /// # Errors
    /// The slot of its map, which is not here yet: whoever asks waits for it.
    pub fn open(turn: &mut Turn, maps: &mut Maps, user: &str) -> Result<Self, MapSlot> {
        let map = OwnMap::of_user(&turn.hasher, user);
        let log = Log::open(turn, maps, map.clone(), bounds(&turn.config.direct))?;
        let mut mailbox = Self {
            user: Arc::from(user),
            serial: turn.next_serial(),
            map,
            log,
            lost: Lost::default(),
            blocks: None,
            due_ms: None,
            used_ms: turn.now.unix_ms,
        };
        if mailbox.log.is_kept() {
            let slot = mailbox.map.ready(turn, maps)?;
            for (key, _) in own_entries(maps, slot) {
                for list in List::ALL {
                    if let Some(other) = key.strip_prefix(list.prefix()) {
                        mailbox.list(list, other, true);
                    }
                }
            }
        }
        Ok(mailbox)
    }

    /// Whether it may be changed now.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn ready(&mut self, turn: &mut Turn, maps: &mut Maps) -> Result<(), MapSlot> {
        self.used_ms = turn.now.unix_ms;
        self.log.ready(turn, maps)
    }

    /// Messages that are kept.
    pub fn len(&self) -> usize {
        self.log.entries().len()
    }

    /// Bytes of what it keeps, and of itself.
    pub fn bytes(&self) -> usize {
        let own = size_of::<Self>() + 2 * self.user.len();
        own + self.log.entries().bytes() + self.blocks.as_ref().map_or(0, |blocks| blocks.bytes)
    }

    /// Keeps a message, which counts as no more than all may; its name, and how many of the oldest had to go for it. It must be
    /// [`Self::ready`].
    ///
    /// # Errors
    /// There is no memory for more.
    pub fn push(
        &mut self,
        turn: &mut Turn,
        maps: &mut Maps,
        draft: Draft,
    ) -> Result<(MessageId, u64), Reject> {
        let config = turn.config.direct;
        let mut dropped = self.expire(turn.now.unix_ms, &config);
        let first = self.log.entries().first().map_or(0, |first| first.offset);
        let pushed = self.log.push(turn, maps, bounds(&config), draft)?;
        let trimmed_through = self.log.entries().trimmed_through();
        self.lost.add(pushed.dropped, (first, trimmed_through), turn.now.unix_ms);
        dropped += pushed.dropped;
        Ok((MessageId { epoch: self.log.entries().epoch(), offset: pushed.offset }, dropped))
    }

    /// Forgets what has been kept for long enough; how many messages that has cost the user.
    pub fn expire(&mut self, now_ms: u64, config: &DirectConfig) -> u64 {
        let mut dropped = 0;
        let over = self.log.entries().after(0).take_while(|entry| entry.expires_ms <= now_ms);
        // Others were meant to last no longer.
        for entry in over.filter(|entry| entry.expires_ms - entry.time_ms >= config.ttl_ms) {
            dropped += 1;
            self.lost.add(1, (entry.offset, entry.offset), entry.expires_ms);
        }
        self.log.expire(now_ms);
        if self.len() == 0 && self.lost.at_ms().saturating_add(config.ttl_ms) <= now_ms {
            self.lost = Lost::default();
        }
        dropped
    }

    /// Forgets all up to a message, which the user has; how many. It must be [`Self::ready`].
    pub fn acknowledge(&mut self, turn: &mut Turn, maps: &mut Maps, through: MessageId) -> u64 {
        if through.epoch != self.log.entries().epoch() {
            return 0;
        }
        self.lost.forget_through(through.offset);
        self.log.drop_through(turn, maps, through.offset)
    }

    /// Messages behind one, but for what is over and for whom the user has nothing to do with; and the name of each, to go on from.
    pub fn after(
        &self,
        through: MessageId,
        now_ms: u64,
    ) -> impl Iterator<Item = (MessageId, Option<&Entry>)> {
        let entries = self.log.entries();
        entries.after(self.offset_of(through)).map(move |entry| {
            let is_shown = entry.expires_ms > now_ms && !self.is_apart_from(&entry.from);
            (MessageId { epoch: entries.epoch(), offset: entry.offset }, Some(entry).filter(|_| is_shown))
        })
    }

    /// How many messages behind one are lost.
    pub fn lost_after(&self, through: MessageId) -> u64 {
        self.lost.after(self.offset_of(through))
    }

    /// The last message there was.
    pub const fn last(&self) -> MessageId {
        MessageId { epoch: self.log.entries().epoch(), offset: self.log.entries().last() }
    }

    fn offset_of(&self, through: MessageId) -> u64 {
        if through.epoch == self.log.entries().epoch() { through.offset } else { 0 }
    }

    /// Whether another is on a list.
    pub fn has(&self, list: List, other: &str) -> bool {
        self.blocks.as_ref().is_some_and(|blocks| match list {
            List::Blocked => blocks.blocked.contains(other),
            List::BlockedBy => blocks.blocked_by.contains(other),
        })
    }

    /// How many the user has blocked.
    pub fn blocked_len(&self) -> usize {
        self.blocks.as_ref().map_or(0, |blocks| blocks.blocked.len())
    }

    fn is_apart_from(&self, other: &str) -> bool {
        List::ALL.iter().any(|&list| self.has(list, other))
    }

    /// Puts another on a list, or takes it off. It must be [`Self::ready`].
    ///
    /// # Errors
    /// There is no memory for more.
    pub fn set(
        &mut self,
        turn: &mut Turn,
        maps: &mut Maps,
        (list, other): (List, &str),
        is_on: bool,
    ) -> Result<(), Reject> {
        if self.has(list, other) == is_on {
            return Ok(());
        }
        if self.log.is_kept() {
            let key = [list.prefix(), other].concat();
            if is_on {
                self.map.set(turn, maps, &key, (b"true", None))?;
            } else {
                self.map.delete(turn, maps, &key)?;
            }
        }
        self.list(list, other, is_on);
        Ok(())
    }

    fn list(&mut self, list: List, other: &str, is_on: bool) {
        let blocks = self.blocks.get_or_insert_default();
        let bytes = NAME_BYTES + other.len();
        if is_on && list.of(blocks).insert(other.into()) {
            blocks.bytes += bytes;
        } else if !is_on && list.of(blocks).remove(other) {
            blocks.bytes -= bytes;
        }
        if blocks.bytes == 0 {
            self.blocks = None;
        }
    }

    /// Whether it need not be here: it has nothing that is not on disk, and has not been used for a while or ever.
    pub fn may_rest(&self, now_ms: u64) -> bool {
        let has_blocks = self.blocks.is_some() && !self.log.is_kept();
        let is_fresh = self.log.entries().last() > 0 && now_ms < self.used_ms.saturating_add(REST_MS);
        self.len() == 0 && self.lost.is_nothing() && !has_blocks && !is_fresh
    }

    /// When it is to be looked at, if that is not known yet: once a minute at least, as it may be needed no longer.
    pub fn note_due(&mut self, now_ms: u64, config: &DirectConfig) -> Option<u64> {
        let ends_ms = match self.log.entries().first() {
            Some(oldest) => oldest.expires_ms,
            None if !self.lost.is_nothing() => self.lost.at_ms().saturating_add(config.ttl_ms),
            // Blocks stay.
            None if self.blocks.is_some() && !self.log.is_kept() => return None,
            None => u64::MAX,
        };
        if self.due_ms.is_some() {
            return None;
        }
        self.due_ms = Some(ends_ms.min(now_ms.saturating_add(REST_MS)));
        self.due_ms
    }

    /// Lets go of it.
    pub fn close(self, turn: &mut Turn, maps: &mut Maps) {
        self.log.close(turn, maps);
    }
}
