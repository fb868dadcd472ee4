//! Fields of values by their paths: whatever many queries look at is found in one pass over a value, and encoded once.

use std::ops::Range;

use hashbrown::HashMap;

use super::json::{self, Members};
use super::order::{self, MISSING};

/// The names on the way to a field.
pub type Path = Box<[Box<str>]>;

/// The paths that anybody looks at, as a tree of names. Each has a **slot**.
#[derive(Debug, Default)]
pub struct Paths {
    root: Step,
    /// How many look at the path in each slot.
    users: Vec<u32>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Step {
    slot: Option<u32>,
    steps: HashMap<Box<str>, Step>,
}

impl Paths {
    /// The slot of a path, which one more looks at.
    pub fn enter(&mut self, path: &[Box<str>]) -> u32 {
        let mut step = &mut self.root;
        for name in path {
            step = step.steps.entry(name.clone()).or_default();
        }
        let slot = *step.slot.get_or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.users.push(0);
                u32::try_from(self.users.len() - 1).expect("queries are bounded, and so are their paths")
            })
        });
        self.users[slot as usize] += 1;
        slot
    }

    /// One less looks at a path.
    pub fn leave(&mut self, path: &Path, slot: u32) {
        let users = &mut self.users[slot as usize];
        *users -= 1;
        if *users == 0 {
            self.root.remove(path);
            self.free.push(slot);
        }
    }

    /// Reads the fields of a canonical value; `None`: there is no value, and all of them are missing.
    pub fn read(&self, value: Option<&[u8]>, fields: &mut Fields) {
        fields.bytes.clear();
        fields.ranges.clear();
        fields.ranges.resize(self.users.len(), 0..0);
        if let Some(value) = value {
            self.root.read(value, fields);
        }
    }
}

impl Step {
    fn read(&self, value: &[u8], fields: &mut Fields) {
        if self.steps.is_empty() {
            return;
        }
        let mut left = self.steps.len();
        for (name, value) in Members::of(value).into_iter().flatten() {
            let name = json::unescaped(name);
            let Some(step) = std::str::from_utf8(&name).ok().and_then(|name| self.steps.get(name)) else {
                continue;
            };
            if let Some(slot) = step.slot {
                let start = fields.bytes.len();
                order::encode(value, &mut fields.bytes);
                fields.ranges[slot as usize] = start..fields.bytes.len();
            }
            step.read(value, fields);
            left -= 1;
            if left == 0 {
                return;
            }
        }
    }

    /// Takes the end of a path out; whether nothing is left here.
    fn remove(&mut self, path: &[Box<str>]) -> bool {
        match path {
            [] => self.slot = None,
            [name, rest @ ..] => {
                if self.steps.get_mut(&**name).is_some_and(|step| step.remove(rest)) {
                    self.steps.remove(&**name);
                }
            }
        }
        self.slot.is_none() && self.steps.is_empty()
    }
}

/// The fields of one value, encoded in the order of values.
#[derive(Debug, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    /// Empty: missing.
    ranges: Vec<Range<usize>>,
}

impl Fields {
    /// What is in a slot.
    #[inline]
    pub fn of(&self, slot: u32) -> &[u8] {
        let range = &self.ranges[slot as usize];
        if range.is_empty() { MISSING } else { &self.bytes[range.clone()] }
    }

    /// Calls `differs` with each slot in which the other has something else.
    pub fn compare(&self, other: &Self, mut differs: impl FnMut(u32)) {
        for slot in 0.. {
            if slot as usize == self.ranges.len() {
                return;
            }
            if self.of(slot) != other.of(slot) {
                differs(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        text.split('.').map(Box::from).collect()
    }

    #[test]
    fn fields_are_found_by_their_paths_in_one_pass() {
        let mut paths = Paths::default();
        let slots = ["a", "a.b", "c.d.e", "x"].map(|text| paths.enter(&path(text)));
        assert_eq!(paths.enter(&path("a.b")), slots[1]);
        let mut fields = Fields::default();
        paths.read(Some(br#"{"a":{"a":3,"b":1},"b":9,"c":{"d":{"e":"t","f":0}},"x":null}"#), &mut fields);
        let encoded = |value: &str| {
            let mut out = Vec::new();
            order::encode(value.as_bytes(), &mut out);
            out
        };
        let found = slots.map(|slot| fields.of(slot).to_vec());
        assert_eq!(found, [r#"{"a":3,"b":1}"#, "1", "\"t\"", "null"].map(encoded));
        paths.read(Some(br#"{"a":[{"b":1}],"c":{"d":{}}}"#), &mut fields);
        assert_eq!(slots.map(|slot| fields.of(slot) == MISSING), [false, true, true, true]);
        for value in [None, Some(&b"1"[..]), Some(b"[]"), Some(b"{}")] {
            paths.read(value, &mut fields);
            assert!(slots.iter().all(|&slot| fields.of(slot) == MISSING));
        }
    }

    #[test]
    fn what_nobody_looks_at_leaves_nothing_behind() {
        let mut paths = Paths::default();
        let texts = ["a", "a.b", "a.b.c", "d"];
        let slots = texts.map(|text| paths.enter(&path(text)));
        paths.leave(&path("a.b"), slots[1]);
        assert_eq!(paths.enter(&path("e")), slots[1], "its slot is used again");
        paths.leave(&path("e"), slots[1]);
        for place in [0, 2, 3] {
            paths.leave(&path(texts[place]), slots[place]);
        }
        assert!(paths.root.steps.is_empty() && paths.users.iter().all(|&users| users == 0));
    }
}
