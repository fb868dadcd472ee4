//! A query as a client sends it, in canonical JSON.

use super::Query;
use super::condition::{Condition, Test, put_len};
use super::json::{self, Elements, Members};
use super::order::{self, Kind};
use super::paths::Path;
use super::sort::By;
use crate::limits::{
    QUERY_BYTES_MAX, QUERY_DEPTH_MAX, QUERY_NODES_MAX, QUERY_PATH_PARTS_MAX, QUERY_SORT_MAX,
};
use crate::wire::Reject;

const NO_OPERATOR: &str =
    "an operator of where is eq, ne, lt, le, gt, ge, in, nin, prefix, contains or exists";
const NO_OBJECT: &str = "where is not an object of fields, and, or, not";
const NO_LIST: &str = "and and or have arrays of conditions";
const NO_VALUES: &str = "in and nin have arrays of values";
const NO_TEXT: &str = "prefix has a text";
const NO_FLAG: &str = "exists has true or false";
const NO_QUERY: &str = "query is not an object";
const NO_SORT: &str = "sort is not an array of fields, each with - before it where it descends";
const NO_PATH: &str = "a field is named by names with points between them, none of which is empty";
const NO_LIMIT: &str = "limit is a whole number from 1";
const NO_OFFSET: &str = "offset is a whole number from 0";
const NOTHING_COMPARED: &str = "lt, le, gt and ge have a number, a text, true or false";

impl Query {
    /// Reads a query that shows entries up to `results_max`.
    ///
    /// # Errors
    /// [`Reject::BadRequest`] for what is missing or of the wrong type, [`Reject::ValueInvalid`] for a number that breaks its
    /// rule, [`Reject::TooLarge`] for what is over a limit.
    pub fn parse(canonical: &[u8], results_max: usize) -> Result<Self, Reject> {
        if canonical.len() > QUERY_BYTES_MAX {
            return Err(Reject::TooLarge("a query has at most 8 KiB"));
        }
        let members = Members::of(canonical).ok_or(Reject::BadRequest(NO_QUERY))?;
        let mut reading = Reading { paths: Vec::new(), nodes: 0 };
        let (mut condition, mut sort) = (Condition::All(Box::default()), Vec::new());
        let (mut limit, mut offset) = (None, 0);
        for (name, value) in members.filter(|(_, value)| *value != b"null") {
            match name {
                b"where" => condition = reading.condition(value, 0)?,
                b"sort" => sort = reading.sort(value)?,
                b"limit" => limit = Some(whole(value, 1, NO_LIMIT)?),
                b"offset" => offset = whole(value, 0, NO_OFFSET)?,
                _ => {}
            }
        }
        let end = limit.map_or(Some(results_max), |limit| limit.checked_add(offset));
        match end {
            Some(end) if end <= results_max && offset < end => {
                let (limit, offset) = (small(end - offset), small(offset));
                let digest = digest(&reading.paths, &condition, &sort, (offset, limit));
                Ok(Self { paths: reading.paths, condition, sort, offset, limit, digest })
            }
            _ => Err(Reject::TooLarge("offset and limit are together at most --max-query-results")),
        }
    }
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn whole(value: &[u8], least: usize, rule: &'static str) -> Result<usize, Reject> {
    if !matches!(value.first(), Some(b'-' | b'0'..=b'9')) {
        return Err(Reject::BadRequest(rule));
    }
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.filter(|&number| number >= least).ok_or(Reject::ValueInvalid(rule))
}

fn digest(paths: &[Path], condition: &Condition, sort: &[By], (offset, limit): (u32, u32)) -> Box<[u8]> {
    let mut out = Vec::new();
    put_len(paths.len(), &mut out);
    for path in paths {
        put_len(path.len(), &mut out);
        for name in path {
            put_len(name.len(), &mut out);
            out.extend_from_slice(name.as_bytes());
        }
    }
    condition.write_digest(&mut out);
    put_len(sort.len(), &mut out);
    for by in sort {
        out.extend_from_slice(&by.path.to_le_bytes());
        out.push(u8::from(by.descends));
    }
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&limit.to_le_bytes());
    out.into()
}

