//! Who a connection is, from its first token to its last, and what changes for it when another standing is in force.

use std::sync::Arc;

use super::access::{Access, Awaited, Due, GrantId, Regranted, Review, Shown, Upgrade};
use super::clients::Phase;
use super::{About, Caller, Event, Shard, work};
use crate::auth::rules::Action;
use crate::auth::{Principal, Standing, TokenError};
use crate::handover::{DeskPort, FromDesk, Refused, Verified};
use crate::limits::TOKEN_BYTES_MAX;
use crate::mesh::ConnectionId;
use crate::metrics::Refusal;
use crate::wire::{Close, Reject, Ticket};

/// Milliseconds after which to show a token again where too many wait.
const RETRY_AFTER_MS: u32 = 1_000;

impl Shard {
    /// From now on this is in force, and the desk, if there is one, says who tokens name. Called before the first connection.
    pub fn stand_under(&mut self, standing: Arc<Standing>, desk: Option<DeskPort>) {
        self.channels.stand_under(standing.rules.clone());
        self.access = Access::new(self.turn.config.auth, standing, desk);
        self.heed_hooks();
    }

    /// Has a client say who it is: [`Event::Authenticated`] follows, or [`Event::Rejected`] and the end. Its next message waits for
    /// that.
    pub fn authenticate(&mut self, caller: Caller, ticket: Option<Ticket>, credential: &str) {
        let id = caller.connection();
        if !self.access.takes_tokens() {
            return self.reject(caller, ticket.as_ref(), Reject::AuthUnavailable);
        }
        if credential.len() > TOKEN_BYTES_MAX {
            return self.refuse_identity(id, ticket.as_ref(), Refused::Token(TokenError::TooLong));
        }
        if !self.access.has_room(credential.len()) {
            return self.reject(
                caller,
                ticket.as_ref(),
                Reject::Overloaded { retry_after_ms: RETRY_AFTER_MS },
            );
        }
        let Some(connection) = self.clients.get_mut(id) else { return };
        connection.is_being_verified = true;
        self.access.verify(&mut self.turn, id, credential.into(), Awaited::Request(ticket));
    }

    /// Has the desk say who asks for a WebSocket, or opens it if it shows nothing that anybody here looks at.
    pub(super) fn verify_and_open(&mut self, id: ConnectionId, upgrade: Upgrade) {
        let Upgrade { dialect, response, credential } = upgrade;
        match credential.filter(|_| self.access.takes_tokens()) {
            None => {
                let is_turned_away = self.clients.get(id).is_some_and(|found| found.refusal.is_some());
                if is_turned_away || self.access.is_required() {
                    return self.open(id, dialect, &response, None);
                }
                self.ask_about(id, None, Awaited::Upgrade(Upgrade { dialect, response, credential: None }));
            }
            Some(credential) => {
                let Some(connection) = self.clients.get_mut(id) else { return };
                if !self.access.has_room(credential.len()) {
                    connection.refusal = Some(Refusal::Handshakes.into());
                    return self.open(id, dialect, &response, None);
                }
                connection.phase = Phase::Admission;
                let awaited = Awaited::Upgrade(Upgrade { dialect, response, credential: None });
                self.access.verify(&mut self.turn, id, credential, awaited);
            }
        }
    }

    /// Takes what the desk has said, as much as a turn may.
    pub(super) fn receive_from_desk(&mut self) {
        self.access.send(&mut self.turn);
        while let Some(said) = self.access.next_said(!self.turn.is_spent()) {
            match said {
                FromDesk::Standing(standing) => {
                    self.channels.stand_under(standing.rules.clone());
                    self.access.stand(standing);
                    self.heed_hooks();
                }
                FromDesk::Verified(verified) => {
                    self.turn.spend(work::FRAME);
                    self.verified(verified);
                }
            }
        }
    }

