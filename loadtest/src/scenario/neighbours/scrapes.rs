//! A hundred scrapers ask for `/metrics` and `/health`, all the time, of a server with 300 000 maps.
//!
//! Bound in the server: a page is made of numbers that are kept, O(shards), and not by walking maps and connections.

use super::behaviour::{Behaviour, Row, store};
use super::crowd::Crowd;
use super::heard::Speaks;
use super::peer::{Bytes, Part, Reading};
use super::requests::{OPS_MAX, set, writes};
use crate::failure::Failure;

pub const ROW: Row = Row {
    name: "scrapes",
    says: "100 scrapers of /metrics and /health, with 300 000 maps",
    make: |size| Box::new(Scrapes { maps: size.of(300_000, 60_000), ..Scrapes::default() }),
    server_arguments: &[],
};

const SCRAPERS: usize = 100;

#[derive(Default)]
struct Scrapes {
    maps: usize,
    scrapers: std::ops::Range<usize>,
    asked: Vec<bool>,
}

impl Behaviour for Scrapes {
    fn prepare(&mut self, crowd: &mut Crowd) -> Result<(), Failure> {
        let ops = (0..self.maps).map(|number| set(&format!("m{number}"), "k", "1"));
        store(crowd, Part::NATIVE, &writes(ops, OPS_MAX))?;
        self.asked = vec![false; SCRAPERS];
        Ok(())
    }

    fn tick(&mut self, crowd: &mut Crowd, _: u64) -> Result<(), Failure> {
        if self.scrapers.is_empty() {
            let part = Part { speaks: Speaks::Http, reading: Reading::All, source: None };
            self.scrapers = crowd.add(SCRAPERS, part)?;
        }
        for (number, index) in self.scrapers.clone().enumerate() {
            if crowd.is_ended(index) {
                self.asked[number] = false;
                crowd.reopen(index, 0);
            }
            if !crowd.is_ended(index) && !std::mem::replace(&mut self.asked[number], true) {
                let path = if number % 2 == 0 { "/metrics" } else { "/health" };
                let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                crowd.say(index, &Bytes::from(head.into_bytes()));
            }
        }
        Ok(())
    }
}
