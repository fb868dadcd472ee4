//! Lists of names inside a message: the keys of a `read` or `subscribe`, the tags of a `remove`.
//!
//! Invariant: a list is made only after each of its names has been checked, so walking it cannot fail.

use std::fmt;

use simd_json::{Node, StaticNode};

use super::field;
use crate::limits::{OPS_PER_REQUEST_MAX, TAGS_PER_KEY_MAX};
use crate::wire::Reject;
use crate::wire::json::Elements;

/// Keys, in the order they were sent, duplicates included.
#[derive(Clone)]
pub struct Keys<'a>(Elements<'a>);

/// Tags, in the order they were sent, duplicates included.
#[derive(Clone)]
pub struct Tags<'a>(Elements<'a>);

impl<'a> Keys<'a> {
    /// `None` if the field was left out or is `null`.
    pub(super) fn of(field: Option<&'a [Node<'a>]>) -> Result<Option<Self>, Reject> {
        let Some(elements) = elements(field, "keys is not an array")? else { return Ok(None) };
        if elements.len() > OPS_PER_REQUEST_MAX {
            return Err(Reject::TooLarge("a request names at most 1000 keys"));
        }
        for element in elements {
            field::key(element.first())?;
        }
        Ok(Some(Self(elements)))
    }
}

impl<'a> Tags<'a> {
    /// `None` if the field was left out or is `null`.
    pub(super) fn of(field: Option<&'a [Node<'a>]>) -> Result<Option<Self>, Reject> {
        let Some(elements) = elements(field, "tags is not an array")? else { return Ok(None) };
        if elements.len() > TAGS_PER_KEY_MAX {
            return Err(Reject::TooLarge("a remove names at most 16384 tags"));
        }
        for element in elements {
            field::tag(field::text(element.first(), "a tag is not a string")?)?;
        }
        Ok(Some(Self(elements)))
    }
}

fn elements<'a>(field: Option<&'a [Node<'a>]>, wrong: &'static str) -> Result<Option<Elements<'a>>, Reject> {
    match field {
        None | Some([Node::Static(StaticNode::Null), ..]) => Ok(None),
        Some(list) => Elements::of(list).map(Some).ok_or(Reject::BadRequest(wrong)),
    }
}

/// The text of a list's element, which its constructor has checked.
fn name<'a>(element: &'a [Node<'a>]) -> &'a str {
    match element {
        [Node::String(name), ..] => name,
        _ => "",
    }
}

macro_rules! list_of_names {
    ($list:ident) => {
        impl<'a> Iterator for $list<'a> {
            type Item = &'a str;

            #[inline]
            fn next(&mut self) -> Option<&'a str> {
                self.0.next().map(name)
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                self.0.size_hint()
            }
        }

        impl ExactSizeIterator for $list<'_> {}

        impl fmt::Debug for $list<'_> {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_list().entries(self.clone()).finish()
            }
        }
    };
}

list_of_names!(Keys);
list_of_names!(Tags);