    fn verified(&mut self, Verified { connection: id, outcome }: Verified) {
        let Some(awaited) = self.access.take_awaited(id) else { return };
        let Some(connection) = self.clients.get(id) else { return };
        // Who is somebody already is on the list of its user, and stays; who is turned away does not come on one.
        let enters = connection.principal.is_none() && connection.refusal.is_none();
        match (awaited, outcome) {
            (awaited, Ok(principal)) if enters => self.ask_about(id, Some(principal), awaited),
            (Awaited::Upgrade(Upgrade { dialect, response, .. }), outcome) => {
                self.open(id, dialect, &response, Some(outcome));
            }
            (Awaited::Request(ticket), outcome) => {
                let outcome = outcome.and_then(|principal| self.still_believed(principal));
                self.request_verified(id, ticket.as_ref(), outcome);
            }
        }
    }

    /// Whom the desk has believed, as what is in force now has it: that may be something else than when the desk was asked.
    pub(super) fn still_believed(&mut self, principal: Arc<Principal>) -> Result<Arc<Principal>, Refused> {
        let standing = self.access.standing();
        if standing.revocations.are_about(&principal.identity, &principal.proof) {
            return Err(Refused::Revoked);
        }
        // It costs as many looks as there are rules, so a storm of those who come back is spared that.
        if principal.grant.is_of(standing.rules.as_ref()) {
            return Ok(principal);
        }
        self.turn.spend(work::PASSED_OVER * standing.rules.as_ref().map_or(0, |rules| rules.len()) as u64);
        let grant = standing.granted(&principal.identity);
        Ok(if grant == principal.grant { principal } else { Arc::new(principal.with(grant)) })
    }

    /// What came of the token that an open connection has shown, which goes on with its next message.
    pub(super) fn request_verified(
        &mut self,
        id: ConnectionId,
        ticket: Option<&Ticket>,
        outcome: Result<Arc<Principal>, Refused>,
    ) {
        if let Some(connection) = self.clients.get_mut(id) {
            connection.is_being_verified = false;
        }
        match outcome {
            Ok(principal) => self.renewed(id, ticket, principal),
            Err(refused) => self.refuse_identity(id, ticket, refused),
        }
        self.clients.something_ended(id);
    }

    /// Gives a connection that opens what it has shown a right to.
    pub(super) fn settle(&mut self, id: ConnectionId, shown: &Shown) {
        match shown {
            Some(Ok(principal)) => self.be(id, Arc::clone(principal)),
            Some(Err(_)) => self.set_grant(id, GrantId::NOTHING),
            None if self.access.is_required() => {
                let due_ms = self.turn.now.timer_ms() + self.turn.config.auth_timeout_ms;
                self.set_grant(id, GrantId::NOTHING);
                self.set_due(id, (Due::Token, due_ms));
            }
            None => {
                let grant = self.enter_anonymous(id);
                self.set_grant(id, grant);
            }
        }
    }

    /// Says what came of a token that came with the upgrade, after the dialect has said hello.
    pub(super) fn tell_shown(&mut self, id: ConnectionId, shown: Shown) {
        match shown {
            None => {}
            Some(Ok(principal)) => {
                self.tell_identity(id, None, &principal);
                self.tell_settled(id);
            }
            Some(Err(refused)) => self.refuse_identity(id, None, refused),
        }
    }

    fn tell_identity(&mut self, id: ConnectionId, ticket: Option<&Ticket>, principal: &Principal) {
        let event = Event::Authenticated { ticket, identity: &principal.identity };
        self.clients.tell_urgent(id, self.turn.now, event);
        if let Some(caller) = self.clients.caller(id) {
            self.dialect_of(id).identified(self, caller);
        }
    }

    fn refuse_identity(&mut self, id: ConnectionId, ticket: Option<&Ticket>, refused: Refused) {
        self.turn.metrics.auth_refused += 1;
        let (reject, close) = match refused {
            Refused::Forbidden => (Reject::Forbidden, Close::PermissionDenied),
            _ => (Reject::AuthFailed(refused.text()), Close::AuthFailed),
        };
        self.clients.reject(&mut self.turn, id, ticket, reject);
        self.disconnect_for(id, close, refused.text());
    }

