//! The scenarios, one file each: what load it is, what is checked, what is measured.

pub mod bigger;
pub mod deliveries;
pub mod direct;
pub mod fanout;
pub mod fanout_checks;
pub mod fill;
pub mod frames;
pub mod idle;
pub mod known;
pub mod mixed;
pub mod neighbours;
pub mod peers;
pub mod ping;
pub mod pinger;
pub mod presence;
pub mod queries;
pub mod redis;
pub mod setup;
pub mod shared;
pub mod snapshot;
pub mod start;
pub mod storm;
pub mod storm_channels;
pub mod write;
pub mod write_checks;
