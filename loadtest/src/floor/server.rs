//! The floor's server: one pinned thread, one ring, bytes counted and nothing else.
//!
//! What came in one turn is answered by one send per connection, as the real server does it, from memory that is
//! never touched.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::{ROLE_ECHO, ROLE_PUBLISHER, Shape};
use crate::clock::pin_to_core;
use crate::cpu::{Subject, own_thread};
use crate::failure::Failure;
use crate::ring::{Event, Ring, SocketId};

/// Most bytes one send can carry: as much as a socket buffer takes at once.
const BLOB_BYTES: usize = 1 << 20;
/// How soon a stop is noticed.
const TURN: Duration = Duration::from_millis(50);
/// Length of the accept queue, as the server's default.
const BACKLOG: i32 = 4096;

pub struct FloorServer {
    pub address: SocketAddr,
    pub thread: Subject,
    stop: Arc<AtomicBool>,
    handle: JoinHandle<std::io::Result<()>>,
}

impl FloorServer {
    /// # Errors
    /// [`Failure::Setup`] when the core is not ours, or there is no io_uring.
    pub fn start(shape: Shape, core: usize) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, started) = channel();
        let stopped = Arc::clone(&stop);
        let handle = std::thread::Builder::new()
            .name("floor".to_owned())
            .spawn(move || serve(shape, core, &ready, &stopped))?;
        match started.recv() {
            Ok((address, thread)) => Ok(Self { address, thread, stop, handle }),
            Err(_) => {
                Err(Failure::Setup(format!("the floor did not start on core {core}: {}", ended(handle))))
            }
        }
    }

    /// # Errors
    /// The system call that failed in its thread.
    pub fn stop(self) -> Result<(), Failure> {
        self.stop.store(true, Ordering::Relaxed);
        match self.handle.join() {
            Ok(result) => Ok(result?),
            Err(_) => Err(Failure::Setup("the floor's thread panicked".to_owned())),
        }
    }
}

fn ended(handle: JoinHandle<std::io::Result<()>>) -> String {
    match handle.join() {
        Ok(Err(error)) => error.to_string(),
        _ => "its thread ended".to_owned(),
    }
}

fn serve(
    shape: Shape,
    core: usize,
    ready: &Sender<(SocketAddr, Subject)>,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    pin_to_core(core)?;
    let listener = listen()?;
    let address = listener.local_addr()?;
    let mut ring = Ring::new(BLOB_BYTES)?;
    ring.listen(listener)?;
    // Nobody listens any more when the run was given up; the stop flag will say so.
    let _ = ready.send((address, own_thread()));
    let mut floor = Floor { shape, peers: Vec::new(), subscribers: Vec::new(), publishes: 0 };
    while !stop.load(Ordering::Relaxed) {
        ring.turn(Some(TURN), |ring, event| floor.handle(ring, event))?;
        floor.end_turn(&mut ring);
    }
    Ok(())
}

/// A listener with a queue as long as the server's; that of `std` is too short for thousands at once.
fn listen() -> std::io::Result<TcpListener> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

struct Floor {
    shape: Shape,
    /// By label: the order of their arrival.
    peers: Vec<Peer>,
    subscribers: Vec<SocketId>,
    /// Publishes of this turn.
    publishes: usize,
}

#[derive(Clone, Copy)]
struct Peer {
    /// The first byte; 0 until it has come.
    role: u8,
    /// Bytes of a request that is not complete yet.
    partial_bytes: usize,
}

impl Floor {
    fn handle(&mut self, ring: &mut Ring, event: Event<'_>) -> std::io::Result<()> {
        match event {
            Event::Accepted(fd) => self.accept(ring, fd),
            Event::Received { socket, label, bytes } => {
                self.receive(ring, socket, label, bytes);
                Ok(())
            }
            Event::Ended { label, .. } => {
                // Only a run that is over hangs up; who is gone must not be sent to.
                self.peers[label as usize].role = 0;
                self.subscribers.clear();
                Ok(())
            }
        }
    }

    fn accept(&mut self, ring: &mut Ring, fd: OwnedFd) -> std::io::Result<()> {
        sockopt::set_tcp_nodelay(&fd, true)?;
        ring.add(fd, self.peers.len() as u32, None)?;
        self.peers.push(Peer { role: 0, partial_bytes: 0 });
        Ok(())
    }

    fn receive(&mut self, ring: &mut Ring, socket: SocketId, label: u32, bytes: &[u8]) {
        let peer = &mut self.peers[label as usize];
        let mut received = bytes.len();
        if peer.role == 0 {
            peer.role = bytes[0];
            received -= 1;
            ring.sockets().send_blob(socket, 1);
            if peer.role != ROLE_ECHO && peer.role != ROLE_PUBLISHER {
                self.subscribers.push(socket);
            }
        }
        let (request_bytes, answer_bytes) = match self.shape {
            Shape::Echo { request_bytes, reply_bytes, .. } => (request_bytes, reply_bytes),
            Shape::Fanout { publish_bytes, ack_bytes, .. } => (publish_bytes, ack_bytes),
        };
        peer.partial_bytes += received;
        let requests = peer.partial_bytes / request_bytes;
        peer.partial_bytes %= request_bytes;
        ring.sockets().send_blob(socket, requests * answer_bytes);
        if peer.role == ROLE_PUBLISHER {
            self.publishes += requests;
        }
    }

    fn end_turn(&mut self, ring: &mut Ring) {
        let Shape::Fanout { delivery_bytes, .. } = self.shape else { return };
        let publishes = std::mem::take(&mut self.publishes);
        if publishes == 0 {
            return;
        }
        for &subscriber in &self.subscribers {
            ring.sockets().send_blob(subscriber, publishes * delivery_bytes);
        }
    }
}
