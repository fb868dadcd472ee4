//! The set of a document, as the SDK keeps it: its own steps at once, those of the server as they come.

use simd_json::OwnedValue;
use simd_json::prelude::*;

use super::check::live;
use super::fields::SERVER;
use super::message::DELTA_BATCH;
use super::requests::document_id;
use super::{Context, Document, SyncKit, Write};
use crate::replica::Replica;
use crate::scenario::Scenario;

/// How keys begin that are no fields (docs/synckit.md).
pub const RESERVED: &str = "__synckit:";
const ELEMENTS: usize = 4;

fn element(number: usize) -> String {
    format!("\"e{number}\"")
}

impl SyncKit {
    /// Sends a few steps on the set in one message, and shows them.
    pub fn write_set(&mut self, map: usize, context: &mut Context<'_>) {
        let joins = Document { is_live: true, is_partial: true, ..Document::default() };
        let document = self.documents.entry(map).or_insert(joins);
        let (mut steps, mut added, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..context.random.between(1, 3) {
            let element = element(context.random.below(ELEMENTS));
            let verb = context.random.pick(&["add", "add", "add", "remove", "remove", "clear"]);
            document.change_set(verb, &element);
            let value = if verb == "clear" { String::new() } else { format!(r#","value":{element}"#) };
            steps.push(format!(r#"{{"type":"set","operation":"{verb}","clientId":"{}"{value}}}"#, self.name));
            match verb {
                "add" => added.push(element),
                "remove" => removed.push(element),
                _ => removed.extend((0..ELEMENTS).map(self::element)),
            }
        }
        let id = self.id();
        let (document, steps) = (document_id(map, context), steps.join(","));
        let (kind, sent_us) = ((map, true), context.now_us);
        self.writes.insert(id.clone(), Write { kind, sent_us, ops: Vec::new(), added, removed });
        let fields = format!(r#"{document},"id":"{id}","messageId":"{id}","deltas":[{steps}]"#);
        self.send(DELTA_BATCH, &fields, context);
    }

    /// Takes what the server tells of a set.
    pub fn handle_batch(&mut self, message: &OwnedValue, map: usize) {
        // Before its state has come, what is on the way is of a subscription that is over.
        let Some(document) = self.documents.get_mut(&map).filter(|document| document.is_live) else { return };
        for step in message.get_array("deltas").expect("steps") {
            assert_eq!(
                (step.get_str("type"), step.get_str("clientId")),
                (Some("set"), Some(SERVER)),
                "{message}"
            );
            let element = step.get("value").map_or(String::new(), |value| value.encode());
            document.unclear_removed.remove(&element);
            document.change_set(step.get_str("operation").expect("a verb"), &element);
        }
    }
}

impl Document {
    fn change_set(&mut self, verb: &str, element: &str) {
        match verb {
            "add" => drop(self.elements.insert(element.to_owned())),
            "remove" => drop(self.elements.remove(element)),
            "clear" => self.elements.clear(),
            other => panic!("{other} of a set"),
        }
    }

    /// Compares the set with what the map holds of it.
    pub fn check_set(&self, truth: &Replica, scenario: &Scenario, whose: &str) {
        let at = |name: &str| {
            let cell = truth.cells.get(&format!("{RESERVED}set:{name}"));
            cell.and_then(live).map(|(at, _)| at.time())
        };
        let cleared = at("cleared");
        for element in (0..ELEMENTS).map(element) {
            let is = at(&element).is_some_and(|at| cleared.is_none_or(|cleared| at > cleared));
            let has = self.elements.contains(&element);
            let is_excused = if has {
                self.unclear.contains(&element) || scenario.forgets
            } else {
                self.unclear_removed.contains(&element) || self.is_partial
            };
            assert!(has == is || is_excused, "{whose}: its set has {element}: {has}, and should: {is}");
        }
    }
}