    /// A client that is open has shown a token. It stays who it is, or becomes somebody if it was nobody in particular.
    fn renewed(&mut self, id: ConnectionId, ticket: Option<&Ticket>, principal: Arc<Principal>) {
        let Some(connection) = self.clients.get(id).filter(|found| found.is_open()) else { return };
        let is_other = |before: &Arc<Principal>| before.identity.user != principal.identity.user;
        if connection.principal.as_ref().is_some_and(is_other) {
            const OTHER: Reject = Reject::AuthFailed("the token is of another user; open another connection");
            return self.clients.reject(&mut self.turn, id, ticket, OTHER);
        }
        let roles = self.given_roles(id);
        let principal = self.with_roles(principal, &roles);
        self.be(id, Arc::clone(&principal));
        self.tell_identity(id, ticket, &principal);
        self.tell_settled(id);
        self.welcome(id);
    }

    /// Makes a connection one of a principal.
    fn be(&mut self, id: ConnectionId, principal: Arc<Principal>) {
        self.join_user(id, &principal);
        let due = Due::first(&principal, self.turn.now);
        self.set_principal(id, principal);
        self.set_due(id, due);
    }

    fn set_principal(&mut self, id: ConnectionId, principal: Arc<Principal>) {
        let grant = self.access.enter(&principal.grant);
        if let Some(connection) = self.clients.get_mut(id) {
            connection.principal = Some(principal);
        }
        self.set_grant(id, grant);
    }

    /// Puts a grant in the place of the one that a connection has.
    fn set_grant(&mut self, id: ConnectionId, grant: GrantId) {
        let Some(connection) = self.clients.get_mut(id) else { return self.access.leave(grant) };
        let before = std::mem::replace(&mut connection.grant, grant);
        self.access.leave(before);
        if before != grant && connection.holds_anything() {
            self.access.regrant(id);
        }
    }

    /// A connection is ending, and has no rights any more.
    pub(super) fn end_identity(&mut self, id: ConnectionId, close: Close) {
        let _ = self.questions.forget(id);
        self.end_entry(id, close);
        let Some(connection) = self.clients.get_mut(id) else { return };
        connection.principal = None;
        let grant = std::mem::replace(&mut connection.grant, GrantId::NOTHING);
        let _ = self.access.take_awaited(id);
        self.access.leave(grant);
    }

