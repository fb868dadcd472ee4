//! Queries once more, in the words of `docs/queries.md` and no others: on values as they are parsed, without an index, a sorted
//! list or an encoding. What the server shows is held against it.

#![allow(dead_code, reason = "each test uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test whose query or value is none fails")]

use std::cmp::Ordering;

use serde_json::Value;

/// The field of a value that a path names.
pub fn field<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, name| value.as_object()?.get(name))
}

/// Whether a value is before, behind, or equal to another.
pub fn compare(left: Option<&Value>, right: Option<&Value>) -> Ordering {
    let kind = |value: Option<&Value>| match value {
        None => 0,
        Some(Value::Null) => 1,
        Some(Value::Bool(_)) => 2,
        Some(Value::Number(_)) => 3,
        Some(Value::String(_)) => 4,
        Some(Value::Array(_)) => 5,
        Some(Value::Object(_)) => 6,
    };
    match (left, right) {
        (Some(Value::Bool(left)), Some(Value::Bool(right))) => left.cmp(right),
        (Some(Value::Number(left)), Some(Value::Number(right))) => {
            left.as_f64().unwrap().partial_cmp(&right.as_f64().unwrap()).unwrap()
        }
        (Some(Value::String(left)), Some(Value::String(right))) => left.as_bytes().cmp(right.as_bytes()),
        (Some(Value::Array(left)), Some(Value::Array(right))) => {
            let pairs = left.iter().zip(right).map(|(left, right)| compare(Some(left), Some(right)));
            pairs.fold(Ordering::Equal, Ordering::then).then(left.len().cmp(&right.len()))
        }
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            let sorted = |object: &serde_json::Map<String, Value>| {
                let mut members: Vec<(String, Value)> =
                    object.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
                members.sort_by(|left, right| left.0.as_bytes().cmp(right.0.as_bytes()));
                members
            };
            let (left, right) = (sorted(left), sorted(right));
            let pairs = left.iter().zip(&right).map(|(left, right)| {
                left.0.as_bytes().cmp(right.0.as_bytes()).then_with(|| compare(Some(&left.1), Some(&right.1)))
            });
            pairs.fold(Ordering::Equal, Ordering::then).then(left.len().cmp(&right.len()))
        }
        _ => kind(left).cmp(&kind(right)),
    }
}

/// Whether a value is what `where` says.
pub fn matches(condition: &Value, value: &Value) -> bool {
    condition.as_object().unwrap().iter().all(|(name, said)| match &**name {
        "and" => said.as_array().unwrap().iter().all(|one| matches(one, value)),
        "or" => said.as_array().unwrap().iter().any(|one| matches(one, value)),
        "not" => !matches(said, value),
        path => match said.as_object() {
            None => holds("eq", said, field(value, path)),
            Some(operators) => operators.iter().all(|(name, said)| holds(name, said, field(value, path))),
        },
    })
}

fn holds(operator: &str, said: &Value, field: Option<&Value>) -> bool {
    let equals = |said: &Value| field.is_some() && compare(field, Some(said)).is_eq();
    let is_one_of = || said.as_array().unwrap().iter().any(equals);
    let compared = || match (field?, said) {
        (Value::Bool(_), Value::Bool(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::String(_), Value::String(_)) => Some(compare(field, Some(said))),
        _ => None,
    };
    match operator {
        "eq" => equals(said),
        "ne" => !equals(said),
        "lt" => compared().is_some_and(Ordering::is_lt),
        "le" => compared().is_some_and(Ordering::is_le),
        "gt" => compared().is_some_and(Ordering::is_gt),
        "ge" => compared().is_some_and(Ordering::is_ge),
        "in" => is_one_of(),
        "nin" => !is_one_of(),
        "prefix" => {
            field.and_then(Value::as_str).is_some_and(|text| text.starts_with(said.as_str().unwrap()))
        }
        "contains" => match field {
            Some(Value::String(text)) => said.as_str().is_some_and(|part| text.contains(part)),
            Some(Value::Array(elements)) => elements.iter().any(|one| compare(Some(one), Some(said)).is_eq()),
            _ => false,
        },
        "exists" => field.is_some() == said.as_bool().unwrap(),
        other => panic!("{other} is no operator"),
    }
}

/// Which of two entries is before the other.
pub fn compare_entries(sort: &Value, left: (&str, &Value), right: (&str, &Value)) -> Ordering {
    let sort = sort.as_array().map_or(&[][..], Vec::as_slice).iter().map(|by| by.as_str().unwrap());
    let by_fields = sort.map(|by| match by.strip_prefix('-') {
        None => compare(field(left.1, by), field(right.1, by)),
        Some(by) => compare(field(left.1, by), field(right.1, by)).reverse(),
    });
    by_fields.fold(Ordering::Equal, Ordering::then).then_with(|| left.0.as_bytes().cmp(right.0.as_bytes()))
}

/// The keys that a query shows of entries, in their order.
pub fn shown<'e>(
    query: &Value,
    entries: impl Iterator<Item = (&'e str, &'e Value)>,
    results_max: usize,
) -> Vec<&'e str> {
    let everything = Value::Object(serde_json::Map::new());
    let condition = query.get("where").unwrap_or(&everything);
    let mut matching: Vec<_> = entries.filter(|(_, value)| matches(condition, value)).collect();
    matching.sort_by(|left, right| compare_entries(&query["sort"], *left, *right));
    let whole = |name: &str| query.get(name).and_then(Value::as_u64).map(|count| count as usize);
    let offset = whole("offset").unwrap_or(0);
    let limit = whole("limit").unwrap_or(results_max - offset);
    matching.into_iter().map(|(key, _)| key).skip(offset).take(limit).collect()
}
