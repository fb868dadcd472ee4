//! Operations that are handed on and not kept: once, to the others, each in a batch of its own.

use simd_json::prelude::*;

use crate::client::Client;
use crate::on_one_and_two;
use crate::peer::{MODES, Mode, Peer, json};

const COUNTER: &str = r#"{"clientId":"c","clock":{"c":1},"documentId":"live","operation":"increment","type":"counter","value":3}"#;
const FORMAT: &str =
    r#"{"attributes":{"bold":true},"end":5,"opId":"o","operation":"format","start":0,"type":"richtext"}"#;
const TEXT: &str = r#"{"clientId":"c","position":0,"text":"abc","type":"text"}"#;

#[test]
fn each_reaches_every_other_subscriber_once_in_its_way() {
    on_one_and_two(|server| {
        let mut writer = Peer::connect(server.address);
        writer.subscribe("live");
        let mut native = Client::connect(server.address);
        native.subscribe(r#""map":"live""#);
        let mut readers: Vec<Peer> =
            MODES.into_iter().chain(MODES).map(|mode| Peer::speaking(server.address, mode)).collect();
        readers.iter_mut().for_each(|reader| drop(reader.subscribe("live")));
        for (operation, is_text) in [(COUNTER, false), (TEXT, true), (FORMAT, false), (COUNTER, false)] {
            writer.batch("live", operation);
            for (reader, mode) in readers.iter_mut().zip(MODES.into_iter().chain(MODES)) {
                let heard = reader.take("delta_batch");
                let flag = if is_text { r#","isTextOperation":true"# } else { "" };
                let expected = format!(r#"{{"documentId":"live","deltas":[{operation}]{flag}}}"#);
                assert_eq!((heard.body, heard.is_text), (json(&expected), mode == Mode::Text));
            }
        }
        readers.iter_mut().for_each(Peer::is_silent);
        writer.is_silent();
        let mut joiner = Peer::connect(server.address);
        joiner.subscribe("live");
        joiner.is_silent();
        assert_eq!(native.digest("live").0, 0);
        assert!(native.take_events().is_empty(), "nobody else understands them");
    });
}

#[test]
fn a_batch_of_everything_is_acked_once_and_told_in_parts() {
    on_one_and_two(|server| {
        let [mut writer, mut reader] = [(); 2].map(|()| Peer::connect(server.address));
        writer.subscribe("live");
        reader.subscribe("live");
        let field = r#"{"type":"set","field":"f","value":1,"clientId":"c"}"#;
        let state = r#"{"type":"text-state","state":"S","clientId":"c"}"#;
        let element = r#"{"type":"set","operation":"add","value":1}"#;
        writer.batch("live", &[COUNTER, field, TEXT, state, element, COUNTER].join(","));
        assert_eq!(reader.deltas(1), ["f=1"]);
        let mut kinds: Vec<Vec<String>> = (0..4)
            .map(|_| {
                let body = reader.body("delta_batch");
                let is_text = body.get("isTextOperation").is_some();
                let told = body["deltas"].as_array().unwrap().iter();
                let kinds: Vec<_> = told.map(|told| told["type"].as_str().unwrap().to_owned()).collect();
                assert!(kinds.iter().all(|kind| kind.starts_with("text") == is_text), "{kinds:?}");
                kinds
            })
            .collect();
        kinds.sort();
        let others: &[&str] = &["counter", "counter"];
        assert_eq!(kinds, [others, &["set"], &["text"], &["text-state"]]);
        reader.is_silent();
        assert_eq!(writer.deltas(1), ["f=1"]);
        assert_eq!(writer.body("delta_batch")["deltas"][0]["type"], "set");
        writer.is_silent();
    });
}

#[test]
fn more_than_ten_thousand_are_refused_and_none_is_handed_on() {
    on_one_and_two(|server| {
        let [mut writer, mut reader] = [(); 2].map(|()| Peer::connect(server.address));
        reader.subscribe("live");
        writer.say("delta_batch", &format!(r#""documentId":"live","deltas":[{}]"#, ["{}"; 10_001].join(",")));
        assert_eq!(writer.refused().0, "Delta batch application failed");
        writer.batch("live", TEXT);
        assert_eq!(reader.body("delta_batch")["deltas"][0]["type"], "text");
        reader.is_silent();
    });
}
