//! Clients that connect and close in order, each time with another code, and with more frames behind the close.
//!
//! Bound in the server: what a turn takes from the accept queue; codes that peers choose are counted as one.

use super::behaviour::{Behaviour, Row};
use super::crowd::Crowd;
use super::peer::Part;
use super::requests::{framed, text};
use super::volley::REST_NS;
use crate::failure::Failure;
use crate::frame::Kind;

pub const ROW: Row = Row {
    name: "close-flood",
    says: "200 clients connect and close with ever other codes, and go on sending",
    make: |_| Box::new(CloseFlood::default()),
    server_arguments: &[],
};

const CLIENTS: usize = 200;
/// Those that a client may choose.
const CODES: std::ops::Range<u16> = 3000..5000;
/// One that has sent its close and does not get the server's is dropped after this.
const GIVEN_UP_NS: u64 = 10 * REST_NS;

#[derive(Default)]
struct CloseFlood {
    clients: std::ops::Range<usize>,
    code: u16,
    /// When each has closed.
    closed_ns: Vec<Option<u64>>,
}

impl Behaviour for CloseFlood {
    fn prepare(&mut self, crowd: &mut Crowd) -> Result<(), Failure> {
        self.clients = crowd.open(CLIENTS, Part::NATIVE)?;
        self.closed_ns = vec![None; CLIENTS];
        Ok(())
    }

    fn tick(&mut self, crowd: &mut Crowd, now: u64) -> Result<(), Failure> {
        let junk = text(r#"{"type":"ping"}"#);
        for (index, closed_ns) in self.clients.clone().zip(&mut self.closed_ns) {
            if crowd.is_ended(index) {
                *closed_ns = None;
                crowd.reopen(index, 0);
            } else if let Some(since_ns) = *closed_ns {
                if now > since_ns + GIVEN_UP_NS {
                    crowd.drop_peer(index);
                }
            } else if crowd.is_open(index) {
                self.code = (self.code + 1) % (CODES.end - CODES.start);
                crowd.say(index, &framed(Kind::Close, &(CODES.start + self.code).to_be_bytes()));
                (0..10).for_each(|_| crowd.say(index, &junk));
                *closed_ns = Some(now);
            }
        }
        Ok(())
    }
}
