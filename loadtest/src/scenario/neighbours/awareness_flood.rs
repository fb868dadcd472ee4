//! Clients of one document that all say where they are as fast as it leaves: each change goes to all of them.
//!
//! Bound in the server: what is read of one connection in a turn; a watcher that falls behind is sent latest states.

use super::behaviour::{Behaviour, Row};
use super::crowd::Crowd;
use super::peer::{Bytes, Part};
use super::requests::{AWARENESS_SUBSCRIBE, AWARENESS_UPDATE, synckit};
use crate::failure::Failure;

pub const ROW: Row = Row {
    name: "awareness-flood",
    says: "50 SyncKit clients of one document say where they are without a pause",
    make: |_| Box::new(AwarenessFlood::default()),
    server_arguments: &[],
};

const CLIENTS: usize = 50;
/// Updates of one client in one message of the socket.
const UPDATES: usize = 50;

#[derive(Default)]
struct AwarenessFlood {
    peers: std::ops::Range<usize>,
    updates: Vec<Bytes>,
}

impl Behaviour for AwarenessFlood {
    fn prepare(&mut self, crowd: &mut Crowd) -> Result<(), Failure> {
        self.peers = crowd.open(CLIENTS, Part::SYNCKIT)?;
        let watch = synckit(AWARENESS_SUBSCRIBE, r#""id":"1","documentId":"room:crowded""#);
        for index in self.peers.clone() {
            crowd.ask(index, &watch);
            let updates: Vec<u8> = (0..UPDATES).flat_map(|clock| update(index, clock).to_vec()).collect();
            self.updates.push(Bytes::from(updates));
        }
        let peers = self.peers.clone();
        crowd.until("nobody is told of awareness", move |crowd| {
            peers.clone().all(|index| crowd.owed(index) == 0)
        })
    }

    fn tick(&mut self, crowd: &mut Crowd, _: u64) -> Result<(), Failure> {
        for (index, updates) in self.peers.clone().zip(&self.updates) {
            if crowd.is_open(index) && crowd.outgoing_bytes(index) == 0 {
                crowd.say(index, updates);
            }
        }
        Ok(())
    }
}

fn update(client: usize, clock: usize) -> Bytes {
    let state = format!(r#"{{"cursor":{clock},"name":"somebody who moves"}}"#);
    synckit(
        AWARENESS_UPDATE,
        &format!(
            r#""id":"1","documentId":"room:crowded","clientId":"c{client}","state":{state},"clock":{}"#,
            clock + 1
        ),
    )
}
