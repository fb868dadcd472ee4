//! What `blklogwrites` has logged, in the format of the kernel's `dm-log-writes`: a superblock, then entries, each padded
//! to a sector and followed by what was written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::random::Random;

const SECTOR: u64 = 512;
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;
/// What a disk writes as one, at the most, when its cache loses some of a write.
const PIECE: u64 = 4096;

/// See the module.
pub struct Log {
    file: File,
    entries: Vec<Entry>,
}

struct Entry {
    /// Where it goes on the disk, in bytes.
    to: u64,
    len: u64,
    flags: u64,
    /// Where what was written is in the log.
    from: u64,
}

impl Log {
    pub fn read(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let word = |at: u64| {
            let mut word = [0; 8];
            file.read_exact_at(&mut word, at).unwrap();
            u64::from_le_bytes(word)
        };
        assert_eq!(word(0), MAGIC, "a log of dm-log-writes");
        let (mut entries, mut at) = (Vec::new(), SECTOR);
        for _ in 0..word(16) {
            let [sector, sectors, flags] = [0, 8, 16].map(|field| word(at + field));
            let from = at + SECTOR;
            let len = sectors * SECTOR;
            at = if flags & DISCARD == 0 { from + len } else { from };
            entries.push(Entry { to: sector * SECTOR, len, flags, from });
        }
        Self { file, entries }
    }

    /// How many entries there are up to the end of each flush.
    pub fn flushes(&self) -> Vec<usize> {
        let is_flush = |&(_, entry): &(usize, &Entry)| entry.flags & FLUSH != 0;
        self.entries.iter().enumerate().filter(is_flush).map(|(index, _)| index + 1).collect()
    }

    /// Does again what was done from one entry up to another.
    pub fn replay(&self, entries: std::ops::Range<usize>, image: &File) -> io::Result<()> {
        self.entries[entries].iter().try_for_each(|entry| self.copy(entry, 0, entry.len, image))
    }

    /// As [`Self::replay`], of a disk whose cache has kept some pieces of these writes and lost others; how many it kept.
    pub fn replay_some(
        &self,
        entries: std::ops::Range<usize>,
        image: &File,
        random: &mut Random,
    ) -> io::Result<u64> {
        let kept_per_mille = random.pick(&[100, 500, 900]);
        let mut kept = 0;
        for entry in &self.entries[entries] {
            for at in (0..entry.len).step_by(PIECE as usize) {
                if random.per_mille(kept_per_mille) {
                    self.copy(entry, at, PIECE.min(entry.len - at), image)?;
                    kept += 1;
                }
            }
        }
        Ok(kept)
    }

    fn copy(&self, entry: &Entry, at: u64, len: u64, image: &File) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(len).expect("a write is short")];
        if entry.flags & DISCARD == 0 {
            self.file.read_exact_at(&mut bytes, entry.from + at)?;
        }
        image.write_all_at(&bytes, entry.to + at)
    }
}
