//! Makes keys of every kind, and tokens signed with them.

use annulus::auth::{Keys, Policy, Verifier};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair,
};
use data_encoding::BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::Value;

pub const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
pub const NOW_MS: u64 = 1_700_000_000_500;

/// One key, private and public.
pub struct Signer {
    pub key: EncodingKey,
    /// What goes into a file of the server.
    pub public: Vec<u8>,
}

impl Signer {
    pub fn secret() -> Self {
        Self { key: EncodingKey::from_secret(SECRET), public: SECRET.to_vec() }
    }

    pub fn rsa() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let private = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).expect("PKCS#8");
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).expect("SPKI");
        let private = pkcs1_of_pkcs8(private.as_ref());
        Self { key: EncodingKey::from_rsa_der(&private), public: pem(public.as_ref()) }
    }

    pub fn p256() -> Self {
        Self::curve(&ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    pub fn p384() -> Self {
        Self::curve(&ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    fn curve(algorithm: &'static EcdsaSigningAlgorithm) -> Self {
        let private = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref()).expect("its own");
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).expect("SPKI");
        Self { key: EncodingKey::from_ec_der(private.as_ref()), public: pem(public.as_ref()) }
    }

    pub fn ed25519() -> Self {
        let private = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).expect("its own");
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).expect("SPKI");
        Self { key: EncodingKey::from_ed_der(private.as_ref()), public: pem(public.as_ref()) }
    }

    pub fn token(&self, algorithm: Algorithm, claims: &Value) -> String {
        encode(&Header::new(algorithm), claims, &self.key).expect("the key is of that algorithm")
    }

    pub fn verifier(&self) -> Verifier {
        let mut keys = Keys::default();
        if self.public == SECRET {
            keys.add_secret(&self.public).expect("long enough");
        } else {
            keys.add_pem(&self.public).expect("a public key");
        }
        Verifier { keys, policy: Policy::default() }
    }
}

/// The claims that are always taken.
pub fn claims() -> Value {
    serde_json::json!({ "sub": "u1", "exp": NOW_MS / 1000 + 60, "roles": ["member"] })
}

fn pem(public: &[u8]) -> Vec<u8> {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(public)).into_bytes()
}

/// The key within its envelope (RFC 5208 section 5), as `jsonwebtoken` takes it: the last of its three fields, an octet string.
fn pkcs1_of_pkcs8(der: &[u8]) -> Vec<u8> {
    // Its tag and long length are four bytes; what is in it begins with a sequence that has a long length, too.
    let at =
        der.windows(5).skip(4).position(|bytes| bytes[0] == 0x04 && bytes[1] == 0x82 && bytes[4] == 0x30);
    der[4 + at.expect("an RSA key") + 4..].to_vec()
}
