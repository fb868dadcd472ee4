//! Shards under rules, a desk that believes whatever a token claims, and clients that show one: what a client may do is what the
//! rules in force say of its claims, and nothing else.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use annulus::auth::{Revocations, Standing};
use annulus::config::{AuthMode, Config};
use annulus::handover::{DeskEnd, FromDesk, connect_desk};

use crate::believing_desk::{answer, standing};
use crate::world::{Client, World};

/// The token of one who may do everything.
pub const ALL: &str = r#"{"sub":"admin","roles":["admin"]}"#;

/// See the module. What lets turns pass is here, as the desk answers in between; all else is the world's.
pub struct Host {
    world: World,
    desks: Vec<DeskEnd>,
    standing: Arc<Standing>,
}

impl Deref for Host {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Host {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Host {
    pub fn new(shards: usize, rules: &str) -> Self {
        Self::with(shards, rules, |_| {})
    }

    pub fn with(shards: usize, rules: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut world = World::with(shards, |config| {
            config.auth = AuthMode::Required;
            change(config);
        });
        let standing = standing(rules, Revocations::default());
        let (ports, desks): (Vec<_>, _) = connect_desk(shards, &Arc::default()).into_iter().unzip();
        for (node, port) in world.nodes.iter_mut().zip(ports) {
            node.shard.stand_under(Arc::clone(&standing), Some(port));
        }
        Self { world, desks, standing }
    }

    /// A client of the given shard that has shown that token.
    pub fn connect(&mut self, shard: usize, token: &str) -> Client {
        let client = self.world.connect(shard);
        assert_eq!(self.ask(client, &auth(token)), ["authenticated"]);
        client
    }

    /// A client of a shard that has shown that token and subscribed to `m`, and what it was told.
    pub fn subscriber(&mut self, shard: usize, token: &str, how: &str) -> (Client, Vec<String>) {
        let client = self.connect(shard, token);
        let told = self.ask(client, format!("subscribe m {how}").trim_end());
        (client, bare(told))
    }

    /// A client shows another token; what it is told beside that this is believed.
    pub fn renew(&mut self, client: Client, token: &str) -> Vec<String> {
        let mut told = self.ask(client, &auth(token));
        let place = told.iter().position(|text| text == "authenticated").unwrap();
        told.remove(place);
        told
    }

    /// From the next turn on other rules are in force.
    pub fn stand(&mut self, rules: &str) {
        self.standing = standing(rules, Revocations::default());
        for desk in &mut self.desks {
            desk.to_shard.push(FromDesk::Standing(Arc::clone(&self.standing))).unwrap();
        }
    }

    /// Has everything done by one who may, and lets it settle.
    pub fn done(&mut self, writer: Client, what: &[&str]) {
        for text in what {
            assert!(self.ask(writer, text).is_empty(), "{text}");
        }
    }

    /// What a client was told, without stamps and cursors.
    pub fn told(&mut self, client: Client) -> Vec<String> {
        bare(self.received(client))
    }

    pub fn ask(&mut self, client: Client, text: &str) -> Vec<String> {
        self.send(client, text);
        self.settle();
        self.received(client)
    }

    /// One turn of each shard, and of the desk.
    pub fn turn(&mut self) {
        self.world.turn();
        self.answer();
    }

    pub fn settle(&mut self) {
        self.world.settle();
        while self.answer() {
            self.world.settle();
        }
    }

    pub fn pass_ms(&mut self, ms: u64) {
        self.world.pass_ms(ms);
        self.settle();
    }

    /// The desk answers what it was asked; whether it was.
    fn answer(&mut self) -> bool {
        let mut has_answered = false;
        for desk in &mut self.desks {
            has_answered |= answer(desk, &self.standing);
        }
        has_answered
    }
}

/// The message that shows a token.
pub fn auth(token: &str) -> String {
    format!("auth {token}")
}

/// What was said, without stamps and cursors.
pub fn bare(said: Vec<String>) -> Vec<String> {
    let word = |word: &str| word.split('#').next().unwrap().to_owned();
    let text = |text: String| {
        let words = text.split(' ').filter(|word| !word.starts_with('^'));
        words.map(word).collect::<Vec<_>>().join(" ")
    };
    said.into_iter().map(text).collect()
}
