//! Twenty connections that leave large states of awareness in ever other documents under ever other names: 1.15 GB in all.
//!
//! Bound in the server: what one connection, and all together, may hold in rooms.

use super::behaviour::{Behaviour, Row};
use super::crowd::Crowd;
use super::peer::Part;
use super::requests::{AWARENESS_UPDATE, synckit, value};
use crate::failure::Failure;

pub const ROW: Row = Row {
    name: "held-awareness",
    says: "20 SyncKit clients leave 1.15 GB of awareness states of 60 KB",
    make: |size| {
        Box::new(HeldAwareness {
            left: size.of(19_200, 3_200),
            state: value(60_000),
            ..HeldAwareness::default()
        })
    },
    server_arguments: &[],
};

const CLIENTS: usize = 20;
/// Members of one document, whose states are just within what a room may hold.
const MEMBERS: usize = 30;
/// Bytes that wait to be sent on one connection before more are made.
const OUTGOING_BYTES_MAX: usize = 256 << 10;

#[derive(Default)]
struct HeldAwareness {
    left: usize,
    state: String,
    peers: std::ops::Range<usize>,
}

impl Behaviour for HeldAwareness {
    fn prepare(&mut self, crowd: &mut Crowd) -> Result<(), Failure> {
        self.peers = crowd.open(CLIENTS, Part::SYNCKIT)?;
        Ok(())
    }

    fn tick(&mut self, crowd: &mut Crowd, _: u64) -> Result<(), Failure> {
        for index in self.peers.clone() {
            while self.left > 0 && crowd.is_open(index) && crowd.outgoing_bytes(index) < OUTGOING_BYTES_MAX {
                let document = self.left / MEMBERS;
                let fields = format!(
                    r#""id":"1","documentId":"room:{document}","clientId":"c{}","state":{},"clock":1"#,
                    self.left, self.state
                );
                crowd.say(index, &synckit(AWARENESS_UPDATE, &fields));
                self.left -= 1;
            }
        }
        Ok(())
    }
}
