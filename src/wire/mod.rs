//! Bytes to meaning and back: WebSocket frames, the HTTP upgrade, and the messages of protocol v1. No sockets.

pub mod encode;
pub mod json;
pub mod message;

mod close;
mod cursor;
mod payload;
mod reject;
mod request_id;

pub mod http;
pub mod websocket;

pub use close::Close;
pub use cursor::Cursor;
pub use payload::Payload;
pub use reject::Reject;
pub use request_id::{OwnedRequestId, RequestId};
