//! What clients may speak. Each dialect is a folder of its own, which nothing outside names; `ALL` is where they are
//! put together.

pub mod echo;
pub mod native;
pub mod synckit;

use crate::shard::Dialect;

/// Every dialect, in the places that [`crate::wire::http::Endpoint`] gives them.
pub static ALL: &[&dyn Dialect] = &[&native::Native, &synckit::SyncKit, &echo::Echo];
