//! A document as SyncKit's SDK keeps it: per field the greatest of what it was told and has written, by clock, then
//! client, then JSON text.

use std::collections::BTreeMap;

/// What stands for a field that was deleted.
pub const DELETED: &str = r#"{"__deleted":true}"#;
/// Who the server says has written.
pub const SERVER: &str = "server";

/// One version of a field, ordered as the SDK orders them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub clock: u64,
    pub client: String,
    /// JSON text.
    pub value: String,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Fields(BTreeMap<String, Version>);

impl Fields {
    pub fn merge(&mut self, field: &str, version: Version) {
        match self.0.get_mut(field) {
            Some(known) if *known >= version => {}
            Some(known) => *known = version,
            None => drop(self.0.insert(field.to_owned(), version)),
        }
    }

    pub fn get(&self, field: &str) -> Option<&Version> {
        self.0.get(field)
    }

    /// The value of a field that is not deleted.
    pub fn visible(&self, field: &str) -> Option<&str> {
        self.get(field).map(|version| &version.value[..]).filter(|value| *value != DELETED)
    }

    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }
}
