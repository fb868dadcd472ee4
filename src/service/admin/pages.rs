//! The paths below `/admin/`, and who may ask for them.
//!
//! order of a request: origin, pace, key, then the page; a change is told in the log once it is decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, routing::post};
use serde::Deserialize;

use super::answer::{Answer, Refusal};
use super::clients::Kick;
use super::draining::Drain;
use super::fields::{body, query};
use super::guard::{Peer, Who};
use super::kept_lines;
use super::now::History;
use super::respond::{refuse, respond};
use super::revoking;
use super::served::Served;
use super::storage::Backup;
use crate::io::recent::AUDIT;
use crate::metrics::Metrics;
use crate::service::explaining::Question;

type Shared = State<Arc<Served>>;
type By = Extension<Who>;

/// All of them.
pub fn pages(served: &Arc<Served>) -> Router<Arc<Served>> {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route(
            "/admin/server",
            get(async |State(served): Shared, Extension(who): By| respond(served.server_page(&who))),
        )
        .route("/admin/now", get(async |State(served): Shared| respond(served.seconds.now().await)))
        .route("/admin/history", get(history))
        .route(
            "/admin/clients",
            get(async |State(served): Shared, uri: Uri| respond(served.clients().list(&uri).await)),
        )
        .route("/admin/client", get(client))
        .route("/admin/kick", post(kick))
        .route("/admin/revoke", post(revoke))
        .route(
            "/admin/maps",
            get(async |State(served): Shared, uri: Uri| respond(served.maps().list(&uri).await)),
        )
        .route(
            "/admin/map",
            get(async |State(served): Shared, uri: Uri| respond(served.maps().one(&uri).await)),
        )
        .route(
            "/admin/keys",
            get(async |State(served): Shared, uri: Uri| respond(served.maps().keys(&uri).await)),
        )
        .route(
            "/admin/key",
            get(async |State(served): Shared, uri: Uri| respond(served.maps().key(&uri).await)),
        )
        .route("/admin/export", get(export))
        .route(
            "/admin/rooms",
            get(async |State(served): Shared, uri: Uri| {
                respond(super::names::rooms(&served.shards, &uri).await)
            }),
        )
        .route(
            "/admin/channels",
            get(async |State(served): Shared, uri: Uri| {
                respond(super::names::channels(&served.shards, &uri).await)
            }),
        )
        .route(
            "/admin/users",
            get(async |State(served): Shared, uri: Uri| {
                respond(super::names::users(&served.shards, &uri).await)
            }),
        )
        .route("/admin/explain", post(explain))
        .route("/admin/storage", get(storage))
        .route(
            "/admin/backup",
            get(async |State(served): Shared| respond(served.storage.backup_page().await)).post(back_up),
        )
        .route("/admin/log", get(log))
        .route(
            "/admin/settings",
            get(async |State(served): Shared| respond(served.settings.page().await)).post(change),
        )
        .route(
            "/admin/drain",
            get(async |State(served): Shared| respond(drain_page(&served).await)).post(drain),
        )
        .route(
            "/admin/check",
            get(async |State(served): Shared| respond(served.checks.page().await)).post(check),
        )
        .layer(from_fn_with_state(Arc::clone(served), admit));
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(readyz)).merge(guarded)
}

/// Refuses pages of other origins, for everything that there is.
pub async fn same_origin(
    State(served): Shared,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    match served.guard.origin(&peer, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            served.config.metrics.requests_refused.add(1);
            refuse(refusal)
        }
    }
}

/// Lets in who may administer.
async fn admit(
    State(served): Shared,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers().clone();
    let who = async {
        served.guard.pace(&peer, &headers).await?;
        served.guard.who(&served.gateway, &peer, &headers).await
    };
    match who.await {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(refusal) => {
            served.config.metrics.requests_refused.add(1);
            refuse(refusal)
        }
    }
}

/// What is to be changed, in one line of the log.
fn what(verb: &str, body: &[u8]) -> String {
    const BYTES_MAX: usize = 512;
    let text = String::from_utf8_lossy(&body[..body.len().min(BYTES_MAX)]).replace(char::is_control, " ");
    format!("{verb} {text}")
}

/// Answers a change, and tells the log who has made it.
fn changed(who: &Who, what: &str, answer: Answer) -> Response {
    let Who(who) = who;
    match &answer {
        Ok(_) => tracing::info!(target: AUDIT, "{who}: {what}: done"),
        Err(Refusal { code, message, .. }) => {
            tracing::info!(target: AUDIT, "{who}: {what}: refused, {code}: {message}");
        }
    }
    respond(answer)
}

/// The same of what has only begun.
fn begun(who: &Who, what: &str, answer: Answer) -> Response {
    let mut response = changed(who, what, answer);
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::ACCEPTED;
    }
    response
}

