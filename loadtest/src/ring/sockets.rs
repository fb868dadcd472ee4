//! The sockets of one ring and what each of them still has to send. No system calls.
//!
//! Invariant: a socket is on the dirty list exactly when it has something to send and no send in flight. A slot is
//! freed only after its last completion, so no completion ever meets another tenant.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::tls::Session;

/// Which slot a socket lives in, until it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketId(pub(super) u32);

pub struct Sockets {
    slots: Vec<Slot>,
    free: Vec<u32>,
    dirty: Vec<u32>,
    /// Bytes whose content nobody looks at; the floor sends from here without a copy.
    blob: Vec<u8>,
    /// Space for what was in records.
    plain: Vec<u8>,
}

#[derive(Default)]
struct Slot {
    fd: Option<OwnedFd>,
    /// What the owner calls this socket; given back with each event.
    label: u32,
    filling: Vec<u8>,
    flying: Vec<u8>,
    /// With TLS `filling` is plaintext, and `flying` records.
    tls: Option<Box<Session>>,
    /// Bytes of `flying` (or of the blob) the kernel has taken.
    flown: usize,
    /// Blob bytes that wait, and that are in flight.
    blob_waiting: usize,
    blob_flying: usize,
    sending: bool,
    receiving: bool,
    closing: bool,
}

/// What the kernel is to send: a pointer that stays valid until the completion of this send.
pub(super) struct Departure {
    pub fd: RawFd,
    pub start: *const u8,
    pub bytes: u32,
}

impl Sockets {
    /// `blob_bytes` is the most one [`Sockets::send_blob`] round can carry; 0 for those who never use it.
    pub(super) fn new(blob_bytes: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            blob: vec![b'.'; blob_bytes],
            plain: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, fd: OwnedFd, label: u32, tls: Option<Session>) -> SocketId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        *slot = Slot {
            fd: Some(fd),
            label,
            filling: std::mem::take(&mut slot.filling),
            flying: std::mem::take(&mut slot.flying),
            tls: tls.map(Box::new),
            ..Slot::default()
        };
        slot.filling.clear();
        if !slot.is_empty() {
            self.dirty.push(index);
        }
        SocketId(index)
    }

    /// What waits to be sent on this socket; whatever the caller appends leaves at the end of the turn.
    pub fn outgoing(&mut self, socket: SocketId) -> &mut Vec<u8> {
        let slot = &mut self.slots[socket.0 as usize];
        if !slot.sending && slot.is_empty() && !slot.closing {
            self.dirty.push(socket.0);
        }
        &mut slot.filling
    }

    /// Sends `bytes` bytes of any content, without touching them.
    pub fn send_blob(&mut self, socket: SocketId, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let slot = &mut self.slots[socket.0 as usize];
        if !slot.sending && slot.is_empty() && !slot.closing {
            self.dirty.push(socket.0);
        }
        slot.blob_waiting += bytes;
    }

    /// What is in these records of a socket with TLS; `None` without. To be given back.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn open_records(&mut self, socket: u32, records: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let slot = &mut self.slots[socket as usize];
        let was_empty = slot.is_empty();
        let Some(tls) = &mut slot.tls else { return Ok(None) };
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        tls.open(records, &mut plain)?;
        if was_empty && !slot.is_empty() && !slot.sending && !slot.closing {
            self.dirty.push(socket);
        }
        Ok(Some(plain))
    }

    pub(super) fn give_plain_back(&mut self, plain: Vec<u8>) {
        self.plain = plain;
    }

    pub(super) fn label(&self, socket: u32) -> u32 {
        self.slots[socket as usize].label
    }

    /// The descriptor of a socket that is open.
    pub fn fd_of(&self, socket: SocketId) -> Option<&OwnedFd> {
        self.fd(socket.0)
    }

    pub(super) fn fd(&self, socket: u32) -> Option<&OwnedFd> {
        self.slots[socket as usize].fd.as_ref()
    }

    pub(super) fn is_closing(&self, socket: u32) -> bool {
        self.slots[socket as usize].closing
    }

    pub(super) fn next_dirty(&mut self) -> Option<u32> {
        self.dirty.pop()
    }

    /// Moves what waits into flight; `None` when nothing waits or the socket is going away.
    pub(super) fn depart(&mut self, socket: u32) -> Option<Departure> {
        let slot = &mut self.slots[socket as usize];
        if slot.closing || slot.sending || slot.is_empty() {
            return None;
        }
        if let Some(tls) = &mut slot.tls {
            slot.flying.clear();
            tls.seal(&mut slot.filling, &mut slot.flying);
            if slot.flying.is_empty() {
                return None;
            }
        } else if slot.filling.is_empty() {
            slot.blob_flying = slot.blob_waiting.min(self.blob.len());
            slot.blob_waiting -= slot.blob_flying;
        } else {
            slot.flying.clear();
            std::mem::swap(&mut slot.filling, &mut slot.flying);
        }
        slot.flown = 0;
        slot.sending = true;
        Self::in_flight(slot, &self.blob)
    }

    /// Takes note of a completed send. Returns the rest when the kernel took only a part of it.
    pub(super) fn arrive(&mut self, socket: u32, bytes: usize) -> Option<Departure> {
        let slot = &mut self.slots[socket as usize];
        slot.flown += bytes;
        let total = if slot.blob_flying > 0 { slot.blob_flying } else { slot.flying.len() };
        if slot.flown < total && !slot.closing {
            return Self::in_flight(slot, &self.blob);
        }
        self.send_ended(socket);
        None
    }

    /// The send in flight is over, whole or failed.
    pub(super) fn send_ended(&mut self, socket: u32) {
        let slot = &mut self.slots[socket as usize];
        slot.sending = false;
        slot.blob_flying = 0;
        slot.flying.clear();
        if !slot.is_empty() && !slot.closing {
            self.dirty.push(socket);
        }
    }

    pub(super) fn set_receiving(&mut self, socket: u32, receiving: bool) {
        self.slots[socket as usize].receiving = receiving;
    }

    pub(super) fn set_closing(&mut self, socket: u32) {
        self.slots[socket as usize].closing = true;
    }

    /// Frees the slot if it is closing and the kernel holds nothing of it any more.
    pub(super) fn reap(&mut self, socket: u32) {
        let slot = &mut self.slots[socket as usize];
        if slot.closing && !slot.sending && !slot.receiving && slot.fd.take().is_some() {
            slot.tls = None;
            slot.filling.clear();
            slot.blob_waiting = 0;
            self.free.push(socket);
        }
    }

    /// Slots that still hold a socket.
    pub(super) fn open(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.fd.is_some()).map(|(index, _)| index as u32)
    }

    fn in_flight(slot: &Slot, blob: &[u8]) -> Option<Departure> {
        let all = if slot.blob_flying > 0 { &blob[..slot.blob_flying] } else { &slot.flying[..] };
        let rest = &all[slot.flown..];
        let fd = slot.fd.as_ref()?.as_raw_fd();
        Some(Departure { fd, start: rest.as_ptr(), bytes: rest.len().min(1 << 30) as u32 })
    }
}

