//! The disk that a durable server writes to: how fast it is by itself, and where a server's files go.

pub mod data_dir;
pub mod probe;
