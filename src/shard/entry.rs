//! How a connection becomes one of its user's, and how it stops being one: `directory/` at the home of the user decides.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::Shard;
use super::access::{Awaited, Upgrade};
use super::clients::{End, Listed, turned_away};
use super::requests::Waiting;
use crate::auth::Principal;
use crate::config::Rates;
use crate::hooks::{Happened, Kind};
use crate::mesh::{Answer, ConnectionId, Enter, Item, ReplyTo, Request, ShardIndex, TurnedAway, Writer};
use crate::metrics::Refusal;
use crate::wire::Close;

impl Shard {
    /// Has the home of its user take on a connection; what is awaited goes on then.
    pub(super) fn enter(&mut self, id: ConnectionId, principal: Arc<Principal>, awaited: Awaited) {
        let Some(connection) = self.clients.get(id) else { return };
        let identity = &principal.identity;
        let named = || connection.of_user.as_ref()?.named_session.clone();
        let session = identity.session.clone().or_else(named);
        let rates = self.clients.rates_of(self.rates_of_roles(&principal));
        let user = Arc::clone(&identity.user);
        let home = self.home_of_user(&user);
        let dialect = match &awaited {
            Awaited::Upgrade(upgrade) => upgrade.dialect,
            Awaited::Request(_) => connection.dialect,
        };
        let hears_directs = self.clients.dialect(dialect).hears_directs();
        let waiting = Waiting::Entry { principal, awaited };
        let reply = self.requests.wait_for(&mut self.turn, &mut self.clients, (id, None), waiting, 1);
        let enter = Enter { reply, user, session, rates, hears_directs };
        if home == self.turn.index {
            let outcome = self.enter_here(enter);
            self.entry_answered(reply, outcome);
        } else {
            self.turn.outgoing.push(home, Item::Request(Request::Enter(Box::new(enter))));
        }
    }

    /// Another shard asks for one more connection of a user whose home is here.
    pub(super) fn enter_asked(&mut self, enter: Enter) {
        let reply = enter.reply;
        let outcome = self.enter_here(enter);
        self.turn.outgoing.push(reply.shard, Item::Answer(Answer::Enter { reply, outcome }));
    }

    fn enter_here(&mut self, enter: Enter) -> Result<u32, TurnedAway> {
        let Self { turn, clients, directory, .. } = self;
        let Enter { reply, user, session, rates, hears_directs } = enter;
        let counted = clients.count_connection_of_user(turn, &user, rates);
        counted
            .map_err(|ms| TurnedAway { reason: Refusal::UserRate, retry_after_ms: NonZeroU32::new(ms) })?;
        let told = turn.happenings.wants(Kind::Connected).then(|| session.clone());
        let entered = directory.enter(turn, reply.writer(), &user, (session, hears_directs))?;
        if let Some(session) = told.filter(|_| entered.is_first) {
            turn.happenings.tell(turn.now.unix_ms, Happened::Connected { user, session });
        }
        Ok(entered.place)
    }

    /// The home of its user has decided about a connection.
    pub(super) fn entry_answered(&mut self, reply: ReplyTo, outcome: Result<u32, TurnedAway>) {
        let id = reply.connection;
        let Some(request) = self.requests.end_wait(&mut self.turn, &mut self.clients, reply) else { return };
        let Waiting::Entry { principal, awaited } = request.waiting else { return };
        let home = self.home_of_user(&principal.identity.user);
        let Some(connection) = self.clients.get_mut(id).filter(|found| found.is_connected()) else {
            // It left before the answer came: it must be taken off the list again.
            if let Ok(place) = outcome {
                self.leave_directory(id, Listed { home, place }, Close::Gone);
            }
            return;
        };
        match outcome {
            Ok(place) => connection.of_user.get_or_insert_default().listed = Some(Listed { home, place }),
            Err(refused) => connection.refusal = Some(refused),
        }
        let believed = self.still_believed(principal);
        match (awaited, outcome) {
            (Awaited::Upgrade(Upgrade { dialect, response, .. }), _) => {
                self.open(id, dialect, &response, Some(believed));
            }
            (Awaited::Request(ticket), Ok(_)) => self.request_verified(id, ticket.as_ref(), believed),
            (Awaited::Request(_), Err(refused)) => {
                self.turn.metrics.count_refusal(refused.reason);
                let close = turned_away(refused, &mut self.turn.random);
                self.disconnect(id, close);
            }
        }
    }

    /// A connection of a user is open, which may end others.
    pub(super) fn tell_settled(&mut self, id: ConnectionId) {
        let listed = self
            .clients
            .get(id)
            .filter(|found| found.is_open())
            .and_then(|found| found.of_user.as_ref()?.listed);
        let Some(Listed { home, place }) = listed.filter(|_| self.directory.wants_settled()) else { return };
        let by = Writer { shard: self.turn.index, connection: id };
        if home == self.turn.index {
            self.settled(place, by);
        } else {
            self.turn.outgoing.push(home, Item::Settled { place, by });
        }
    }

    /// The same, at the home of the user.
    pub(super) fn settled(&mut self, place: u32, by: Writer) {
        let Self { turn, clients, directory, .. } = self;
        directory.settled(turn, place, by, |turn, Writer { shard, connection }| {
            if shard == turn.index {
                clients.end_later(connection, End::Displaced);
            } else {
                turn.outgoing.push(shard, Item::Displaced { connection });
            }
        });
    }

    /// A connection is gone, of whatever cause: tells the home of its user. That waits in order where the mesh is full, and is
    /// not lost.
    pub(super) fn end_entry(&mut self, id: ConnectionId, close: Close) {
        self.clients.close_purse(id);
        let of_user = self.clients.get_mut(id).and_then(|connection| connection.of_user.take());
        if let Some(listed) = of_user.and_then(|of_user| of_user.listed) {
            self.leave_directory(id, listed, close);
        }
    }

    fn leave_directory(&mut self, connection: ConnectionId, Listed { home, place }: Listed, close: Close) {
        let by = Writer { shard: self.turn.index, connection };
        if home == self.turn.index {
            self.left(place, by, close);
        } else {
            self.turn.outgoing.push(home, Item::Left { place, by, close });
        }
    }

    /// A connection of a user whose home is here is gone.
    pub(super) fn left(&mut self, place: u32, by: Writer, close: Close) {
        if let Some(user) = self.directory.leave(&mut self.turn, place, by) {
            let what = Happened::Disconnected { user, code: close.code(), reason: close.cause() };
            self.turn.happenings.tell(self.turn.now.unix_ms, what);
        }
    }

    /// A connection is one of a user, who pays for it from now on.
    pub(super) fn join_user(&mut self, id: ConnectionId, principal: &Principal) {
        let of_roles = self.rates_of_roles(principal);
        self.clients.join_user(&self.turn, id, &principal.identity.user, of_roles);
    }

    fn rates_of_roles(&self, principal: &Principal) -> Option<Rates> {
        let rules = self.access.standing().rules.as_ref()?;
        rules.rates(&principal.identity)
    }

    /// The connections that a user has on all shards, if its home is here, and the session of each.
    pub fn connections_of_user(&self, user: &str) -> impl Iterator<Item = (Writer, Option<&str>)> {
        self.directory.of_user(&self.turn.hasher, user)
    }

    /// The shard that knows the connections of a user.
    pub fn home_of_user(&self, user: &str) -> ShardIndex {
        self.turn.owner(self.turn.hasher.user(user))
    }
}
