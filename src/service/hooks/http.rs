//! Requests to the application. No redirect is followed, and no more of an answer is read than it may have.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::aws_lc_rs::default_provider;

use crate::hooks::{Endpoint, SIGNATURE_HEADER, signature};
use crate::limits::ANSWER_BYTES_MAX;

/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(60);

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// See the module.
#[derive(Clone, Default)]
pub struct Http {
    /// Made for the first request, so that the certificates of a host are read only where there is one; or why it cannot be.
    client: Arc<OnceLock<Result<HttpClient, String>>>,
}

/// Why a request has failed. It says nothing of what was in it, nor in the answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("no answer in {0} ms")]
    Timeout(u64),
    #[error("{0}")]
    Transport(String),
    #[error("the answer has more than {ANSWER_BYTES_MAX} bytes, or ends too early")]
    Body,
}

impl Http {
    /// Posts JSON, signed if there is a secret. The body of the answer, whose status says that all is well.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn post(
        &self,
        endpoint: &Endpoint,
        secret: Option<&[u8]>,
        unix_ms: u64,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        let mut request = Request::post(&*endpoint.url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("annulus/", env!("CARGO_PKG_VERSION")));
        if let Some(secret) = secret {
            request = request.header(SIGNATURE_HEADER, signature(secret, unix_ms / 1000, &body));
        }
        let request = request.body(Full::new(body.into())).expect("its URL was checked");
        let client = self.client.get_or_init(|| client().map_err(|error| cause(&error)));
        let client = client.as_ref().map_err(|problem| Failure::Transport(problem.clone()))?;
        let exchange = async {
            let answer = client.request(request).await.map_err(|error| Failure::Transport(cause(&error)))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            match (status.is_success(), body) {
                (false, _) => Err(Failure::Status(status)),
                (true, Err(_)) => Err(Failure::Body),
                (true, Ok(body)) => Ok(body.to_bytes().to_vec()),
            }
        };
        let patience = Duration::from_millis(endpoint.timeout_ms);
        tokio::time::timeout(patience, exchange).await.unwrap_or(Err(Failure::Timeout(endpoint.timeout_ms)))
    }
}

fn client() -> io::Result<HttpClient> {
    let https = HttpsConnectorBuilder::new().with_provider_and_platform_verifier(default_provider())?;
    let connector = https.https_or_http().enable_http1().build();
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
    Ok(builder.build(connector))
}

/// An error with what has caused it, as its own text says little.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A URL for the log: what stands behind `?` may be a secret.
pub fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}
