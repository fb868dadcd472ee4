//! Who a client is and what it may do. No I/O and no clock: files are read by `service` and `cli`, and time is an argument.
//!
//! ```text
//!  token ──Verifier::verify──► Identity ──Rules::grant──► Grant ──on(map)──► Permits ──► may it? what of a value?
//!          keys, policy                   rules.toml      interned: connections         with equal rights see one view
//! ```
//! Invariant: what a token says reaches nothing before its signature was found right, and no error says anything of a token
//! but what is wrong with it.

mod api_keys;
mod believed;
mod claims;
mod desk;
mod identity;
mod keys;
mod lines;
mod numeric_date;
mod principal;
mod refused;
mod revocations;
mod revoked;
pub mod rules;
mod token;

pub use api_keys::{API_KEY_RANDOM_BYTES, ApiKey, ApiKeys, BadApiKey};
pub use claims::Claims;
pub use desk::{Counts, Desk};
pub use identity::{ANONYMOUS, BadIdentity, Identity};
pub use keys::{KeyError, Keys};
pub use lines::BadFile;
pub use principal::{Principal, Proof, Standing};
pub use refused::Refused;
pub use revocations::Revocations;
pub use revoked::{Revoked, Time};
pub use token::{Policy, TokenError, Verifier};
