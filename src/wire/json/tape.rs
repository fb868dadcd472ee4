//! Walking a `simd-json` tape without recursion: the elements of an array, the members of an object.
//!
//! A *value* is a slice of nodes that begins with its own node; what follows its last descendant is ignored.
//! Invariant: the slices come from a tape `simd-json` filled, so the counts in them are right.

use simd_json::Node;

/// The values of an array, in order.
#[derive(Clone, Copy)]
pub struct Elements<'a> {
    rest: &'a [Node<'a>],
    len: usize,
}

impl<'a> Elements<'a> {
    /// `None` if the value is not an array.
    pub fn of(value: &'a [Node<'a>]) -> Option<Self> {
        match value {
            [Node::Array { len, count }, rest @ ..] => Some(Self { rest: &rest[..*count], len: *len }),
            _ => None,
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [Node<'a>];

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (value, rest) = self.rest.split_at(width(self.rest.first()?));
        self.rest = rest;
        self.len -= 1;
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len, Some(self.len))
    }
}

impl ExactSizeIterator for Elements<'_> {}

/// The members of an object, in the order they were sent, duplicates included.
#[derive(Clone, Copy)]
pub struct Members<'a> {
    rest: &'a [Node<'a>],
}

impl<'a> Members<'a> {
    /// `None` if the value is not an object.
    pub fn of(value: &'a [Node<'a>]) -> Option<Self> {
        match value {
            [Node::Object { count, .. }, rest @ ..] => Some(Self { rest: &rest[..*count] }),
            _ => None,
        }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a [Node<'a>]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let [Node::String(name), rest @ ..] = self.rest else { return None };
        let (value, rest) = rest.split_at(width(rest.first()?));
        self.rest = rest;
        Some((name, value))
    }
}

/// Nodes of the value that begins with `node`.
#[inline]
fn width(node: &Node<'_>) -> usize {
    match node {
        Node::Object { count, .. } | Node::Array { count, .. } => count + 1,
        Node::String(_) | Node::Static(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_values_are_stepped_over_whole() {
        let mut text = br#"{"a":[1,[2,{"x":[]}]],"b":{},"a":null,"c":[]}"#.to_vec();
        let tape = simd_json::to_tape(&mut text).unwrap();
        let members: Vec<_> =
            Members::of(&tape.0).unwrap().map(|(name, value)| (name, value.len())).collect();
        assert_eq!(members, [("a", 7), ("b", 1), ("a", 1), ("c", 1)]);

        let (_, array) = Members::of(&tape.0).unwrap().next().unwrap();
        let elements = Elements::of(array).unwrap();
        assert_eq!(elements.len(), 2);
        assert_eq!(elements.map(<[_]>::len).collect::<Vec<_>>(), [1, 5]);
        assert!(Members::of(array).is_none());
        assert!(Elements::of(&tape.0).is_none());
    }
}
