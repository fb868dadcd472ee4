//! What becomes of a principal while its connection is open: it is told before its time is over, and goes soon after.
//!
//! ```text
//!  believed ──80 % of its life──► told that it expires ──its end──► told that it has expired ──grace──► 4002
//!      ▲                                │                                   │
//!      └──────────────── renewed ───────┴───────────────────────────────────┘
//! ```

use std::sync::Arc;

use crate::auth::Principal;
use crate::handover::Refused;
use crate::shard::Now;

/// Milliseconds for which a token is good beyond its end, for one that renews it to arrive.
pub const GRACE_MS: u64 = 5_000;

/// What came of the credential that a client has shown with its upgrade; `None`: it has shown none.
pub type Shown = Option<Result<Arc<Principal>, Refused>>;

/// What is due next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing: it never expires, or nobody asks.
    Never,
    /// It must have said who it is.
    Token,
    /// It is told that its token expires.
    Notice,
    /// It is told that its token has expired.
    Expiry,
    /// It goes.
    End,
}

impl Due {
    /// What is due first of a principal that is believed now, and when, in milliseconds of the monotonic clock.
    pub fn first(principal: &Principal, now: Now) -> (Self, u64) {
        let Some(expires_ms) = principal.identity.expires_ms else { return (Self::Never, u64::MAX) };
        let began_ms = principal.identity.issued_ms.unwrap_or(now.unix_ms).min(now.unix_ms);
        let notice_ms = began_ms + expires_ms.saturating_sub(began_ms) / 5 * 4;
        (Self::Notice, at(now, notice_ms))
    }

    /// What is due after this, and when.
    pub fn next(self, principal: &Principal, now: Now) -> (Self, u64) {
        match (self, principal.identity.expires_ms) {
            (Self::Notice, Some(expires_ms)) => (Self::Expiry, at(now, expires_ms)),
            (Self::Expiry, _) => (Self::End, now.timer_ms() + GRACE_MS),
            _ => (Self::Never, u64::MAX),
        }
    }
}

/// A moment of the wall clock on that of timers.
fn at(now: Now, unix_ms: u64) -> u64 {
    now.timer_ms().saturating_add(unix_ms.saturating_sub(now.unix_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Identity, Proof, rules::Grant};

    fn principal(claims: &str) -> Principal {
        let claims = serde_json::from_str(claims).expect("claims");
        let identity = Identity::of_claims(&claims, "roles").expect("an identity");
        Principal { identity, grant: Grant::Everything, proof: Proof::Token }
    }

    #[test]
    fn a_token_is_told_of_at_four_fifths_of_its_life_and_goes_after_its_end() {
        let now = |unix_ms: u64| Now { unix_ms, monotonic_us: (unix_ms - 999_000) * 1000 };
        let who = principal(r#"{"sub":"u","iat":1000,"exp":1100}"#);
        let (due, at_ms) = Due::first(&who, now(1_010_000));
        assert_eq!((due, at_ms), (Due::Notice, 81_000));
        let (due, at_ms) = due.next(&who, now(1_080_000));
        assert_eq!((due, at_ms), (Due::Expiry, 101_000));
        let (due, at_ms) = due.next(&who, now(1_100_000));
        assert_eq!((due, at_ms), (Due::End, 101_000 + GRACE_MS));
        assert_eq!(Due::first(&who, now(1_095_000)), (Due::Notice, 96_000), "at once");
        assert_eq!(Due::first(&principal(r#"{"sub":"u"}"#), now(1_000_000)).0, Due::Never);
        let late = principal(r#"{"sub":"u","iat":2000,"exp":2100}"#);
        assert_eq!(
            Due::first(&late, now(1_000_000)),
            (Due::Notice, 881_000),
            "issued by a clock that is ahead"
        );
    }
}
