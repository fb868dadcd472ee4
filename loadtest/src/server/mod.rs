//! The server under test: started by us or found, and asked for its counters.

pub mod locate;
pub mod metrics;
pub mod process;
pub mod warm_memory;
