//! What the payload of a peer's close frame says (RFC 6455 section 5.5.1).

use tungstenite::protocol::frame::coding::CloseCode;

use super::utf8::is_utf8;
use crate::wire::Close;

/// Bad Gateway. Registered with IANA after RFC 6455, and not known to `tungstenite`.
const BAD_GATEWAY: u16 = 1014;

/// The code the peer closed with, if it gave one.
///
/// # Errors
/// [`Close::Protocol`] for half a code or one that must not be sent (section 7.4),
/// [`Close::InvalidData`] for a reason that is not UTF-8.
pub(super) fn parse_close(payload: &[u8]) -> Result<Option<u16>, Close> {
    let Some((&code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Close::Protocol("close frame with half a code"))
        };
    };
    let code = u16::from_be_bytes(code);
    if code != BAD_GATEWAY && !CloseCode::from(code).is_allowed() {
        return Err(Close::Protocol("close code that must not be sent"));
    }
    if !is_utf8(reason) {
        return Err(Close::InvalidData("close reason is not UTF-8"));
    }
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(code: u16, reason: &[u8]) -> Result<Option<u16>, Close> {
        parse_close(&[&code.to_be_bytes(), reason].concat())
    }

    // The whole table of section 7.4 and of the IANA registry.
    #[test]
    fn exactly_the_codes_a_peer_may_send_are_taken() {
        for code in 0..=u16::MAX {
            let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            assert_eq!(parse(code, b"done").is_ok(), allowed, "{code}");
        }
    }

    #[test]
    fn a_close_without_a_code_has_none_and_half_a_code_is_refused() {
        assert_eq!(parse_close(b""), Ok(None));
        assert!(matches!(parse_close(b"\x03"), Err(Close::Protocol(_))));
    }

    #[test]
    fn a_reason_that_is_not_utf8_is_1007() {
        assert_eq!(parse(1000, "κόσμε".as_bytes()), Ok(Some(1000)));
        assert!(matches!(parse(1000, b"\xCE"), Err(Close::InvalidData(_))));
    }
}