struct Reading {
    paths: Vec<Path>,
    /// Conditions and values so far.
    nodes: usize,
}

impl Reading {
    /// All that an object of conditions says.
    fn condition(&mut self, value: &[u8], depth: usize) -> Result<Condition, Reject> {
        if depth == QUERY_DEPTH_MAX {
            return Err(Reject::TooLarge("where nests at most 16 deep"));
        }
        let members = Members::of(value).ok_or(Reject::BadRequest(NO_OBJECT))?;
        let mut all = Vec::new();
        for (name, value) in members {
            match name {
                b"and" => all.push(Condition::All(self.conditions(value, depth)?)),
                b"or" => all.push(Condition::Any(self.conditions(value, depth)?)),
                b"not" => all.push(negated(self.condition(value, depth + 1)?)),
                name => self.tests(name, value, &mut all)?,
            }
        }
        self.count(1)?;
        Ok(if all.len() == 1 { all.remove(0) } else { Condition::All(all.into()) })
    }

    fn conditions(&mut self, value: &[u8], depth: usize) -> Result<Box<[Condition]>, Reject> {
        let elements = Elements::of(value).ok_or(Reject::BadRequest(NO_LIST))?;
        elements.map(|element| self.condition(element, depth + 1)).collect()
    }

    /// What is said of one field: a value that it equals, or operators.
    fn tests(&mut self, name: &[u8], value: &[u8], all: &mut Vec<Condition>) -> Result<(), Reject> {
        let path = self.path(&json::unescaped(name))?;
        let Some(operators) = Members::of(value) else {
            self.count(1)?;
            all.push(Condition::Field(path, Test::Equal(encoded(value))));
            return Ok(());
        };
        if operators.clone().next().is_none() {
            return Err(Reject::BadRequest(NO_OPERATOR));
        }
        for (operator, value) in operators {
            all.push(self.test(path, operator, value)?);
        }
        Ok(())
    }

    fn test(&mut self, path: u16, operator: &[u8], value: &[u8]) -> Result<Condition, Reject> {
        self.count(1)?;
        let field = |test| Condition::Field(path, test);
        let compared = || {
            let value = encoded(value);
            match Kind::of(&value) {
                Kind::Number | Kind::Text | Kind::Truth => Ok(value),
                _ => Err(Reject::BadRequest(NOTHING_COMPARED)),
            }
        };
        Ok(match operator {
            b"eq" => field(Test::Equal(encoded(value))),
            b"ne" => negated(field(Test::Equal(encoded(value)))),
            b"lt" => field(Test::Below(compared()?)),
            b"le" => field(Test::AtMost(compared()?)),
            b"gt" => field(Test::Above(compared()?)),
            b"ge" => field(Test::AtLeast(compared()?)),
            b"in" => field(Test::OneOf(self.values(value)?)),
            b"nin" => negated(field(Test::OneOf(self.values(value)?))),
            b"prefix" if value.first() == Some(&b'"') => field(Test::Prefix(encoded(value))),
            b"prefix" => return Err(Reject::BadRequest(NO_TEXT)),
            b"contains" => field(Test::Contains(encoded(value))),
            b"exists" => match value {
                b"true" => field(Test::Exists),
                b"false" => negated(field(Test::Exists)),
                _ => return Err(Reject::BadRequest(NO_FLAG)),
            },
            _ => return Err(Reject::BadRequest(NO_OPERATOR)),
        })
    }

    fn values(&mut self, value: &[u8]) -> Result<Box<[Box<[u8]>]>, Reject> {
        let elements = Elements::of(value).ok_or(Reject::BadRequest(NO_VALUES))?;
        let mut values: Vec<Box<[u8]>> = elements.map(encoded).collect();
        self.count(values.len())?;
        values.sort_unstable();
        values.dedup();
        Ok(values.into())
    }

