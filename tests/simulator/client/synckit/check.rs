//! Whether its documents are what the server holds.

use std::collections::BTreeSet;

use super::SyncKit;
use super::sets::RESERVED;
use crate::replica::{Cell, Replica, Stamp};
use crate::scenario::Scenario;

impl SyncKit {
    /// Compares each document with the map it is.
    pub fn check(&self, truth: &std::collections::BTreeMap<usize, Replica>, scenario: &Scenario) {
        for (map, document) in &self.documents {
            let whose = format!("{} of {}", self.name, scenario.maps[*map].name);
            let counter = document.clock.get(&self.name).copied().unwrap_or(0);
            assert!(counter >= document.named_through, "{whose}: what it writes now would stay invisible");
            if self.is_sdk {
                document.check_set(&truth[map], scenario, &whose);
            }
            let cells = truth[map].cells.keys().filter(|key| !key.starts_with(RESERVED));
            let fields: BTreeSet<&String> = document.fields.names().chain(cells).collect();
            for field in fields.into_iter().filter(|field| !document.unclear.contains(*field)) {
                let cell = truth[map].cells.get(field);
                let is = cell.and_then(live);
                let has = document.fields.visible(field);
                let is_unknown = document.is_partial && document.fields.get(field).is_none();
                let is_gone = match cell {
                    Some(Cell::Lww { value: None, .. }) => document.may_lack(field),
                    _ => false,
                };
                let is_gone = is_gone || is.is_none() && scenario.forgets;
                if !is_unknown && !is_gone && has != is.map(|(_, value)| value) {
                    let has = document.fields.get(field);
                    panic!("{whose} is wrong at {field}: {has:?}, is {cell:?}");
                }
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

/// What a register holds, unless it was deleted.
pub fn live(cell: &Cell) -> Option<(&Stamp, &str)> {
    match cell {
        Cell::Lww { at, value, .. } => value.as_deref().map(|value| (at, value)),
        Cell::Or { .. } | Cell::Counter(_) => None,
    }
}
