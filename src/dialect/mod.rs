//! What clients may speak. Each dialect is a folder of its own, which nothing outside names; `ALL` is where they are
//! put together.

pub mod echo;
pub mod native;
pub mod synckit;

use crate::shard::{Dialect, DialectIndex};

/// Every dialect, each in its place.
pub static ALL: &[&dyn Dialect] =
    &[&native::Native, &synckit::SyncKit::BINARY, &echo::Echo, &synckit::SyncKit::TEXT];

/// The place of SyncKit's clients, and of those of them that are answered in text frames.
pub const SYNCKIT: DialectIndex = 1;
const SYNCKIT_TEXT: DialectIndex = 3;
