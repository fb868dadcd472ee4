//! Query parameters and bodies: what they may have, and how to say what is wrong.

use axum::http::{HeaderMap, StatusCode, Uri, header::CONTENT_TYPE};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::answer::{Answer, Refusal};

pub fn bad(code: &str, message: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, code, message)
}

pub fn not_found(message: &str) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", message)
}

pub fn conflict(message: &str) -> Refusal {
    Refusal::new(StatusCode::CONFLICT, "conflict", message)
}

/// The parameters of a query, each once. Empty ones are left out.
///
/// # Errors
/// What is not asked for, or not what it should be.
pub fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Refusal> {
    let mut fields = serde_json::Map::new();
    for (name, value) in pairs(uri) {
        if value.is_empty() {
            continue;
        }
        if fields.contains_key(&name) {
            return Err(bad("bad_request", &format!("{name} is given twice")));
        }
        fields.insert(name, serde_json::Value::String(value));
    }
    serde_json::from_value(fields.into()).map_err(|error| bad("bad_request", &format!("the query: {error}")))
}

/// All parameters, in their order.
pub fn pairs(uri: &Uri) -> Vec<(String, String)> {
    form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect()
}

/// A number, which a query has as text.
pub fn number<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: std::str::FromStr,
{
    let text: String = serde::Deserialize::deserialize(deserializer)?;
    let parsed =
        text.parse().map_err(|_| serde::de::Error::custom(format!("{text:?} is no number it could be")))?;
    Ok(Some(parsed))
}

/// The body of a change, which must be JSON by its header: no page of another origin can send that without asking first.
///
/// # Errors
/// It is not, or not what it should be.
pub fn body<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Refusal> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        const WANTED: &str = "a change has Content-Type: application/json";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", WANTED));
    }
    serde_json::from_slice(body).map_err(|error| {
        let code = if error.is_data() { "bad_request" } else { "bad_json" };
        bad(code, &format!("the body: {error}"))
    })
}

/// An answer.
pub fn said(answer: &impl Serialize) -> Answer {
    serde_json::to_string(answer).and_then(RawValue::from_string).map_err(|error| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", format!("the answer: {error}"))
    })
}
