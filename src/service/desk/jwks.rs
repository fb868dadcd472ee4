//! Keys that come over the network: a JSON Web Key Set at a URL.
//!
//! Each fetch has a thread of its own, which ends with it, so that nobody waits for a source that does not answer. What was
//! fetched stays until something else is.

use std::net::IpAddr;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use crate::io::Event;
use crate::limits::KEY_FILE_BYTES_MAX;

/// The shortest time between two fetches because of tokens: who likes may make up names of keys.
const REFRESH_MS: u64 = 60_000;
/// How long after a fetch that failed the next one begins while there are no keys at all.
const RETRY_MS: u64 = 5_000;
/// How long a fetch may take, from the look-up of the name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Redirects that are followed, to `https` only.
const REDIRECTS_MAX: u32 = 3;

/// See the module.
pub(super) struct Jwks {
    url: String,
    /// Raised when a fetch has ended.
    event: Event,
    begun_ms: Option<u64>,
    under_way: Option<Receiver<Result<Vec<u8>, String>>>,
    has_keys: bool,
}

impl Jwks {
    pub fn new(url: String, event: Event) -> Self {
        Self { url, event, begun_ms: None, under_way: None, has_keys: false }
    }

    /// Whether keys that are not known may come soon. Begins a fetch if the last one is long ago.
    pub fn may_bring(&mut self, now_ms: u64) -> bool {
        if self.under_way.is_none() && self.begun_ms.is_none_or(|begun_ms| now_ms >= begun_ms + REFRESH_MS) {
            self.begin(now_ms);
        }
        self.under_way.is_some()
    }

    /// When the next fetch begins though nobody asks.
    pub fn due_ms(&self) -> Option<u64> {
        let is_idle = !self.has_keys && self.under_way.is_none();
        is_idle.then(|| self.begun_ms.map_or(0, |begun_ms| begun_ms + RETRY_MS))
    }

    pub fn begin_due(&mut self, now_ms: u64) {
        if self.due_ms().is_some_and(|due_ms| now_ms >= due_ms) {
            self.begin(now_ms);
        }
    }

    /// Begins a fetch, unless one is under way.
    pub fn begin(&mut self, now_ms: u64) {
        if self.under_way.is_some() {
            return;
        }
        self.begun_ms = Some(now_ms);
        let (fetched, under_way) = mpsc::channel();
        let (url, event) = (self.url.clone(), self.event.clone());
        let body = move || {
            let _ = fetched.send(fetch(&url));
            event.raise();
        };
        match thread::Builder::new().name("jwks".to_owned()).spawn(body) {
            Ok(_) => self.under_way = Some(under_way),
            Err(error) => self.failed(&error.to_string()),
        }
    }

    /// What a fetch has brought that has ended since the last call; inside, `None` if it failed.
    pub fn take(&mut self) -> Option<Option<Vec<u8>>> {
        let outcome = match self.under_way.as_ref()?.try_recv() {
            Ok(outcome) => outcome,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err("the thread panicked".to_owned()),
        };
        self.under_way = None;
        Some(outcome.map_err(|problem| self.failed(&problem)).ok())
    }

    /// What was brought had keys, or not.
    pub fn judged(&mut self, has_keys: bool) {
        self.has_keys |= has_keys;
    }

    fn failed(&self, problem: &str) {
        let stays = if self.has_keys { "the keys that it had stay" } else { "there are no keys of it yet" };
        tracing::warn!("--jwks-url {}: {problem}; {stays}", self.url);
    }
}

fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let agent = Agent::new_with_config(config(url));
    let failed = |error: ureq::Error| error.to_string();
    let mut response = agent.get(url).header("accept", "application/json").call().map_err(failed)?;
    let body = response.body_mut().with_config().limit(KEY_FILE_BYTES_MAX as u64);
    body.read_to_vec().map_err(failed)
}

fn config(url: &str) -> Config {
    let is_https = url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .build();
    let config = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .https_only(is_https)
        .max_redirects(if is_https { REDIRECTS_MAX } else { 0 })
        .max_redirects_will_error(true)
        .tls_config(tls)
        .user_agent(concat!("annulus/", env!("CARGO_PKG_VERSION")));
    // What is on this host is not looked for by way of another.
    if is_https { config.build() } else { config.proxy(None).build() }
}

/// Whether keys may be fetched from there: nobody between there and here can put in others.
///
/// # Errors
/// Why not.
pub fn check_url(url: &str) -> Result<(), &'static str> {
    let uri: Uri = url.parse().map_err(|_| "it is no URL")?;
    let host = uri.host().ok_or("it names no host")?;
    let is_loopback = |host: &str| {
        let ip: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    };
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_loopback(host) => Ok(()),
        Some("http") => Err("keys come over https, and over http from this host only"),
        _ => Err("it begins with https://"),
    }
}
