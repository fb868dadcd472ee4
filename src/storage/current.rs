//! The segment that is written to: how far it is, and what has to be done before it is finished.

use std::fmt;

use super::groups::Group;
use super::segment::{SEGMENT_HEADER_BYTES, padded};
use super::{BLOCK_BYTES, Spare};

/// See the module.
#[derive(Debug)]
pub(super) struct Current {
    pub name: String,
    pub salt: u32,
    /// Bytes and groups written.
    pub bytes: u64,
    pub groups: u64,
    /// When the first byte was written that is not synced; `None`: all is.
    pub unsynced_since_ms: Option<u64>,
    pub is_named: bool,
    /// Nothing more is written to it, but its end record.
    pub is_ending: bool,
    /// Of a file that was prepared: its size. `None`: it grows.
    pub prepared_bytes: Option<u64>,
    /// Its end record is written.
    pub is_closed: bool,
}

impl Current {
    pub fn new(name: String, salt: u32, spare: Option<&Spare>) -> Self {
        Self {
            name,
            salt,
            bytes: 0,
            groups: 0,
            unsynced_since_ms: None,
            is_named: false,
            is_ending: false,
            prepared_bytes: spare.map(|spare| spare.bytes),
            is_closed: false,
        }
    }

    pub const fn grows(&self) -> bool {
        self.prepared_bytes.is_none()
    }

    /// Whether a group of so many bytes has room in it, where a segment that grows ends at `segment_bytes`.
    pub fn has_room_for(&self, bytes: usize, segment_bytes: usize) -> bool {
        match self.prepared_bytes {
            None => self.bytes + bytes as u64 <= segment_bytes as u64,
            Some(size) => self.bytes + (padded(bytes) + BLOCK_BYTES) as u64 <= size,
        }
    }

    /// Everything in it will survive, and so will its name.
    pub const fn is_safe(&self) -> bool {
        self.is_named && self.unsynced_since_ms.is_none()
    }

    /// Whether only its end record is missing.
    pub fn lacks_end(&self) -> bool {
        self.is_ending && self.is_safe() && !self.grows() && !self.is_closed
    }

    pub fn is_over(&self) -> bool {
        self.is_ending && self.is_safe() && !self.lacks_end()
    }
}

impl Spare {
    /// Whether a segment that begins with a group of so many bytes has room in it.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        (padded(SEGMENT_HEADER_BYTES + bytes) + BLOCK_BYTES) as u64 <= self.bytes
    }
}

/// What the journal waits for.
#[derive(Debug)]
pub(super) enum UnderWay {
    /// The spare file, if it is made of one.
    Create(Current, Option<Spare>),
    /// The group's bytes are with whoever carries the step out.
    Write(Group),
    /// The end record, of so many bytes.
    End(u64),
    Sync,
    SyncFolder,
}

/// Gives each segment its salt.
pub(super) struct Salts(pub Box<dyn FnMut() -> u32 + Send>);

impl fmt::Debug for Salts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("random")
    }
}
