//! Who may administer, from where, and how often.
//!
//! ```text
//!  request ─► origin: no page of somebody else ─► pace ─► key: the socket has its file mode; over TCP, where clients are asked who they are,
//!                                                          a key that may do `admin` on all users, which a shard is asked
//! ```

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use axum::extract::connect_info::Connected;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::serve::IncomingStream;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Mutex;

use super::answer::Refusal;
use super::gateway::{Gateway, Outgoing};
use crate::io::Clock;

/// Requests a second, and at once: of those who may, and of those who have yet to show it, so that who tries keys keeps nobody out.
const KNOWN: (f64, f64) = (100.0, 200.0);
const UNKNOWN: (f64, f64) = (20.0, 40.0);
/// How long a key is believed once a shard has said that it may, how long it is known, and how many such are remembered.
const BELIEVED_MS: u64 = 5_000;
const KNOWN_MS: u64 = 3_600_000;
const KEYS_MAX: usize = 64;

/// Who is at the other end.
#[derive(Clone, Debug)]
pub enum Peer {
    /// A process of this host, by its user.
    Socket {
        uid: Option<u32>,
    },
    Tcp(SocketAddr),
}

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self::Tcp(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self::Socket { uid: stream.io().peer_cred().ok().map(|credentials| credentials.uid()) }
    }
}

/// Who has asked, for the log and for itself.
#[derive(Clone, Debug)]
pub struct Who(pub String);

/// See the module.
pub struct Guard {
    asks_for_keys: bool,
    clock: Clock,
    /// Of those who may, and of the others.
    paces: Mutex<[Pace; 2]>,
    /// When each was believed last.
    believed: Mutex<HashMap<Box<str>, (u64, Who)>>,
}

struct Pace {
    left: f64,
    at_us: u64,
}

impl Pace {
    /// Whether one more may come, of so many a second and at once.
    fn take(&mut self, now_us: u64, (per_second, at_once): (f64, f64)) -> bool {
        let gained = now_us.saturating_sub(self.at_us) as f64 * per_second / 1e6;
        *self = Self { left: (self.left + gained).min(at_once), at_us: now_us };
        let may = self.left >= 1.0;
        self.left -= if may { 1.0 } else { 0.0 };
        may
    }
}

impl Guard {
    pub fn new(asks_for_keys: bool, clock: Clock) -> Self {
        let at_us = clock.now().monotonic_us;
        let paces = [KNOWN, UNKNOWN].map(|(_, left)| Pace { left, at_us });
        Self { asks_for_keys, clock, paces: Mutex::new(paces), believed: Mutex::default() }
    }

    /// Refuses what a page of another origin has sent.
    ///
    /// # Errors
    /// It has.
    pub fn origin(&self, peer: &Peer, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let foreign = |why: &str| Err(Refusal::new(StatusCode::FORBIDDEN, "cross_origin", why));
        if let Some(site) = headers.get("sec-fetch-site")
            && site != "same-origin"
            && site != "none"
        {
            return foreign("a page of another origin has sent this");
        }
        let host = text(HOST).unwrap_or_default();
        if let Some(origin) = headers.get(ORIGIN) {
            let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            if !origin.is_some_and(|(_, origin)| origin.eq_ignore_ascii_case(host)) {
                return foreign(
                    "a page of another origin has sent this: its host is not that of this server",
                );
            }
        }
        if matches!(peer, Peer::Tcp(_)) && !self.asks_for_keys && !is_own(host) {
            return foreign("where no key is asked, Host is an IP address or localhost");
        }
        Ok(())
    }

