//! The HTTP in front of the WebSocket: one request, answered with an upgrade, a page or a refusal.
//!
//! No sockets and no time. Every connection carries one request: what is not upgraded is closed after its
//! answer, so no body is ever read, and where one may come it is dropped with whatever else follows.

mod forwarded;
mod headers;
mod redirect;
mod refusal;
mod response;
mod subprotocol;
mod target;
mod upgrade;

pub use forwarded::is_trusted;
pub use redirect::answer_plain;
pub use response::{Content, write_front_page, write_options, write_page, write_page_head};
pub use target::canonical_path;
pub use tungstenite::http::StatusCode;

use std::net::IpAddr;

use headers::Headers;
use httparse::{EMPTY_HEADER, Error, Status};
use ipnet::IpNet;
use refusal::Refusal;
use target::Target;

use crate::config::{AllowedOrigin, DialectPath};
use crate::limits::HEADER_LINES_MAX;

/// What this server lets in.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Bytes of a header block; past it the answer is 431.
    pub header_bytes_max: usize,
    /// Origins that may connect; empty: any. A client that names no origin, which no browser omits, may connect always.
    pub allowed_origins: &'a [AllowedOrigin],
    /// Paths at which a WebSocket opens. They are none of [`is_reserved`].
    pub dialects: &'a [DialectPath],
    /// Whether browsers get [`Page::Front`].
    pub has_front_page: bool,
    /// Whether `/_test/clear` exists.
    pub test_reset: bool,
    /// Proxies that are believed who their clients are.
    pub trusted_proxies: &'a [IpNet],
}

/// A page whose body the caller makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// `/`
    Index,
    /// `/`, for who takes HTML.
    Front,
    /// `/healthz`
    Health,
    /// `/metrics`
    Metrics,
    /// What one of [`Rules::dialects`] says at its own path of how the server is, and whether the script of a page of
    /// another origin, if that is what asks, may read it.
    DialectHealth { dialect: u8, may_be_read: bool },
}

const BAD_STRICT: Refusal = Refusal::bad_request("strict is 1 or 0, and there once: ask for /v1?strict=1");

const BAD_SESSION: Refusal =
    Refusal::bad_request("session is a name of at most 64 bytes, percent-encoded UTF-8, and there once");

const PAGES: [(&str, Page); 3] =
    [("/", Page::Index), ("/healthz", Page::Health), ("/metrics", Page::Metrics)];

const CLEAR_PATH: &str = "/_test/clear";

/// Bytes of a body that nobody looks at: test tools send `{}`.
const IGNORED_BODY_BYTES_MAX: usize = 1 << 10;

/// Whether this [canonical](canonical_path) path has a meaning of its own, so that no dialect can have it.
pub fn is_reserved(path: &str) -> bool {
    path == CLEAR_PATH || page(path).is_some()
}

fn page(path: &str) -> Option<Page> {
    PAGES.iter().find(|(known, _)| *known == path).map(|&(_, page)| page)
}

/// How a request goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Send `response`, the 101, and speak WebSocket from the next byte on.
    Upgrade {
        /// The place of the dialect that is spoken at this path.
        dialect: u8,
        response: Vec<u8>,
        /// From `Authorization: Bearer`, else `?token=`, else the subprotocol `bearer.<token>`.
        token: Option<String>,
        /// From `?session=`, which a token may name instead.
        session: Option<String>,
        /// The address of the client, which behind a trusted proxy is not that of the peer.
        client: IpAddr,
    },
    /// Send the page and close: with [`write_page`], or with [`write_page_head`] if only its head is wanted.
    Page { page: Page, head_only: bool },
    /// Say with [`write_options`] whether the server serves, as load balancers ask, and close.
    Options,
    /// Drop all maps, say so with [`write_page`] and close.
    Clear,
    /// Send `response` and close.
    Refuse { response: Vec<u8> },
}

