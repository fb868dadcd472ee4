//! A healthy client on a slow link: it subscribes to a hundred maps of two values of 200 KB and reads a megabyte a second, all
//! the time. It must get everything in the end, and not be closed.
//!
//! Bound in the server: chunks are asked for by the room of the outbox, over all walks of the connection.

use super::behaviour::{Behaviour, Row, store};
use super::crowd::Crowd;
use super::peer::{Part, Reading};
use super::requests::{OPS_MAX, set, subscribe, value, writes};
use crate::failure::Failure;

pub const ROW: Row = Row {
    name: "slow-subscriber",
    says: "subscribes to 100 maps of 2 x 200 KB and reads 1 MB/s: must not be closed",
    make: |_| Box::new(SlowSubscriber::default()),
    server_arguments: &[],
};

const MAPS: usize = 100;

#[derive(Default)]
struct SlowSubscriber {
    index: usize,
    has_asked: bool,
}

impl Behaviour for SlowSubscriber {
    fn prepare(&mut self, crowd: &mut Crowd) -> Result<(), Failure> {
        let value = value(200_000);
        let keys = (0..2 * MAPS).map(|number| set(&map(number / 2), &format!("k{}", number % 2), &value));
        store(crowd, Part::NATIVE, &writes(keys, OPS_MAX))?;
        let part = Part::NATIVE.reading(Reading::bytes_per_second(1_000_000));
        self.index = crowd.open(1, part)?.start;
        Ok(())
    }

    fn tick(&mut self, crowd: &mut Crowd, _: u64) -> Result<(), Failure> {
        if !std::mem::replace(&mut self.has_asked, true) {
            (0..MAPS).for_each(|number| crowd.ask(self.index, &subscribe(&map(number))));
        }
        Ok(())
    }

    fn fault(&self, crowd: &Crowd) -> Option<String> {
        crowd.is_ended(self.index).then(|| "a client that reads all the time was closed".to_owned())
    }
}

fn map(number: usize) -> String {
    format!("slow-{number}")
}
