//! The bytes of one file: as written, as synced, and as a power cut between the two leaves them.

use std::collections::BTreeMap;

use crate::random::Random;

/// What a disk writes as one, if it is lucky.
const SECTOR_BYTES: usize = 512;

/// Something done to a file and not synced.
enum Pending {
    Data { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// See the module.
#[derive(Default)]
pub struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

/// How a power cut treats what was not synced of one file. Decisions hang on where something was written and not on
/// its place in the order, which a store may leave to chance.
pub struct Tearing {
    seed: u64,
    /// Of a thousand sectors, how many arrive.
    arriving: usize,
    /// Of a thousand sectors, how many arrive up to some byte only.
    torn: usize,
    /// Only what lies below some offset arrives: the file was being written from its front.
    is_cut: bool,
    /// The file is as long as it was to be, whatever has arrived, with what the disk had there.
    keeps_length: bool,
}

impl Tearing {
    pub fn of(random: &mut Random, inode: u64) -> Self {
        let seed = random.next() ^ inode.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let arriving = random.pick(&[0, 0, 1000, 1000, 1000, 950, 500, 50]);
        Self {
            seed,
            arriving,
            torn: random.pick(&[0, 0, 20, 300]),
            is_cut: random.per_mille(400),
            keeps_length: random.per_mille(300),
        }
    }

    /// Bytes that arrive of the `len` that were written at `offset`, all in one sector.
    fn arrived(&self, offset: usize, len: usize, nth: usize) -> usize {
        let mut random = Random::new(self.seed ^ (offset as u64) << 8 ^ nth as u64);
        if !random.per_mille(self.arriving) {
            0
        } else if random.per_mille(self.torn) {
            random.below(len + 1)
        } else {
            len
        }
    }
}

impl Inode {
    pub fn live(&self) -> &[u8] {
        &self.live
    }

    pub fn write(&mut self, bytes: &[u8], offset: usize) {
        put(&mut self.live, bytes, offset);
        self.pending.push(Pending::Data { offset, bytes: bytes.to_vec() });
    }

    pub fn set_len(&mut self, len: usize) {
        self.live.resize(len, 0);
        self.pending.push(Pending::Length(len));
    }

    pub fn sync(&mut self) {
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Data { offset, bytes } => put(&mut self.durable, &bytes, offset),
                Pending::Length(len) => self.durable.resize(len, 0),
            }
        }
    }

    /// The kernel tells of the error once and counts everything as written.
    pub fn fail_sync(&mut self) {
        self.pending.clear();
    }

    /// Only what was synced is certain to be there now. Whether anything else is there in part.
    pub fn lose_power(&mut self, tearing: &Tearing, left_over: &[u8]) -> bool {
        let len = self.live.len();
        let pending = std::mem::take(&mut self.pending);
        let end = tearing.is_cut.then(|| cut(&pending, tearing.seed));
        let mut writes: BTreeMap<usize, usize> = BTreeMap::new();
        let mut is_torn = false;
        for pending in &pending {
            match pending {
                Pending::Data { offset, bytes } => {
                    for (at, piece) in pieces(*offset, bytes) {
                        let nth = writes.entry(at / SECTOR_BYTES).or_default();
                        *nth += 1;
                        let room = end.map_or(piece.len(), |end| end.saturating_sub(at).min(piece.len()));
                        let arrived = tearing.arrived(at, piece.len(), *nth).min(room);
                        is_torn |= arrived < piece.len();
                        put(&mut self.durable, &piece[..arrived], at);
                    }
                }
                Pending::Length(len) if tearing.keeps_length => self.durable.resize(*len, 0),
                Pending::Length(_) => {}
            }
        }
        let written = self.durable.len();
        if tearing.keeps_length && written < len {
            // Never at its old place: a file system that shows old blocks in a new file may refuse to start us.
            let shift = SECTOR_BYTES * (1 + Random::new(tearing.seed).below(8));
            let stale = left_over.get(written + shift..).unwrap_or_default();
            self.durable.extend_from_slice(&stale[..stale.len().min(len - written)]);
            self.durable.resize(len, 0);
        }
        self.live = self.durable.clone();
        is_torn
    }
}

/// Some offset between the first and the last byte written.
fn cut(pending: &[Pending], seed: u64) -> usize {
    let (mut low, mut high) = (usize::MAX, 0);
    for pending in pending {
        if let Pending::Data { offset, bytes } = pending {
            low = low.min(*offset);
            high = high.max(offset + bytes.len());
        }
    }
    low.saturating_add(Random::new(seed).below(high.saturating_sub(low) + 1))
}

/// The parts of `bytes`, written at `offset`, that lie in one sector each.
fn pieces(offset: usize, mut bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = offset;
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let (piece, rest) = bytes.split_at((SECTOR_BYTES - at % SECTOR_BYTES).min(bytes.len()));
        let place = at;
        (at, bytes) = (at + piece.len(), rest);
        Some((place, piece))
    })
}

/// Writes as a file does: what lies between its end and the write reads as zero.
fn put(file: &mut Vec<u8>, bytes: &[u8], offset: usize) {
    if bytes.is_empty() {
        return;
    }
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}
