//! What a read shows to one who may not see everything.

use crate::auth::rules::Parts;
use crate::crdt::{HashedKey, Map};
use crate::mesh::Read;
use crate::shard::maps::{Lens, packed_text_bytes};
use crate::shard::turn::Turn;
use crate::shard::work;

/// Packs what may be seen of what is read, until that takes more bytes as text than there is room for; how many.
pub fn pack_seen(
    turn: &mut Turn,
    out: &mut Vec<u8>,
    (read, parts): (&Read<'_>, &Parts),
    cells: Option<&Map>,
) -> usize {
    out.clear();
    let (mut lens, mut text_bytes) = (Lens::new(parts, read.map), 0);
    for (key, hash) in read.keys.iter() {
        turn.spend(work::PASSED_OVER);
        let Some(cells) = cells else { break };
        let Some(cell) = cells.find(HashedKey { hash, bytes: key.as_bytes() }) else { continue };
        turn.spend(work::CELL);
        let start = out.len();
        if lens.pack(out, cells.cell(cell), read.room - text_bytes) {
            text_bytes += packed_text_bytes(&out[start..]);
        }
        if text_bytes > read.room {
            break;
        }
    }
    turn.spend(work::encoded(text_bytes.min(read.room)));
    turn.count_asked(lens.asked);
    text_bytes
}
