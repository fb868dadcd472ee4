//! A stand-in for the server: just enough of protocol v1, a thread for each connection, and on demand one fault.
//!
//! Invariant: one hub thread owns all state and does all sending, so that without a fault every subscriber sees every
//! change once and in order.

mod hub;
pub mod process;
pub mod redis;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread;

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
}

pub enum Event {
    Joined(u64, Box<WebSocket<TcpStream>>),
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

fn serve(connection: u64, stream: TcpStream, events: &Sender<Event>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut incoming = tungstenite::accept(stream).ok()?;
    let twin = incoming.get_ref().try_clone().ok()?;
    let outgoing = WebSocket::from_raw_socket(twin, Role::Server, None);
    events.send(Event::Joined(connection, Box::new(outgoing))).ok()?;
    while let Ok(message) = incoming.read() {
        if let Message::Text(text) = message {
            events.send(Event::Said(connection, text.as_str().to_owned())).ok()?;
        }
    }
    events.send(Event::Gone(connection)).ok()
}
