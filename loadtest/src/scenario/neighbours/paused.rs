//! Two thousand connections that the server does not read, as each has an answer waiting that it does not take; and a client that
//! makes the server go round. What they hold is counted as stored: held answers are a row of their own.
//!
//! Bound in the server: a turn looks only at those that may go on, not at all that are paused.

use super::behaviour::{Behaviour, Row, store};
use super::crowd::Crowd;
use super::peer::{Part, Reading};
use super::requests::{fill, read, text};
use super::volley::Volley;
use crate::failure::Failure;

pub const ROW: Row = Row {
    name: "paused",
    says: "2 000 paused connections, and one that pings without a pause",
    make: |size| Box::new(Paused { count: size.of(2_000, 500), pinger: Volley::default() }),
    server_arguments: &["--outbox-soft-bytes", "128KiB"],
};

struct Paused {
    count: usize,
    pinger: Volley,
}

impl Behaviour for Paused {
    fn prepare(&mut self, crowd: &mut Crowd) -> Result<(), Failure> {
        store(crowd, Part::NATIVE, &fill("paused", 1, 250_000))?;
        let peers = crowd.open(self.count, Part::NATIVE.reading(Reading::Nothing))?;
        let request = read("paused", std::iter::once("k0".to_owned()));
        let behind = text(r#"{"type":"ping"}"#);
        for index in peers.clone() {
            crowd.ask(index, &request);
            crowd.say(index, &behind);
        }
        let are_sent = |crowd: &Crowd| peers.clone().all(|index| crowd.outgoing_bytes(index) == 0);
        crowd.until("requests did not leave", are_sent)?;
        self.pinger = Volley::new(crowd.open(1, Part::NATIVE)?, vec![text(r#"{"type":"ping","id":1}"#)], 1);
        Ok(())
    }

    fn tick(&mut self, crowd: &mut Crowd, _: u64) -> Result<(), Failure> {
        self.pinger.tick(crowd);
        Ok(())
    }
}
