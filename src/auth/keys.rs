//! What tokens may be signed with. A key takes its own algorithms and no others, so that nobody signs with the text of a public
//! key as a secret, and `none` fits no key (RFC 8725 sections 2.1, 3.1).

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Header};
use serde::Deserialize;
use thiserror::Error;

use crate::limits::TOKEN_KEYS_MAX;

/// The shortest secret: as long as the hash of HS256 (RFC 7518 section 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Bytes of an uncompressed point on each curve (SEC 1 section 2.3.3).
const P256_BYTES: usize = 65;
const P384_BYTES: usize = 97;

const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const P256: &[Algorithm] = &[Algorithm::ES256];
const P384: &[Algorithm] = &[Algorithm::ES384];
const ED25519: &[Algorithm] = &[Algorithm::EdDSA];

/// Keys by which tokens are verified.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<Key>);

#[derive(Clone, Debug)]
struct Key {
    /// `kid`.
    name: Option<Box<str>>,
    algorithms: &'static [Algorithm],
    /// The only one of them, where the key says so.
    only: Option<Algorithm>,
    decoding: DecodingKey,
}

/// Why a key is not taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    #[error(
        "the secret has {bytes} bytes and needs at least {SECRET_BYTES_MIN}; make one with: openssl rand -base64 48"
    )]
    ShortSecret { bytes: usize },
    #[error(
        "there is no public key in it: RSA, P-256, P-384 or Ed25519, as PEM (-----BEGIN PUBLIC KEY-----)"
    )]
    NoPublicKey,
    #[error("it is no JSON Web Key Set: {{\"keys\":[…]}} (RFC 7517 section 5)")]
    NoKeySet,
    #[error("none of its keys can verify a signature by RSA, P-256, P-384 or Ed25519")]
    NoUsableKey,
    #[error("there are more than {TOKEN_KEYS_MAX} keys")]
    TooMany,
}

impl Keys {
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a secret; a line's end behind it, as editors and `echo` leave one, is not part of it.
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`], [`KeyError::TooMany`].
    pub fn add_secret(&mut self, file: &[u8]) -> Result<(), KeyError> {
        let secret = file.strip_suffix(b"\n").unwrap_or(file);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::ShortSecret { bytes: secret.len() });
        }
        self.add(None, HMAC, None, DecodingKey::from_secret(secret))
    }

    /// Adds a public key of any kind.
    ///
    /// # Errors
    /// [`KeyError::NoPublicKey`], [`KeyError::TooMany`].
    pub fn add_pem(&mut self, pem: &[u8]) -> Result<(), KeyError> {
        if let Ok(key) = DecodingKey::from_ed_pem(pem) {
            return self.add(None, ED25519, None, key);
        }
        if let Ok(key) = DecodingKey::from_ec_pem(pem) {
            return self.add(None, curve_of(&key).ok_or(KeyError::NoPublicKey)?, None, key);
        }
        let key = DecodingKey::from_rsa_pem(pem).map_err(|_| KeyError::NoPublicKey)?;
        self.add(None, RSA, None, key)
    }

    /// Adds what can be used of a JSON Web Key Set: secrets in it, keys for something else and of other kinds are passed over.
    ///
    /// # Errors
    /// [`KeyError::NoKeySet`], [`KeyError::NoUsableKey`], [`KeyError::TooMany`].
    pub fn add_set(&mut self, json: &[u8]) -> Result<(), KeyError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_slice(json).map_err(|_| KeyError::NoKeySet)?;
        let before = self.0.len();
        for key in set.keys {
            if let Some((key, algorithms)) = usable(key) {
                let only = key.common.key_algorithm.and_then(|named| Algorithm::try_from(named).ok());
                let decoding = DecodingKey::from_jwk(&key);
                let name = key.common.key_id.map(String::into_boxed_str);
                if let Ok(decoding) = decoding {
                    self.add(name, algorithms, only, decoding)?;
                }
            }
        }
        if self.0.len() == before { Err(KeyError::NoUsableKey) } else { Ok(()) }
    }

    fn add(
        &mut self,
        name: Option<Box<str>>,
        algorithms: &'static [Algorithm],
        only: Option<Algorithm>,
        decoding: DecodingKey,
    ) -> Result<(), KeyError> {
        if self.0.len() == TOKEN_KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        self.0.push(Key { name, algorithms, only, decoding });
        Ok(())
    }

    /// The keys with which a token of this header may be signed: those of the name that it gives, and those that have none.
    pub(super) fn of<'a>(&'a self, header: &Header) -> impl Iterator<Item = &'a DecodingKey> {
        let (algorithm, name) = (header.alg, header.kid.clone());
        let fits = move |key: &&Key| {
            let is_named = match (&key.name, &name) {
                (Some(own), Some(asked)) => **own == **asked,
                (None, _) | (_, None) => true,
            };
            let takes =
                key.only.map_or_else(|| key.algorithms.contains(&algorithm), |only| only == algorithm);
            is_named && takes && key.algorithms.contains(&algorithm)
        };
        self.0.iter().filter(fits).map(|key| &key.decoding)
    }
}

fn curve_of(key: &DecodingKey) -> Option<&'static [Algorithm]> {
    match key.kind() {
        DecodingKeyKind::SecretOrDer(point) if point.len() == P256_BYTES => Some(P256),
        DecodingKeyKind::SecretOrDer(point) if point.len() == P384_BYTES => Some(P384),
        _ => None,
    }
}

/// A public key that verifies signatures, with its algorithms.
fn usable(key: serde_json::Value) -> Option<(Jwk, &'static [Algorithm])> {
    let key: Jwk = serde_json::from_value(key).ok()?;
    let is_for_signatures =
        key.common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let verifies =
        key.common.key_operations.as_ref().is_none_or(|does| does.contains(&KeyOperations::Verify));
    let algorithms = match &key.algorithm {
        AlgorithmParameters::RSA(_) => RSA,
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => P256,
            EllipticCurve::P384 => P384,
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => ED25519,
        _ => return None,
    };
    (is_for_signatures && verifies).then_some((key, algorithms))
}
