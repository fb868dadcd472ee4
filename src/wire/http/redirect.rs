//! What a plain request gets on a port that speaks TLS.

use httparse::{EMPTY_HEADER, Error, Status};
use tungstenite::http::StatusCode;

use super::headers::Headers;
use super::refusal::Refusal;
use super::response::write_status_and_content;
use crate::limits::HEADER_LINES_MAX;

/// Answers the plain request at the front of `input`; `None` until its header block is complete or known to be wrong. If it
/// `redirects`, a request is told the same address with `https:`, or `wss:` for a WebSocket; everything else is told to come
/// with TLS. The connection is closed behind it.
///
/// Never `None` for `header_bytes_max` bytes or more, so a caller need not keep more than that.
pub fn answer_plain(input: &[u8], redirects: bool, header_bytes_max: usize) -> Option<Vec<u8>> {
    let block = &input[..input.len().min(header_bytes_max)];
    let mut lines = [EMPTY_HEADER; HEADER_LINES_MAX];
    let mut request = httparse::Request::new(&mut lines);
    let refusal = match request.parse(block) {
        Ok(Status::Complete(_)) if redirects => match location(&request) {
            Ok(location) => return Some(redirect(&location)),
            Err(refusal) => refusal,
        },
        Ok(Status::Partial) if block.len() < header_bytes_max => return None,
        Ok(Status::Partial) | Err(Error::TooManyHeaders) => Refusal::headers_too_large(header_bytes_max),
        Ok(Status::Complete(_)) | Err(_) => Refusal::SPEAKS_TLS,
    };
    Some(refusal.response(request.method == Some("HEAD")))
}

/// Where the same is with TLS.
fn location(request: &httparse::Request<'_, '_>) -> Result<String, Refusal> {
    let headers = Headers::new(request.headers);
    headers.check_host(true)?;
    let host = headers.all("Host").next().and_then(|host| str::from_utf8(host).ok());
    let path = request.path.filter(|path| path.starts_with('/'));
    let (Some(host), Some(path)) = (host, path) else { return Err(Refusal::SPEAKS_TLS) };
    let scheme = if headers.lists("Upgrade", "websocket") { "wss" } else { "https" };
    Ok(format!("{scheme}://{host}{path}"))
}

fn redirect(location: &str) -> Vec<u8> {
    let body = format!("this port speaks TLS: go on at {location}\n");
    let mut out = Vec::with_capacity(256 + 2 * location.len());
    write_status_and_content(
        &mut out,
        StatusCode::PERMANENT_REDIRECT,
        "text/plain; charset=utf-8",
        body.len(),
    );
    out.extend_from_slice(b"Location: ");
    out.extend_from_slice(location.as_bytes());
    out.extend_from_slice(b"\r\nConnection: close\r\n\r\n");
    out.extend_from_slice(body.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(request: &str, redirects: bool) -> String {
        String::from_utf8(answer_plain(request.as_bytes(), redirects, 4096).unwrap()).unwrap()
    }

    #[test]
    fn a_request_is_sent_to_the_same_address_with_tls() {
        let get = "GET /a?b=c HTTP/1.1\r\nHost: example.org:9443\r\n\r\n";
        let answer = answered(get, true);
        assert!(answer.starts_with("HTTP/1.1 308 Permanent Redirect\r\n"), "{answer}");
        assert!(answer.contains("\r\nLocation: https://example.org:9443/a?b=c\r\n"), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        let upgrade = "GET /v1 HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\n\r\n";
        assert!(answered(upgrade, true).contains("\r\nLocation: wss://h/v1\r\n"));
        for end in 0..get.len() {
            assert_eq!(answer_plain(&get.as_bytes()[..end], true, 4096), None, "{end}");
        }
    }

    #[test]
    fn without_a_redirect_and_for_what_is_no_request_it_is_said_what_is_spoken() {
        for (request, redirects) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", false),
            ("GET * HTTP/1.1\r\nHost: h\r\n\r\n", true),
            ("\0\u{1}\u{2}", true),
            ("SSH-2.0-OpenSSH_9\r\n", true),
        ] {
            let answer = answered(request, redirects);
            assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("speaks TLS"), "{answer}");
        }
        assert!(answered("GET / HTTP/1.1\r\n\r\n", true).contains("Host header"));
        let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(4096));
        assert!(answered(&long, true).starts_with("HTTP/1.1 431 "));
    }
}
