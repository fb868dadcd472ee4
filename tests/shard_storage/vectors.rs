//! The order of registers that `docs/vectors/lww.json` has for client authors: the server keeps it, in both directions.

use std::fs;
use std::path::Path;

use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::clearing::client;
use crate::world::World;

fn vectors() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/vectors/lww.json");
    let page = simd_json::to_owned_value(&mut fs::read(path).unwrap()).unwrap();
    page["ascending"].as_array().unwrap().to_vec()
}

/// The operation that makes a state.
fn op(state: &Value, key: &str) -> String {
    let at = state["at"].as_str().unwrap();
    let millis: u64 = at.split(':').next().unwrap().parse().unwrap();
    let what = match state.get("value") {
        None => r#""op":"delete""#.to_owned(),
        Some(value) => format!(r#""op":"set","value":{}"#, value.encode()),
    };
    let ttl =
        state.get_u64("expires_at").map_or(String::new(), |ends| format!(r#","ttl_ms":{}"#, ends - millis));
    format!(r#"{{"map":"todos","key":"{key}",{what},"at":"{at}"{ttl}}}"#)
}

/// What the server tells of a state, less its key.
fn told(state: &Value) -> String {
    let at = state["at"].as_str().unwrap();
    match state.get_str("canonical") {
        None => format!(r#""deleted":true,"at":"{at}"}}"#),
        Some(canonical) => {
            let ends = state.get_u64("expires_at");
            let ends = ends.map_or(String::new(), |ends| format!(r#","expires_at":{ends}"#));
            format!(r#""value":{canonical},"at":"{at}"{ends}}}"#)
        }
    }
}

#[test]
fn every_state_wins_over_all_before_it_whichever_comes_first() {
    let mut world = World::in_memory(2);
    let client = client(&mut world, 0);
    let vectors = vectors();
    assert!(vectors.len() > 30);
    for (i, first) in vectors.iter().enumerate() {
        for (j, second) in vectors.iter().enumerate() {
            let key = format!("{i}-{j}");
            let ops = format!("{},{}", op(first, &key), op(second, &key));
            let ack = world.answer(client, &format!(r#"{{"type":"write","id":1,"ops":[{ops}]}}"#));
            assert_eq!(ack["applied"], 2, "{ack}");
            let read = format!(r#"{{"type":"read","id":2,"map":"todos","keys":["{key}"]}}"#);
            let read = world.answer_text(client, &read);
            let greater = told(&vectors[i.max(j)]);
            assert!(
                read.ends_with(&format!(r#""entries":[{{"key":"{key}",{greater}]}}"#)),
                "{read}, not {greater}"
            );
        }
    }
}