    fn sort(&mut self, value: &[u8]) -> Result<Vec<By>, Reject> {
        let elements = Elements::of(value).ok_or(Reject::BadRequest(NO_SORT))?;
        let mut sort = Vec::new();
        for element in elements {
            let text = json::text(element).ok_or(Reject::BadRequest(NO_SORT))?;
            let text = json::unescaped(text);
            let (path, descends) = text.strip_prefix(b"-").map_or((&*text, false), |path| (path, true));
            let path = self.path(path)?;
            if sort.len() == QUERY_SORT_MAX {
                return Err(Reject::TooLarge("sort has at most 8 fields"));
            }
            sort.push(By { path, descends });
        }
        Ok(sort)
    }

    /// The place of a path, which is added unless it is there.
    fn path(&mut self, text: &[u8]) -> Result<u16, Reject> {
        let text = std::str::from_utf8(text).unwrap_or_default();
        let path: Path = text.split('.').map(Box::from).collect();
        if path.iter().any(|name| name.is_empty()) {
            return Err(Reject::BadRequest(NO_PATH));
        }
        if path.len() > QUERY_PATH_PARTS_MAX {
            return Err(Reject::TooLarge("the path of a field has at most 16 names"));
        }
        let place = self.paths.iter().position(|known| *known == path).unwrap_or_else(|| {
            self.paths.push(path);
            self.paths.len() - 1
        });
        Ok(u16::try_from(place).expect("QUERY_NODES_MAX and QUERY_SORT_MAX are far below"))
    }

    fn count(&mut self, nodes: usize) -> Result<(), Reject> {
        self.nodes += nodes;
        if self.nodes > QUERY_NODES_MAX {
            return Err(Reject::TooLarge("where has at most 256 conditions and values"));
        }
        Ok(())
    }
}

