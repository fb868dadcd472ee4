//! What becomes of a history as time passes and rules change.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::home::log_bounds;
use super::{ChannelSlot, Channels};
use crate::auth::rules::Rules;
use crate::config::ChannelBounds;
use crate::shard::maps::Maps;
use crate::shard::turn::Turn;
use crate::shard::work;

/// Milliseconds between two looks at what of one channel is too old.
const LOOK_EVERY_MS: u64 = 1_000;

impl Channels {
    /// From now on these say how much is kept.
    pub fn stand_under(&mut self, rules: Option<Arc<Rules>>) {
        let are_same = match (&self.rules, &rules) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (before, now) => before.is_none() && now.is_none(),
        };
        self.rules = rules;
        if !are_same && self.counts.channels > 0 {
            self.review = Some(0);
        }
    }

    /// How much is kept of a channel of this name.
    pub(super) fn bounds_of(&self, turn: &mut Turn, name: &str) -> ChannelBounds {
        let bounds = turn.config.channel_history;
        let Some(rules) = &self.rules else { return bounds };
        turn.spend(work::PASSED_OVER * rules.channels() as u64);
        rules.channel_bounds(name, bounds)
    }

    /// Drops what is too old, and looks at channels again under other rules, as much as the turn has work for.
    pub fn look_after(&mut self, turn: &mut Turn, maps: &mut Maps) {
        while !turn.is_spent()
            && let Some(Reverse((at_ms, slot, epoch))) = self.due.peek().copied()
            && at_ms <= turn.now.unix_ms
        {
            self.due.pop();
            turn.spend(work::CELL);
            let home = self.table.get_mut(slot).and_then(|channel| channel.home.as_mut());
            let Some(home) = home.filter(|home| home.log.entries().epoch() == epoch) else { continue };
            home.is_due = false;
            self.expire(turn, slot);
            self.note_due(slot);
            self.release_if_unused(turn, maps, slot);
        }
        if self.due.is_empty() && self.due.capacity() > 0 {
            self.due = BinaryHeap::new();
        }
        self.review_next(turn, maps);
    }

    fn review_next(&mut self, turn: &mut Turn, maps: &mut Maps) {
        let Some(first) = self.review else { return };
        for slot in first..self.table.slot_count() {
            if turn.is_spent() {
                self.review = Some(slot);
                return;
            }
            turn.spend(work::PASSED_OVER);
            let Some(channel) = self.table.get(slot).filter(|channel| channel.home.is_some()) else {
                continue;
            };
            let name = Arc::clone(channel.interest.name());
            let bounds = self.bounds_of(turn, &name);
            self.change(slot, |home| {
                home.bounds = bounds;
                // One whose map is not there is trimmed with its next message.
                if home.log.ready(turn, maps).is_ok() {
                    let (_, bytes) = home.size();
                    home.log.trim(turn, maps, log_bounds(&bounds));
                    turn.spend(work::freed(bytes - home.size().1));
                }
            });
            self.release_if_unused(turn, maps, slot);
        }
        self.review = None;
    }

    /// Whether channels are yet to be looked at, so that the next turn must not wait for an event.
    pub const fn has_review(&self) -> bool {
        self.review.is_some()
    }

    /// When the next message is too old, in Unix milliseconds.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((at_ms, ..))| *at_ms)
    }

    /// Drops what is too old.
    pub(super) fn expire(&mut self, turn: &mut Turn, slot: ChannelSlot) {
        let freed = self.change(slot, |home| {
            let (_, bytes) = home.size();
            home.log.expire(turn.now.unix_ms);
            bytes - home.size().1
        });
        turn.spend(work::freed(freed));
    }

    /// Has a channel looked at when its oldest message is too old.
    pub(super) fn note_due(&mut self, slot: ChannelSlot) {
        let home = self.home_mut(slot);
        let entries = home.log.entries();
        let Some(oldest) = entries.first().filter(|_| !home.is_due) else { return };
        // Some are too old by then, and those are dropped together.
        let (at_ms, epoch) = (oldest.expires_ms.saturating_add(LOOK_EVERY_MS), entries.epoch());
        home.is_due = true;
        self.due.push(Reverse((at_ms, slot, epoch)));
    }

    /// Drops all that is kept, as all maps are dropped. Members stay, and offsets go on.
    pub fn clear(&mut self, turn: &mut Turn, maps: &mut Maps) {
        let slots: Vec<ChannelSlot> = self.table.slots().collect();
        for slot in slots {
            if self.table[slot].home.is_none() {
                continue;
            }
            self.change(slot, |home| home.log.clear());
            self.release_if_unused(turn, maps, slot);
        }
    }
}
