//! Bytes to meaning and back, whatever the dialect: WebSocket frames, the HTTP upgrade, JSON. No sockets.

pub mod json;

mod close;
mod cursor;
mod payload;
mod reject;
mod ticket;

pub mod http;
pub mod proxy;
pub mod websocket;

pub use close::Close;
pub use cursor::{Cursor, Scope, read_hex, write_hex};
pub use payload::Payload;
pub use reject::Reject;
pub use ticket::Ticket;
