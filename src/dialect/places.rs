//! The place of each dialect among all: what a connection remembers of what it speaks.

use crate::shard::DialectIndex;

pub const ECHO: DialectIndex = 1;
pub const SYNCKIT: DialectIndex = 2;
pub const SYNCKIT_TEXT: DialectIndex = 3;
pub const NATIVE_STRICT: DialectIndex = 4;
