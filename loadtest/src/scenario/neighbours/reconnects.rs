//! Clients that connect, are greeted, drop the connection without a word and connect again, as fast as it goes.
//!
//! Bound in the server: `--accept-rate`, and what a turn takes from the accept queue.

use super::behaviour::{Behaviour, Row};
use super::crowd::Crowd;
use super::peer::Part;
use crate::failure::Failure;

pub const ROW: Row = Row {
    name: "reconnects",
    says: "200 clients connect, are greeted, drop and connect again",
    make: |_| Box::new(Reconnects(0..0)),
    server_arguments: &[],
};

const CLIENTS: usize = 200;

struct Reconnects(std::ops::Range<usize>);

impl Behaviour for Reconnects {
    fn prepare(&mut self, crowd: &mut Crowd) -> Result<(), Failure> {
        self.0 = crowd.open(CLIENTS, Part::NATIVE)?;
        Ok(())
    }

    fn tick(&mut self, crowd: &mut Crowd, _: u64) -> Result<(), Failure> {
        for index in self.0.clone() {
            if crowd.is_open(index) {
                crowd.drop_peer(index);
            }
            crowd.reopen(index, 0);
        }
        Ok(())
    }
}
