//! The opening handshake of RFC 6455 section 4.2, and the token it may carry.

use data_encoding::BASE64;
use tungstenite::handshake::derive_accept_key;

use super::headers::Headers;
use super::refusal::Refusal;
use super::target::Target;
use super::{Rules, subprotocol};
use crate::config::{AllowedOrigin, Origin};

const BAD_TOKEN: Refusal =
    Refusal::bad_request("the token can not be read: send one ?token=, percent-encoded UTF-8");
const BAD_AUTHORIZATION: Refusal =
    Refusal::bad_request("send one Authorization header: Bearer and the token");
const BAD_KEY: Refusal =
    Refusal::bad_request("send one Sec-WebSocket-Key: 16 random bytes in base64, new for each connection");
const TWO_VERSIONS: Refusal = Refusal::bad_request("send one Sec-WebSocket-Version header: 13");
const TWO_ORIGINS: Refusal = Refusal::bad_request("send one Origin header");

/// Accepts the handshake, or says what is wrong with it: the response, and the token. `ours` is the subprotocol of the
/// path.
pub(super) fn accept(
    ours: Option<&'static str>,
    headers: Headers<'_>,
    target: Target<'_>,
    rules: &Rules<'_>,
) -> Result<(Vec<u8>, Option<String>), Refusal> {
    if !headers.lists("Upgrade", "websocket") || !headers.lists("Connection", "Upgrade") {
        return Err(Refusal::UPGRADE_REQUIRED);
    }
    if headers.single("Sec-WebSocket-Version", TWO_VERSIONS)? != Some(b"13") {
        return Err(Refusal::WEBSOCKET_VERSION);
    }
    let key = headers.single("Sec-WebSocket-Key", BAD_KEY)?.ok_or(BAD_KEY)?;
    check_origin(headers, rules.allowed_origins)?;
    let token = token(headers, target)?;
    let chosen = subprotocol::choose(ours, headers, rules.dialects)?;
    Ok((switching_protocols(key, chosen)?, token))
}

/// That the page that sends this, if a page does, may do so.
pub(super) fn check_origin(headers: Headers<'_>, allowed: &[AllowedOrigin]) -> Result<(), Refusal> {
    let Some(origin) = headers.single("Origin", TWO_ORIGINS)? else { return Ok(()) };
    if allowed.is_empty() {
        return Ok(());
    }
    let origin = str::from_utf8(origin).ok().and_then(|origin| Origin::parse(origin).ok());
    let is_allowed = origin.is_some_and(|origin| allowed.iter().any(|allowed| allowed.admits(&origin)));
    if is_allowed { Ok(()) } else { Err(Refusal::ORIGIN) }
}

fn token(headers: Headers<'_>, target: Target<'_>) -> Result<Option<String>, Refusal> {
    if let Some(authorization) = headers.single("Authorization", BAD_AUTHORIZATION)? {
        let authorization = str::from_utf8(authorization).map_err(|_| BAD_AUTHORIZATION)?;
        let (scheme, token) = authorization.split_once(' ').unwrap_or((authorization, ""));
        // Another scheme is for whoever stands before us, such as a proxy with a password.
        if scheme.eq_ignore_ascii_case("Bearer") {
            let token = token.trim_ascii();
            return if token.is_empty() { Err(BAD_AUTHORIZATION) } else { Ok(Some(token.to_owned())) };
        }
    }
    if let Some(token) = target.token().map_err(|_| BAD_TOKEN)? {
        return Ok(Some(token));
    }
    subprotocol::token(headers)
}

/// The 101. Names of header lines have no case, but some small clients compare them as the RFC writes them.
fn switching_protocols(key: &[u8], subprotocol: Option<&str>) -> Result<Vec<u8>, Refusal> {
    if !is_key(key) {
        return Err(BAD_KEY);
    }
    let mut out = Vec::with_capacity(192);
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(derive_accept_key(key).as_bytes());
    if let Some(chosen) = subprotocol {
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(chosen.as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
    Ok(out)
}

/// Whether this is the base64 of 16 bytes (RFC 6455 section 4.2.1).
fn is_key(key: &[u8]) -> bool {
    let mut bytes = [0; 18];
    key.len() == 24 && BASE64.decode_mut(key, &mut bytes).is_ok_and(|len| len == 16)
}
