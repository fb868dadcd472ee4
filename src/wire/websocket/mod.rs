//! WebSocket frames by RFC 6455: received bytes to events ([`Reader`]), and server frames into a buffer.
//!
//! No sockets and no time. The reader owns nothing while its connection is idle; what arrives whole is
//! handed out where it lies.

mod assembly;
mod close_frame;
mod header;
mod input;
mod mask;
mod reader;
mod utf8;
mod write;

pub use input::Input;
pub use reader::{Event, Reader};
pub use write::{
    FrameStart, Opcode, begin_frame, end_frame, header_len, write_close, write_frame, write_frame_with,
    write_header, write_pong,
};
