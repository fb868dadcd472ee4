//! Clients of SyncKit that subscribe to ever other documents, whose names are as long as they may be.
//!
//! Bound in the server: `--max-subscriptions` of a connection, counted before anything is kept.

use super::behaviour::{Behaviour, Row};
use super::crowd::Crowd;
use super::peer::Part;
use super::requests::{SUBSCRIBE, SYNC_REQUEST, synckit};
use crate::failure::Failure;

pub const ROW: Row = Row {
    name: "synckit-documents",
    says: "4 SyncKit clients name 500 000 documents of 250 bytes, to subscribe and to sync",
    make: |size| Box::new(Documents { left: size.of(500_000, 60_000), peers: 0..0 }),
    server_arguments: &[],
};

const CLIENTS: usize = 4;
/// Requests of one client that wait for an answer.
const WINDOW: u64 = 500;

struct Documents {
    left: usize,
    peers: std::ops::Range<usize>,
}

impl Behaviour for Documents {
    fn prepare(&mut self, crowd: &mut Crowd) -> Result<(), Failure> {
        self.peers = crowd.open(CLIENTS, Part::SYNCKIT)?;
        Ok(())
    }

    fn tick(&mut self, crowd: &mut Crowd, _: u64) -> Result<(), Failure> {
        for index in self.peers.clone() {
            while self.left > 0 && crowd.is_open(index) && crowd.owed(index) < WINDOW {
                let code = if self.left.is_multiple_of(2) { SUBSCRIBE } else { SYNC_REQUEST };
                let name = format!("room:{:0>240}", self.left);
                crowd.ask(index, &synckit(code, &format!(r#""id":"1","documentId":"{name}""#)));
                self.left -= 1;
            }
        }
        Ok(())
    }
}
