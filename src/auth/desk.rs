//! Who is believed, and what is in force: everything that tokens and API keys are judged by.

use std::collections::HashSet;
use std::sync::Arc;

use super::api_keys::{ApiKey, ApiKeys, fingerprint, is_api_key};
use super::believed::{Believed, Entry};
use super::rules::Rules;
use super::{Identity, Keys, Principal, Proof, Refused, Revoked, Standing, TokenError, Verifier};
use crate::limits::TOKEN_BYTES_MAX;
use crate::metrics::CREDENTIALS_REFUSED;

/// See the module.
#[derive(Debug)]
pub struct Desk {
    verifier: Verifier,
    api_keys: ApiKeys,
    revoked: Revoked,
    /// Lines of API keys that were there once since the start: who came with one may still be connected.
    withdrawn: HashSet<Box<str>>,
    standing: Arc<Standing>,
    /// Grows with each other standing.
    version: u64,
    believed: Believed,
    counts: Counts,
}

/// What a desk has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tokens whose signature was looked at.
    pub verifications: u64,
    /// Credentials that were believed before.
    pub hits: u64,
    /// By [`Refused::reason`].
    pub refused: [u64; CREDENTIALS_REFUSED.len()],
}

impl Desk {
    pub fn new(verifier: Verifier, api_keys: ApiKeys, revoked: Revoked, rules: Option<Arc<Rules>>) -> Self {
        let mut desk = Self {
            verifier,
            api_keys,
            revoked,
            withdrawn: HashSet::new(),
            standing: Arc::new(Standing { rules, ..Standing::default() }),
            version: 0,
            believed: Believed::default(),
            counts: Counts::default(),
        };
        desk.restate();
        desk
    }

    /// What is in force; another `Arc` after each change.
    pub fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Bytes of what is remembered of those who were believed.
    pub const fn believed_bytes(&self) -> usize {
        self.believed.bytes()
    }

    pub fn set_rules(&mut self, rules: Option<Arc<Rules>>) {
        let revocations = Arc::clone(&self.standing.revocations);
        self.standing = Arc::new(Standing { rules, revocations });
        self.version += 1;
    }

    /// Other keys for tokens: nothing that was signed with one of before is believed unseen.
    pub fn set_keys(&mut self, keys: Keys) {
        self.verifier.keys = keys;
        self.believed.clear();
    }

    pub fn set_api_keys(&mut self, api_keys: ApiKeys) {
        self.withdrawn.extend(self.api_keys.iter().map(ApiKey::line));
        for key in api_keys.iter() {
            self.withdrawn.remove(&key.line());
        }
        self.api_keys = api_keys;
        self.restate();
    }

    pub fn set_revoked(&mut self, revoked: Revoked) {
        self.revoked = revoked;
        self.restate();
    }

    fn restate(&mut self) {
        let mut revocations = self.revoked.revocations();
        revocations.keys.clone_from(&self.withdrawn);
        let rules = self.standing.rules.clone();
        self.standing = Arc::new(Standing { rules, revocations: Arc::new(revocations) });
        self.version += 1;
    }

    /// Whom a token or an API key names at a time. Some microseconds for one that was believed before, and up to a third of a
    /// millisecond for a new token.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn believe(&mut self, credential: &str, unix_ms: u64) -> Result<Arc<Principal>, Refused> {
        let believed = self.judge(credential, unix_ms);
        if let Err(refused) = &believed {
            self.counts.refused[refused.reason()] += 1;
        }
        believed
    }

    fn judge(&mut self, credential: &str, unix_ms: u64) -> Result<Arc<Principal>, Refused> {
        if credential.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong.into());
        }
        let fingerprint = fingerprint(credential);
        // It costs nothing to look at, and says by itself what it may.
        if is_api_key(credential) {
            let key = self.api_keys.find(credential, &fingerprint).ok_or(Refused::UnknownKey)?;
            return judged(&self.standing, self.version, key.identity(), Proof::Key(key.line())).outcome();
        }
        let leeway_ms = self.verifier.policy.leeway_ms;
        if let Some(entry) = self.believed.get_mut(&fingerprint) {
            self.counts.hits += 1;
            if entry.version != self.version {
                let Principal { identity, proof, .. } = &*entry.principal;
                *entry = judged(&self.standing, self.version, identity.clone(), proof.clone());
            }
            let is_over = |expires_ms: u64| unix_ms >= expires_ms.saturating_add(leeway_ms);
            if entry.principal.identity.expires_ms.is_some_and(is_over) {
                return Err(TokenError::Expired.into());
            }
            return entry.outcome();
        }
        self.counts.verifications += 1;
        let identity = self.verifier.verify(credential, unix_ms)?;
        let entry = judged(&self.standing, self.version, identity, Proof::Token);
        let outcome = entry.outcome();
        self.believed.insert(fingerprint, entry);
        outcome
    }
}

/// What somebody may do who was believed.
fn judged(standing: &Standing, version: u64, identity: Identity, proof: Proof) -> Entry {
    let is_revoked = standing.revocations.are_about(&identity, &proof);
    let grant = standing.granted(&identity);
    let refused = match (is_revoked, grant.is_nothing()) {
        (true, _) => Some(Refused::Revoked),
        (false, true) => Some(Refused::Forbidden),
        (false, false) => None,
    };
    Entry { principal: Arc::new(Principal { identity, grant, proof }), refused, version }
}

impl Entry {
    fn outcome(&self) -> Result<Arc<Principal>, Refused> {
        self.refused.map_or_else(|| Ok(Arc::clone(&self.principal)), Err)
    }
}

#[cfg(test)]
mod tests;
