//! Certificates and their keys, and which of them a client gets: the first that is for the name it asks for and that its
//! algorithms can check, or else the first of all.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SignatureAlgorithm, SignatureScheme};

/// A text of PEM and what it is called in errors, such as the name of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pem {
    pub name: String,
    pub text: Vec<u8>,
}

/// A certificate, with those that lead to one that clients know behind it, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub certificate: Pem,
    pub key: Pem,
}

/// Why PEM texts cannot be used: which, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct BadPem {
    pub name: String,
    pub problem: String,
}

/// See the module.
#[derive(Debug)]
pub struct Certificates {
    /// One at least.
    keys: Vec<Arc<CertifiedKey>>,
    provider: Arc<CryptoProvider>,
}

impl Certificates {
    /// Reads `pairs`, of which the first is for clients that ask for no name, or for none that is known.
    ///
    /// # Errors
    /// [`BadPem`] for the first that cannot be used: no PEM, no certificate or no key in it, or a key of another certificate.
    ///
    /// # Panics
    /// If there are none.
    pub fn read(pairs: &[Pair]) -> Result<Self, BadPem> {
        assert!(!pairs.is_empty(), "who offers TLS has a certificate");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let keys = pairs.iter().map(|pair| read_pair(pair, &provider).map(Arc::new));
        Ok(Self { keys: keys.collect::<Result<_, _>>()?, provider })
    }

    pub(super) fn provider(&self) -> Arc<CryptoProvider> {
        Arc::clone(&self.provider)
    }

    /// Whether any key is one of RSA, whose signatures take some ten times as long.
    pub(super) fn have_rsa(&self) -> bool {
        self.keys.iter().any(|key| key.key.algorithm() == SignatureAlgorithm::RSA)
    }

    /// Reads the certificates by which those of clients are checked.
    ///
    /// # Errors
    /// [`BadPem`] if there is none, or one that cannot be used.
    pub(super) fn client_verifier(&self, ca: &Pem) -> Result<Arc<dyn ClientCertVerifier>, BadPem> {
        let bad = |problem: String| BadPem { name: ca.name.clone(), problem };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), self.provider());
        verifier.build().map_err(|error| bad(error.to_string()))
    }

    /// The one for a client that asks for `name`, if it does, and can check signatures of `schemes`.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let can_check = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        // A name needs no look where there is no choice.
        let name = name.filter(|_| self.keys.len() > 1).and_then(|name| ServerName::try_from(name).ok());
        let is_for = |key: &&Arc<CertifiedKey>| name.as_ref().is_some_and(|name| is_for(key, name));
        let named = self.keys.iter().find(|key| can_check(key) && is_for(key));
        named.or_else(|| self.keys.iter().find(can_check)).map(Arc::clone)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

/// Whether the certificate says that it is for `name`, itself or by `*.`.
fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    parsed.is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
}

fn read_pair(Pair { certificate, key }: &Pair, provider: &CryptoProvider) -> Result<CertifiedKey, BadPem> {
    let chain = certificates(certificate)?;
    let of_key = |problem: String| BadPem { name: key.name.clone(), problem };
    let private = PrivateKeyDer::from_pem_slice(&key.text)
        .map_err(|_| of_key("there is no private key in it, as PEM and without a passphrase".to_owned()))?;
    let pair = CertifiedKey::from_der(chain, private, provider);
    pair.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => of_key(format!("it is not the key of {}", certificate.name)),
        error => of_key(error.to_string()),
    })
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, BadPem> {
    let bad = |problem: String| BadPem { name: pem.name.clone(), problem };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.text).collect();
    let found = found.map_err(|error| bad(error.to_string()))?;
    if found.is_empty() {
        return Err(bad("there is no certificate in it, as PEM".to_owned()));
    }
    for certificate in &found {
        ParsedCertificate::try_from(certificate).map_err(|error| bad(error.to_string()))?;
    }
    Ok(found)
}
