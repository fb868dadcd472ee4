//! One shard and the clients that are connected to it, in the hands of a test: neither does anything that the test does not ask for.
//! A send completes in the turn after it, whole, unless its client is stalled.

#![allow(dead_code, reason = "not every test asks for all of it")]

use std::net::{IpAddr, Ipv4Addr};

use annulus::limits::PARSE_PADDING_BYTES;
use annulus::mesh::ConnectionId;
use annulus::shard::{Command, Now, Shard, Transport};

use crate::client_frames::{frame, take_frame, text_frame};
use crate::shards::{BEGIN, upgrade};

pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub const TURN_US: u64 = 100;

/// One client, and the shard it is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    pub shard: usize,
    pub id: ConnectionId,
}

/// See the module.
pub struct Driven {
    pub shard: Shard,
    /// It takes no turns.
    pub is_stopped: bool,
    arrived: Vec<(ConnectionId, Vec<u8>)>,
    failed: Vec<ConnectionId>,
    sent: Vec<(ConnectionId, usize)>,
    /// Clients that take nothing, and what was to be sent to them.
    stalled: Vec<ConnectionId>,
    held_back: Vec<HeldBack>,
    shut_down: Vec<ConnectionId>,
    closed: Vec<ConnectionId>,
    gone: Vec<ConnectionId>,
    inboxes: Vec<(ConnectionId, Vec<u8>)>,
    /// Turns since it last had anything for anybody.
    quiet_turns: u32,
}

/// What is under way to a client that takes nothing: how much, and what of that is not in its inbox.
struct HeldBack {
    id: ConnectionId,
    bytes: usize,
    unread: Vec<u8>,
}

/// The clock moves on to the next turn.
pub fn next_turn(now: &mut Now) {
    now.monotonic_us += TURN_US;
    now.unix_ms = BEGIN.unix_ms + (now.monotonic_us - BEGIN.monotonic_us) / 1000;
}

impl Driven {
    pub fn new(shard: Shard) -> Self {
        Self {
            shard,
            is_stopped: false,
            arrived: Vec::new(),
            failed: Vec::new(),
            sent: Vec::new(),
            stalled: Vec::new(),
            held_back: Vec::new(),
            shut_down: Vec::new(),
            closed: Vec::new(),
            gone: Vec::new(),
            inboxes: Vec::new(),
            quiet_turns: 0,
        }
    }

    /// One turn; what it commands beside what clients are sent and how they end.
    pub fn turn(&mut self, now: Now) -> Vec<Command> {
        self.shard.start_turn(now);
        for (id, bytes) in std::mem::take(&mut self.sent) {
            self.shard.sent(id, bytes);
        }
        for (id, mut octets) in std::mem::take(&mut self.arrived) {
            let len = octets.len();
            octets.resize(len + PARSE_PADDING_BYTES, 0);
            self.shard.received(id, &mut octets, len);
        }
        std::mem::take(&mut self.failed).into_iter().for_each(|id| self.shard.failed(id));
        std::mem::take(&mut self.shut_down).into_iter().for_each(|id| self.shard.received_end(id));
        for id in std::mem::take(&mut self.closed) {
            // Its sends have ended with it.
            self.held_back.retain(|held_back| held_back.id != id);
            self.gone.push(id);
            self.shard.released(id);
        }
        self.shard.drain_mesh();
        self.shard.end_turn();
        let mut commands = Vec::new();
        self.shard.take_commands(&mut commands);
        self.quiet_turns = if commands.is_empty() { self.quiet_turns + 1 } else { 0 };
        commands.retain(|&command| !self.carry_out(command));
        commands
    }

    /// Whether it was about a client.
    fn carry_out(&mut self, command: Command) -> bool {
        match command {
            Command::Send(id) => {
                let unread = self.shard.in_flight(id).collect::<Vec<_>>().concat();
                self.held_back.push(HeldBack { id, bytes: unread.len(), unread });
                if !self.stalled.contains(&id) {
                    self.take(id, usize::MAX);
                }
            }
            Command::Shutdown(id) => self.shut_down.push(id),
            Command::Close(id) => self.closed.push(id),
            _ => return false,
        }
        true
    }

    /// Whether nothing but time makes it do anything: what waits for room in the mesh has been offered again.
    pub fn is_idle(&self) -> bool {
        let has_input = !(self.arrived.is_empty() && self.sent.is_empty() && self.failed.is_empty());
        self.quiet_turns > 2 && self.shard.wait_us() != Some(0) && !has_input
    }

