//! Writing HTTP/1.1 responses after which the connection is closed.

use tungstenite::http::StatusCode;

use crate::config::BuiltPage;

/// What a page is.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    /// The media type.
    pub kind: &'static str,
    /// Whether scripts of other origins than ours may read it, in browsers, which else keep it from them.
    pub is_for_all_origins: bool,
}

impl Content {
    pub const fn of(kind: &'static str) -> Self {
        Self { kind, is_for_all_origins: false }
    }
}

/// Appends a page and its head.
pub fn write_page(out: &mut Vec<u8>, status: StatusCode, content: Content, body: &[u8]) {
    write_page_head(out, status, content, body.len());
    out.extend_from_slice(body);
}

/// Appends the head of a page of `body_bytes`: the answer to `HEAD`.
pub fn write_page_head(out: &mut Vec<u8>, status: StatusCode, content: Content, body_bytes: usize) {
    write_status_and_content(out, status, content.kind, body_bytes);
    if content.is_for_all_origins {
        out.extend_from_slice(b"Access-Control-Allow-Origin: *\r\n");
    }
    // Pages tell the state of this moment.
    out.extend_from_slice(b"Cache-Control: no-store\r\nConnection: close\r\n\r\n");
}

/// Appends the page for browsers, or its head alone, with what browsers shall keep it from doing.
pub fn write_front_page(out: &mut Vec<u8>, page: &BuiltPage, head_only: bool) {
    write_status_and_content(out, StatusCode::OK, "text/html; charset=utf-8", page.html.len());
    out.extend_from_slice(b"Content-Security-Policy: ");
    out.extend_from_slice(page.policy.as_bytes());
    out.extend_from_slice(
        b"\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-store\r\n\
          Connection: close\r\n\r\n",
    );
    if !head_only {
        out.extend_from_slice(&page.html);
    }
}

/// Appends the answer to `OPTIONS`, which has no body: `status` tells load balancers whether to send clients here.
pub fn write_options(out: &mut Vec<u8>, status: StatusCode) {
    write_status(out, status);
    out.extend_from_slice(
        b"Allow: GET, HEAD, OPTIONS\r\nContent-Length: 0\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
    );
}

/// Appends the status line and the lines about the content. More lines may follow.
pub(super) fn write_status_and_content(
    out: &mut Vec<u8>,
    status: StatusCode,
    content_type: &str,
    content_bytes: usize,
) {
    write_status(out, status);
    out.extend_from_slice(b"Content-Type: ");
    out.extend_from_slice(content_type.as_bytes());
    out.extend_from_slice(b"\r\nContent-Length: ");
    out.extend_from_slice(itoa::Buffer::new().format(content_bytes).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_status(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes());
    out.extend_from_slice(b"\r\n");
}
