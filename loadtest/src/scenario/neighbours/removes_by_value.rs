//! Writes of some 50 KB with a thousand removals by value, of values that the key does not have: each is held against all
//! of its tags.
//!
//! Bound in the server: the work of a turn, as each removal looks at a whole key.

use super::behaviour::Row;
use super::requests::{OPS_MAX, add, text, writes};
use super::siege::Siege;

/// Tags of the key, within the limit of one.
const TAGS: usize = 10_000;

pub const ROW: Row = Row {
    name: "removes-by-value",
    says: "forty writes of 48 KB at once: removals of values a key of 10 000 tags has not",
    make: |_| {
        let stored = writes((0..TAGS).map(|number| add("values", "k", &number.to_string())), OPS_MAX);
        let remove = r#"{"map":"values","key":"k","op":"remove","value":-1}"#;
        let ops = vec![remove; OPS_MAX].join(",");
        let request = text(&format!(r#"{{"type":"write","id":1,"ops":[{ops}]}}"#));
        Box::new(Siege::new(stored, 1, vec![request], 40))
    },
    server_arguments: &[],
};
