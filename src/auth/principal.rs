//! Somebody who was believed, and what is in force.

use std::sync::Arc;

use super::rules::{Grant, Rules, granted_by_permissions};
use super::{Identity, Revocations};

/// Somebody who was believed, and what that allows.
#[derive(Debug)]
pub struct Principal {
    pub identity: Identity,
    /// Of the rules in force when it was made.
    pub grant: Grant,
    pub proof: Proof,
}

/// By what somebody was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing was shown.
    Nothing,
    Token,
    /// An API key, by its line.
    Key(Box<str>),
}

/// What is in force.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// `None`: everybody may do everything, or what the permissions of its token say.
    pub rules: Option<Arc<Rules>>,
    pub revocations: Arc<Revocations>,
}

impl Principal {
    /// The same with another grant.
    pub fn with(&self, grant: Grant) -> Self {
        Self { identity: self.identity.clone(), grant, proof: self.proof.clone() }
    }
}

impl Standing {
    /// What an identity may do, whatever it was believed by.
    pub fn granted(&self, identity: &Identity) -> Grant {
        match &self.rules {
            Some(rules) => rules.grant(identity),
            None => granted_by_permissions(identity).unwrap_or(Grant::Everything),
        }
    }

    /// What one may do who shows nothing.
    pub fn anonymous(&self) -> Grant {
        self.granted(&Identity::anonymous())
    }
}
