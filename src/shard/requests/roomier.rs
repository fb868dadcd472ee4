//! Connections that may have room by now for an answer that was too long.
//!
//! Invariant: who is in line is in it once, and is marked (`Connection::may_read_on`). So the line is no longer than there are
//! connections, however long nothing large may be begun.

use std::collections::VecDeque;
use std::mem;

use crate::mesh::ConnectionId;
use crate::shard::clients::{Clients, Connection};

/// See the module.
#[derive(Default)]
pub struct Roomier {
    line: VecDeque<ConnectionId>,
}

impl Roomier {
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Has a connection looked at, if it is not in line.
    pub fn note(&mut self, connection: &mut Connection) {
        if !mem::replace(&mut connection.may_read_on, true) {
            self.line.push_back(connection.id);
        }
    }

    /// Takes who has been in line longest.
    pub fn next(&mut self, clients: &mut Clients) -> Option<ConnectionId> {
        loop {
            let id = self.line.pop_front()?;
            if let Some(connection) = clients.get_mut(id) {
                connection.may_read_on = false;
                return Some(id);
            }
        }
    }

    /// Puts who was taken back in its place, if it is not in line again by now.
    pub fn put_back(&mut self, clients: &mut Clients, id: ConnectionId) {
        if let Some(connection) = clients.get_mut(id)
            && !mem::replace(&mut connection.may_read_on, true)
        {
            self.line.push_front(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    use super::*;
    use crate::mesh::KeyHasher;
    use crate::shard::{Now, Shared};

    /// Some connections, and all of them in line in that order.
    fn in_line<const N: usize>() -> (Clients, [ConnectionId; N], Roomier) {
        let shared = Shared {
            config: Arc::default(),
            dialects: &[],
            epoch: 1,
            hasher: KeyHasher::new(1),
            connections: Arc::default(),
            process: Default::default,
            storage: None,
            tls: None,
        };
        let mut clients = Clients::new(&shared, 1, Now::default());
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let ids = [(); N].map(|()| clients.insert(|id| Connection::new(id, address, 0, 0)));
        let mut roomier = Roomier::default();
        ids.iter().for_each(|id| roomier.note(clients.at_mut(id.index)));
        (clients, ids, roomier)
    }

    fn rest(roomier: &mut Roomier, clients: &mut Clients) -> Vec<ConnectionId> {
        std::iter::from_fn(|| roomier.next(clients)).collect()
    }

    #[test]
    fn who_is_in_line_is_in_it_once_and_may_come_again() {
        let (mut clients, [a, b], mut roomier) = in_line();
        for _ in 0..100 {
            roomier.note(clients.at_mut(a.index));
        }
        assert_eq!(roomier.line.len(), 2, "the line is no longer than there are connections");
        assert_eq!(roomier.next(&mut clients), Some(a));
        roomier.note(clients.at_mut(a.index));
        assert_eq!(rest(&mut roomier, &mut clients), [b, a]);
        assert!(roomier.is_empty());
    }

    #[test]
    fn who_is_put_back_comes_first_unless_it_is_in_line_by_then() {
        let (mut clients, [a, b], mut roomier) = in_line();
        assert_eq!(roomier.next(&mut clients), Some(a));
        roomier.put_back(&mut clients, a);
        roomier.note(clients.at_mut(a.index));
        assert_eq!(roomier.next(&mut clients), Some(a));
        roomier.note(clients.at_mut(a.index));
        roomier.put_back(&mut clients, a);
        assert_eq!(rest(&mut roomier, &mut clients), [b, a], "it is behind others, and once");
    }

    #[test]
    fn who_is_gone_is_passed_over_and_its_slot_stands_for_nobody_else() {
        let (mut clients, [a, b, c], mut roomier) = in_line();
        // Others have their slots.
        for id in [a, b] {
            let other = ConnectionId { generation: id.generation + 10, ..id };
            clients.at_mut(id.index).id = other;
            clients.at_mut(id.index).may_read_on = false;
        }
        roomier.put_back(&mut clients, a);
        assert_eq!(rest(&mut roomier, &mut clients), [c]);
        assert!(roomier.is_empty() && !clients.at_mut(a.index).may_read_on);
    }
}
