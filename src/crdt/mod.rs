//! What the wire needs of the CRDT layer until that layer lands: stamps, and the names of map types.

mod stamp;

pub use stamp::{Node, Stamp, Time};

/// What a map holds, fixed by its first write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum MapType {
    Lww,
    Or,
    Counter,
}

impl MapType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lww => "lww",
            Self::Or => "or",
            Self::Counter => "counter",
        }
    }
}