impl Slot {
    fn is_empty(&self) -> bool {
        let has_records = self.tls.as_ref().is_some_and(|tls| tls.has_records());
        self.filling.is_empty() && self.blob_waiting == 0 && !has_records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets_with_one() -> (Sockets, SocketId) {
        let mut sockets = Sockets::new(16);
        let fd = OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        let id = sockets.insert(fd, 7, None);
        (sockets, id)
    }

    /// Goal: one send in flight, and what is queued meanwhile leaves with the next. Method: walk the states.
    #[test]
    fn second_send_waits_for_the_first_completion() {
        let (mut sockets, id) = sockets_with_one();
        sockets.outgoing(id).extend_from_slice(b"one");
        assert_eq!(sockets.next_dirty(), Some(id.0));
        assert_eq!(sockets.depart(id.0).map(|departure| departure.bytes), Some(3));
        sockets.outgoing(id).extend_from_slice(b"second");
        assert_eq!(sockets.next_dirty(), None, "dirty while a send is in flight");
        assert!(sockets.depart(id.0).is_none());
        assert!(sockets.arrive(id.0, 3).is_none());
        assert_eq!(sockets.next_dirty(), Some(id.0));
        assert_eq!(sockets.depart(id.0).map(|departure| departure.bytes), Some(6));
    }

    #[test]
    fn short_send_goes_on_where_it_stopped() {
        let (mut sockets, id) = sockets_with_one();
        sockets.outgoing(id).extend_from_slice(b"abcdef");
        let first = sockets.depart(id.0).map(|departure| departure.start).unwrap();
        let rest = sockets.arrive(id.0, 4).unwrap();
        assert_eq!((rest.start as usize - first as usize, rest.bytes), (4, 2));
    }

    #[test]
    fn blob_larger_than_one_round_leaves_in_several() {
        let (mut sockets, id) = sockets_with_one();
        sockets.send_blob(id, 40);
        let mut rounds = Vec::new();
        while let Some(socket) = sockets.next_dirty() {
            let departure = sockets.depart(socket).unwrap();
            rounds.push(departure.bytes);
            assert!(sockets.arrive(socket, departure.bytes as usize).is_none());
        }
        assert_eq!(rounds, [16, 16, 8]);
    }

    #[test]
    fn slot_is_freed_only_after_the_last_completion() {
        let (mut sockets, id) = sockets_with_one();
        sockets.set_receiving(id.0, true);
        sockets.outgoing(id).push(1);
        assert!(sockets.depart(id.0).is_some());
        sockets.set_closing(id.0);
        sockets.reap(id.0);
        assert_eq!(sockets.open().count(), 1);
        sockets.set_receiving(id.0, false);
        sockets.reap(id.0);
        assert_eq!(sockets.open().count(), 1, "the send is still in flight");
        sockets.send_ended(id.0);
        sockets.reap(id.0);
        assert_eq!(sockets.open().count(), 0);
    }
}
