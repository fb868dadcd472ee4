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

/// Requests a second, and at once.
const PER_SECOND: f64 = 100.0;
const AT_ONCE: f64 = 200.0;
/// How long a key is believed once a shard has said that it may, and how many such are remembered.
const BELIEVED_MS: u64 = 5_000;
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
    pace: Mutex<Pace>,
    believed: Mutex<HashMap<Box<str>, (u64, Who)>>,
}

struct Pace {
    left: f64,
    at_us: u64,
}

impl Guard {
    pub fn new(asks_for_keys: bool, clock: Clock) -> Self {
        let pace = Pace { left: AT_ONCE, at_us: clock.now().monotonic_us };
        Self { asks_for_keys, clock, pace: Mutex::new(pace), believed: Mutex::default() }
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
    pub async fn pace(&self) -> Result<(), Refusal> {
        let now_us = self.clock.now().monotonic_us;
        let mut pace = self.pace.lock().await;
        let gained = now_us.saturating_sub(pace.at_us) as f64 * PER_SECOND / 1e6;
        *pace = Pace { left: (pace.left + gained).min(AT_ONCE), at_us: now_us };
        if pace.left < 1.0 {
            let refusal = Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                "more than 100 requests a second come to the admin listener",
            );
            return Err(Refusal { retry_after_ms: Some(1_000), ..refusal });
        }
        pace.left -= 1.0;
        Ok(())
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
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = shown.and_then(|shown| shown.strip_prefix("Bearer ")).filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, "auth_required", MISSING))?;
        let now_ms = self.clock.now().timer_ms();
        if let Some((until_ms, who)) = self.believed.lock().await.get(key)
            && now_ms < *until_ms
        {
            return Ok(who.clone());
        }
        // Who may end connections of everybody: nobody is called so.
        let probe = Outgoing { kind: "disconnect", fields: "\"user\":\"key:\"".to_owned() };
        gateway.ask(key, probe).await.map_err(|refusal| match &*refusal.code {
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
        believed.retain(|_, (until_ms, _)| now_ms < *until_ms);
        if believed.len() < KEYS_MAX {
            believed.insert(key.into(), (now_ms + BELIEVED_MS, who.clone()));
        }
        Ok(who)
    }
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
