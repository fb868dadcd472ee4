//! JSON as bytes: parsing in place, walking the tape, and writing values in the one form every replica agrees on.
//!
//! Invariant: the same value always gives the same bytes, and those bytes parse back to the same value.

mod canonical;
mod fault;
mod number;
mod parser;
mod plain;
mod refused;
mod scan;
mod sorted;
mod string;
mod tape;
mod value;

pub use canonical::{Scratch, write_canonical};
pub use fault::{Fault, What};
pub use number::{Number, write_integer};
pub use parser::{Object, Parser};
pub use plain::{Plain, PlainValue};
pub use refused::{Diagnosis, Faults, Refused};
pub use scan::{Found, Scan, Step, find_id, scan};
pub use sorted::write_sorted;
pub use string::{is_plain, string_bytes, write_string};
pub use tape::{Elements, Members};
pub use value::Value;
