//! Answers that let nobody in. Each says in one line of plain text what to do instead.

use std::borrow::Cow;

use tungstenite::http::StatusCode;

use super::response::write_status_and_content;
use crate::limits::HEADER_LINES_MAX;

/// Why a request is refused, and what its sender should do.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    /// Header lines this status calls for, each with its line end.
    lines: &'static str,
    advice: Cow<'static, str>,
}

const CLOSE: &str = "Connection: close\r\n";
/// RFC 9110 section 15.5.22 wants `Upgrade` in a 426, RFC 6455 section 4.4 the version.
const CLOSE_AND_UPGRADE: &str =
    "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";

impl Refusal {
    pub(super) const WRONG_HTTP_VERSION: Self = Self {
        status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        lines: CLOSE,
        advice: Cow::Borrowed("this server speaks HTTP/1.1: send the request in that version"),
    };
    /// Proxies hand the answer on to their clients, so that somebody reads it.
    pub(super) const PROXY_PROTOCOL: Self = Self {
        status: StatusCode::BAD_REQUEST,
        lines: CLOSE,
        advice: Cow::Borrowed(
            "the PROXY protocol is taken with --proxy-protocol and from --trusted-proxies only: name the proxy there, or \
             switch the protocol off in it and have it send X-Forwarded-For",
        ),
    };
    /// For a trusted proxy that has to begin with a header and does not.
    pub(super) const NO_PROXY_HEADER: Self = Self {
        status: StatusCode::BAD_REQUEST,
        lines: CLOSE,
        advice: Cow::Borrowed(
            "a connection from here must begin with a header of the PROXY protocol, version 1 or 2: switch it on in \
             the proxy, or see --proxy-protocol of the server",
        ),
    };
    /// For plain bytes on a port of TLS.
    pub(super) const SPEAKS_TLS: Self = Self {
        status: StatusCode::BAD_REQUEST,
        lines: CLOSE,
        advice: Cow::Borrowed("this port speaks TLS: use https:// or wss://"),
    };
    pub(super) const NOT_FOUND: Self = Self {
        status: StatusCode::NOT_FOUND,
        lines: CLOSE,
        advice: Cow::Borrowed("nothing is here: open a WebSocket at /v1, or get /, /healthz or /metrics"),
    };
    pub(super) const ENDPOINT_METHOD: Self = Self {
        status: StatusCode::METHOD_NOT_ALLOWED,
        lines: "Connection: close\r\nAllow: GET\r\n",
        advice: Cow::Borrowed("open a WebSocket here: send GET with Upgrade: websocket"),
    };
    pub(super) const PAGE_METHOD: Self = Self {
        status: StatusCode::METHOD_NOT_ALLOWED,
        lines: "Connection: close\r\nAllow: GET, HEAD, OPTIONS\r\n",
        advice: Cow::Borrowed("this is a page: send GET, HEAD or OPTIONS"),
    };
    pub(super) const CLEAR_METHOD: Self = Self {
        status: StatusCode::METHOD_NOT_ALLOWED,
        lines: "Connection: close\r\nAllow: POST\r\n",
        advice: Cow::Borrowed("this drops all maps: send POST"),
    };
    pub(super) const UPGRADE_REQUIRED: Self = Self {
        status: StatusCode::UPGRADE_REQUIRED,
        lines: CLOSE_AND_UPGRADE,
        advice: Cow::Borrowed(
            "open a WebSocket here: send HTTP/1.1 with Upgrade: websocket and Connection: Upgrade",
        ),
    };
    pub(super) const WEBSOCKET_VERSION: Self = Self {
        status: StatusCode::UPGRADE_REQUIRED,
        lines: CLOSE_AND_UPGRADE,
        advice: Cow::Borrowed("this server speaks WebSocket version 13: send Sec-WebSocket-Version: 13"),
    };
    pub(super) const ORIGIN: Self = Self {
        status: StatusCode::FORBIDDEN,
        lines: CLOSE,
        advice: Cow::Borrowed("this origin may not connect: add it to --allowed-origins of the server"),
    };

    pub(super) fn headers_too_large(bytes_max: usize) -> Self {
        let advice = format!(
            "the header block is over {bytes_max} bytes or {HEADER_LINES_MAX} lines: send fewer headers or cookies, \
             or raise --max-header-bytes of the server"
        );
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self { status, lines: CLOSE, advice: Cow::Owned(advice) }
    }

    pub(super) const fn bad_request(advice: &'static str) -> Self {
        Self::bad_request_with(Cow::Borrowed(advice))
    }

    /// The same where the advice depends on what is served.
    pub(super) const fn bad_request_with(advice: Cow<'static, str>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, lines: CLOSE, advice }
    }

    /// The whole response; without its body for a request that asked for the head only.
    pub(super) fn response(self, head_only: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        write_status_and_content(&mut out, self.status, "text/plain; charset=utf-8", self.advice.len() + 1);
        out.extend_from_slice(self.lines.as_bytes());
        out.extend_from_slice(b"\r\n");
        if !head_only {
            out.extend_from_slice(self.advice.as_bytes());
            out.push(b'\n');
        }
        out
    }
}
