//! The subprotocols a client offers: which of them is chosen, and the token that may be among them.
//!
//! Browsers, `ws` and others end a WebSocket whose 101 chooses none of what they have offered, and any that chooses what
//! they have not. So there is no 101 without a choice where something was offered; and a token, which would then stand in
//! logs of answers, is never chosen.

use std::borrow::Cow;

use super::headers::Headers;
use super::refusal::Refusal;
use crate::config::DialectPath;

const NAME: &str = "Sec-WebSocket-Protocol";
/// A browser can set no headers on a WebSocket but its subprotocols: a token comes as one of them.
const TOKEN_PREFIX: &str = "bearer.";

const NONE_HERE: Refusal = Refusal::bad_request(
    "this path has no subprotocol of its own: offer none, or beside bearer.<token> any but that of another path",
);
const TWO_TOKENS: Refusal = Refusal::bad_request("offer one subprotocol bearer.<token>");

/// The subprotocol for the 101: `ours` if it is offered. Where none is defined it is the first that is neither a token nor
/// that of another of the `dialects`, as on the `ws` package, which servers of SyncKit are made of. `None` if none is offered.
///
/// # Errors
/// If there are offers and none can be chosen.
pub(super) fn choose<'a>(
    ours: Option<&'static str>,
    headers: Headers<'a>,
    dialects: &[DialectPath],
) -> Result<Option<&'a str>, Refusal> {
    let mut offers = headers.list(NAME).peekable();
    if offers.peek().is_none() {
        return Ok(None);
    }
    let is_of_a_dialect = |offer: &str| dialects.iter().any(|dialect| dialect.subprotocol == Some(offer));
    let may_be_chosen = |offer: &&str| match ours {
        Some(ours) => *offer == ours,
        None => is_token(offer) && !offer.starts_with(TOKEN_PREFIX) && !is_of_a_dialect(offer),
    };
    let chosen = offers.filter_map(|offer| str::from_utf8(offer).ok()).find(may_be_chosen);
    match (chosen, ours) {
        (Some(_), _) => Ok(chosen),
        (None, None) => Err(NONE_HERE),
        (None, Some(ours)) => Err(Refusal::bad_request_with(Cow::Owned(format!(
            "offer the subprotocol {ours}, too: clients end a WebSocket that chooses none of what they offer, and \
             bearer.<token> is never chosen"
        )))),
    }
}

/// The token that is offered as a subprotocol. An empty one is none.
///
/// # Errors
/// If there are two: who would be believed is open to attack.
pub(super) fn token(headers: Headers<'_>) -> Result<Option<String>, Refusal> {
    let mut tokens = headers.list(NAME).filter_map(|offer| offer.strip_prefix(TOKEN_PREFIX.as_bytes()));
    let token = tokens.next().filter(|token| !token.is_empty());
    if tokens.next().is_some() {
        return Err(TWO_TOKENS);
    }
    Ok(token.map(|token| String::from_utf8_lossy(token).into_owned()))
}

/// What the name of a subprotocol is made of (RFC 6455 section 4.1, RFC 9110 section 5.6.2). Anything else must not get
/// into an answer.
fn is_token(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet))
}
