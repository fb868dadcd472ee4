//! What the threads of the storage share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::data_set::DataSet;
use super::drains::Drains;
use super::place::Place;
use super::pressure::Pressure;
use super::room::Room;
use super::segments::Segments;
use super::shards::Shards;
use super::spares::Spares;
use super::types::Types;
use crate::config::StorageConfig;
use crate::handover::Progress;
use crate::io::{Clock, Event};
use crate::storage::{Base, FinishedSegment, Format, HostDisk, Lock, Tail, Timeline};

/// See the module.
pub(super) struct Parts {
    pub config: StorageConfig,
    pub disk: HostDisk,
    pub format: Format,
    pub timeline: Timeline,
    pub base: Base,
    pub base_place: Place,
    pub tail: Tail,
    pub types: Types,
    pub segments: Segments,
    pub spares: Spares,
    pub room: Arc<Room>,
    pub pressure: Pressure,
    pub shards: Shards,
    pub drains: Drains,
    pub progress: Arc<Progress>,
    pub clock: Clock,
    pub retention_ms: u64,
    /// Wakes the service thread.
    pub event: Event,
    /// The shards have ended: what they have handed over is the last.
    pub is_stopping: AtomicBool,
    /// Given back after everything else.
    pub _lock: Lock,
}

impl Parts {
    /// Takes in a segment that is complete.
    pub fn finished(&self, segment: FinishedSegment) {
        self.pressure.finished(segment.bytes);
        self.segments.finished(segment);
        self.progress.metrics().segments.set(self.segments.waiting() as u64);
        if self.pressure.is_high() {
            self.segments.hurry();
        }
    }

    /// Looks after the disk and the journal now and then until the storage ends.
    pub fn watch(&self) {
        while !self.room.rest() {
            if !self.room.has_beside(0)
                && let Err(error) = self.spares.give_back(&self.disk)
            {
                tracing::warn!("a spare file of the journal cannot be removed: {error}");
            }
            self.pressure.judge(self.clock.elapsed_ns());
        }
    }

    /// What loads read and folds change.
    pub fn data_set(&self) -> DataSet<'_> {
        DataSet {
            disk: &self.disk,
            epoch: self.format.epoch,
            base: &self.base,
            tail: &self.tail,
            types: &self.types,
            progress: &self.progress,
            retention_ms: self.retention_ms,
        }
    }
}
