//! Errors that clients tell of: logged, counted and bounded, so that a client in a loop fills no log.
//!
//! Invariant: what is remembered is at most one window for each of [`SENDERS_MAX`] connections; nobody tells, and nothing is kept.

use hashbrown::HashMap;

use super::Shard;
use super::caller::Caller;
use super::clients::Window;
use super::work;
use crate::limits::{CLIENT_ERROR_CONTEXT_BYTES_MAX, CLIENT_ERROR_MESSAGE_BYTES_MAX};
use crate::mesh::ConnectionId;
use crate::wire::Reject;

/// Errors of one connection in a minute, and of a shard in a second.
const OF_CONNECTION: u32 = 10;
const OF_SHARD: u32 = 10;
/// Connections that are told apart; past it all of before are forgotten.
const SENDERS_MAX: usize = 1024;

/// See the module.
#[derive(Default)]
pub struct ClientErrors {
    senders: HashMap<ConnectionId, Window>,
    all: Window,
}

impl ClientErrors {
    /// When to try again, if this is one too many.
    fn count(&mut self, id: ConnectionId, now_us: u64) -> Option<u32> {
        if self.senders.len() >= SENDERS_MAX && !self.senders.contains_key(&id) {
            self.senders.clear();
        }
        let own = self.senders.entry(id).or_default().count(OF_CONNECTION, 60_000, now_us);
        own.or_else(|| self.all.count(OF_SHARD, 1_000, now_us))
    }
}

impl Shard {
    /// Logs an error that a client tells of, with what it says beside: canonical JSON, or nothing.
    ///
    /// # Errors
    /// It is too long, or one too many.
    pub fn note_client_error(&mut self, caller: Caller, message: &str, context: &[u8]) -> Result<(), Reject> {
        if message.len() > CLIENT_ERROR_MESSAGE_BYTES_MAX {
            return Err(Reject::TooLarge("message has at most 1 KiB"));
        }
        if context.len() > CLIENT_ERROR_CONTEXT_BYTES_MAX {
            return Err(Reject::TooLarge("context has at most 4 KiB"));
        }
        self.turn.spend(work::FRAME + work::encoded(message.len() + context.len()));
        self.turn.metrics.client_errors += 1;
        let id = caller.connection();
        if let Some(retry_after_ms) = self.client_errors.count(id, self.turn.now.monotonic_us) {
            return Err(Reject::RateLimited { retry_after_ms });
        }
        let name = self.turn.connection_name(id);
        let user = self.principal(caller).map_or("anonymous", |principal| &principal.identity.user);
        let context = String::from_utf8_lossy(context);
        // Quoted, so that it is one line whatever is in it.
        tracing::info!(target: "annulus::client_error", "{name} of {user:?} says {message:?} {context}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_has_ten_a_minute_and_a_shard_ten_a_second() {
        let mut errors = ClientErrors::default();
        let id = |index| ConnectionId { index, generation: 0 };
        assert!((0..10).all(|_| errors.count(id(0), 1_000_000).is_none()));
        assert_eq!(errors.count(id(0), 1_000_000), Some(60_000));
        assert_eq!(errors.count(id(1), 1_000_000), Some(1_000), "the shard has had its ten");
        assert_eq!(errors.count(id(1), 2_000_000), None);
        assert_eq!(errors.count(id(0), 61_000_000), None);
        for index in 0..5_000 {
            errors.count(id(index), 70_000_000);
        }
        assert!(errors.senders.len() <= SENDERS_MAX);
    }
}
