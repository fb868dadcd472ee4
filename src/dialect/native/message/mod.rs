//! What clients say: the requests of protocol v1, parsed where they arrived.
//!
//! `fields.rs` finds the message's own fields, `request.rs` makes the request of them (`presence.rs`, `channel.rs`, `direct.rs`
//! those about these), `op.rs` reads one operation of a `write`, `field.rs` holds the rule of each kind of field. Invariant: what comes out of here is within the limits of the protocol, and borrows from the
//! payload.
//!
//! Unknown fields are ignored. Of a field sent twice the last counts. `null` in an optional field is the same
//! as leaving it out (but is a value in `value`).

mod channel;
mod direct;
mod field;
mod fields;
mod list;
mod op;
mod presence;
mod request;
mod request_id;

pub use channel::{ChannelRequest, Since};
pub use direct::DirectRequest;
pub use list::{Keys, Tags};
pub use op::{Action, Op, Ops};
pub use presence::PresenceRequest;
pub use request::{Message, Request};
pub use request_id::RequestId;
