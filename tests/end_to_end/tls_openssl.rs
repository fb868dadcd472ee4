//! TLS as `openssl s_client` speaks it, which shares no code with the server's.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::server::{TestServer, await_that};
use crate::tls_files::Authority;

/// What `openssl s_client` says with these arguments, and on this input.
fn openssl(authority: &Authority, address: SocketAddr, arguments: &[&str], input: &str) -> String {
    let ca = authority.path("ca.pem");
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-servername", "localhost"])
        .args(["-verify_return_error", "-verify_hostname", "localhost", "-CAfile"])
        .arg(ca)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("scripts/setup installs openssl");
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
}

const GET: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn both_versions_are_spoken_with_alpn_and_no_older_one() {
    let authority = Authority::new();
    let server = TestServer::with_tls(authority.server(), |_| {});
    let address = server.tls_address.unwrap();
    for (flag, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = openssl(&authority, address, &[flag, "-alpn", "h2,http/1.1", "-ign_eof"], GET);
        assert!(said.contains(&format!("New, {name}, Cipher is")), "{said}");
        assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
        assert!(said.contains("200 OK") && said.contains("storage memory"), "{said}");
        // Without ALPN it is the same.
        let said = openssl(&authority, address, &[flag, "-ign_eof"], GET);
        assert!(said.contains("No ALPN negotiated") && said.contains("storage memory"), "{said}");
    }
    let said = openssl(&authority, address, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], GET);
    assert!(said.contains("alert handshake failure") || said.contains("no protocols available"), "{said}");
    assert!(!said.contains("200 OK"), "{said}");
}

#[test]
fn sessions_are_taken_up_again_in_both_versions_on_any_shard() {
    let authority = Authority::new();
    let server = TestServer::with_tls(authority.server(), |_| {});
    let address = server.tls_address.unwrap();
    let session = authority.path("session");
    let session = session.to_str().unwrap();
    for (flag, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = openssl(&authority, address, &[flag, "-ign_eof", "-sess_out", session], GET);
        assert!(said.contains(&format!("New, {name}")), "{said}");
        for _ in 0..8 {
            let said = openssl(&authority, address, &[flag, "-ign_eof", "-sess_in", session], GET);
            assert!(said.contains(&format!("Reused, {name}")) && said.contains("200 OK"), "{said}");
        }
    }
    let said = openssl(&authority, address, &["-tls1_2", "-reconnect"], "Q\n");
    assert_eq!(said.matches("Reused, TLSv1.2").count(), 5, "{said}");
    let resumed = |version: &str| {
        server.metric(&format!("annulus_tls_handshakes_total{{version=\"{version}\",resumed=\"true\"}}"))
    };
    await_that("all are counted", || (resumed("1.2"), resumed("1.3")) == (13.0, 8.0));
}

#[test]
fn nobody_renegotiates() {
    let authority = Authority::new();
    let server = TestServer::with_tls(authority.server(), |_| {});
    let address = server.tls_address.unwrap();
    // `R` on a line of its own has it try.
    let said = openssl(&authority, address, &["-tls1_2"], "R\n");
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
    assert!(openssl(&authority, address, &["-tls1_2", "-ign_eof"], GET).contains("200 OK"));
}
