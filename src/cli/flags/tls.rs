//! TLS: where it is spoken, and with which certificates.

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;
use serde::Serialize;

use super::identity::{text_of_one, texts};
use crate::cli::listen::Listen;
use crate::config::TlsConfig;

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "TLS")]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) struct Tls {
    /// Address and port to listen on with TLS 1.2 and 1.3, beside --listen; may be repeated
    ///
    /// --listen stays without TLS, for proxies and for whoever looks after the server: leave it at 127.0.0.1:9000.
    #[arg(long, env = "ANNULUS_TLS_LISTEN", value_name = "ADDR:PORT", value_delimiter = ',')]
    pub tls_listen: Vec<Listen>,

    /// A file with a certificate and those that lead to one that clients know, as PEM; may be repeated
    ///
    /// The first is for clients that ask for no name that is known; of the others each gets the one that is for the name it asks
    /// for (SNI). Files are read again when they change, and at SIGHUP. What cannot be used is said in the log, and what was
    /// in force stays. Connections that are open keep theirs.
    #[arg(long, env = "ANNULUS_TLS_CERT", value_name = "FILE", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    pub tls_cert: Vec<PathBuf>,

    /// A file with the key of a certificate, as PEM without a passphrase; one for each --tls-cert, in their order
    ///
    /// A key of an elliptic curve takes a tenth of the time that one of RSA takes for each client.
    #[arg(long, env = "ANNULUS_TLS_KEY", value_name = "FILE", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    pub tls_key: Vec<PathBuf>,

    /// A file with certificates, as PEM: only clients with one that they have signed get in with TLS [default: none]
    ///
    /// Who shows no such certificate fails in the handshake. It says that somebody may connect and not who it is: that is still for
    /// --auth, and --listen asks for none.
    #[arg(long, env = "ANNULUS_TLS_CLIENT_CA", value_name = "FILE")]
    #[serde(serialize_with = "text_of_one")]
    pub tls_client_ca: Option<PathBuf>,

    /// Answer plain HTTP at --tls-listen with 308 and the same address with https: or wss:
    ///
    /// Without it such a request is answered with 400. Browsers follow it for pages, and not for WebSockets.
    #[arg(long, env = "ANNULUS_HTTP_REDIRECT", value_parser = BoolishValueParser::new())]
    pub http_redirect: bool,
}

impl Tls {
    /// By what it is spoken, if there are any certificates.
    pub fn config(&self) -> Option<TlsConfig> {
        let pairs: Vec<_> = self.tls_cert.iter().cloned().zip(self.tls_key.iter().cloned()).collect();
        (!pairs.is_empty()).then(|| TlsConfig { pairs, client_ca: self.tls_client_ca.clone() })
    }
}
