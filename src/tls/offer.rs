//! What new connections are offered. Each keeps what it was offered when it began, whatever is read later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{ServerConfig, version};

use super::certificates::{BadPem, Certificates, Pair, Pem};

/// What `rustls` serves with, and what a handshake may cost with it.
#[derive(Debug)]
pub struct Offer {
    pub config: Arc<ServerConfig>,
    /// Whether signatures may be of RSA, which take about a millisecond.
    pub may_sign_slowly: bool,
    tickets: Arc<dyn ProducesTickets>,
    client_ca: Option<Pem>,
}

impl Offer {
    /// TLS 1.2 and 1.3 with these certificates, and ALPN `http/1.1`. With `client_ca`, only for who shows a certificate
    /// that one of those in it has signed. Tickets of the offer `before` go on to be taken, unless it asked for other
    /// certificates of clients: a ticket stands for the one that was shown when it was given.
    ///
    /// # Errors
    /// [`BadPem`] for what cannot be used.
    pub fn new(pairs: &[Pair], client_ca: Option<&Pem>, before: Option<&Self>) -> Result<Self, BadPem> {
        let certificates = Certificates::read(pairs)?;
        let failed = |error: rustls::Error| BadPem {
            name: "TLS".to_owned(),
            problem: format!("it cannot be had: {error}"),
        };
        let builder = ServerConfig::builder_with_provider(certificates.provider())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(failed)?;
        let builder = match client_ca {
            Some(ca) => builder.with_client_cert_verifier(certificates.client_verifier(ca)?),
            None => builder.with_no_client_auth(),
        };
        let tickets = match before.filter(|before| before.client_ca.as_ref() == client_ca) {
            Some(before) => Arc::clone(&before.tickets),
            None => Ticketer::new().map_err(failed)?,
        };
        let may_sign_slowly = certificates.have_rsa();
        let mut config = builder.with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Tickets hold the sessions, so that any shard takes up what another began, and nothing is kept here. A client needs
        // one: it comes back with one connection.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::clone(&tickets);
        config.send_tls13_tickets = 1;
        Ok(Self { config: Arc::new(config), may_sign_slowly, tickets, client_ca: client_ca.cloned() })
    }
}

/// The offer in force, which all shards read and one thread replaces.
#[derive(Clone, Debug)]
pub struct Current(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    offer: ArcSwap<Offer>,
    reloads: AtomicU64,
    refused: AtomicU64,
}

impl Current {
    pub fn new(offer: Offer) -> Self {
        let offer = ArcSwap::from_pointee(offer);
        Self(Arc::new(Shared { offer, reloads: AtomicU64::new(0), refused: AtomicU64::new(0) }))
    }

    /// What a connection that begins now is offered. Waits for nobody.
    pub fn offer(&self) -> Arc<Offer> {
        self.0.offer.load_full()
    }

    /// Offers this from now on.
    pub fn replace(&self, offer: Offer) {
        self.0.offer.store(Arc::new(offer));
        self.0.reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes note that files could not be used.
    pub fn note_refused(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How often files were read that counted from then on, and how often some that could not be used.
    pub fn reloads(&self) -> (u64, u64) {
        (self.0.reloads.load(Ordering::Relaxed), self.0.refused.load(Ordering::Relaxed))
    }
}
