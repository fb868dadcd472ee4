//! Who may do what: rules as they stand in a file, and identities as tokens bring them.

use std::sync::Arc;

use annulus::auth::Identity;
use annulus::auth::rules::{Grant, Rules};

use crate::words::set_grants;
use crate::world::{Client, World};

/// The grant that may do everything.
pub const ALL: usize = 0;

/// Puts in force what these rules allow to somebody with each of the claims; their grants are numbered from 1.
pub fn rule(rules: &str, claims: &[&str]) {
    set_grants(grants(rules, claims));
}

pub fn grants(rules: &str, claims: &[&str]) -> Vec<Grant> {
    let rules = Arc::new(Rules::parse(rules).unwrap());
    let identity =
        |claims: &&str| Identity::of_claims(&serde_json::from_str(claims).unwrap(), "roles").unwrap();
    let of = |claims| rules.grant(&identity(claims));
    std::iter::once(Grant::Everything).chain(claims.iter().map(of)).collect()
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

/// A client of a shard that has subscribed to `m` with this grant, and what it was told.
pub fn subscriber(world: &mut World, shard: usize, grant: usize, how: &str) -> (Client, Vec<String>) {
    let client = world.connect(shard);
    let told = world.ask(client, format!("{grant} subscribe m {how}").trim_end());
    (client, bare(told))
}

/// Has everything done by one who may, and lets it settle.
pub fn done(world: &mut World, writer: Client, what: &[&str]) {
    for text in what {
        assert!(world.ask(writer, &format!("{ALL} {text}")).is_empty(), "{text}");
    }
}

pub fn told(world: &mut World, client: Client) -> Vec<String> {
    bare(world.received(client))
}
