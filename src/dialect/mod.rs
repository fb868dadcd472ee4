//! What clients may speak. Each dialect is a folder of its own, which nothing outside names; `ALL` is where they are
//! put together.

pub mod echo;
pub mod native;
pub mod synckit;

use crate::config::DialectPath;
use crate::shard::{Dialect, DialectIndex};

/// Every dialect, each in its place.
pub static ALL: &[&dyn Dialect] = &[
    &native::Native::LENIENT,
    &echo::Echo,
    &synckit::SyncKit::BINARY,
    &synckit::SyncKit::TEXT,
    &native::Native::STRICT,
];

const ECHO: DialectIndex = 1;
const SYNCKIT: DialectIndex = 2;
const SYNCKIT_TEXT: DialectIndex = 3;
const NATIVE_STRICT: DialectIndex = 4;
const _: () = assert!(matches!(DialectPath::NATIVE.strict, Some(NATIVE_STRICT)));
