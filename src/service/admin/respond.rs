//! Answers as HTTP.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::answer::{Answer, Refusal};

pub fn respond(answer: Answer) -> Response {
    match answer {
        Ok(answer) => json(StatusCode::OK, answer.get().to_owned()),
        Err(refusal) => refuse(refusal),
    }
}

pub fn refuse(refusal: Refusal) -> Response {
    let mut response = json(refusal.status, error_text(&refusal));
    if let Some(retry_after_ms) = refusal.retry_after_ms {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after_ms.div_ceil(1000)));
    }
    response
}

/// An error as the protocol has it.
pub fn error_text(refusal: &Refusal) -> String {
    #[derive(Serialize)]
    struct Error<'a> {
        code: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    }
    let Refusal { code, message, retry_after_ms, .. } = refusal;
    let error = Error { code, message, retry_after_ms: *retry_after_ms };
    serde_json::to_string(&serde_json::json!({ "error": error })).expect("plain fields always serialize")
}

pub fn json(status: StatusCode, text: String) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}
