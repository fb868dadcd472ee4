//! The page of `clients/js/console`, which `npm run page` there writes. It is in this binary, and in the repository, so that
//! building the server takes no Node. Whatever it shows it asks of `/admin/` and `/api/`.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use rust_embed::RustEmbed;

use super::fields::not_found;
use super::respond::refuse;
use crate::config::BuiltPage;

#[derive(RustEmbed)]
#[folder = "clients/js/console/page"]
struct Built;

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// `/console/`. It has nothing of this server in it, so that pages of others may lead to it.
pub fn console<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let page = built().and_then(|page| Some((HeaderValue::try_from(page.policy).ok()?, page.html)));
    let shown = move || async move {
        let Some((policy, html)) = page else { return refuse(not_found("this build has no console")) };
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (CONTENT_SECURITY_POLICY, policy),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
            (OPENER_POLICY, HeaderValue::from_static("same-origin")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (headers, html.into_owned()).into_response()
    };
    Router::new()
        .route("/console", get(async || Redirect::permanent("/console/")))
        .route("/console/", get(shown))
}

fn built() -> Option<BuiltPage> {
    BuiltPage::new(Built::get("index.html")?.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_built_in_and_loads_nothing() {
        let page = built().expect("clients/js/console/page/index.html is there and is text");
        let text = str::from_utf8(&page.html).expect("it is text");
        assert!(text.starts_with("<!doctype html>"), "{text:.100}");
        for source in ["src=\"", "href=\"http", "@import", "url("] {
            assert!(!text.contains(source), "it has {source}, which would be loaded");
        }
        assert_eq!(page.policy.matches("'sha256-").count(), 2, "{}", page.policy);
    }
}
