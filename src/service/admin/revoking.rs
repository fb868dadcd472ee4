//! Revoking over HTTP: a line in the file of what is revoked, as `annulus revoke` writes it; the desk sees that it has changed.

use std::path::PathBuf;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::{Answer, Refusal};
use crate::auth::{Revoked, Time};
use crate::config::DataMode;
use crate::io::{Clock, entries};
use crate::limits::REVOCATIONS_MAX;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// The `jti` of one token.
    token: Option<String>,
    user: Option<String>,
    /// Of a user, RFC 3339; left out: now.
    issued_before: Option<String>,
}

/// Revokes what the body says. `file` is `None` where nobody shows anything that could be revoked.
pub fn revoke(file: Option<&(PathBuf, DataMode)>, body: &[u8]) -> Answer {
    const NOTHING: &str = "this server takes no tokens, so there is nothing to revoke";
    const WHAT: &str = "say either the token, by its jti, or the user";
    const TIME: &str = "issued_before is written 2026-11-26T20:00:00Z";
    let (file, mode) = file.ok_or_else(|| bad("auth_unavailable", NOTHING))?;
    let request: Request =
        serde_json::from_slice(body).map_err(|error| bad("bad_request", &format!("the body: {error}")))?;
    let now = Time(Clock::start().now().unix_ms);
    let before = match &request.issued_before {
        Some(text) => Time::parse(text).ok_or_else(|| bad("bad_request", TIME))?,
        None => now,
    };
    let add: &dyn Fn(&mut Revoked) = match (&request.token, &request.user) {
        (Some(token), None) if request.issued_before.is_none() => &|revoked| revoked.add_token(token, now),
        (None, Some(user)) => &|revoked| revoked.add_user(user, before),
        _ => return Err(bad("bad_request", WHAT)),
    };
    let change = |text: &str| {
        let mut revoked = Revoked::parse(text).map_err(|error| failed(&error))?;
        add(&mut revoked);
        if revoked.len() > REVOCATIONS_MAX {
            return Err(failed(&"the file has as many lines as it may"));
        }
        Ok((revoked.text(), ()))
    };
    entries::change(file, *mode, change, |error| failed(&error))?;
    Ok(RawValue::from_string("{\"revoked\":true}".to_owned()).expect("it is JSON"))
}

fn bad(code: &str, message: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, code, message)
}

fn failed(error: &dyn std::fmt::Display) -> Refusal {
    let message = format!("the file of what is revoked cannot be changed: {error}");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
}
