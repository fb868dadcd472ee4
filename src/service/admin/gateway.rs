//! Connections to the engine, one for each key that is being used.
//!
//! Invariant: each request that was taken is answered once, by the engine or with why it will not be.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::StatusCode;
use futures_util::{SinkExt, StreamExt};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::answer::{Answer, OrderedFields, Refusal, status_of_close, status_of_code};
use crate::wire::http::is_trusted;

/// Connections at most; past it whoever has another key is told to come back.
const KEYS_MAX: usize = 256;
/// Requests of one key that wait at most, sent or not.
const WAITING_MAX: usize = 1024;
/// How long a connection to the engine may take to open, and stay unused.
const OPENING: Duration = Duration::from_secs(5);
const UNUSED: Duration = Duration::from_secs(60);
/// Bytes of one answer: more than the engine's largest.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// A request on its way.
struct Waiting {
    /// The message up to its id, and behind it.
    message: Outgoing,
    answer: oneshot::Sender<Answer>,
}

/// A message without an id.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub kind: &'static str,
    /// Its other fields, as JSON without braces; empty: none.
    pub fields: String,
}

impl Outgoing {
    fn text(&self, id: u64) -> String {
        let Self { kind, fields } = self;
        let comma = if fields.is_empty() { "" } else { "," };
        format!("{{\"type\":\"{kind}\",\"id\":{id}{comma}{fields}}}")
    }
}

/// See the module.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<tokio::sync::Mutex<HashMap<Box<str>, Connected>>>,
    engine: Engine,
    message_bytes_max: usize,
}

/// Where the engine is.
#[derive(Clone)]
pub struct Engine {
    pub target: SocketAddr,
    /// Networks whose connections have to begin with a header of the PROXY protocol.
    pub headed: Vec<IpNet>,
}

/// A connection, and whose it is once that is known.
struct Connected {
    sender: mpsc::Sender<Waiting>,
    user: Arc<OnceLock<String>>,
}

impl Gateway {
    pub fn new(engine: Engine, message_bytes_max: usize) -> Self {
        Self { shared: Arc::default(), engine, message_bytes_max }
    }

    /// Sends a message with a key, which is empty where none is asked for, and waits for its answer.
    pub async fn ask(&self, key: &str, message: Outgoing) -> Answer {
        let gone =
            || Refusal::new(StatusCode::BAD_GATEWAY, "closed", "the connection to the engine has ended");
        if message.fields.len() > self.message_bytes_max {
            const LONG: &str = "a request is at most --max-message-bytes long";
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", LONG));
        }
        let (answer, answered) = oneshot::channel();
        let sender = self.connection(key).await?;
        sender.try_send(Waiting { message, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => busy("too many requests of this key wait"),
            mpsc::error::TrySendError::Closed(_) => gone(),
        })?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Whom a key names that has been asked with.
    pub async fn user_of(&self, key: &str) -> Option<String> {
        self.shared.lock().await.get(key)?.user.get().cloned()
    }

    /// The connection that shows this key, which is opened if there is none.
    async fn connection(&self, key: &str) -> Result<mpsc::Sender<Waiting>, Refusal> {
        let mut connections = self.shared.lock().await;
        connections.retain(|_, connected| !connected.sender.is_closed());
        if let Some(connected) = connections.get(key) {
            return Ok(connected.sender.clone());
        }
        if connections.len() >= KEYS_MAX {
            return Err(busy("too many keys are being used"));
        }
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        let user = Arc::<OnceLock<String>>::default();
        connections.insert(key.into(), Connected { sender: sender.clone(), user: Arc::clone(&user) });
        let (key, engine) = (key.to_owned(), self.engine.clone());
        tokio::spawn(async move { Line::run(&engine, &key, &user, waiting).await });
        Ok(sender)
    }
}

fn busy(message: &str) -> Refusal {
    let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message);
    Refusal { retry_after_ms: Some(1_000), ..refusal }
}

/// What is looked at of a message of the engine.
#[derive(Deserialize)]
struct Received<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: Option<u64>,
    code: Option<String>,
    message: Option<String>,
    retry_after_ms: Option<u64>,
    user: Option<String>,
}

/// One connection to the engine.
struct Line {
    socket: WebSocketStream<TcpStream>,
    pending: HashMap<u64, oneshot::Sender<Answer>>,
    next_id: u64,
}

impl Line {
    /// Serves what waits for a key until nothing has come for a while, or the engine ends it.
    async fn run(engine: &Engine, key: &str, user: &OnceLock<String>, mut waiting: mpsc::Receiver<Waiting>) {
        let refusal = match timeout(OPENING, Self::open(engine, key, user)).await {
            Ok(Ok(line)) => line.serve(&mut waiting).await,
            Ok(Err(refusal)) => Some(refusal),
            Err(_) => Some(busy("the engine does not answer")),
        };
        // Nobody hands on more from here; who was waiting is told.
        waiting.close();
        let refusal = refusal.unwrap_or_else(|| busy("the connection to the engine was just closed"));
        while let Some(Waiting { answer, .. }) = waiting.recv().await {
            let _ = answer.send(Err(refusal.clone()));
        }
    }

