//! The server under test: started by us or found, and asked for its counters.

pub mod annulus;
pub mod certificate;
pub mod locate;
pub mod metrics;
pub mod node;
pub mod process;
pub mod redis;
pub mod warm_memory;
