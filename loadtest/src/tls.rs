//! TLS of the clients: whom they believe, and the records of one connection.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::failure::Failure;

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those that one in this file has signed, as PEM.
    File(PathBuf),
    /// All.
    Anybody,
}

/// What all clients of a run have in common.
#[derive(Clone, Debug)]
pub struct Tls {
    config: ClientConfig,
    name: ServerName<'static>,
    /// Whether a client that comes back shows the ticket that it was given.
    resumes: bool,
}

impl Tls {
    /// # Errors
    /// [`Failure::Setup`] for a file that has no certificate, or a host that is no name.
    pub fn new(trust: &Trust, host: &str, resumes: bool) -> Result<Self, Failure> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::Setup(format!("there is no TLS: {error}")))?;
        let mut config = match trust {
            Trust::Anybody => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Believer(provider)))
                .with_no_client_auth(),
            Trust::File(path) => {
                let refuse = |why: String| Failure::Setup(format!("--tls-ca {}: {why}", path.display()));
                let mut roots = RootCertStore::empty();
                for certificate in
                    CertificateDer::pem_file_iter(path).map_err(|error| refuse(error.to_string()))?
                {
                    let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
                    roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        };
        config.resumption = Resumption::disabled();
        let bare = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| Failure::Setup(format!("{bare} is no name for TLS")))?;
        Ok(Self { config, name, resumes })
    }

    /// What one client keeps over all its connections: its ticket, as each client of a real storm has one of its own.
    pub fn of_one_client(&self) -> Arc<ClientConfig> {
        let mut config = self.config.clone();
        if self.resumes {
            config.resumption = Resumption::in_memory_sessions(1);
        }
        Arc::new(config)
    }

    /// # Errors
    /// [`Failure::Setup`] without random numbers.
    pub fn begin(&self, client: &Arc<ClientConfig>) -> Result<Session, Failure> {
        let begun = ClientConnection::new(Arc::clone(client), self.name.clone());
        let mut connection = begun.map_err(|error| Failure::Setup(format!("there is no TLS: {error}")))?;
        connection.set_buffer_limit(None);
        Ok(Session(connection))
    }
}

/// The records of one connection.
pub struct Session(ClientConnection);

impl Session {
    /// Whether there are records to be sent, whatever the plaintext is.
    pub fn has_records(&self) -> bool {
        self.0.wants_write()
    }

    /// Makes records of `plain`, once hands are shaken, and appends those that may be sent.
    pub fn seal(&mut self, plain: &mut Vec<u8>, records: &mut Vec<u8>) {
        self.0.writer().write_all(plain).expect("its buffer has no limit");
        plain.clear();
        while self.0.wants_write() {
            self.0.write_tls(records).expect("a vector takes all");
        }
    }

    /// Appends what is in received records to `plain`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn open(&mut self, mut records: &[u8], plain: &mut Vec<u8>) -> Result<(), String> {
        while !records.is_empty() {
            self.0.read_tls(&mut records).map_err(|error| error.to_string())?;
            let state = self.0.process_new_packets().map_err(|error| error.to_string())?;
            let begin = plain.len();
            plain.resize(begin + state.plaintext_bytes_to_read(), 0);
            self.0.reader().read_exact(&mut plain[begin..]).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Believes any certificate, and checks signatures all the same, as they are work of the load.
#[derive(Debug)]
struct Believer(Arc<CryptoProvider>);

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
