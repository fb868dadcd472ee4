//! A stand-in for the server: just enough of protocol v1, and of SyncKit in its terms, a thread for each connection, and on demand one fault.
//!
//! Invariant: one hub thread owns all state and does all sending, so that without a fault every subscriber sees every
//! change once and in order.

mod hub;
mod messaging;
mod presence;
pub mod process;
pub mod redis;
mod socketio;
mod synckit;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use jsonwebtoken::{DecodingKey, Validation, decode};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

/// What the stand-in does wrong, once, at the event of that number (from 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    LoseDelivery(u64),
    RepeatDelivery(u64),
    /// Holds a delivery back until the next one to the same subscriber has gone.
    SwapDelivery(u64),
    /// Changes one character of the value.
    DamageDelivery(u64),
    /// Sends the right value under another key.
    MisplaceDelivery(u64),
    LoseAck(u64),
    RepeatAck(u64),
    /// Acks a write that it does not store.
    ForgetWrite(u64),
    RejectWrite(u64),
    /// Answers with the id of another ping.
    WrongPong(u64),
    LosePong(u64),
    /// Leaves one entry out of a snapshot of many.
    ThinSnapshot,
    /// Sends one entry of a snapshot twice.
    RepeatSnapshotEntry,
    /// Forgets, on resume, what the client has missed.
    EmptyResume,
    CloseConnection(u64),
    /// Answers at level memory a write that asked for durable.
    WeakenAck(u64),
    /// Rejects a whole write as overloaded, to be tried again at once.
    Overload(u64),
    /// Of what it has stored, does not read the last write when it starts again.
    ForgetOnStart,
    /// Has another digest when it starts again.
    DamageOnStart,
    /// Ends on its own in an orderly stop, but not well.
    EndBadly,
    /// Keeps a member whose connection is gone.
    KeepMember,
    /// Has kept less of a channel than a client has missed, and says so.
    TrimChannel,
    /// Keeps direct messages that were acknowledged.
    ForgetAcks,
}

/// The sending side of a connection.
pub struct Peer {
    outgoing: WebSocket<TcpStream>,
    speech: Speech,
    /// Who it has shown to be.
    user: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Native,
    SyncKit,
    SocketIo,
}

/// What tokens are signed with.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[derive(serde::Deserialize)]
struct Claims {
    sub: String,
}

/// The user of a token; `None` for one that is not believed.
fn user_of(header: &str) -> Option<String> {
    let (key, validation) = (DecodingKey::from_secret(SECRET.as_bytes()), Validation::default());
    let token = header.strip_prefix("Bearer ")?;
    Some(decode::<Claims>(token, &key, &validation).ok()?.claims.sub)
}

pub enum Event {
    Joined(u64, Box<Peer>),
    Said(u64, String),
    Gone(u64),
}

/// Starts it on a free port; it lives as long as the test process.
pub fn start(fault: Fault) -> SocketAddr {
    start_at("127.0.0.1:0", hub::Hub::new(fault))
}

fn start_at(address: &str, hub: hub::Hub) -> SocketAddr {
    let listener = TcpListener::bind(address).expect("the port is free");
    let address = listener.local_addr().expect("the listener is bound");
    let (events, inbox) = channel();
    thread::spawn(move || hub.run(&inbox));
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let events = events.clone();
            let Ok(stream) = stream else { continue };
            thread::spawn(move || serve(number as u64, stream, &events));
        }
    });
    address
}

#[expect(clippy::result_large_err, reason = "tungstenite wants the closure to return a whole response")]
fn serve(connection: u64, stream: TcpStream, events: &Sender<Event>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let (mut speech, mut user) = (Speech::Native, None);
    let mut incoming = tungstenite::accept_hdr(stream, |request: &Request, response: Response| {
        speech = match request.uri().path() {
            synckit::PATH => Speech::SyncKit,
            socketio::PATH => Speech::SocketIo,
            _ => Speech::Native,
        };
        user = request.headers().get("Authorization").and_then(|header| user_of(header.to_str().ok()?));
        Ok(response)
    })
    .ok()?;
    let twin = incoming.get_ref().try_clone().ok()?;
    let outgoing = WebSocket::from_raw_socket(twin, Role::Server, None);
    events.send(Event::Joined(connection, Box::new(Peer { outgoing, speech, user }))).ok()?;
    while let Ok(message) = incoming.read() {
        let text = match message {
            Message::Text(text) if speech == Speech::Native => text.as_str().to_owned(),
            Message::Text(text) if speech == Speech::SocketIo => socketio::request(text.as_str()),
            Message::Binary(bytes) if speech == Speech::SyncKit => synckit::request(&bytes),
            _ => continue,
        };
        events.send(Event::Said(connection, text)).ok()?;
    }
    events.send(Event::Gone(connection)).ok()
}
