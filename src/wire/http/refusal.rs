//! Answers that let nobody in. Each says in one line of plain text what to do instead.

use std::borrow::Cow;

use tungstenite::http::StatusCode;

use super::response::write_status_and_content;

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
    pub(super) const HEADERS_TOO_LARGE: Self = Self {
        status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        lines: CLOSE,
        advice: Cow::Borrowed("the header block is over 8 KiB or 64 lines: send fewer headers or cookies"),
    };
    pub(super) const WRONG_HTTP_VERSION: Self = Self {
        status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        lines: CLOSE,
        advice: Cow::Borrowed("this server speaks HTTP/1.1: send the request in that version"),
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
        lines: "Connection: close\r\nAllow: GET, HEAD\r\n",
        advice: Cow::Borrowed("this is a page: send GET or HEAD"),
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
