//! What clients say: the requests of protocol v1, parsed where they arrived.
//!
//! `parser.rs` turns bytes into a tape, `request.rs` reads the message's own fields, `op.rs` one operation
//! of a `write`, `field.rs` holds the rule of each kind of field. Invariant: what comes out of here is within
//! the limits of the protocol, and borrows from the payload.
//!
//! Unknown fields are ignored. Of a field sent twice the last counts. `null` in an optional field is the same
//! as leaving it out (but is a value in `value`).

mod field;
mod list;
mod op;
mod parser;
mod request;
mod value;

pub use list::{Keys, Tags};
pub use op::{Action, Op, Ops};
pub use parser::{Message, Parser};
pub use request::{AckLevel, Request};
pub use value::Value;
