//! The opening handshake of RFC 6455 section 4.2, and the token it may carry.

use tungstenite::handshake::server::{create_response, write_response};
use tungstenite::http::{HeaderValue, Request, header};

use super::headers::Headers;
use super::refusal::Refusal;
use super::target::Target;

/// A browser can set no headers on a WebSocket but its subprotocols: a token comes as one of them.
const TOKEN_SUBPROTOCOL_PREFIX: &[u8] = b"bearer.";

const BAD_TOKEN: Refusal =
    Refusal::bad_request("the token can not be read: send one ?token=, percent-encoded UTF-8");
const BAD_AUTHORIZATION: Refusal =
    Refusal::bad_request("send one Authorization header: Bearer and the token");
const BAD_KEY: Refusal =
    Refusal::bad_request("send one Sec-WebSocket-Key: 16 random bytes in base64, new for each connection");
const TWO_VERSIONS: Refusal = Refusal::bad_request("send one Sec-WebSocket-Version header: 13");
const TWO_ORIGINS: Refusal = Refusal::bad_request("send one Origin header");

/// Accepts the handshake, or says what is wrong with it: the response, and the token. The `subprotocol` is chosen if it is
/// offered.
pub(super) fn accept(
    subprotocol: Option<&'static str>,
    headers: Headers<'_>,
    target: Target<'_>,
    allowed_origins: &[String],
) -> Result<(Vec<u8>, Option<String>), Refusal> {
    if !headers.lists("Upgrade", "websocket") || !headers.lists("Connection", "Upgrade") {
        return Err(Refusal::UPGRADE_REQUIRED);
    }
    if headers.single("Sec-WebSocket-Version", TWO_VERSIONS)? != Some(b"13") {
        return Err(Refusal::WEBSOCKET_VERSION);
    }
    let key = headers.single("Sec-WebSocket-Key", BAD_KEY)?.ok_or(BAD_KEY)?;
    check_origin(headers, allowed_origins)?;
    let token = token(headers, target)?;
    let is_offered =
        |ours: &&str| headers.list("Sec-WebSocket-Protocol").any(|offered| offered == ours.as_bytes());
    Ok((switching_protocols(key, subprotocol.filter(is_offered))?, token))
}

/// That the page that sends this, if a page does, may do so. An origin is a scheme, a host and a port: none of them has a
/// case (RFC 6454 section 4).
pub(super) fn check_origin(headers: Headers<'_>, allowed: &[String]) -> Result<(), Refusal> {
    let Some(origin) = headers.single("Origin", TWO_ORIGINS)? else { return Ok(()) };
    let is_allowed = allowed.iter().any(|allowed| origin.eq_ignore_ascii_case(allowed.as_bytes()));
    if is_allowed || allowed.is_empty() { Ok(()) } else { Err(Refusal::ORIGIN) }
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
    let mut offered = headers.list("Sec-WebSocket-Protocol");
    let token = offered.find_map(|offered| offered.strip_prefix(TOKEN_SUBPROTOCOL_PREFIX));
    Ok(token.filter(|token| !token.is_empty()).map(|token| String::from_utf8_lossy(token).into_owned()))
}

/// The 101. `tungstenite` judges the key and derives the accept value from it; what it asks of the other
/// lines was checked above, more leniently, so it is given them in its own spelling.
fn switching_protocols(key: &[u8], subprotocol: Option<&'static str>) -> Result<Vec<u8>, Refusal> {
    let request = Request::get("/")
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, key)
        .body(())
        .map_err(|_| BAD_KEY)?;
    let mut response = create_response(&request).map_err(|_| BAD_KEY)?;
    if let Some(chosen) = subprotocol {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(chosen));
    }
    let mut out = Vec::with_capacity(192);
    write_response(&mut out, &response).expect("a response of ASCII is written to memory");
    Ok(out)
}