/// Answers the request of `peer` at the front of `input` and says how many bytes it took; `None` until its header
/// block is complete or known to be wrong. The answer does not depend on how the bytes were split.
///
/// Never `None` for [`Rules::header_bytes_max`] bytes or more, so a caller need not keep more than that.
pub fn answer(input: &[u8], peer: IpAddr, rules: &Rules<'_>) -> Option<(Answer, usize)> {
    let block = &input[..input.len().min(rules.header_bytes_max)];
    let mut lines = [EMPTY_HEADER; HEADER_LINES_MAX];
    let mut request = httparse::Request::new(&mut lines);
    let refusal = match request.parse(block) {
        Ok(Status::Complete(used)) => match route(&request, peer, rules) {
            Ok(answer) => return Some((answer, used)),
            Err(refusal) => refusal,
        },
        Ok(Status::Partial) if block.len() < rules.header_bytes_max => return None,
        Ok(Status::Partial) | Err(Error::TooManyHeaders) => {
            Refusal::headers_too_large(rules.header_bytes_max)
        }
        Err(Error::Version) if block.starts_with(b"PROXY ") => Refusal::PROXY_PROTOCOL,
        Err(Error::Version) => Refusal::WRONG_HTTP_VERSION,
        Err(_) => Refusal::bad_request("this is not HTTP: send one HTTP/1.1 request"),
    };
    let response = refusal.response(request.method == Some("HEAD"));
    Some((Answer::Refuse { response }, input.len()))
}

/// What a trusted proxy gets whose connection begins without a header of the PROXY protocol, or with a wrong one.
pub fn refuse_without_proxy_header() -> Vec<u8> {
    Refusal::NO_PROXY_HEADER.response(false)
}

/// What a path stands for.
enum Place<'a> {
    Dialect(&'a DialectPath),
    Page(Page),
    Clear,
}

/// What is at `path`: a page, the reset, or what [`Rules::dialects`] has there.
fn place<'a>(path: &str, rules: &Rules<'a>) -> Option<Place<'a>> {
    if let Some(page) = page(path) {
        return Some(Place::Page(page));
    }
    if path == CLEAR_PATH {
        return rules.test_reset.then_some(Place::Clear);
    }
    rules.dialects.iter().find_map(|found| {
        if found.path == path {
            Some(Place::Dialect(found))
        } else {
            let page = Page::DialectHealth { dialect: found.dialect, may_be_read: false };
            (found.health_path == Some(path)).then_some(Place::Page(page))
        }
    })
}

fn route(request: &httparse::Request<'_, '_>, peer: IpAddr, rules: &Rules<'_>) -> Result<Answer, Refusal> {
    let headers = Headers::new(request.headers);
    let has_http_1_1 = request.version == Some(1);
    headers.check_host(has_http_1_1)?;
    if request.method == Some("OPTIONS") && request.path == Some("*") {
        headers.check_bodiless()?;
        return Ok(Answer::Options);
    }
    let target = request
        .path
        .and_then(Target::parse)
        .ok_or(Refusal::bad_request("the request target is wrong: ask for a path such as /v1"))?;

    let place = place(target.path, rules).ok_or(Refusal::NOT_FOUND)?;
    match (place, request.method) {
        (Place::Dialect(found), Some("GET")) => {
            headers.check_bodiless()?;
            if !has_http_1_1 {
                return Err(Refusal::UPGRADE_REQUIRED);
            }
            let (response, token) = upgrade::accept(found.subprotocol, headers, target, rules)?;
            let client = forwarded::client_address(peer, headers, rules.trusted_proxies);
            let dialect = match found.strict {
                Some(strict) if target.is_strict().map_err(|_| BAD_STRICT)? => strict,
                _ => found.dialect,
            };
            let session = target.session().map_err(|_| BAD_SESSION)?;
            Ok(Answer::Upgrade { dialect, response, token, session, client })
        }
        (Place::Page(page), Some(method @ ("GET" | "HEAD"))) => {
            headers.check_bodiless()?;
            let page = match page {
                Page::DialectHealth { dialect, .. } => {
                    let may_be_read = upgrade::check_origin(headers, rules.allowed_origins).is_ok();
                    Page::DialectHealth { dialect, may_be_read }
                }
                Page::Index if rules.has_front_page && headers.accepts_html() => Page::Front,
                page => page,
            };
            Ok(Answer::Page { page, head_only: method == "HEAD" })
        }
        (Place::Page(_), Some("OPTIONS")) => {
            headers.check_bodiless()?;
            Ok(Answer::Options)
        }
        (Place::Clear, Some("POST")) => {
            headers.check_body(IGNORED_BODY_BYTES_MAX)?;
            upgrade::check_origin(headers, rules.allowed_origins)?;
            Ok(Answer::Clear)
        }
        (Place::Clear, _) => Err(Refusal::CLEAR_METHOD),
        (Place::Dialect(..), _) => {
            // Browsers do not tell a page why its WebSocket was refused; a `POST` tells it.
            upgrade::check_origin(headers, rules.allowed_origins)?;
            Err(Refusal::ENDPOINT_METHOD)
        }
        (Place::Page(_), _) => Err(Refusal::PAGE_METHOD),
    }
}

#[cfg(test)]
mod tests;
