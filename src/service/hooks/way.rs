//! How a batch goes out.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::batch::{Encoded, array};
use super::http::{Failure, Http, without_query};
use super::nats::Nats;
use crate::config::NatsConfig;
use crate::hooks::Endpoint;
use crate::io::Clock;

/// Where events go.
#[derive(Clone, PartialEq, Eq)]
pub enum Way {
    Webhook {
        endpoint: Endpoint,
        secret: Option<Arc<[u8]>>,
    },
    /// What subjects begin with.
    Nats {
        subject: Box<str>,
    },
}

impl Way {
    /// What it is called in logs.
    pub fn name(&self) -> &str {
        match self {
            Self::Webhook { endpoint, .. } => without_query(&endpoint.url),
            Self::Nats { subject } => subject,
        }
    }

    /// Whether it is the same, if its secret may be another.
    pub fn leads_to(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Webhook { endpoint, .. }, Self::Webhook { endpoint: others, .. }) => {
                endpoint.url == others.url
            }
            (Self::Nats { subject }, Self::Nats { subject: others }) => subject == others,
            _ => false,
        }
    }
}

/// Sends batches.
pub struct Sender {
    http: Http,
    /// One connection for all who go there.
    nats: Option<Mutex<Nats>>,
    clock: Clock,
}

impl Sender {
    pub fn new(http: Http, nats: Option<&NatsConfig>, clock: Clock) -> Self {
        let nats = nats.map(|config| Mutex::new(Nats::new(config.clone())));
        Self { http, nats, clock }
    }

    /// Sends a batch once.
    ///
    /// # Errors
    /// Why it may not have come.
    pub async fn send(&self, way: &Way, events: &[Rc<Encoded>]) -> Result<(), String> {
        match way {
            Way::Webhook { endpoint, secret } => {
                let now_ms = self.clock.now().unix_ms;
                let sent = self.http.post(endpoint, secret.as_deref(), now_ms, array(events)).await;
                match sent {
                    // Its status was a receipt.
                    Ok(_) | Err(Failure::Body) => Ok(()),
                    Err(failure) => Err(failure.to_string()),
                }
            }
            Way::Nats { subject } => {
                let nats = self.nats.as_ref().ok_or("--nats-url names no server")?;
                nats.lock().await.publish(subject, events).await
            }
        }
    }
}
