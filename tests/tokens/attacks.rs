//! What attackers send, and what honest mistakes look like.

use annulus::auth::{BadIdentity, KeyError, Keys, Policy, TokenError, Verifier};
use annulus::limits::TOKEN_BYTES_MAX;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::signer::{NOW_MS, SECRET, Signer, claims};

fn verify(verifier: &Verifier, token: &str) -> Result<String, TokenError> {
    verifier.verify(token, NOW_MS).map(|identity| identity.user.to_string())
}

/// A token of the secret, with any header and claims, however malformed.
fn raw(header: &str, claims: &str) -> String {
    let message = format!(
        "{}.{}",
        BASE64URL_NOPAD.encode(header.as_bytes()),
        BASE64URL_NOPAD.encode(claims.as_bytes())
    );
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET);
    let signature = aws_lc_rs::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
}

#[test]
fn every_algorithm_is_taken_with_its_key_and_no_other() {
    use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
    let signers = [
        (Signer::secret(), vec![HS256, HS384, HS512]),
        (Signer::rsa(), vec![RS256, RS384, RS512, PS256, PS384, PS512]),
        (Signer::p256(), vec![ES256]),
        (Signer::p384(), vec![ES384]),
        (Signer::ed25519(), vec![EdDSA]),
    ];
    let verifiers: Vec<_> = signers.iter().map(|(signer, _)| signer.verifier()).collect();
    for (own, (signer, algorithms)) in signers.iter().enumerate() {
        for &algorithm in algorithms {
            let token = signer.token(algorithm, &claims());
            for (other, verifier) in verifiers.iter().enumerate() {
                let expected = if other == own { Ok("u1".to_owned()) } else { Err(TokenError::UnknownKey) };
                assert_eq!(verify(verifier, &token), expected, "{algorithm:?} at key {other}");
            }
        }
    }
    // Another key of the same kind.
    for (index, another) in
        [Signer::rsa(), Signer::p256(), Signer::p384(), Signer::ed25519()].iter().enumerate()
    {
        let token = another.token(signers[index + 1].1[0], &claims());
        assert_eq!(verify(&verifiers[index + 1], &token), Err(TokenError::Signature));
    }
}

#[test]
fn a_token_without_signature_is_none() {
    let verifier = Signer::secret().verifier();
    for algorithm in ["none", "None", "NONE", "nOnE", "", "HS1", "RSA1_5"] {
        let header = format!(r#"{{"alg":"{algorithm}"}}"#);
        for token in [raw(&header, &claims().to_string()), {
            let whole = raw(&header, &claims().to_string());
            whole[..=whole.rfind('.').expect("two dots")].to_owned()
        }] {
            assert_eq!(verify(&verifier, &token), Err(TokenError::Malformed), "{algorithm}");
        }
    }
}

#[test]
fn the_text_of_a_public_key_is_no_secret() {
    for signer in [Signer::rsa(), Signer::p256(), Signer::ed25519()] {
        let forger = EncodingKey::from_secret(&signer.public);
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let token = encode(&Header::new(algorithm), &claims(), &forger).expect("any bytes are a secret");
            assert_eq!(verify(&signer.verifier(), &token), Err(TokenError::UnknownKey));
        }
    }
    // Where both kinds are known, each takes its own.
    let (rsa, mut verifier) = (Signer::rsa(), Signer::secret().verifier());
    verifier.keys.add_pem(&rsa.public).expect("a public key");
    let forged = encode(&Header::new(Algorithm::HS256), &claims(), &EncodingKey::from_secret(&rsa.public));
    assert_eq!(verify(&verifier, &forged.expect("a token")), Err(TokenError::Signature));
    assert_eq!(verify(&verifier, &rsa.token(Algorithm::PS256, &claims())), Ok("u1".to_owned()));
}

#[test]
fn the_name_of_a_key_is_only_compared() {
    let key = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let mut verifier = Signer::secret().verifier();
    verifier.keys.add_set(key.as_bytes()).expect("a key");
    let token = |name: &str, algorithm: &str| {
        raw(&json!({ "alg": algorithm, "kid": name }).to_string(), &claims().to_string())
    };
    for name in ["../../../dev/null", "/etc/passwd", "' OR 1=1 --", "k1\u{0}", "", "http://example.org/key"] {
        assert_eq!(verify(&verifier, &token(name, "EdDSA")), Err(TokenError::UnknownKey), "{name}");
        assert_eq!(verify(&verifier, &token(name, "HS256")), Ok("u1".to_owned()), "the secret has no name");
    }
    assert_eq!(verify(&verifier, &token("k1", "EdDSA")), Err(TokenError::Signature));
    // Where a token says to find its key is not looked at.
    let header = r#"{"alg":"EdDSA","kid":"x","jku":"http://example.org/","x5u":"file:///etc/passwd"}"#;
    assert_eq!(verify(&verifier, &raw(header, &claims().to_string())), Err(TokenError::UnknownKey));
}

