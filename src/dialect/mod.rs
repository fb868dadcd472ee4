//! What clients may speak. Each dialect is a folder of its own, which nothing outside names; `ALL` is where they are
//! put together.
//!
//! order: mod → { echo, native, synckit } → places

#![cfg_attr(
    not(test),
    deny(
        clippy::cast_possible_truncation,
        reason = "a length that does not fit is an error, or a limit elsewhere makes it impossible and `expect` names it"
    )
)]

pub mod echo;
pub mod native;
mod places;
pub mod synckit;

use crate::config::DialectPath;
use crate::shard::Dialect;

/// Every dialect, each in its place.
pub static ALL: &[&dyn Dialect] = &[
    &native::Native::LENIENT,
    &echo::Echo,
    &synckit::SyncKit::BINARY,
    &synckit::SyncKit::TEXT,
    &native::Native::STRICT,
];

/// What each is called, in the same places.
pub static NAMES: &[&str] = &["v1", "echo", "synckit", "synckit-text", "v1-strict"];
const _: () = assert!(NAMES.len() == ALL.len());

const _: () = assert!(matches!(DialectPath::NATIVE.strict, Some(places::NATIVE_STRICT)));