    async fn open(
        Engine { target, headed }: &Engine,
        key: &str,
        user: &OnceLock<String>,
    ) -> Result<Self, Refusal> {
        let unreachable = |error: &dyn std::fmt::Display| {
            Refusal::new(StatusCode::BAD_GATEWAY, "closed", format!("the engine cannot be reached: {error}"))
        };
        let mut request: Request<()> =
            format!("ws://{target}/v1").into_client_request().map_err(|error| unreachable(&error))?;
        if !key.is_empty() {
            const BAD: &str = "the API key is none";
            let value = HeaderValue::try_from(format!("Bearer {key}"));
            let value = value.map_err(|_| Refusal::new(StatusCode::UNAUTHORIZED, "auth_failed", BAD))?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let mut stream = TcpStream::connect(*target).await.map_err(|error| unreachable(&error))?;
        stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let own = stream.local_addr().map_err(|error| unreachable(&error))?;
        if is_trusted(own.ip(), headed) {
            // From here a connection has to begin with a header: this one names nobody else.
            stream.write_all(b"PROXY UNKNOWN\r\n").await.map_err(|error| unreachable(&error))?;
        }
        let config = WebSocketConfig::default()
            .max_message_size(Some(ANSWER_BYTES_MAX))
            .max_frame_size(Some(ANSWER_BYTES_MAX));
        let opened = client_async_with_config(request, stream, Some(config)).await;
        let (socket, _) = opened.map_err(|error| unreachable(&error))?;
        let mut line = Self { socket, pending: HashMap::new(), next_id: 1 };
        if let Some(name) = line.greet(!key.is_empty()).await? {
            let _ = user.set(name);
        }
        Ok(line)
    }

    /// Waits until the engine has said who this is.
    async fn greet(&mut self, shows_key: bool) -> Result<Option<String>, Refusal> {
        loop {
            let text = self.receive().await.map_err(|refusal| {
                refusal.unwrap_or_else(|| {
                    Refusal::new(StatusCode::BAD_GATEWAY, "closed", "the engine has closed the connection")
                })
            })?;
            let Ok(received) = serde_json::from_str::<Received<'_>>(&text) else { continue };
            match received.kind {
                "hello" if !shows_key => return Ok(None),
                "authenticated" => return Ok(received.user),
                "error" => return Err(refusal_of(received)),
                _ => {}
            }
        }
    }

    /// The next text.
    ///
    /// # Errors
    /// The connection is over, and why if that was said.
    async fn receive(&mut self) -> Result<Utf8Bytes, Option<Refusal>> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Close(frame))) => return Err(frame.map(refusal_of_close)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// Why it ended; `None`: nobody has used it for a while, or nobody says.
    async fn serve(mut self, waiting: &mut mpsc::Receiver<Waiting>) -> Option<Refusal> {
        let ended = loop {
            let may_take = self.pending.len() < WAITING_MAX;
            tokio::select! {
                received = self.receive() => match received {
                    Ok(text) => self.answered(&text),
                    Err(refusal) => break refusal,
                },
                next = timeout(UNUSED, waiting.recv()), if may_take => match next {
                    Ok(Some(waiting)) => {
                        if self.send(waiting).await.is_err() {
                            break None;
                        }
                    }
                    Ok(None) => break None,
                    Err(_) if self.pending.is_empty() => break None,
                    Err(_) => {}
                },
            }
        };
        let refusal = ended.clone().unwrap_or_else(|| {
            Refusal::new(
                StatusCode::BAD_GATEWAY,
                "closed",
                "the engine ended the connection before it answered",
            )
        });
        for (_, answer) in self.pending.drain() {
            let _ = answer.send(Err(refusal.clone()));
        }
        let _ = self.socket.close(None).await;
        ended
    }

    async fn send(&mut self, waiting: Waiting) -> Result<(), ()> {
        let id = self.next_id;
        self.next_id += 1;
        let text = waiting.message.text(id);
        self.pending.insert(id, waiting.answer);
        self.socket.send(Message::text(text)).await.map_err(drop)
    }

    /// Hands an answer to whoever waits for it. What nobody has asked for is for clients that listen.
    fn answered(&mut self, text: &str) {
        let Ok(received) = serde_json::from_str::<Received<'_>>(text) else { return };
        let Some(answer) = received.id.and_then(|id| self.pending.remove(&id)) else { return };
        let outcome = match received.kind {
            "error" => Err(refusal_of(received)),
            _ => Ok(without_id(text)),
        };
        let _ = answer.send(outcome);
    }
}

/// An answer without what only its connection can know.
fn without_id(text: &str) -> Box<RawValue> {
    let mut fields: Vec<(String, Box<RawValue>)> = Vec::new();
    if let Ok(all) = serde_json::from_str::<OrderedFields>(text) {
        fields = all.0;
    }
    fields.retain(|(name, _)| name != "id" && name != "type");
    let parts: Vec<String> = fields
        .iter()
        .map(|(name, value)| {
            let name = serde_json::to_string(name).expect("text always serializes");
            format!("{name}:{value}")
        })
        .collect();
    let text = format!("{{{}}}", parts.join(","));
    RawValue::from_string(text).expect("put together from JSON")
}

fn refusal_of(received: Received<'_>) -> Refusal {
    let code = received.code.unwrap_or_default();
    Refusal {
        status: status_of_code(&code),
        message: received.message.unwrap_or_default(),
        retry_after_ms: received.retry_after_ms,
        code,
    }
}

fn refusal_of_close(frame: CloseFrame) -> Refusal {
    let code = u16::from(frame.code);
    let retry_after_ms = frame.reason.strip_prefix("retry_after_ms=").and_then(|ms| ms.parse().ok());
    let message = format!("the engine closed the connection with {code}: {}", frame.reason);
    Refusal { retry_after_ms, ..Refusal::new(status_of_close(code), "closed", message) }
}
