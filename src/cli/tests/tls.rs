//! The flags of TLS and of the PROXY protocol, and what they need of each other.

use std::fs;
use std::path::PathBuf;

use super::{refusal, serve};
use crate::config::{ProxyProtocol, TlsConfig};

/// Files with a certificate and its key, removed at the end.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("annulus-flags-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for name in ["a", "b"] {
            let made = rcgen::generate_simple_self_signed([format!("{name}.example")]).unwrap();
            fs::write(folder.join(name), made.cert.pem()).unwrap();
            fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_flags_of_tls_reach_their_settings() {
    let files = Files::new("settings");
    let [a, a_key, b, b_key] = ["a", "a.key", "b", "b.key"].map(|name| files.path(name));
    let given = serve(&[
        "--tls-listen",
        "127.0.0.1:1,[::1]:2",
        "--tls-cert",
        &a,
        "--tls-key",
        &a_key,
        "--tls-cert",
        &b,
        "--tls-key",
        &b_key,
        "--tls-client-ca",
        &a,
        "--http-redirect",
    ])
    .unwrap();
    let tls_listen = ["127.0.0.1:1", "[::1]:2"].map(|address| address.parse().unwrap());
    assert_eq!((&*given.config.tls_listen, given.config.http_redirect), (&tls_listen[..], true));
    let pairs = vec![(a.clone().into(), a_key.into()), (b.into(), b_key.into())];
    assert_eq!(given.tls, Some(TlsConfig { pairs, client_ca: Some(a.into()) }));
    let without = serve(&[]).unwrap();
    assert_eq!((without.tls, without.config.proxy_protocol), (None, ProxyProtocol::Off));
}

#[test]
fn what_cannot_be_served_says_what_to_do() {
    let files = Files::new("refusals");
    let [a, a_key, b_key] = ["a", "a.key", "b.key"].map(|name| files.path(name));
    let listen = ["--tls-listen", "127.0.0.1:1"];
    assert!(refusal(&listen).contains("set --tls-cert and --tls-key"));
    assert!(refusal(&[&listen[..], &["--tls-cert", &a]].concat()).contains("1 files and --tls-key 0"));
    let pair = ["--tls-cert", &*a, "--tls-key", &*a_key];
    assert!(refusal(&pair).contains("--tls-cert is of no use without --tls-listen"));
    assert!(refusal(&["--http-redirect"]).contains("--http-redirect is of no use without"));
    let wrong = ["--tls-cert", &*a, "--tls-key", &*b_key];
    assert!(refusal(&[&listen[..], &wrong].concat()).contains("it is not the key of --tls-cert"));
    let absent = ["--tls-cert", "/nowhere/a", "--tls-key", &*a_key];
    assert!(refusal(&[&listen[..], &absent].concat()).contains("--tls-cert /nowhere/a: No such file"));
    let twice = ["--tls-listen", "127.0.0.1:9000"];
    assert!(
        refusal(&[&twice[..], &pair].concat()).contains("--listen and --tls-listen both name 127.0.0.1:9000")
    );
    assert!(refusal(&["--proxy-protocol", "require"]).contains("--trusted-proxies"));
}

#[test]
fn a_port_beyond_this_machine_asks_who_connects_or_for_a_certificate() {
    let files = Files::new("open");
    let [a, a_key] = ["a", "a.key"].map(|name| files.path(name));
    let open = ["--tls-listen", "0.0.0.0:1", "--tls-cert", &*a, "--tls-key", &*a_key];
    assert!(refusal(&open).contains("--tls-listen 0.0.0.0:1 lets in more than this machine"));
    serve(&[&open[..], &["--allow-anonymous"]].concat()).unwrap();
    serve(&[&open[..], &["--tls-client-ca", &*a]].concat()).unwrap();
}
