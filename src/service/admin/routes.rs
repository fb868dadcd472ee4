//! What can be asked, and how it is answered.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::{OrderedFields, Refusal};
use super::console::console;
use super::gateway::Outgoing;
use super::pages::{no_method, no_page, pages, same_origin};
use super::respond::{error_text, json, refuse, respond};
use super::served::Served;
use super::{openapi, revoking};

/// Requests of one batch.
const BATCH_MAX: usize = 100;

/// The path of a request and the message that it is.
const KINDS: [(&str, &str); 7] = [
    ("write", "write"),
    ("read", "read"),
    ("publish", "publish"),
    ("history", "history"),
    ("send", "send"),
    ("presence", "presence.list"),
    ("disconnect", "disconnect"),
];

type Shared = State<Arc<Served>>;

pub fn app(served: &Arc<Served>) -> Router {
    let message_bytes_max = served.config.message_bytes_max;
    Router::new()
        .route("/", get(|| async { openapi::INDEX }))
        .route("/api", get(|| async { openapi::INDEX }))
        .route("/api/openapi.json", get(openapi_page))
        .route("/api/batch", post(batch))
        .route("/api/revoke", post(revoke))
        .route("/api/{kind}", post(one))
        .merge(pages(served))
        .fallback(no_page)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(message_bytes_max.saturating_mul(2)))
        .layer(from_fn_with_state(Arc::clone(served), same_origin))
        .merge(console())
        .with_state(Arc::clone(served))
}

const NO_PAGE: &str = "there is no such page; GET /api says what there is";

async fn openapi_page() -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], openapi::PAGE).into_response()
}

async fn one(State(api): Shared, Path(kind): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let answer = async {
        let key = api.key(&headers)?;
        let Some(&(_, kind)) = KINDS.iter().find(|(path, _)| *path == kind) else {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", NO_PAGE));
        };
        api.gateway.ask(&key, outgoing(kind, &body)?).await
    };
    respond(answer.await)
}

/// Several requests, each answered as it would be alone; they begin in their order.
async fn batch(State(api): Shared, headers: HeaderMap, body: Bytes) -> Response {
    #[derive(Deserialize)]
    struct Batch<'a> {
        #[serde(borrow)]
        requests: Vec<&'a RawValue>,
    }
    let asked = api.key(&headers).and_then(|key| {
        let batch: Batch<'_> = serde_json::from_slice(&body).map_err(|error| bad_json(&error))?;
        if batch.requests.len() > BATCH_MAX {
            const MANY: &str = "a batch has at most 100 requests";
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", MANY));
        }
        Ok((key, batch.requests.into_iter().map(of_batch).collect::<Vec<_>>()))
    });
    let (key, requests) = match asked {
        Ok(asked) => asked,
        Err(refusal) => return refuse(refusal),
    };
    let asking = requests.into_iter().map(|request| async {
        match request {
            Ok(message) => api.gateway.ask(&key, message).await,
            Err(refusal) => Err(refusal),
        }
    });
    let answers = futures_util::future::join_all(asking).await;
    let parts: Vec<String> = answers
        .into_iter()
        .map(|answer| match answer {
            Ok(answer) => answer.get().to_owned(),
            Err(refusal) => error_text(&refusal),
        })
        .collect();
    json(StatusCode::OK, format!("{{\"answers\":[{}]}}", parts.join(",")))
}

async fn revoke(State(api): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let revoked = async {
        let key = api.key(&headers)?;
        // Only who may end connections of anybody may revoke: nobody is called so.
        const PROBE: &str = "\"user\":\"key:\"";
        api.gateway.ask(&key, Outgoing { kind: "disconnect", fields: PROBE.to_owned() }).await?;
        revoking::revoke(api.config.revoked.as_ref(), &body)
    };
    respond(revoked.await)
}

impl Served {
    /// The key that a request shows.
    fn key(&self, headers: &HeaderMap) -> Result<String, Refusal> {
        const MISSING: &str = "show an API key: Authorization: Bearer ann_…, made by `annulus key create`";
        if !self.config.asks_for_keys {
            return Ok(String::new());
        }
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = shown.and_then(|shown| shown.strip_prefix("Bearer ")).filter(|key| !key.is_empty());
        key.map(str::to_owned).ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, "auth_required", MISSING))
    }
}

fn bad_json(error: &serde_json::Error) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "bad_json",
        format!("the body is not the JSON it should be: {error}"),
    )
}

/// The message that a body is.
fn outgoing(kind: &'static str, body: &[u8]) -> Result<Outgoing, Refusal> {
    let OrderedFields(fields) = serde_json::from_slice(body).map_err(|error| bad_json(&error))?;
    const NO_ANSWER: &str = "a request over HTTP is answered: leave out ack, or ask for memory or durable";
    let mut parts = Vec::with_capacity(fields.len());
    for (name, value) in fields.iter().filter(|(name, _)| name != "type" && name != "id") {
        if name == "ack" && value.get() == "\"none\"" {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_request", NO_ANSWER));
        }
        let name = serde_json::to_string(name).expect("text always serializes");
        parts.push(format!("{name}:{value}"));
    }
    Ok(Outgoing { kind, fields: parts.join(",") })
}

/// The same of one request of a batch, which says itself what it is.
fn of_batch(request: &RawValue) -> Result<Outgoing, Refusal> {
    #[derive(Deserialize)]
    struct Typed {
        r#type: String,
    }
    let Typed { r#type } = serde_json::from_str(request.get()).map_err(|error| bad_json(&error))?;
    let Some(&(_, kind)) = KINDS.iter().find(|(path, _)| *path == r#type) else {
        let message =
            format!("a batch has no requests of type {:?}", r#type.chars().take(64).collect::<String>());
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "unknown_type", message));
    };
    outgoing(kind, request.get().as_bytes())
}
