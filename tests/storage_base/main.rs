//! The base and everything made of it: one contract, which every kind of disk keeps, over seeded random histories
//! (`crdt_histories/`) of every map type. Each failure names its seed; `ANNULUS_SEED=<n>` runs that one alone.

#![expect(
    clippy::disallowed_types,
    reason = "the disk in memory is used by several threads, as a real one is"
)]

mod backing_up;
mod clearing;
mod clocks;
mod compacting;
mod converting;
#[path = "../crdt_histories/mod.rs"]
#[allow(dead_code, reason = "another test uses the rest")]
mod crdt_histories;
mod crowded;
mod damaged_pages;
mod data_dir;
mod disks;
mod every_byte;
mod exporting;
mod folding;
mod journal_files;
mod layout;
mod loading;
mod measuring;
mod model;
mod narrow;
mod sweeping;
mod tailing;
mod verifying;
mod writing_out;
