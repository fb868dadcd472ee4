//! The vectors of RFC 7515 appendix A and RFC 8037 appendix A.4. Their claims name no user, so that a right signature shows in
//! what is said about those.

use annulus::auth::{BadIdentity, Keys, Policy, TokenError, Verifier};
use data_encoding::BASE64URL_NOPAD;

/// Before `exp` of RFC 7515 appendix A.
const NOW_MS: u64 = 1_300_819_000_000;
const JOE: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn of_set(key: &str) -> Verifier {
    let mut keys = Keys::default();
    keys.add_set(format!(r#"{{"keys":[{key}]}}"#).as_bytes()).expect("a key");
    Verifier { keys, policy: Policy::default() }
}

/// The token is believed, as far as `right` tells, and no other with one bit of it changed.
fn check(verifier: &Verifier, token: &str, right: TokenError) {
    assert_eq!(verifier.verify(token, NOW_MS), Err(right));
    let parts: Vec<_> = token.split('.').collect();
    for part in [1, 2] {
        for at in [0, 10, 30] {
            let mut bytes = BASE64URL_NOPAD.decode(parts[part].as_bytes()).expect("base64url");
            bytes[at % 26] ^= 1;
            let changed = BASE64URL_NOPAD.encode(&bytes);
            let mut forged = parts.clone();
            forged[part] = &changed;
            assert_eq!(verifier.verify(&forged.join("."), NOW_MS), Err(TokenError::Signature), "part {part}");
        }
    }
}

#[test]
fn hs256_of_rfc_7515_a_1() {
    let secret = BASE64URL_NOPAD
        .decode(b"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
        .expect("base64url");
    let mut keys = Keys::default();
    keys.add_secret(&secret).expect("64 bytes");
    let verifier = Verifier { keys, policy: Policy::default() };
    let token =
        format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOE}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    check(&verifier, &token, TokenError::Identity(BadIdentity::User));
}

#[test]
fn rs256_of_rfc_7515_a_2() {
    let verifier = of_set(
        r#"{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#,
    );
    let token = format!(
        "eyJhbGciOiJSUzI1NiJ9.{JOE}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    );
    check(&verifier, &token, TokenError::Identity(BadIdentity::User));
}

#[test]
fn es256_of_rfc_7515_a_3() {
    let verifier = of_set(
        r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
    );
    let token = format!(
        "eyJhbGciOiJFUzI1NiJ9.{JOE}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    );
    check(&verifier, &token, TokenError::Identity(BadIdentity::User));
}

#[test]
fn ed25519_of_rfc_8037_a_4() {
    let verifier =
        of_set(r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#);
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    check(&verifier, token, TokenError::Claims);
}
