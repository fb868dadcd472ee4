//! Of which maps an index of a field is kept for queries.

use std::fmt;

use serde::{Serialize, Serializer};

/// `MAP:FIELD`, such as `tasks:owner.name`; a star at the end of the map stands for all that begin so.
#[derive(Clone, PartialEq, Eq)]
pub struct QueryIndex {
    map: Box<str>,
    is_prefix: bool,
    field: Box<[Box<str>]>,
}

/// What does not name a map and a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MAP:FIELD is wanted, such as tasks:owner.name or list-*:due, with no name of the field empty")]
pub struct BadQueryIndex;

impl QueryIndex {
    /// # Errors
    /// [`BadQueryIndex`].
    pub fn parse(text: &str) -> Result<Self, BadQueryIndex> {
        // Names of maps may have colons in them.
        let (map, field) = text.rsplit_once(':').ok_or(BadQueryIndex)?;
        let field: Box<[Box<str>]> = field.split('.').map(Box::from).collect();
        let (map, is_prefix) = map.strip_suffix('*').map_or((map, false), |map| (map, true));
        if map.is_empty() && !is_prefix || field.iter().any(|name| name.is_empty()) {
            return Err(BadQueryIndex);
        }
        Ok(Self { map: map.into(), is_prefix, field })
    }

    /// Whether it is one of this map.
    pub fn is_of(&self, map: &str) -> bool {
        if self.is_prefix { map.starts_with(&*self.map) } else { *self.map == *map }
    }

    /// The names on the way to the field.
    pub const fn field(&self) -> &[Box<str>] {
        &self.field
    }
}

impl fmt::Display for QueryIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.is_prefix { "*" } else { "" };
        write!(formatter, "{}{star}:{}", self.map, self.field.join("."))
    }
}

impl fmt::Debug for QueryIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for QueryIndex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_maps_and_a_field() {
        let index = QueryIndex::parse("team:a:owner.name").unwrap();
        assert!(index.is_of("team:a") && !index.is_of("team:ab"));
        assert_eq!(*index.field(), [Box::from("owner"), Box::from("name")]);
        let index = QueryIndex::parse("list-*:due").unwrap();
        assert!(index.is_of("list-") && index.is_of("list-7") && !index.is_of("list"));
        assert_eq!(index.to_string(), "list-*:due");
        assert!(QueryIndex::parse("*:due").unwrap().is_of("anything"));
        for bad in ["", "tasks", ":due", "tasks:", "tasks:a.", "tasks:a..b"] {
            assert_eq!(QueryIndex::parse(bad), Err(BadQueryIndex), "{bad}");
        }
    }
}