fn negated(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

fn encoded(value: &[u8]) -> Box<[u8]> {
    let mut out = Vec::with_capacity(value.len() + 10);
    order::encode(value, &mut out);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{Fields, Paths};

    fn parse(query: &str) -> Result<Query, Reject> {
        let value: serde_json::Value = serde_json::from_str(query).unwrap();
        Query::parse(value.to_string().as_bytes(), 100)
    }

    fn refused(query: &str) -> &'static str {
        parse(query).map(|query| format!("{query:?}")).unwrap_err().code()
    }

    /// Whether a value matches.
    fn matches(condition: &str, value: &str) -> bool {
        let query = parse(&format!("{{\"where\":{condition}}}")).unwrap();
        let (mut paths, mut fields) = (Paths::default(), Fields::default());
        let slots: Vec<u32> = query.paths().iter().map(|path| paths.enter(path)).collect();
        paths.read(Some(value.as_bytes()), &mut fields);
        query.matches(&fields, &slots)
    }

    #[test]
    fn values_of_one_kind_are_compared_and_others_are_neither_below_nor_above() {
        let value = r#"{"a":2,"b":"x","t":true}"#;
        for (condition, is_met) in [
            (r#"{"a":{"ge":2,"lt":3}}"#, true),
            (r#"{"a":{"gt":2}}"#, false),
            (r#"{"a":{"le":1.5}}"#, false),
            (r#"{"b":{"gt":1}}"#, false),
            (r#"{"b":{"le":1}}"#, false),
            (r#"{"c":{"lt":1}}"#, false),
            (r#"{"not":{"c":{"lt":1}}}"#, true),
            (r#"{"t":{"gt":false}}"#, true),
            (r#"{"c":{"ne":1}}"#, true),
            (r#"{"c":{"nin":[1,null]}}"#, true),
            (r#"{"c":null}"#, false),
            (r#"{"or":[]}"#, false),
            (r#"{"and":[]}"#, true),
            (r#"{"or":[{"a":1},{"b":"x"}]}"#, true),
        ] {
            assert_eq!(matches(condition, value), is_met, "{condition}");
        }
    }

    #[test]
    fn what_breaks_a_rule_is_refused_with_the_code_for_it() {
        let deep =
            |depth: usize| format!("{{\"where\":{}{{}}{}}}", "{\"not\":".repeat(depth), "}".repeat(depth));
        assert!(parse(&deep(QUERY_DEPTH_MAX - 1)).is_ok());
        assert_eq!(refused(&deep(QUERY_DEPTH_MAX)), "too_large");
        let values = |count: usize| {
            let values: Vec<String> = (0..count).map(|n| n.to_string()).collect();
            format!("{{\"where\":{{\"a\":{{\"in\":[{}]}}}}}}", values.join(","))
        };
        assert!(parse(&values(QUERY_NODES_MAX - 2)).is_ok());
        assert_eq!(refused(&values(QUERY_NODES_MAX - 1)), "too_large");
        assert_eq!(
            refused(&format!("{{\"where\":{{\"a\":\"{}\"}}}}", "x".repeat(QUERY_BYTES_MAX))),
            "too_large"
        );
        assert_eq!(
            refused(&format!("{{\"where\":{{\"{}a\":1}}}}", "a.".repeat(QUERY_PATH_PARTS_MAX))),
            "too_large"
        );
        assert_eq!(refused(&format!("{{\"sort\":[{}\"a\"]}}", "\"a\",".repeat(QUERY_SORT_MAX))), "too_large");
        for query in ["{\"limit\":101}", "{\"limit\":100,\"offset\":1}", "{\"offset\":100}"] {
            assert_eq!(refused(query), "too_large", "{query}");
        }
        for query in ["{\"limit\":0}", "{\"limit\":1.5}", "{\"offset\":-1}", "{\"limit\":1e30}"] {
            assert_eq!(refused(query), "value_invalid", "{query}");
        }
        for query in [
            r#"[]"#,
            r#"{"where":[]}"#,
            r#"{"where":{"a":{}}}"#,
            r#"{"where":{"a":{"gte":1}}}"#,
            r#"{"where":{"a":{"lt":null}}}"#,
            r#"{"where":{"a":{"gt":[1]}}}"#,
            r#"{"where":{"a":{"in":1}}}"#,
            r#"{"where":{"a":{"prefix":1}}}"#,
            r#"{"where":{"a":{"exists":1}}}"#,
            r#"{"where":{"and":{}}}"#,
            r#"{"where":{"not":[]}}"#,
            r#"{"where":{"a..b":1}}"#,
            r#"{"where":{"":1}}"#,
            r#"{"sort":"a"}"#,
            r#"{"sort":[1]}"#,
            r#"{"sort":["-"]}"#,
            r#"{"limit":"1"}"#,
            r#"{"offset":true}"#,
        ] {
            assert_eq!(refused(query), "bad_request", "{query}");
        }
        assert!(parse(r#"{"where":null,"sort":null,"limit":null,"offset":null,"other":1}"#).is_ok());
    }

    #[test]
    fn queries_that_mean_the_same_are_equal_and_others_are_not() {
        let same = [
            r#"{"where":{"done":false},"sort":["due"],"limit":100}"#,
            r#"{"where":{"done":{"eq":false}},"sort":["due"],"offset":0}"#,
        ];
        let [one, other] = same.map(|query| parse(query).unwrap());
        assert_eq!(one, other);
        let different = [
            same[0],
            r#"{"where":{"done":false},"sort":["-due"]}"#,
            r#"{"where":{"done":false},"sort":["due"],"limit":9}"#,
            r#"{"where":{"done":false},"sort":["due"],"limit":9,"offset":1}"#,
            r#"{"where":{"done":true},"sort":["due"]}"#,
            r#"{"where":{"done":{"ne":false}},"sort":["due"]}"#,
            r#"{"where":{"due":false},"sort":["done"]}"#,
            r#"{"where":{"or":[{"done":false}]},"sort":["due"]}"#,
            r#"{"where":{"done":{"in":[false]}},"sort":["due"]}"#,
            r#"{"where":{"done":{"gt":false}},"sort":["due"]}"#,
            r#"{"where":{"done":{"ge":false}},"sort":["due"]}"#,
            r#"{"sort":["due"]}"#,
            r#"{}"#,
        ];
        let queries: Vec<Query> = different.iter().map(|query| parse(query).unwrap()).collect();
        for (place, query) in queries.iter().enumerate() {
            assert!(queries[place + 1..].iter().all(|other| other != query), "{}", different[place]);
        }
    }
}
