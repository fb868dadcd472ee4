//! Sets: one order of what becomes of them, told to everybody, whoever has made a change among them.

use std::collections::BTreeSet;

use simd_json::prelude::*;

use crate::batches::operations;
use crate::on_one_and_two;
use crate::peer::{Peer, json};

fn operation(verb: &str, value: &str) -> String {
    let value = if verb == "clear" { String::new() } else { format!(r#""value":{value},"#) };
    format!(
        r#"{{"type":"set","operation":"{verb}",{value}"documentId":"s","clientId":"c","timestamp":5,"clock":{{"c":1}}}}"#
    )
}

/// A client with a set, which does to it what its SDK does: its own operations at once, those of the server as they come.
struct Screen {
    peer: Peer,
    shown: BTreeSet<String>,
}

impl Screen {
    fn open(address: std::net::SocketAddr) -> Self {
        let mut screen = Self { peer: Peer::connect(address), shown: BTreeSet::new() };
        screen.subscribe();
        screen
    }

    /// Subscribes, and takes what comes with the answer.
    fn subscribe(&mut self) {
        assert_eq!(self.peer.subscribe("s")["state"], json("{}"));
        for heard in self.peer.rest() {
            assert_eq!(heard.kind, "delta_batch");
            for told in heard.body["deltas"].as_array().unwrap() {
                self.apply(
                    told["operation"].as_str().unwrap(),
                    told.get("value").map(|value| value.encode()),
                );
            }
        }
    }

    fn apply(&mut self, verb: &str, value: Option<String>) {
        match (verb, value) {
            ("add", Some(value)) => drop(self.shown.insert(value)),
            ("remove", Some(value)) => drop(self.shown.remove(&value)),
            ("clear", None) => self.shown.clear(),
            other => panic!("{other:?}"),
        }
    }

    /// Does these operations, without waiting for anything.
    fn act(&mut self, steps: &[(&str, String)]) {
        for (verb, value) in steps {
            self.apply(verb, (*verb != "clear").then(|| value.clone()));
        }
        let steps: Vec<String> = steps.iter().map(|(verb, value)| operation(verb, value)).collect();
        self.peer.say("delta_batch", &format!(r#""documentId":"s","deltas":[{}]"#, steps.join(",")));
    }

    /// Takes the next message about the set; its operations.
    fn hear(&mut self) -> Vec<String> {
        let (operations, is_text) = operations(&mut self.peer, "s");
        assert!(!is_text, "the SDK takes those for operations of a text");
        operations
            .iter()
            .map(|told| {
                assert_eq!((&told["type"], &told["documentId"]), (&"set".into(), &"s".into()));
                assert_eq!(told["clientId"], "server", "a client may ignore what has its own name");
                assert!(told["clock"]["server"].as_u64().is_some() && told.get("field").is_none(), "{told}");
                let verb = told["operation"].as_str().unwrap().to_owned();
                let value = told.get("value").map(|value| value.encode());
                self.apply(&verb, value.clone());
                [&[verb][..], value.as_slice()].concat().join(" ")
            })
            .collect()
    }

    fn hear_until(&mut self, last: &str) {
        while self.hear().last().map(String::as_str) != Some(last) {}
    }
}

#[test]
fn changes_are_told_to_everybody_and_elements_to_late_joiners() {
    on_one_and_two(|server| {
        let [mut writer, mut reader] = [(); 2].map(|()| Screen::open(server.address));
        // What changes while a subscription begins may be told twice, as a latest state.
        for verb in ["add", "remove"] {
            writer.act(&[(verb, "0".to_owned())]);
            [&mut writer, &mut reader].into_iter().for_each(|screen| screen.hear_until(&format!("{verb} 0")));
            writer.peer.take("ack");
        }
        let mut said = |verb: &str, value: &str| {
            writer.act(&[(verb, value.to_owned())]);
            let told = reader.hear();
            assert_eq!(writer.hear(), told, "the sender hears of it in its place");
            writer.peer.take("ack");
            writer.peer.is_silent();
            assert_eq!((&writer.shown, told.len()), (&reader.shown, 1));
            told.concat()
        };
        assert_eq!(said("add", r#"{"a":[2],"b":1}"#), r#"add {"a":[2],"b":1}"#);
        assert_eq!(said("add", r#""x:y""#), r#"add "x:y""#);
        assert_eq!(said("add", "null"), "add null");
        assert_eq!(said("add", "1"), "add 1");
        assert_eq!(said("remove", "null"), "remove null");
        let late = || Screen::open(server.address).shown.into_iter().collect::<Vec<_>>();
        assert_eq!(late(), [r#""x:y""#, "1", r#"{"a":[2],"b":1}"#]);
        assert_eq!(said("clear", "null"), "clear");
        assert!(late().is_empty());
        // That has found what is gone, and the server forgets it: with a word more than is needed.
        writer.act(&[("add", "1".to_owned())]);
        [&mut writer, &mut reader].into_iter().for_each(|screen| screen.hear_until("add 1"));
        assert_eq!(late(), ["1"]);
        assert_eq!((writer.shown.len(), reader.shown.len()), (1, 1));
    });
}

#[test]
fn what_follows_a_clear_in_one_batch_is_there_afterwards() {
    on_one_and_two(|server| {
        let [mut writer, mut reader] = [(); 2].map(|()| Screen::open(server.address));
        for round in 0..20 {
            let add = |values: std::ops::Range<u32>| values.map(|value| ("add", value.to_string()));
            let clear = [("clear", String::new())];
            let end = [("add", format!("\"end {round}\""))];
            let steps: Vec<_> = add(0..20).chain(clear).chain(add(15..30)).chain(end).collect();
            writer.act(&steps);
            let last = format!("add \"end {round}\"");
            writer.hear_until(&last);
            reader.hear_until(&last);
            assert_eq!(writer.shown.len(), 16);
            for other in [&reader, &Screen::open(server.address)] {
                assert_eq!(other.shown, writer.shown);
            }
        }
    });
}

// Each shows its own change at once, and none knows whose the server took first.
#[test]
fn changes_of_many_at_once_end_alike_on_every_screen() {
    const ROUNDS: u64 = 40;
    on_one_and_two(|server| {
        let mut screens = [(); 4].map(|()| Screen::open(server.address));
        let mut random = 7_u64;
        let mut below = |limit: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % limit
        };
        for round in 0..ROUNDS {
            for screen in &mut screens {
                for _ in 0..3 {
                    let verb = ["add", "remove", "add", "remove", "add", "clear"][below(6) as usize];
                    screen.act(&[(verb, below(3).to_string())]);
                }
            }
            // An ack says that the owner has taken it; all of a set has one owner, and comes from there in order.
            screens.iter_mut().for_each(|screen| (0..3).for_each(|_| drop(screen.peer.take("ack"))));
            let end = format!("\"end {round}\"");
            screens[0].act(&[("add", end.clone())]);
            screens.iter_mut().for_each(|screen| screen.hear_until(&format!("add {end}")));
            let late = Screen::open(server.address);
            for (place, screen) in screens.iter().enumerate() {
                assert_eq!(screen.shown, late.shown, "screen {place} in round {round}");
            }
            screens[0].peer.take("ack");
        }
    });
}

#[test]
fn what_was_removed_while_a_client_was_away_leaves_its_screen() {
    on_one_and_two(|server| {
        let [mut writer, mut away] = [(); 2].map(|()| Screen::open(server.address));
        let step = |verb: &'static str, value: u32| (verb, value.to_string());
        writer.act(&(0..6).map(|value| step("add", value)).collect::<Vec<_>>());
        [&mut writer, &mut away].into_iter().for_each(|screen| screen.hear_until("add 5"));
        let rounds: [(&[_], &[u32]); 3] = [
            (&[step("remove", 0), step("remove", 1), step("add", 7)], &[2, 3, 4, 5, 7]),
            (&[step("clear", 0), step("add", 3), step("add", 8)], &[3, 8]),
            (&[step("remove", 8), step("add", 1)], &[1, 3]),
        ];
        for (steps, left) in rounds {
            away.peer = Peer::connect(server.address);
            writer.act(steps);
            let (verb, value) = steps.last().unwrap();
            writer.hear_until(&format!("{verb} {value}"));
            away.subscribe();
            let left: BTreeSet<String> = left.iter().map(u32::to_string).collect();
            assert_eq!((&away.shown, &writer.shown), (&left, &left));
            assert_eq!(Screen::open(server.address).shown, left);
        }
    });
}

// What is too long for a key is handed on as it came, to the others.
#[test]
fn an_element_that_is_too_long_is_told_and_not_kept() {
    on_one_and_two(|server| {
        let [mut writer, mut reader] = [(); 2].map(|()| Screen::open(server.address));
        let long = format!("\"{}\"", "x".repeat(500));
        for verb in ["add", "remove", "add"] {
            writer.peer.batch("s", &operation(verb, &long));
            let (told, _) = operations(&mut reader.peer, "s");
            assert_eq!((&told[0]["operation"], told[0]["value"].encode()), (&verb.into(), long.clone()));
            assert_eq!(told[0]["clientId"], "c");
        }
        writer.peer.is_silent();
        reader.peer.is_silent();
        assert!(Screen::open(server.address).shown.is_empty());
    });
}