    /// Somebody beside it has done something for it: it is not idle.
    pub fn stir(&mut self) {
        self.quiet_turns = 0;
    }
}

// The clients.
impl Driven {
    /// A client that has said nothing yet, if there is room for one more.
    pub fn accept(&mut self, address: IpAddr) -> Option<ConnectionId> {
        self.accept_over(address, Transport::Plain)
    }

    /// The same where this is spoken.
    pub fn accept_over(&mut self, address: IpAddr, transport: Transport) -> Option<ConnectionId> {
        let id = self.shard.accepted(address, transport)?;
        self.inboxes.push((id, Vec::new()));
        Some(id)
    }

    /// A client that asks for a WebSocket, with a token or without.
    pub fn connect(&mut self, address: IpAddr, target: &str, token: Option<&str>) -> ConnectionId {
        let id = self.accept(address).unwrap();
        let mut request = upgrade(target);
        if let Some(token) = token {
            request.truncate(request.len() - 2);
            request.push_str(&format!("Authorization: Bearer {token}\r\n\r\n"));
        }
        self.receive(id, request.into_bytes());
        id
    }

    /// A client sends that, which the shard reads in its next turn.
    pub fn receive(&mut self, id: ConnectionId, octets: Vec<u8>) {
        self.arrived.push((id, octets));
    }

    /// The same, one message.
    pub fn send(&mut self, id: ConnectionId, text: &str) {
        self.receive(id, text_frame(text.as_bytes()));
    }

    /// The client says good-bye, which is read after what it has sent before.
    pub fn close(&mut self, id: ConnectionId) {
        self.receive(id, frame(0x88, &1000_u16.to_be_bytes()));
    }

    /// The client goes without a word, after what it has sent has arrived.
    pub fn fail(&mut self, id: ConnectionId) {
        self.failed.push(id);
    }

    /// The client sends nothing more, after what it has sent has arrived.
    pub fn end(&mut self, id: ConnectionId) {
        self.shut_down.push(id);
    }

    /// From now on the client takes nothing that it is sent.
    pub fn stall(&mut self, id: ConnectionId) {
        self.stalled.push(id);
    }

    /// It takes what it is sent again.
    pub fn resume(&mut self, id: ConnectionId) {
        self.stalled.retain(|&stalled| stalled != id);
        self.take(id, usize::MAX);
    }

    /// A client that takes nothing else takes so many bytes of what is under way to it, or what there is; what is left is to be sent
    /// again.
    pub fn take(&mut self, id: ConnectionId, bytes_max: usize) {
        let Some(place) = self.held_back.iter().position(|held_back| held_back.id == id) else { return };
        let HeldBack { bytes, unread, .. } = self.held_back.remove(place);
        let taken = bytes.min(bytes_max);
        self.sent.push((id, taken));
        self.inbox(id).extend(&unread[..taken.min(unread.len())]);
    }

    /// Puts what is under way to a client into its inbox, though it takes nothing of it yet.
    pub fn look_ahead(&mut self, id: ConnectionId) {
        let Some(held_back) = self.held_back.iter_mut().find(|held_back| held_back.id == id) else { return };
        let unread = std::mem::take(&mut held_back.unread);
        self.inbox(id).extend(unread);
    }

    /// Whether the server has closed the connection.
    pub fn is_gone(&self, id: ConnectionId) -> bool {
        self.gone.contains(&id)
    }

    /// What a client has been sent and has not read.
    pub fn inbox(&mut self, id: ConnectionId) -> &mut Vec<u8> {
        &mut self.inboxes.iter_mut().find(|(of, _)| *of == id).unwrap().1
    }

    /// The client reads the answer to its upgrade.
    pub fn read_head(&mut self, id: ConnectionId) {
        let inbox = self.inbox(id);
        let end = inbox.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        inbox.drain(..end);
    }

    /// The client reads all frames that it has been sent, and what comes before them.
    pub fn read_frames(&mut self, id: ConnectionId) -> Vec<(u8, Vec<u8>)> {
        if self.inbox(id).starts_with(b"HTTP/") {
            self.read_head(id);
        }
        let inbox = self.inbox(id);
        std::iter::from_fn(|| take_frame(inbox)).collect()
    }
}