    fn set_due(&mut self, id: ConnectionId, (due, at_ms): (Due, u64)) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        (connection.due, connection.due_ms) = (due, at_ms);
        if due != Due::Never {
            self.clients.set_timer_sooner(id, at_ms);
        }
    }

    /// Does what is due for the identity of an open connection; whether it goes on.
    pub(super) fn identity_is_due(&mut self, id: ConnectionId) -> bool {
        let now = self.turn.now;
        let Some(connection) = self.clients.get(id) else { return false };
        let (due, principal) = (connection.due, connection.principal.clone());
        match (due, &principal) {
            (Due::Never, _) => {}
            (Due::Token, _) => {
                self.disconnect(id, Close::AuthRequired);
                return false;
            }
            (Due::Notice, Some(principal)) => {
                let expires_ms = principal.identity.expires_ms.unwrap_or(now.unix_ms);
                self.clients.tell_urgent(id, now, Event::Expiring { expires_ms });
            }
            (Due::Expiry, _) => self.clients.reject(&mut self.turn, id, None, Reject::TokenExpired),
            (Due::End | Due::Notice, _) => {
                self.disconnect_for(id, Close::AuthFailed, "its token has expired");
                return false;
            }
        }
        if let Some(principal) = principal {
            self.set_due(id, due.next(&principal, now));
        }
        true
    }

    /// Looks at connections again since another standing is in force, as many as a turn may, one at least.
    pub(super) fn review_identities(&mut self) {
        let Some(review) = self.access.review() else { return };
        for slot in review.slot..self.clients.slots() {
            if slot > review.slot && self.turn.is_spent() {
                return self.access.set_review(Some(Review { slot, ..review }));
            }
            self.turn.spend(work::PASSED_OVER);
            if let Some((id, Phase::Open)) = self.clients.in_slot(slot) {
                self.review_identity(id, review.are_rules_new);
            }
        }
        self.access.set_review(None);
    }

    fn review_identity(&mut self, id: ConnectionId, are_rules_new: bool) {
        let Some(connection) = self.clients.get(id) else { return };
        let (before, grant) = (connection.principal.clone(), connection.grant);
        if are_rules_new {
            self.turn.spend(work::FRAME);
        }
        let Some(before) = before else {
            if are_rules_new && grant != GrantId::NOTHING {
                let grant = self.enter_anonymous(id);
                self.set_grant(id, grant);
            }
            return;
        };
        if are_rules_new {
            self.join_user(id, &before);
        }
        match self.still_believed(Arc::clone(&before)) {
            Err(refused) => self.refuse_identity(id, None, refused),
            Ok(principal) if Arc::ptr_eq(&principal, &before) => {}
            Ok(principal) => self.set_principal(id, principal),
        }
    }

    /// Looks at what connections subscribe to and watch that have another grant than before, as much as a turn has work for.
    pub(super) fn go_on_regranting(&mut self) {
        let Some(mut regranted) = self.access.next_regranted() else { return };
        self.turn.begin_share_of(work::CONNECTION_MAX);
        loop {
            if self.turn.is_over() {
                return self.access.put_back(regranted);
            }
            if !self.regrant_next(&mut regranted) {
                match self.access.next_regranted() {
                    Some(next) => regranted = next,
                    None => return,
                }
            }
        }
    }

    /// Looks at one thing of a connection that has another grant; whether there was one. What is added meanwhile has the new one.
    fn regrant_next(&mut self, left: &mut Regranted) -> bool {
        let Self { turn, clients, maps, feeds, queries, rooms, presence, access, channels, .. } = self;
        let (Some(connection), Some(caller)) = (clients.get(left.id), clients.caller(left.id)) else {
            return false;
        };
        left.subscriptions = left.subscriptions.min(connection.subscriptions.len());
        left.queries = left.queries.min(connection.queries.subscriptions().len());
        left.watches = left.watches.min(connection.watches().len());
        left.stays = left.stays.min(connection.stays.as_ref().map_or(0, |stays| stays.slots.len()));
        left.channels = left.channels.min(connection.joined.len());
        turn.spend(work::LET_GO);
        if left.subscriptions > 0 {
            left.subscriptions -= 1;
            let subscription = connection.subscriptions[left.subscriptions];
            let Some(map) = feeds.map_of(maps, subscription) else { return true };
            let view = access.view(turn, caller.grant(), Action::Subscribe, &map);
            match view.seen() {
                Some(seen) => feeds.change_view(turn, clients, maps, (left.id, &map), seen.cloned()),
                None => self.dialect_of(left.id).forbidden(self, caller, About::Map(&map)),
            }
            return true;
        }
        if left.queries > 0 {
            left.queries -= 1;
            let subscription = connection.queries.subscriptions()[left.queries];
            let Some(map) = queries.map_of(subscription) else { return true };
            let view = access.view(turn, caller.grant(), Action::Subscribe, &map);
            match view.seen() {
                Some(seen) => queries.change_view(turn, clients, maps, subscription, seen.cloned()),
                None => self.dialect_of(left.id).forbidden(self, caller, About::Map(&map)),
            }
            return true;
        }
        if left.watches > 0 {
            left.watches -= 1;
            let room = rooms.room_of(connection.watches()[left.watches]);
            if !access.may_be_in(turn, caller.grant(), &room) {
                self.dialect_of(left.id).forbidden(self, caller, About::Room(&room));
            }
            return true;
        }
        if left.stays > 0 {
            left.stays -= 1;
            let Some(&stay) = connection.stays.as_ref().and_then(|stays| stays.slots.get(left.stays)) else {
                return true;
            };
            let room = presence.room_of(stay);
            if !access.may_be_in(turn, caller.grant(), &room) {
                self.dialect_of(left.id).forbidden(self, caller, About::Room(&room));
            }
            return true;
        }
        if left.channels > 0 {
            left.channels -= 1;
            let channel = channels.channel_of(connection.joined.members()[left.channels]);
            if !access.may_in_channel(turn, caller.grant(), Action::Subscribe, &channel) {
                self.dialect_of(left.id).forbidden(self, caller, About::Channel(&channel));
            }
            return true;
        }
        // All at once: their bytes have a bound, and there are a few of each connection.
        if std::mem::take(&mut left.members) {
            turn.spend(work::LET_GO * connection.members.len() as u64);
            let members = clients.take_members(left.id, |room| !access.may_be_in(turn, caller.grant(), room));
            members.iter().for_each(|member| rooms.release_member(turn, left.id, member));
            return true;
        }
        false
    }
}
