//! Tokens: the published vectors, every algorithm, and what attackers send.

#[path = "tokens/attacks.rs"]
mod attacks;
#[path = "tokens/signer.rs"]
mod signer;
#[path = "tokens/vectors.rs"]
mod vectors;
