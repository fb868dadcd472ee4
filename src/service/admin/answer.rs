//! Answers: of the engine, or why there is none, and what an error of the protocol is in HTTP.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What is answered: the message of the engine without `id` and `type`, and whether it is an error.
pub type Answer = Result<Box<RawValue>, Refusal>;

/// Why there is none.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub code: String,
    pub message: String,
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), retry_after_ms: None }
    }
}

/// The fields of an object, in their order, each as it was written.
pub struct OrderedFields(pub Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for OrderedFields {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = OrderedFields;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("a JSON object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<OrderedFields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(OrderedFields(fields))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// The status of an answer with this error code.
pub fn status_of_code(code: &str) -> StatusCode {
    match code {
        "auth_required" | "auth_failed" | "token_expired" => StatusCode::UNAUTHORIZED,
        "forbidden" | "blocked" => StatusCode::FORBIDDEN,
        "gap_unknown" => StatusCode::NOT_FOUND,
        "too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        "rate_limited" => StatusCode::TOO_MANY_REQUESTS,
        "overloaded" | "load_failed" | "read_only" | "unavailable" | "queue_full" => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        "timeout" => StatusCode::GATEWAY_TIMEOUT,
        "cancelled" | "map_type" => StatusCode::CONFLICT,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// The status of a request whose connection the engine has closed with this code.
pub fn status_of_close(code: u16) -> StatusCode {
    match code {
        4001 | 4002 => StatusCode::UNAUTHORIZED,
        4003 => StatusCode::FORBIDDEN,
        1009 => StatusCode::PAYLOAD_TOO_LARGE,
        1001 | 1013 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_GATEWAY,
    }
}
