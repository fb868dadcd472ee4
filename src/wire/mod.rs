//! Bytes to meaning and back: WebSocket frames, the HTTP upgrade, and the messages of protocol v1. No sockets.

mod close;
mod payload;
mod reject;

pub mod http;
pub mod websocket;

pub use close::Close;
pub use payload::Payload;
pub use reject::Reject;