    /// Counts a request.
    ///
    /// # Errors
    /// There are too many.
    pub async fn pace(&self, peer: &Peer, headers: &HeaderMap) -> Result<(), Refusal> {
        let is_known = match (peer, key_of(headers)) {
            (Peer::Tcp(_), Some(key)) if self.asks_for_keys => self.believed.lock().await.contains_key(key),
            (peer, _) => !self.asks_for_keys || matches!(peer, Peer::Socket { .. }),
        };
        let now_us = self.clock.now().monotonic_us;
        let [known, unknown] = &mut *self.paces.lock().await;
        let may = if is_known { known.take(now_us, KNOWN) } else { unknown.take(now_us, UNKNOWN) };
        if may {
            return Ok(());
        }
        const MANY: &str = "too many requests come to the admin listener";
        let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", MANY);
        Err(Refusal { retry_after_ms: Some(1_000), ..refusal })
    }

    /// Who has asked, if that may administer.
    ///
    /// # Errors
    /// It may not, or has not said who it is.
    pub async fn who(&self, gateway: &Gateway, peer: &Peer, headers: &HeaderMap) -> Result<Who, Refusal> {
        let address = match peer {
            Peer::Socket { uid: Some(uid) } => return Ok(Who(format!("socket uid {uid}"))),
            Peer::Socket { uid: None } => return Ok(Who("socket".to_owned())),
            Peer::Tcp(address) => address,
        };
        if !self.asks_for_keys {
            return Ok(Who(format!("nobody from {address}")));
        }
        const MISSING: &str = "show a key or a token that may administer: Authorization: Bearer …";
        let key = key_of(headers)
            .ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, "auth_required", MISSING))?;
        let now_ms = self.clock.now().timer_ms();
        if let Some((at_ms, who)) = self.believed.lock().await.get(key)
            && now_ms < *at_ms + BELIEVED_MS
        {
            return Ok(who.clone());
        }
        // Who may end connections of everybody: nobody is called so.
        let probe = Outgoing { kind: "disconnect", fields: "\"user\":\"key:\"".to_owned() };
        let asked = gateway.ask(key, probe).await;
        if asked
            .as_ref()
            .is_err_and(|refusal| ["forbidden", "auth_failed", "closed"].contains(&&*refusal.code))
        {
            self.believed.lock().await.remove(key);
        }
        asked.map_err(|refusal| match &*refusal.code {
            "forbidden" => Refusal::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                "this key may not administer: it lacks the role admin, and no rule allows it `admin` on user:*",
            ),
            _ => refusal,
        })?;
        let user = gateway.user_of(key).await.unwrap_or_else(|| "somebody".to_owned());
        let who = Who(format!("{user} from {address}"));
        let mut believed = self.believed.lock().await;
        believed.retain(|_, (at_ms, _)| now_ms < *at_ms + KNOWN_MS);
        if believed.len() < KEYS_MAX || believed.contains_key(key) {
            believed.insert(key.into(), (now_ms, who.clone()));
        }
        Ok(who)
    }
}

fn key_of(headers: &HeaderMap) -> Option<&str> {
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    shown.and_then(|shown| shown.strip_prefix("Bearer ")).filter(|key| !key.is_empty())
}

/// Whether a host, with or without a port, is an address or this machine's own name for itself.
fn is_own(host: &str) -> bool {
    if host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bracketed.is_some_and(|host| host.parse::<IpAddr>().is_ok()) {
        return true;
    }
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
    });
    name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_may_come_at_once_and_others_later() {
        let mut pace = Pace { left: UNKNOWN.1, at_us: 0 };
        assert_eq!((0..100).filter(|_| pace.take(0, UNKNOWN)).count(), 40);
        assert_eq!((0..100).filter(|_| pace.take(500_000, UNKNOWN)).count(), 10);
    }

    #[test]
    fn a_host_is_ours_by_number_or_as_localhost() {
        for own in ["127.0.0.1", "127.0.0.1:9001", "[::1]", "[::1]:9001", "localhost", "LOCALHOST:9001"] {
            assert!(is_own(own), "{own}");
        }
        for foreign in ["", "evil.example", "evil.example:9001", "localhost.evil.example", "127.0.0.1.nip.io"]
        {
            assert!(!is_own(foreign), "{foreign}");
        }
    }
}
