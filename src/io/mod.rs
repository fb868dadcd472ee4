//! What talks to the kernel: rings, sockets, limits of the host.

pub mod host;
pub mod probe;
