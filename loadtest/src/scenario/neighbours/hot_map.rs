//! Large values that change as fast as they are acked, and clients on slow links that watch them. They read all the time and
//! must get latest states, and not be closed.
//!
//! Bound in the server: conflation past `--outbox-soft-bytes`.

use super::behaviour::{Behaviour, Row, store};
use super::crowd::Crowd;
use super::peer::{Part, Reading};
use super::requests::{fill, subscribe};
use super::volley::Volley;
use crate::failure::Failure;

pub const ROW: Row = Row {
    name: "hot-map",
    says: "8 slow readers of a map of 64 KiB values that change as fast as acked",
    make: |_| Box::new(HotMap::default()),
    server_arguments: &[],
};

const READERS: usize = 8;

#[derive(Default)]
struct HotMap {
    writer: Volley,
    readers: std::ops::Range<usize>,
}

impl Behaviour for HotMap {
    fn prepare(&mut self, crowd: &mut Crowd) -> Result<(), Failure> {
        let changes = fill("hot", 16, 64 << 10);
        store(crowd, Part::NATIVE, &changes)?;
        let part = Part::NATIVE.reading(Reading::bytes_per_second(1_000_000));
        self.readers = crowd.open(READERS, part)?;
        self.readers.clone().for_each(|index| crowd.ask(index, &subscribe("hot")));
        self.writer = Volley::new(crowd.open(1, Part::NATIVE)?, changes, 1);
        Ok(())
    }

    fn tick(&mut self, crowd: &mut Crowd, _: u64) -> Result<(), Failure> {
        self.writer.tick(crowd);
        Ok(())
    }

    fn fault(&self, crowd: &Crowd) -> Option<String> {
        let ended = self.readers.clone().filter(|&index| crowd.is_ended(index)).count();
        (ended > 0).then(|| format!("{ended} of {READERS} readers that read all the time were closed"))
    }
}
