//! What is spoken here.

pub use annulus::dialect::ALL as DIALECTS;
