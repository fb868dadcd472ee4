//! Ending the connections of a user because somebody who may has said so: the home of the user knows where they are.

use super::Shard;
use super::caller::Asked;
use super::clients::End;
use super::requests::Waiting;
use super::work;
use crate::mesh::{Answer, Item, ReplyTo, Request, Writer};
use crate::shard::Event;

impl Shard {
    pub(super) fn ask_to_dismiss(&mut self, asked: Asked, user: &str) {
        let home = self.home_of_user(user);
        let Self { turn, clients, requests, .. } = self;
        let id = asked.connection();
        let reply = requests.wait_for(turn, clients, (id, asked.ticket), Waiting::Dismissal, 1);
        if home == turn.index {
            let connections = self.dismiss_here(user);
            self.dismissed(reply, connections);
        } else {
            turn.outgoing.push(home, Item::Request(Request::Dismiss { reply, user: user.into() }));
        }
    }

    /// Another shard has been told to end the connections of a user whose home is here.
    pub(super) fn dismiss_asked(&mut self, reply: ReplyTo, user: &str) {
        let connections = self.dismiss_here(user);
        self.turn.outgoing.push(reply.shard, Item::Answer(Answer::Dismissed { reply, connections }));
    }

    /// Has each of them ended by its shard; how many there are.
    pub(super) fn dismiss_here(&mut self, user: &str) -> u32 {
        let Self { turn, clients, directory, .. } = self;
        let mut connections = 0;
        for (Writer { shard, connection }, _) in directory.of_user(&turn.hasher, user) {
            connections += 1;
            if shard == turn.index {
                clients.end_later(connection, End::Dismissed);
            } else {
                turn.outgoing.push(shard, Item::Dismissed { connection });
            }
        }
        turn.spend(work::CELL + work::RECEIVER * u64::from(connections));
        connections
    }

    /// The home of a user has ended its connections.
    pub(super) fn dismissed(&mut self, reply: ReplyTo, connections: u32) {
        let Self { turn, clients, requests, .. } = self;
        let Some(request) = requests.end_wait(turn, clients, reply) else { return };
        let event = Event::Dismissed { ticket: request.ticket.as_ref(), connections };
        clients.tell(request.connection, turn.now, event);
    }
}
