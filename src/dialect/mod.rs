//! What clients may speak. Each dialect is a folder of its own, which nothing outside names; `ALL` is where they are
//! put together.
//!
//! order: mod → { echo, native, synckit } → places

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

const _: () = assert!(matches!(DialectPath::NATIVE.strict, Some(places::NATIVE_STRICT)));
