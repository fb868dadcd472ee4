//! Messages in chunks of which the last never comes: each client sends the same chunks again and again, as fast as they leave.
//!
//! Bound in the server: messages in pieces and their bytes, of one connection and of all; they are forgotten after 30 s.

use super::behaviour::{Behaviour, Row};
use super::crowd::Crowd;
use super::peer::{Bytes, Part};
use super::requests::{DELTA_BATCH_CHUNK, synckit};
use super::volley::{FLOOD, Volley};
use crate::failure::Failure;

pub const ROW: Row = Row {
    name: "chunk-flood",
    says: "50 SyncKit clients send messages in chunks that are never complete",
    make: |_| Box::new(ChunkFlood(Volley::default())),
    server_arguments: &[],
};

const CLIENTS: usize = 50;
/// Bytes of a chunk as base64, and chunks of a message that come: just below what one message may have.
const CHUNK_BYTES: usize = 64 << 10;
const CHUNKS: usize = 38;

struct ChunkFlood(Volley);

impl Behaviour for ChunkFlood {
    fn prepare(&mut self, crowd: &mut Crowd) -> Result<(), Failure> {
        let data = "QUJD".repeat(CHUNK_BYTES / 4);
        let chunk = |index: usize| {
            synckit(
                DELTA_BATCH_CHUNK,
                &format!(r#""id":"1","chunkId":"m","totalChunks":1000,"chunkIndex":{index},"data":"{data}""#),
            )
        };
        let chunks: Vec<Bytes> = (0..CHUNKS).map(chunk).collect();
        self.0 = Volley::new(crowd.open(CLIENTS, Part::SYNCKIT)?, chunks, FLOOD);
        Ok(())
    }

    fn tick(&mut self, crowd: &mut Crowd, _: u64) -> Result<(), Failure> {
        self.0.tick(crowd);
        Ok(())
    }
}
