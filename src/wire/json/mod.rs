//! JSON as bytes: walking a parsed tape, and writing values in the one form every replica agrees on.
//!
//! Invariant: the same value always gives the same bytes, and those bytes parse back to the same value.

mod canonical;
mod number;
mod string;
mod tape;

pub use canonical::{Scratch, write_canonical};
pub use number::{Number, write_integer};
pub use string::{is_plain, write_string};
pub use tape::{Elements, Members};
