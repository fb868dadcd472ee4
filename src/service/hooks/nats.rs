//! A connection to a NATS server that publishes, as <https://docs.nats.io/reference/reference-protocols/nats-protocol> has it.
//!
//! The server handles what one connection sends in order, so its `PONG` says that it has all that was published before the `PING`:
//! that is the acknowledgement that the core protocol lacks. Each message has the id of its event as `Nats-Msg-Id`, by which a
//! stream of JetStream knows what it is sent twice.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::ConfigBuilderExt;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::batch::Encoded;
use crate::config::NatsConfig;

/// How long connecting, or a batch, may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one line of the server: its `INFO` lists a cluster.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// See the module.
pub struct Nats {
    config: NatsConfig,
    connection: Option<Connection>,
}

struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    info: Info,
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// What is of interest in the `INFO` of a server.
#[derive(Deserialize)]
#[serde(default)]
struct Info {
    headers: bool,
    max_payload: usize,
    tls_required: bool,
}

impl Default for Info {
    fn default() -> Self {
        Self { headers: false, max_payload: 1 << 20, tls_required: false }
    }
}

impl Nats {
    pub const fn new(config: NatsConfig) -> Self {
        Self { config, connection: None }
    }

    /// Publishes events below `prefix`, and waits until the server has them.
    ///
    /// # Errors
    /// Why it may not have all of them.
    pub async fn publish(&mut self, prefix: &str, events: &[Rc<Encoded>]) -> Result<(), String> {
        let attempt = async {
            if self.connection.is_none() {
                self.connection = Some(Connection::open(&self.config).await?);
            }
            let connection = self.connection.as_mut().expect("it was opened");
            connection.publish(prefix, events).await
        };
        let outcome = tokio::time::timeout(TIMEOUT, attempt).await;
        let outcome = outcome.unwrap_or_else(|_| Err(format!("no answer in {} s", TIMEOUT.as_secs())));
        if outcome.is_err() {
            // Where it stands is not known.
            self.connection = None;
        }
        outcome
    }
}

impl Connection {
    async fn open(config: &NatsConfig) -> Result<Self, String> {
        let failed = |error: std::io::Error| error.to_string();
        let stream = TcpStream::connect((&*config.host, config.port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let mut plain = BufReader::new(stream);
        let line = read_line(&mut plain).await?;
        let info = line.strip_prefix("INFO ").ok_or("it is no NATS server")?;
        let info: Info = serde_json::from_str(info).map_err(|error| format!("its INFO: {error}"))?;
        if info.tls_required && !config.uses_tls {
            return Err("it wants TLS; name it with tls://".to_owned());
        }
        let stream: Box<dyn Stream> = match config.uses_tls {
            false => Box::new(plain.into_inner()),
            true => Box::new(secured(plain.into_inner(), &config.host).await?),
        };
        let mut connection = Self { stream: BufReader::new(stream), info };
        let connect = format!("CONNECT {}\r\n", hello(config)?);
        connection.stream.write_all(connect.as_bytes()).await.map_err(failed)?;
        // What it thinks of that comes before the answer.
        connection.round_trip().await?;
        Ok(connection)
    }

    async fn publish(&mut self, prefix: &str, events: &[Rc<Encoded>]) -> Result<(), String> {
        let mut out = Vec::new();
        for event in events {
            if event.json.len() > self.info.max_payload {
                return Err(format!(
                    "an event has {} bytes, and it takes {}",
                    event.json.len(),
                    self.info.max_payload
                ));
            }
            let (subject, len) = (&event.subject, event.json.len());
            if self.info.headers {
                let headers = format!("NATS/1.0\r\nNats-Msg-Id: {}\r\n\r\n", event.id);
                let head =
                    format!("HPUB {prefix}.{subject} {} {}\r\n{headers}", headers.len(), headers.len() + len);
                out.extend_from_slice(head.as_bytes());
            } else {
                out.extend_from_slice(format!("PUB {prefix}.{subject} {len}\r\n").as_bytes());
            }
            out.extend_from_slice(&event.json);
            out.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&out).await.map_err(|error| error.to_string())?;
        self.round_trip().await
    }

    /// Waits until the server has handled all that it was sent.
    async fn round_trip(&mut self) -> Result<(), String> {
        let failed = |error: std::io::Error| error.to_string();
        self.stream.write_all(b"PING\r\n").await.map_err(failed)?;
        self.stream.flush().await.map_err(failed)?;
        loop {
            let line = read_line(&mut self.stream).await?;
            match line.split(' ').next().unwrap_or_default() {
                "PONG" => return Ok(()),
                "PING" => {
                    self.stream.write_all(b"PONG\r\n").await.map_err(failed)?;
                    self.stream.flush().await.map_err(failed)?;
                }
                "-ERR" => return Err(format!("it says {}", line["-ERR".len()..].trim())),
                // It goes on about its cluster.
                _ => {}
            }
        }
    }
}

async fn secured(stream: TcpStream, host: &str) -> Result<impl Stream + use<>, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.try_with_platform_verifier())
        .map_err(|error| error.to_string())?
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.map_err(|error| error.to_string())
}

/// Who this is.
fn hello(config: &NatsConfig) -> Result<String, String> {
    let mut hello = json!({
        "verbose": false, "pedantic": false, "tls_required": config.uses_tls, "lang": "annulus",
        "version": env!("CARGO_PKG_VERSION"), "protocol": 1, "headers": true, "no_responders": false, "name": "annulus",
    });
    if let Some(file) = &config.credentials_file {
        let failed = |error| format!("--nats-credentials-file {}: {error}", file.display());
        let content = std::fs::read_to_string(file).map_err(failed)?;
        match content.trim_ascii_end().split_once(':') {
            Some((user, password)) => (hello["user"], hello["pass"]) = (json!(user), json!(password)),
            None => hello["auth_token"] = json!(content.trim_ascii_end()),
        }
    }
    Ok(hello.to_string())
}

async fn read_line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Result<String, String> {
    let mut line = Vec::new();
    let read = stream.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await;
    read.map_err(|error| error.to_string())?;
    if line.last() != Some(&b'\n') {
        return Err("it has closed the connection".to_owned());
    }
    Ok(String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
}
