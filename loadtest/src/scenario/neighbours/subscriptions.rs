//! A client that watches a thousand maps, another one that changes all of them in each message, and a third that subscribes to
//! them all, unsubscribes, and begins again.
//!
//! Bound in the server: `--max-subscriptions` of a connection; a turn's work on walks and on changes.

use super::behaviour::{Behaviour, Row, store};
use super::crowd::Crowd;
use super::peer::{Bytes, Part};
use super::requests::{OPS_MAX, set, subscribe, text, writes};
use super::volley::Volley;
use crate::failure::Failure;

pub const ROW: Row = Row {
    name: "subscriptions",
    says: "1000 subscriptions, a change of all of them in each message, and all of them anew",
    make: |_| Box::new(Subscriptions::default()),
    server_arguments: &[],
};

const MAPS: usize = 1000;

#[derive(Default)]
struct Subscriptions {
    writer: Volley,
    churn: Volley,
}

fn map(number: usize) -> String {
    format!("subscribed-{number}")
}

impl Behaviour for Subscriptions {
    fn prepare(&mut self, crowd: &mut Crowd) -> Result<(), Failure> {
        let change = writes((0..MAPS).map(|number| set(&map(number), "key", "1")), OPS_MAX);
        store(crowd, Part::NATIVE, &change)?;
        let watch: Vec<Bytes> = (0..MAPS).map(|number| subscribe(&map(number))).collect();
        store(crowd, Part::NATIVE, &watch)?;
        self.writer = Volley::new(crowd.open(1, Part::NATIVE)?, change, 1);
        let leave = (0..MAPS)
            .map(|number| text(&format!(r#"{{"type":"unsubscribe","id":1,"map":"{}"}}"#, map(number))));
        let both = watch.iter().cloned().chain(leave).collect();
        self.churn = Volley::new(crowd.open(1, Part::NATIVE)?, both, MAPS as u64);
        Ok(())
    }

    fn tick(&mut self, crowd: &mut Crowd, _: u64) -> Result<(), Failure> {
        self.writer.tick(crowd);
        self.churn.tick(crowd);
        Ok(())
    }
}
