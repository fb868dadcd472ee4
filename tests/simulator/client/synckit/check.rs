//! Whether its documents are what the server holds.

use std::collections::BTreeSet;

use super::{Document, SyncKit};
use crate::replica::{Cell, Replica, Stamp};
use crate::scenario::Scenario;

impl SyncKit {
    /// Compares each document with the map it is.
    pub fn check(&self, truth: &std::collections::BTreeMap<usize, Replica>, scenario: &Scenario) {
        for (map, document) in &self.documents {
            let whose = format!("{} of {}", self.name, scenario.maps[*map].name);
            let fields: BTreeSet<&String> = document.fields.names().chain(truth[map].cells.keys()).collect();
            for field in fields.into_iter().filter(|field| !document.unclear.contains(*field)) {
                let is = truth[map].cells.get(field).and_then(live);
                check_field(document, field, is, scenario.forgets, &whose);
                if let (Some((at, value)), Some((clock, told))) = (is, self.told.get(&(*map, field.clone())))
                    && value == told
                    && value.contains('.')
                {
                    assert_eq!(*clock, at.clock(), "{whose} was told another clock of {field}");
                }
            }
        }
    }
}

fn check_field(document: &Document, field: &str, is: Option<(&Stamp, &str)>, forgets: bool, whose: &str) {
    let has = document.fields.visible(field);
    let is_unknown = document.is_partial && document.fields.get(field).is_none();
    let is_gone = is.is_none() && (document.may_have_more || forgets);
    if !is_unknown && !is_gone {
        let has_version = document.fields.get(field);
        assert_eq!(
            has,
            is.map(|(_, value)| value),
            "{whose} is wrong at {field}: {has_version:?}, is {is:?}"
        );
    }
}

/// What a register holds, unless it was deleted.
fn live(cell: &Cell) -> Option<(&Stamp, &str)> {
    match cell {
        Cell::Lww { at, value } => value.as_deref().map(|value| (at, value)),
        Cell::Or { .. } | Cell::Counter(_) => None,
    }
}