#[test]
fn what_a_header_calls_critical_has_to_be_known() {
    let verifier = Signer::secret().verifier();
    for header in [
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
        r#"{"alg":"HS256","crit":[]}"#,
    ] {
        assert_eq!(verify(&verifier, &raw(header, &claims().to_string())), Err(TokenError::Critical));
    }
    for header in
        [r#"{"alg":"HS256","crit":"b64"}"#, r#"{"alg":"HS256","alg":"HS256"}"#, r#"{"alg":["HS256"]}"#]
    {
        assert_eq!(verify(&verifier, &raw(header, &claims().to_string())), Err(TokenError::Malformed));
    }
    for (kind, expected) in [
        ("JWT", Ok("u1".to_owned())),
        ("jwt", Ok("u1".to_owned())),
        ("at+jwt", Ok("u1".to_owned())),
        ("logout+jwt", Err(TokenError::Type)),
        ("", Err(TokenError::Type)),
    ] {
        let header = format!(r#"{{"alg":"HS256","typ":"{kind}"}}"#);
        assert_eq!(verify(&verifier, &raw(&header, &claims().to_string())), expected, "{kind}");
    }
}

#[test]
fn a_token_has_its_time() {
    let verifier = Signer::secret().verifier();
    let lenient =
        |leeway_ms| Verifier { policy: Policy { leeway_ms, ..Policy::default() }, ..verifier.clone() };
    let at = |name: &str, seconds: f64| {
        let mut claims = claims();
        claims[name] = json!(seconds);
        Signer::secret().token(Algorithm::HS256, &claims)
    };
    let now = 1_700_000_000.5;
    assert_eq!(verify(&verifier, &at("exp", now - 1.0)), Err(TokenError::Expired));
    assert_eq!(verify(&verifier, &at("exp", now)), Err(TokenError::Expired));
    assert_eq!(verify(&verifier, &at("exp", now + 0.001)), Ok("u1".to_owned()));
    assert_eq!(verify(&lenient(1000), &at("exp", now - 1.0)), Err(TokenError::Expired));
    assert_eq!(verify(&lenient(1001), &at("exp", now - 1.0)), Ok("u1".to_owned()));
    assert_eq!(verify(&lenient(u64::MAX), &at("exp", 0.0)), Ok("u1".to_owned()));
    assert_eq!(verify(&verifier, &at("nbf", now + 0.001)), Err(TokenError::NotYet));
    assert_eq!(verify(&verifier, &at("nbf", now)), Ok("u1".to_owned()));
    assert_eq!(verify(&lenient(1000), &at("nbf", now + 1.0)), Ok("u1".to_owned()));
    for bad in [json!("tomorrow"), json!(-1), json!(null), json!(1e300)] {
        for name in ["exp", "nbf"] {
            let mut claims = claims();
            claims[name] = bad.clone();
            let token = Signer::secret().token(Algorithm::HS256, &claims);
            assert_eq!(
                verify(&verifier, &token),
                Err(TokenError::Identity(BadIdentity::Date)),
                "{name} {bad}"
            );
        }
    }
    let endless = Signer::secret().token(Algorithm::HS256, &json!({ "sub": "u1" }));
    assert_eq!(verify(&verifier, &endless), Err(TokenError::NoExpiry));
    let allowing = Verifier { policy: Policy { allow_no_expiry: true, ..Policy::default() }, ..verifier };
    assert_eq!(verify(&allowing, &endless), Ok("u1".to_owned()));
    assert_eq!(verify(&allowing, &at("exp", now - 1.0)), Err(TokenError::Expired));
}

#[test]
fn a_token_is_for_us_and_of_ours() {
    let with = |name: &str, value: &Value| {
        let mut claims = claims();
        claims[name] = value.clone();
        Signer::secret().token(Algorithm::HS256, &claims)
    };
    let plain = Signer::secret().verifier();
    let policy = Policy { issuer: Some("i".into()), ..Policy::default() };
    let issuer = Verifier { policy, ..plain.clone() };
    let policy = Policy { audience: Some("a".into()), ..Policy::default() };
    let audience = Verifier { policy, ..plain.clone() };
    for (value, expected) in [
        (json!("i"), Ok("u1".to_owned())),
        (json!("I"), Err(TokenError::Issuer)),
        (json!(["i"]), Err(TokenError::Issuer)),
        (json!(null), Err(TokenError::Issuer)),
    ] {
        assert_eq!(verify(&issuer, &with("iss", &value)), expected, "{value}");
        assert_eq!(verify(&plain, &with("iss", &value)), Ok("u1".to_owned()));
    }
    assert_eq!(verify(&issuer, &with("x", &json!(1))), Err(TokenError::Issuer));
    for (value, expected) in [
        (json!("a"), Ok("u1".to_owned())),
        (json!(["b", "a"]), Ok("u1".to_owned())),
        (json!("b"), Err(TokenError::Audience)),
        (json!([]), Err(TokenError::Audience)),
        (json!({ "a": 1 }), Err(TokenError::Audience)),
    ] {
        assert_eq!(verify(&audience, &with("aud", &value)), expected, "{value}");
        assert_eq!(
            verify(&plain, &with("aud", &value)),
            Err(TokenError::Audience),
            "for somebody in particular"
        );
    }
    assert_eq!(verify(&audience, &with("x", &json!(1))), Err(TokenError::Audience));
}

#[test]
fn claims_say_one_thing() {
    let verifier = Signer::secret().verifier();
    let of = |claims: &str| verify(&verifier, &raw(r#"{"alg":"HS256"}"#, claims));
    for twice in [
        r#"{"sub":"u1","sub":"admin","exp":1800000000}"#,
        r#"{"sub":"u1","exp":1,"exp":1800000000}"#,
        r#"{"sub":"u1","exp":1800000000,"a":{"b":1,"b":2}}"#,
    ] {
        assert_eq!(of(twice), Err(TokenError::Claims), "{twice}");
    }
    for malformed in ["", "null", "[]", "\"u1\"", "{", r#"{"sub":"u1"} x"#, "\u{feff}{}"] {
        assert_eq!(of(malformed), Err(TokenError::Claims), "{malformed}");
    }
    let user = |name: &str| {
        let mut claims = claims();
        claims["sub"] = json!(name);
        verify(&verifier, &Signer::secret().token(Algorithm::HS256, &claims))
    };
    assert_eq!(user("Ünï©ode"), Ok("Ünï©ode".to_owned()));
    for bad in ["", &"a".repeat(10 << 10)[..5_000], "a\u{0}b", "a\u{85}b"] {
        assert_eq!(user(bad), Err(TokenError::Identity(BadIdentity::User)));
    }
}

#[test]
fn a_token_has_a_length_and_a_form() {
    let verifier = Signer::secret().verifier();
    let mut claims = claims();
    claims["padding"] = json!("x".repeat(64 << 10));
    let long = Signer::secret().token(Algorithm::HS256, &claims);
    assert_eq!(verify(&verifier, &long), Err(TokenError::TooLong));
    assert_eq!(verify(&verifier, &"a".repeat(TOKEN_BYTES_MAX + 1)), Err(TokenError::TooLong));
    let good = Signer::secret().token(Algorithm::HS256, &self::claims());
    for malformed in ["", ".", "..", "a.b.c", "....", "\u{1F600}", &format!("{good}.x"), &format!("x.{good}")]
    {
        assert_eq!(verify(&verifier, malformed), Err(TokenError::Malformed), "{malformed}");
    }
    for changed in
        [format!("{good}="), format!("{good} "), format!("{good}A"), good[..good.len() - 1].to_owned()]
    {
        assert_eq!(verify(&verifier, &changed), Err(TokenError::Signature), "{changed}");
    }
}

#[test]
fn a_file_of_keys_is_what_it_says() {
    let mut keys = Keys::default();
    assert_eq!(keys.add_secret(b"short\n"), Err(KeyError::ShortSecret { bytes: 5 }));
    assert_eq!(keys.add_secret(&[b'\n'; 32]), Err(KeyError::ShortSecret { bytes: 31 }));
    for no_pem in [&b""[..], b"x", SECRET, b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        assert_eq!(keys.add_pem(no_pem), Err(KeyError::NoPublicKey));
    }
    for no_set in [&b""[..], b"{}", b"[]", br#"{"keys":{}}"#] {
        assert_eq!(keys.add_set(no_set), Err(KeyError::NoKeySet));
    }
    for unusable in [
        r#"{"keys":[]}"#,
        r#"{"keys":[7,{"kty":"x"},{}]}"#,
        r#"{"keys":[{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T"}]}"#,
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","use":"enc","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","key_ops":["sign"],"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    ] {
        assert_eq!(keys.add_set(unusable.as_bytes()), Err(KeyError::NoUsableKey), "{unusable}");
    }
    assert!(keys.is_empty());
    // The line's end that `echo` leaves is not part of a secret.
    keys.add_secret(&[SECRET, b"\r\n"].concat()).expect("32 bytes");
    let verifier = Verifier { keys, policy: Policy::default() };
    assert_eq!(verify(&verifier, &Signer::secret().token(Algorithm::HS512, &claims())), Ok("u1".to_owned()));
}
