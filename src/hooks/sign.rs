//! How the application knows that a message is of this server, and of now.

use aws_lc_rs::hmac;

/// The header that has the signature.
pub const SIGNATURE_HEADER: &str = "annulus-signature";

/// `t=<seconds>,v1=<hex>`: the HMAC-SHA256 of the time, a dot and the body. Who checks it refuses what is minutes old, so that
/// nobody sends again what was overheard.
pub fn signature(secret: &[u8], unix_seconds: u64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut context = hmac::Context::with_key(&key);
    context.update(unix_seconds.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    let hex = data_encoding::HEXLOWER.encode(context.sign().as_ref());
    format!("t={unix_seconds},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_secret_time_and_body() {
        // printf '1700000000.[]' | openssl dgst -sha256 -hmac secret
        let expected = "t=1700000000,v1=74f76d8933679a54d6be8c7560a5233b124658241ca5a3b0f09af80d3ea60d78";
        assert_eq!(signature(b"secret", 1_700_000_000, b"[]"), expected);
        for (secret, time, body) in
            [("secrets", 1_700_000_000, "[]"), ("secret", 1, "[]"), ("secret", 1_700_000_000, "[1]")]
        {
            assert_ne!(signature(secret.as_bytes(), time, body.as_bytes())[13..], expected[13..]);
        }
    }
}
