//! Bytes nobody meant: whatever arrives is understood or refused with a documented code, and never panics.

use annulus::dialect::native::message::{Action, Message, Request};
use annulus::wire::Reject;
use annulus::wire::json::{What, scan};

use super::random::Random;
use super::requests::GOLDEN;
use super::with_message;

#[test]
fn random_bytes_are_refused_as_documented() {
    let mut random = Random::from_environment();
    for _ in 0..10_000 {
        let len = random.below(200);
        let any: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        take(&any);
        // Of JSON's own characters, which reach further into the parser.
        let json: Vec<u8> = (0..len).map(|_| random.one_of(br#"{}[]:,"\u09e-+.truefalsn x"#)).collect();
        take(&json);
        take(&[&b"{\"type\":\"write\",\"ops\":["[..], &json, b"]}"].concat());
    }
}

#[test]
fn random_mutations_of_good_messages_are_refused_as_documented() {
    let mut random = Random::from_environment();
    let mut understood = 0;
    for _ in 0..10_000 {
        let mut message = random.one_of(GOLDEN).0.as_bytes().to_vec();
        for _ in 0..1 + random.below(2) {
            mutate(&mut message, &mut random);
        }
        understood += usize::from(take(&message));
    }
    // Otherwise the mutations would be too wild to test anything but the JSON parser.
    assert!(understood > 500, "only {understood} of 10000 were still JSON objects");
}

pub fn mutate(message: &mut Vec<u8>, random: &mut Random) {
    if message.is_empty() {
        return;
    }
    let at = random.below(message.len());
    let end = (at + 1 + random.below(12)).min(message.len());
    match random.below(6) {
        0 => message[at] = random.next() as u8,
        1 => message[at] = random.one_of(br#"{}[]:,"\019-.e"#),
        2 => drop(message.drain(at..end)),
        3 => {
            let again = message[at..end].to_vec();
            let to = random.below(message.len());
            message.splice(to..to, again);
        }
        4 => {
            let word = random.one_of(&[
                "null",
                "1e9",
                "\"\"",
                "[]",
                "{}",
                "-0",
                "\\u0000",
                "\\ud800",
                "1e400",
                "9007199254740992",
            ]);
            message.splice(at..end, word.bytes());
        }
        _ => message.truncate(at + 1),
    }
}

/// Asks a message everything a shard would. Returns whether it was a JSON object.
fn take(json: &[u8]) -> bool {
    let is_object = with_message(json, |message| match message {
        Err(reject) => {
            let (Reject::BadJson(fault) | Reject::ValueFault(fault)) = reject else { panic!("{reject:?}") };
            assert_ne!(fault.what, What::Unclear, "{}", String::from_utf8_lossy(json));
            assert!(fault.byte as usize <= json.len());
            false
        }
        Ok(message) => {
            take_request(message);
            true
        }
    });
    let oracle = simd_json::to_owned_value(&mut json.to_vec());
    let expected = oracle.is_ok_and(|value| matches!(value, simd_json::OwnedValue::Object(_)));
    assert_eq!(is_object, expected, "{}", String::from_utf8_lossy(json));
    let scan = scan(json, &[]);
    let is_good = scan.end.is_ok() && scan.found.is_empty();
    assert_eq!(is_good, is_object, "the parser and the scan differ: {}", String::from_utf8_lossy(json));
    is_object
}

fn take_request(message: Message<'_>) {
    let _ = message.id().map(|id| id.to_ticket());
    match message.request() {
        Ok(Request::Write { ops, .. }) => {
            for op in ops {
                match op {
                    Ok(op) => {
                        assert!((1..=256).contains(&op.map.len()) && (1..=512).contains(&op.key.len()));
                        if let Action::Set { value, .. } | Action::Add { value, .. } = op.action {
                            assert_canonical(super::canonical(&value));
                        }
                    }
                    Err(reject) => assert!(is_documented(reject), "{reject:?}"),
                }
            }
        }
        Ok(_) | Err(Reject::UnknownType) => {}
        Err(reject) => assert!(is_documented(reject), "{reject:?}"),
    }
}

fn is_documented(reject: Reject) -> bool {
    use Reject::{BadRequest, KeyInvalid, TooLarge, ValueInvalid};
    matches!(reject, BadRequest(_) | KeyInvalid(_) | TooLarge(_) | ValueInvalid(_))
}

pub fn assert_canonical(json: String) {
    assert_eq!(super::canonical::canonical_of(&json), json);
}
