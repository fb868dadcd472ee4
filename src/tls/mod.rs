//! TLS without sockets, files or time: what is offered, and the records of one connection.
//!
//! ```text
//! certificates.rs  PEM texts, read and held against each other; which certificate a name gets
//! offer.rs         what new connections are offered, replaced as a whole and read by every shard
//! session.rs       one connection: records in, plaintext out; plaintext in, records out
//! ```
//! All cryptography is of `rustls`. Its unbuffered API is used, as an idle connection then holds no buffer at all: what came is
//! decrypted where it lies, and what is sent is encrypted into a buffer of ours.
//!
//! order: mod → offer → certificates → session

mod certificates;
mod offer;
mod session;
#[cfg(test)]
mod tests;

pub use certificates::{BadPem, Certificates, Pair, Pem};
pub use offer::{Current, Offer};
pub use session::{Broken, Received, Session};
