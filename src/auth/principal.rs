//! Somebody who was believed, and what is in force.

use std::sync::Arc;

use super::rules::{Grant, Rules};
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
    /// The API key of that id.
    Key(Box<str>),
}

/// What is in force.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// `None`: everybody may do everything.
    pub rules: Option<Arc<Rules>>,
    pub revocations: Arc<Revocations>,
}

impl Standing {
    /// What an identity may do, unless what it was believed by does not count any more.
    pub fn grant(&self, identity: &Identity, proof: &Proof) -> Option<Grant> {
        if self.revocations.are_about(identity, proof) {
            return None;
        }
        Some(self.granted(identity))
    }

    /// What the rules allow an identity, whatever it was believed by.
    pub(super) fn granted(&self, identity: &Identity) -> Grant {
        self.rules.as_ref().map_or(Grant::Everything, |rules| rules.grant(identity))
    }

    /// Who shows nothing.
    pub fn anonymous(&self) -> Principal {
        let identity = Identity::anonymous();
        let grant = self.granted(&identity);
        Principal { identity, grant, proof: Proof::Nothing }
    }
}
