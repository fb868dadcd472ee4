//! Believing a token: a JSON Web Token in its compact form (RFC 7519, RFC 7515 section 7.1), signed with a key that is known.

use jsonwebtoken::{Validation, decode, decode_header, errors::ErrorKind};
use serde_json::Value;

use super::claims::Claims;
use super::identity::{BadIdentity, Identity};
use super::keys::Keys;
use super::numeric_date::milliseconds;
use crate::limits::TOKEN_BYTES_MAX;

/// What a token has to say beyond its signature.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What `iss` has to be.
    pub issuer: Option<Box<str>>,
    /// What has to be in `aud`. Where nothing is asked for, a token for somebody else in particular is not for us
    /// (RFC 7519 section 4.1.3).
    pub audience: Option<Box<str>>,
    /// By how much clocks may differ.
    pub leeway_ms: u64,
    pub allow_no_expiry: bool,
    /// The name of, or the path to, the claim that has the roles.
    pub roles_claim: Box<str>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: None,
            leeway_ms: 0,
            allow_no_expiry: false,
            roles_claim: "roles".into(),
        }
    }
}

/// Why a token is not believed. Says nothing of what stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    TooLong,
    Malformed,
    Type,
    Critical,
    /// Perhaps the source of keys has a newer one.
    UnknownKey,
    Signature,
    Claims,
    NoExpiry,
    Expired,
    NotYet,
    Issuer,
    Audience,
    Identity(BadIdentity),
}

impl TokenError {
    /// What is wrong with it.
    pub const fn text(self) -> &'static str {
        const { assert!(TOKEN_BYTES_MAX == 8 << 10) };
        match self {
            Self::TooLong => "the token is longer than 8 KiB",
            Self::Malformed => "it is no JSON Web Token with an algorithm that is taken here",
            Self::Type => "the token is of another type than JWT or at+jwt",
            Self::Critical => {
                "the token has header fields that it calls critical, and that are not known here"
            }
            Self::UnknownKey => "the token is signed with a key that is not known here",
            Self::Signature => "the signature of the token is wrong",
            Self::Claims => "the token has claims that are no JSON object, or a name twice",
            Self::NoExpiry => {
                "the token has no `exp`; tokens that never end are taken with --jwt-allow-no-expiry"
            }
            Self::Expired => "the token has expired",
            Self::NotYet => "the token is not valid yet",
            Self::Issuer => "the token is of another issuer",
            Self::Audience => "the token is for another audience",
            Self::Identity(bad) => bad.text(),
        }
    }
}

impl From<BadIdentity> for TokenError {
    fn from(bad: BadIdentity) -> Self {
        Self::Identity(bad)
    }
}

/// Verifies tokens.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    pub keys: Keys,
    pub policy: Policy,
}

impl Verifier {
    /// Whom a token names at a time. Up to a third of a millisecond with an RSA or elliptic key: not for a turn of a shard.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, token: &str, unix_ms: u64) -> Result<Identity, TokenError> {
        let claims = self.verified(token)?;
        self.policy.check(&claims, unix_ms)?;
        Ok(Identity::of_claims(&claims, &self.policy.roles_claim)?)
    }

    /// The claims of a token whose signature is right.
    fn verified(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        let is_type = |kind: &String| kind.eq_ignore_ascii_case("JWT") || kind.eq_ignore_ascii_case("at+jwt");
        if !header.typ.as_ref().is_none_or(is_type) {
            return Err(TokenError::Type);
        }
        let mut validation = Validation::new(header.alg);
        // What those say is looked at here, to the millisecond.
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        let mut failed = TokenError::UnknownKey;
        for key in self.keys.of(&header) {
            match decode::<Claims>(token, key, &validation) {
                Ok(verified) => return Ok(verified.claims),
                // The signature was right, and no other key will say better.
                Err(error) if matches!(error.kind(), ErrorKind::Json(_) | ErrorKind::Utf8(_)) => {
                    return Err(TokenError::Claims);
                }
                Err(_) => failed = TokenError::Signature,
            }
        }
        Err(failed)
    }
}

impl Policy {
    fn check(&self, claims: &Claims, unix_ms: u64) -> Result<(), TokenError> {
        let date =
            |name| claims.get(name).map(|date| milliseconds(date).ok_or(BadIdentity::Date)).transpose();
        match date("exp")? {
            None if !self.allow_no_expiry => return Err(TokenError::NoExpiry),
            Some(expires_ms) if unix_ms >= expires_ms.saturating_add(self.leeway_ms) => {
                return Err(TokenError::Expired);
            }
            _ => {}
        }
        if date("nbf")?.is_some_and(|from_ms| unix_ms.saturating_add(self.leeway_ms) < from_ms) {
            return Err(TokenError::NotYet);
        }
        let issuer = claims.get("iss").and_then(Value::as_str);
        if self.issuer.is_some() && issuer != self.issuer.as_deref() {
            return Err(TokenError::Issuer);
        }
        if !self.is_audience(claims.get("aud")) {
            return Err(TokenError::Audience);
        }
        Ok(())
    }

    fn is_audience(&self, claimed: Option<&Value>) -> bool {
        let Some(own) = self.audience.as_deref() else { return claimed.is_none() };
        match claimed {
            Some(Value::String(one)) => one == own,
            Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(own)),
            _ => false,
        }
    }
}