async fn readyz(State(served): Shared) -> Response {
    match served.is_unready() {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics(State(served): Shared) -> Response {
    match served.metrics_page().await {
        Ok(page) => {
            let kind = HeaderValue::from_static(Metrics::CONTENT_TYPE);
            ([(CONTENT_TYPE, kind)], page).into_response()
        }
        Err(refusal) => refuse(refusal),
    }
}

async fn history(State(served): Shared, uri: Uri) -> Response {
    let answer = async {
        let asked: History = query(&uri)?;
        served.seconds.history(&asked).await
    };
    respond(answer.await)
}

async fn client(State(served): Shared, uri: Uri) -> Response {
    let unix_ms = served.config.clock.now().unix_ms;
    respond(served.clients().one(&uri, unix_ms).await)
}

async fn kick(State(served): Shared, Extension(who): By, headers: HeaderMap, bytes: Bytes) -> Response {
    let kick: Kick = match body(&headers, &bytes) {
        Ok(kick) => kick,
        Err(refusal) => return refuse(refusal),
    };
    changed(&who, &what("kick", &bytes), served.clients().kick(&kick).await)
}

async fn revoke(State(served): Shared, Extension(who): By, headers: HeaderMap, bytes: Bytes) -> Response {
    // Read as such first, so that it must be JSON by its header.
    if let Err(refusal) = body::<serde_json::Value>(&headers, &bytes) {
        return refuse(refusal);
    }
    changed(&who, &what("revoke", &bytes), revoking::revoke(served.config.revoked.as_ref(), &bytes))
}

async fn export(State(served): Shared, uri: Uri) -> Response {
    served.storage.export(&uri).unwrap_or_else(refuse)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Explain {
    user: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    claims: serde_json::Map<String, serde_json::Value>,
    action: String,
    map: String,
    #[serde(default)]
    key: String,
    value: Option<serde_json::Value>,
    current: Option<serde_json::Value>,
}

async fn explain(State(served): Shared, headers: HeaderMap, bytes: Bytes) -> Response {
    let answer = body::<Explain>(&headers, &bytes).and_then(|asked| {
        let Explain { user, roles, claims, action, map, key, value, current } = asked;
        served.explain(&Question { user, roles, claims, action, map, key, value, current })
    });
    respond(answer)
}

async fn storage(State(served): Shared) -> Response {
    let answer = async {
        let pending_bytes = match served.storage.on_disk {
            Some(_) => served.metrics().await?.journal_pending_bytes,
            None => 0,
        };
        served.storage.page(pending_bytes)
    };
    respond(answer.await)
}

async fn back_up(State(served): Shared, Extension(who): By, headers: HeaderMap, bytes: Bytes) -> Response {
    let backup: Backup = match body(&headers, &bytes) {
        Ok(backup) => backup,
        Err(refusal) => return refuse(refusal),
    };
    let answer = async {
        served.storage.back_up(backup).await?;
        served.storage.backup_page().await
    };
    begun(&who, &what("backup", &bytes), answer.await)
}

async fn log(State(served): Shared, uri: Uri) -> Response {
    let answer = async {
        let asked: kept_lines::Asked = query(&uri)?;
        served.lines.lock().await.page(&asked)
    };
    respond(answer.await)
}

async fn change(State(served): Shared, Extension(who): By, headers: HeaderMap, bytes: Bytes) -> Response {
    let wanted: BTreeMap<String, serde_json::Value> = match body(&headers, &bytes) {
        Ok(wanted) => wanted,
        Err(refusal) => return refuse(refusal),
    };
    let answer = async {
        served.settings.change(&served.shards, wanted).await?;
        served.settings.page().await
    };
    changed(&who, &what("settings", &bytes), answer.await)
}

async fn drain_page(served: &Served) -> Answer {
    let config = served.settings.config().await;
    served.draining.page(&served.shards, config.drain_lead_ms, config.drain_ms).await
}

async fn drain(State(served): Shared, Extension(who): By, headers: HeaderMap, bytes: Bytes) -> Response {
    let drain: Drain = match body(&headers, &bytes) {
        Ok(drain) => drain,
        Err(refusal) => return refuse(refusal),
    };
    let answer = async {
        // The page first: at once may be too late.
        if let Drain { in_ms: Some(0), .. } = drain {
            let page = drain_page(&served).await?;
            served.draining.change(&drain).await?;
            return Ok(page);
        }
        served.draining.change(&drain).await?;
        drain_page(&served).await
    };
    changed(&who, &what("drain", &bytes), answer.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn check(State(served): Shared, Extension(who): By, headers: HeaderMap, bytes: Bytes) -> Response {
    let answer = async {
        let Nothing {} = body(&headers, &bytes)?;
        served.checks.begin().await?;
        served.checks.page().await
    };
    begun(&who, "check", answer.await)
}

/// What there is not.
pub async fn no_page() -> Response {
    const NO_PAGE: &str = "there is no such page; GET /api and docs/admin.md say what there is";
    refuse(Refusal::new(StatusCode::NOT_FOUND, "not_found", NO_PAGE))
}

/// What may not be done to a page.
pub async fn no_method() -> Response {
    const NO_METHOD: &str = "this page is not asked for in that way";
    let mut response = refuse(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "bad_request", NO_METHOD));
    response.headers_mut().insert("allow", HeaderValue::from_static("GET, POST"));
    response
}
