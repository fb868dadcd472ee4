//! What a token claims: a JSON object in which no name stands twice, at any depth.
//!
//! Two readers of `{"sub":"a","sub":"b"}` may see two users, so it is refused (RFC 7519 section 4 leaves the choice).

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The claims of a token by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// The claim of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub const fn all(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The claim at a path: `team` or `app.team`. A name that holds dots itself (`https://example.org/roles`) is found, too.
    pub fn at(&self, path: &str) -> Option<&Value> {
        if let Some(whole) = self.get(path) {
            return Some(whole);
        }
        let mut names = path.split('.');
        let first = self.get(names.next()?)?;
        names.try_fold(first, |value, name| value.as_object()?.get(name))
    }
}

impl Claims {
    /// Bytes that they take beside themselves, at most.
    pub fn bytes(&self) -> usize {
        members_bytes(&self.0)
    }
}

/// A tree of objects: its nodes have room for 11 members and are half full at least, but for the only one.
fn members_bytes(members: &Map<String, Value>) -> usize {
    const NODE_BYTES: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 128;
    let heap = |(name, value): (&String, &Value)| name.len() + value_bytes(value);
    members.len().div_ceil(5) * NODE_BYTES + members.iter().map(heap).sum::<usize>()
}

/// Beside the value itself. As deep as it nests, which the parser bounds.
fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.capacity(),
        Value::Array(elements) => {
            elements.capacity() * size_of::<Value>() + elements.iter().map(value_bytes).sum::<usize>()
        }
        Value::Object(members) => members_bytes(members),
    }
}

impl From<Map<String, Value>> for Claims {
    fn from(claims: Map<String, Value>) -> Self {
        Self(claims)
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Unambiguous::deserialize(deserializer)?.0 {
            Value::Object(claims) => Ok(Self(claims)),
            _ => Err(D::Error::custom("claims are an object")),
        }
    }
}

/// A JSON value in which no name stands twice.
struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnambiguousVisitor)
    }
}

struct UnambiguousVisitor;

impl<'de> Visitor<'de> for UnambiguousVisitor {
    type Value = Unambiguous;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Unambiguous, E> {
        Ok(Unambiguous(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Unambiguous, E> {
        Ok(Unambiguous(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Unambiguous, E> {
        Ok(Unambiguous(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Unambiguous, E> {
        Ok(Unambiguous(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Unambiguous, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number has to be finite"))?;
        Ok(Unambiguous(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Unambiguous, E> {
        Ok(Unambiguous(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Unambiguous, A::Error> {
        let mut values = Vec::new();
        while let Some(Unambiguous(value)) = elements.next_element()? {
            values.push(value);
        }
        Ok(Unambiguous(Value::Array(values)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Unambiguous, A::Error> {
        let mut object = Map::new();
        while let Some((name, Unambiguous(value))) = entries.next_entry::<String, _>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Ok(Unambiguous(Value::Object(object)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(text: &str) -> Option<Claims> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn no_name_stands_twice_at_any_depth() {
        assert!(claims(r#"{"sub":"a","x":[{"y":1},{"y":2}],"n":null,"f":1.5,"i":-1}"#).is_some());
        for ambiguous in [
            r#"{"sub":"a","sub":"a"}"#,
            r#"{"sub":"a","s\u0075b":"b"}"#,
            r#"{"x":{"y":1,"y":2}}"#,
            r#"{"x":[0,{"y":1,"y":2}]}"#,
        ] {
            assert_eq!(claims(ambiguous), None, "{ambiguous}");
        }
        for no_object in ["[]", "1", "null", "", "{} {}"] {
            assert_eq!(claims(no_object), None, "{no_object}");
        }
    }

    #[test]
    fn a_claim_is_found_by_name_and_by_path() {
        let claims =
            claims(r#"{"a":{"b":{"c":1}},"https://example.org/roles":["x"],"a.b":2}"#).expect("an object");
        let number = |path| claims.at(path).and_then(Value::as_u64);
        assert_eq!(number("a.b.c"), Some(1));
        assert_eq!(number("a.b"), Some(2), "the whole name comes first");
        assert!(claims.at("https://example.org/roles").is_some_and(Value::is_array));
        assert_eq!((claims.at("a.x.c"), claims.at("")), (None, None));
    }
}
