//! What is believed no more before its time.

use std::collections::{HashMap, HashSet};

use super::{Identity, Proof};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// `jti` of tokens.
    pub tokens: HashSet<Box<str>>,
    /// Of each user, tokens issued before then, in milliseconds since 1970; one that does not say when it was issued is among them.
    pub users: HashMap<Box<str>, u64>,
    /// Lines of API keys.
    pub keys: HashSet<Box<str>>,
}

impl Revocations {
    /// Whether somebody who was believed is not to be any more.
    pub fn are_about(&self, identity: &Identity, proof: &Proof) -> bool {
        match proof {
            Proof::Nothing => false,
            Proof::Key(name) => self.keys.contains(name),
            Proof::Token => {
                let is_token = identity.token_id.as_ref().is_some_and(|id| self.tokens.contains(id));
                let before = self.users.get(&*identity.user).copied();
                is_token || before.is_some_and(|before| identity.issued_ms.is_none_or(|at| at < before))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(claims: &str) -> Identity {
        Identity::of_claims(&serde_json::from_str(claims).expect("claims"), "roles").expect("an identity")
    }

    #[test]
    fn a_token_goes_by_its_id_or_with_all_of_its_user_up_to_a_time() {
        let revoked = Revocations {
            tokens: [Box::from("t1")].into(),
            users: [(Box::from("u"), 10_000)].into(),
            keys: [Box::from("k")].into(),
        };
        let is_token = |claims| revoked.are_about(&identity(claims), &Proof::Token);
        assert!(is_token(r#"{"sub":"x","jti":"t1"}"#) && !is_token(r#"{"sub":"x","jti":"t2"}"#));
        assert!(is_token(r#"{"sub":"u","iat":9}"#) && !is_token(r#"{"sub":"u","iat":10}"#));
        assert!(is_token(r#"{"sub":"u"}"#), "who does not say when may be older");
        let key = |name: &str| revoked.are_about(&identity(r#"{"sub":"u"}"#), &Proof::Key(name.into()));
        assert!(key("k") && !key("l"));
        assert!(!revoked.are_about(&identity(r#"{"sub":"u"}"#), &Proof::Nothing));
    }
}
