//! The journal over disks: what it promises, what recovery finds after power cuts and in damaged files, and what
//! every disk has to do for that.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod content;
mod disk_contract;
mod drive;
mod every_byte;
mod format_file;
mod memory_disk;
mod missing_files;
mod power_cuts;
mod prepared;
mod random;
mod round_trips;
mod steps;
mod unreadable;
