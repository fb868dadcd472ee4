//! Certificates for a test: an authority, what it signs, and the files that a server reads; and clients that trust it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annulus::config::TlsConfig;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version};

use crate::client::Client;
use crate::server::{Directory, PATIENCE};

pub const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// An authority whose certificate is in the file `ca.pem` of a folder of its own, and what it has signed beside it.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: Directory,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Not that of what it signs, which `openssl` would take to have signed itself.
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority of a test");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = Directory::new();
        fs::create_dir_all(folder.path()).unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Files with a certificate for `names`, and with its key, which take the place of any with that `file` name.
    pub fn sign(&self, file: &str, names: &[&str]) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let paths = (self.path(&format!("{file}.pem")), self.path(&format!("{file}.key")));
        replace(&paths.0, &certificate.pem());
        replace(&paths.1, &key.serialize_pem());
        paths
    }

    /// What a server for `localhost` is set up with.
    pub fn server(&self) -> TlsConfig {
        TlsConfig { pairs: vec![self.sign("server", &["localhost"])], client_ca: None }
    }

    /// A client that trusts this authority and shows a certificate, if it is given one.
    pub fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        shows: Option<&(PathBuf, PathBuf)>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match shows {
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(8);
        Arc::new(config)
    }
}

/// Exchanges a file as tools do that renew certificates.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

/// A stream with TLS whose handshake is yet to be.
pub fn stream(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Stream {
    stream_over(TcpStream::connect(address).unwrap(), config, name)
}

/// The same over a connected stream.
pub fn stream_over(socket: TcpStream, config: &Arc<ClientConfig>, name: &str) -> Stream {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), socket)
}

/// A client with TLS that has heard `hello`.
pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Client<Stream> {
    Client::open_over(stream(address, config, "localhost"), "/v1").expect("the server takes the connection")
}
