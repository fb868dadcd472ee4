//! Right messages with a few octets changed, in one process with a shard: each is answered with frames that can be read,
//! nothing panics, and nothing but text that is not UTF-8 ends a connection.
//!
//! `ANNULUS_SEED=<n>` runs one again.

use simd_json::prelude::*;

use crate::host::{BINARY, CLOSE, Host, TEXT};
use crate::peer::{Heard, frame};

const ROUNDS: usize = 6_000;

/// What may be said, each kind with fields it may have.
const MESSAGES: [(u8, &str, &str); 20] = [
    (0x01, "auth", r#"{"id":"i","token":"t"}"#),
    (0x10, "subscribe", r#"{"documentId":"doc","id":"i"}"#),
    (0x11, "unsubscribe", r#"{"documentId":"doc","id":"i"}"#),
    (0x12, "sync_request", r#"{"documentId":"doc","id":"i","vectorClock":{"a":1}}"#),
    (0x14, "sync_step1", r#"{"documentId":"doc","stateVector":{},"id":"i"}"#),
    (
        0x20,
        "delta",
        r#"{"documentId":"doc","delta":{"f":1,"g":{"__deleted":true}},"vectorClock":{"a":2},"id":"i"}"#,
    ),
    (
        0x20,
        "delta",
        r#"{"documentId":"doc","field":"f","value":{"a":[1,"é"]},"clock":{"c":3},"clientId":"c","messageId":"m","id":"i"}"#,
    ),
    (0x21, "ack", r#"{"messageId":"m","id":"i"}"#),
    (
        0x23,
        "delta_batch_chunk",
        r#"{"chunkId":"k","totalChunks":1,"chunkIndex":0,"data":"MAAAAAAAAAAAAAAAAnt9","id":"i"}"#,
    ),
    (0x23, "delta_batch_chunk", r#"{"chunkId":"k","totalChunks":2,"chunkIndex":1,"data":"e30=","id":"i"}"#),
    (0x30, "ping", r#"{"id":"i"}"#),
    (0x31, "pong", r#"{"id":"i"}"#),
    (0x40, "awareness_update", r#"{"documentId":"doc","clientId":"c","state":{"x":1},"clock":4,"id":"i"}"#),
    (0x40, "awareness_update", r#"{"documentId":"doc","clientId":"c","state":null,"clock":5,"id":"i"}"#),
    (0x41, "awareness_subscribe", r#"{"documentId":"doc","id":"i"}"#),
    (
        0x50,
        "delta_batch",
        r#"{"documentId":"doc","deltas":[{"type":"set","field":"f","value":null,"clientId":"c","clock":{"c":5}}],"id":"i"}"#,
    ),
    (
        0x50,
        "delta_batch",
        r#"{"documentId":"doc","deltas":[{"type":"text-state","state":"{\"blocks\":[]}","clientId":"c","clock":{"c":6}}],"id":"i"}"#,
    ),
    (
        0x50,
        "delta_batch",
        r#"{"documentId":"doc","deltas":[{"type":"set","operation":"add","value":{"x":1}},{"type":"set","operation":"remove","value":1},{"type":"set","operation":"clear"}],"id":"i"}"#,
    ),
    (
        0x50,
        "delta_batch",
        r#"{"documentId":"doc","deltas":[{"type":"counter","operation":"increment","value":1},{"type":"text","position":1}],"id":"i"}"#,
    ),
    (0xff, "error", r#"{"error":"e","id":"i"}"#),
];

const REFUSALS: [&str; 13] = [
    "Invalid message format",
    "Invalid message type: ",
    "Invalid document ID",
    "Document ID too long",
    "Document ID contains invalid characters",
    "Invalid delta message: missing or empty delta",
    "Invalid delta batch: missing or empty deltas array",
    "API key authentication not yet implemented",
    "Delta application failed",
    "Delta batch application failed",
    "Subscribe failed",
    "Sync request failed",
    "Failed to update awareness",
];

#[test]
fn damaged_messages_are_answered_or_taken_and_hurt_nobody() {
    let mut random = Random::seeded();
    let mut host = Host::new();
    let (mut peer, witness) = (host.open(), host.open());
    let (mut refused, mut closed) = (0, 0);
    for round in 0..ROUNDS {
        let (opcode, message) = damaged(&mut random);
        let heard = host.send(peer, opcode, &message);
        let context = || format!("round {round}, opcode {opcode}: {}", String::from_utf8_lossy(&message));
        for (answer, payload) in &heard {
            if *answer == CLOSE {
                assert_eq!((opcode, &payload[..2]), (TEXT, &1007_u16.to_be_bytes()[..]), "{}", context());
                continue;
            }
            let heard = if *answer == BINARY {
                Heard::of_binary(payload)
            } else {
                Heard::of_text(std::str::from_utf8(payload).unwrap())
            };
            if heard.kind == "error" {
                let error = heard.body["error"].as_str().unwrap();
                assert!(REFUSALS.iter().any(|known| error.starts_with(known)), "{error}: {}", context());
                refused += 1;
            }
        }
        // A connection that was closed, and now and then another, makes room for a new one.
        if heard.last().is_some_and(|(opcode, _)| *opcode == CLOSE) || random.below(50) == 0 {
            closed += usize::from(heard.last().is_some_and(|(opcode, _)| *opcode == CLOSE));
            host.drop(peer);
            peer = host.open();
        }
        let pong = host.send(witness, BINARY, &frame(0x30, "{}"));
        assert_eq!(Heard::of_binary(&pong.last().expect("an answer").1).kind, "pong", "{}", context());
    }
    assert!(refused > ROUNDS / 10 && closed > 0, "the damage is felt: {refused} refused, {closed} closed");
}

/// A right message with up to four changes.
fn damaged(random: &mut Random) -> (u8, Vec<u8>) {
    let (code, name, body) = MESSAGES[random.below(MESSAGES.len() as u64) as usize];
    let (opcode, mut message) = match random.below(3) {
        0 => (BINARY, frame(code, body)),
        place => {
            let json = format!(r#"{{"type":"{name}","timestamp":1,{}"#, &body[1..]);
            (if place == 1 { TEXT } else { BINARY }, json.into_bytes())
        }
    };
    for _ in 0..random.below(5) {
        let place = random.below(message.len().max(1) as u64) as usize;
        if message.is_empty() {
            message.push(random.next() as u8);
        }
        match random.below(6) {
            0 => message[place] = random.next() as u8,
            1 => message[place] ^= 1 << random.below(8),
            2 => drop(message.remove(place)),
            3 => message.insert(place, b"{}[]\",:0-e\\"[random.below(11) as usize]),
            4 => message.truncate(place),
            _ => {
                let other = MESSAGES[random.below(MESSAGES.len() as u64) as usize].2;
                let from = random.below(other.len() as u64) as usize;
                let part = &other.as_bytes()[from..(from + 20).min(other.len())];
                message.splice(place..place, part.iter().copied());
            }
        }
    }
    // Most headers shall say the length that there is, so that what they announce is looked at.
    if opcode == BINARY && message.len() >= 13 && message[0] != b'{' && random.below(4) > 0 {
        let len = (message.len() - 13) as u32;
        message[9..13].copy_from_slice(&len.to_be_bytes());
    }
    (opcode, message)
}

/// SplitMix64 (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let seed = match std::env::var("ANNULUS_SEED") {
            Ok(seed) => seed.parse().expect("ANNULUS_SEED is a number"),
            Err(_) => getrandom::u64().unwrap(),
        };
        println!("ANNULUS_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
