//! How the application has a say in who comes in, and what clients see first.

use std::sync::Arc;

use serde_json::json;

use super::access::{Awaited, GrantId, Upgrade};
use super::clients::{Phase, Welcomed};
use super::questions::Waiting;
use super::{Event, From, Shard, Subscribe, directs, work};
use crate::auth::rules::Action;
use crate::auth::{Identity, Principal};
use crate::handover::{Answered, Ask, HooksPort};
use crate::hooks::{Allowed, Greeting, HookSet, Verdict};
use crate::mesh::ConnectionId;
use crate::metrics::Refusal;
use crate::wire::{Close, Reject};

/// Milliseconds after which to show a token again or to send a message where too many wait for the application.
pub(super) const RETRY_AFTER_MS: u32 = 1_000;

impl Shard {
    /// From now on the application hears of what it wants to, and is asked. Called after [`Shard::stand_under`].
    pub fn hook_up(&mut self, HooksPort { events, questions }: HooksPort) {
        self.turn.happenings.connect(events);
        self.questions.connect(questions);
        self.heed_hooks();
    }

    /// Other rules are in force, and other hooks with them.
    pub(super) fn heed_hooks(&mut self) {
        let rules = self.access.standing().rules.as_ref();
        self.turn.happenings.want(rules.and_then(|rules| rules.hooks()));
    }

    pub(super) fn hooks(&self) -> Option<&Arc<HookSet>> {
        self.access.standing().rules.as_ref()?.hooks()
    }

    /// Has the application say whether somebody may come in, where it is to be asked; goes on then.
    pub(super) fn ask_about(
        &mut self,
        id: ConnectionId,
        principal: Option<Arc<Principal>>,
        awaited: Awaited,
    ) {
        let question = self.hooks().and_then(|hooks| hooks.on_connect.clone());
        let Some(question) = question.filter(|_| self.questions.is_connected()) else {
            return self.come_in(id, principal, awaited);
        };
        let Some(connection) = self.clients.get_mut(id) else { return };
        let identity = principal.as_ref().map(|principal| &principal.identity);
        let named = || connection.of_user.as_ref()?.named_session.as_deref();
        let session = identity.and_then(|identity| identity.session.as_deref()).or_else(named);
        let body = json!({
            "question": question.before.name(),
            "connection": self.turn.connection_name(id),
            "time": self.turn.now.unix_ms,
            "address": connection.address,
            "user": identity.map(|identity| &*identity.user),
            "roles": identity.map_or(&[][..], |identity| &identity.roles),
            "session": session,
            "claims": identity.map(|identity| identity.claims.read().all().clone()),
        });
        let body = body.to_string().into_bytes();
        self.turn.spend(work::copied(body.len()) + work::FRAME);
        if !self.questions.has_room(body.len()) {
            return self.lacks_room(id, awaited);
        }
        if matches!(awaited, Awaited::Upgrade(_)) {
            connection.phase = Phase::Admission;
        }
        let ask = Ask { connection: id, serial: self.turn.next_serial(), question, body };
        self.questions.ask(&mut self.turn, ask, Waiting::Entry { principal, awaited });
    }

    /// Too many wait for the application.
    fn lacks_room(&mut self, id: ConnectionId, awaited: Awaited) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        match awaited {
            Awaited::Upgrade(Upgrade { dialect, response, .. }) => {
                connection.refusal = Some(Refusal::Handshakes.into());
                self.open(id, dialect, &response, None);
            }
            Awaited::Request(ticket) => {
                connection.is_being_verified = false;
                let reject = Reject::Overloaded { retry_after_ms: RETRY_AFTER_MS };
                self.clients.reject(&mut self.turn, id, ticket.as_ref(), reject);
                self.clients.something_ended(id);
            }
        }
    }

    /// Takes what the application has said, as much as a turn may.
    pub(super) fn receive_from_hooks(&mut self) {
        while let Some((id, waiting)) = self.questions.next_late(&self.turn) {
            self.turn.spend(work::FRAME);
            if let Waiting::Message { ticket, .. } = waiting {
                self.clients.message_delivered(id);
                let reject = Reject::Overloaded { retry_after_ms: RETRY_AFTER_MS };
                self.clients.reject(&mut self.turn, id, ticket.as_ref(), reject);
            }
        }
        self.questions.send(&mut self.turn);
        while let Some(answered) = self.questions.next_answered(!self.turn.is_spent()) {
            self.turn.spend(work::FRAME);
            self.answered(answered);
        }
    }

    fn answered(&mut self, Answered { connection: id, serial, verdict }: Answered) {
        match self.questions.take(id, serial) {
            Some(Waiting::Entry { principal, awaited }) => self.admit(id, (principal, awaited), verdict),
            Some(Waiting::Message { ticket, proposed }) => self.decided(id, ticket, proposed, verdict),
            None => {}
        }
    }

    fn admit(
        &mut self,
        id: ConnectionId,
        (principal, awaited): (Option<Arc<Principal>>, Awaited),
        verdict: Verdict,
    ) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        match verdict {
            Verdict::Allow(allowed) => {
                let principal = principal.map(|principal| self.with_roles(principal, &allowed.roles));
                // Also where nothing is given, as it may have been given something as anonymous.
                if let Some(connection) = self.clients.get_mut(id)
                    && (connection.of_user.is_some() || !allowed.is_empty())
                {
                    let of_user = connection.of_user.get_or_insert_default();
                    of_user.allowed = (!allowed.is_empty()).then_some(allowed);
                }
                self.come_in(id, principal, awaited);
            }
            Verdict::Deny { reason } => {
                connection.of_user.get_or_insert_default().denied = reason;
                match awaited {
                    Awaited::Upgrade(Upgrade { dialect, response, .. }) => {
                        connection.refusal = Some(Refusal::Application.into());
                        self.open(id, dialect, &response, None);
                    }
                    Awaited::Request(_) => {
                        self.turn.metrics.count_refusal(Refusal::Application);
                        self.disconnect(id, Close::Denied);
                    }
                }
            }
        }
    }

    /// The application has nothing against it.
    fn come_in(&mut self, id: ConnectionId, principal: Option<Arc<Principal>>, awaited: Awaited) {
        match (principal, awaited) {
            (Some(principal), awaited) => self.enter(id, principal, awaited),
            (None, Awaited::Upgrade(Upgrade { dialect, response, .. })) => {
                self.open(id, dialect, &response, None);
            }
            (None, Awaited::Request(_)) => unreachable!("who shows a token is somebody"),
        }
    }

    /// The same with more roles, and what these may do.
    pub(super) fn with_roles(&mut self, principal: Arc<Principal>, roles: &[Box<str>]) -> Arc<Principal> {
        if roles.iter().all(|role| principal.identity.has_role(role)) {
            return principal;
        }
        let identity = principal.identity.with_roles(roles);
        let grant = self.granted(&identity);
        Arc::new(Principal { identity, grant, proof: principal.proof.clone() })
    }

    fn granted(&mut self, identity: &Identity) -> crate::auth::rules::Grant {
        let standing = self.access.standing();
        self.turn.spend(work::PASSED_OVER * standing.rules.as_ref().map_or(0, |rules| rules.len()) as u64);
        standing.granted(identity)
    }

    /// Roles that the application has given a connection.
    pub(super) fn given_roles(&self, id: ConnectionId) -> Box<[Box<str>]> {
        let allowed = || self.clients.get(id)?.of_user.as_ref()?.allowed.as_ref();
        allowed().map_or_else(Box::default, |allowed| allowed.roles.clone())
    }

    /// What one may do who shows nothing, but may have been given roles.
    pub(super) fn enter_anonymous(&mut self, id: ConnectionId) -> GrantId {
        let roles = self.given_roles(id);
        if roles.is_empty() {
            return self.access.enter_anonymous();
        }
        let grant = self.granted(&Identity::anonymous().with_roles(&roles));
        self.access.enter(&grant)
    }

    /// Sends a client what it is to see first, or what it is to see beside that once it has become somebody; then what its user was
    /// sent while it was away.
    pub(super) fn welcome(&mut self, id: ConnectionId) {
        directs::begin(&mut self.clients, id);
        self.greet_with_all(id);
        self.directs.fetch_on(&mut self.turn, &mut self.clients, id);
    }

    fn greet_with_all(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.get_mut(id).filter(|found| found.is_open()) else { return };
        let welcomed = connection.welcomed;
        let now = if connection.principal.is_some() { Welcomed::Somebody } else { Welcomed::Anonymous };
        let allowed = connection.of_user.as_mut().and_then(|of_user| of_user.take_welcome());
        let hooks = self.hooks().filter(|hooks| !hooks.welcome.is_empty()).cloned();
        if hooks.is_none() && allowed.is_none() || welcomed == Welcomed::Somebody {
            return;
        }
        if let Some(connection) = self.clients.get_mut(id) {
            connection.welcomed = now;
        }
        if !self.dialect_of(id).takes_welcomes() {
            return;
        }
        let anonymous = Identity::anonymous();
        let principal = self.clients.get(id).and_then(|connection| connection.principal.clone());
        let given = anonymous.with_roles(&self.given_roles(id));
        let identity = principal.as_ref().map_or(&given, |principal| &principal.identity);
        for welcome in hooks.iter().flat_map(|hooks| &hooks.welcome) {
            let was_for = welcomed == Welcomed::Anonymous && welcome.is_for(&anonymous);
            if welcome.is_for(identity) && !was_for {
                self.greet(id, &welcome.what);
            }
        }
        for data in allowed.iter().flat_map(|allowed| &allowed.welcome) {
            self.send_welcome(id, data);
        }
        for map in allowed.iter().flat_map(|allowed| &allowed.subscribe) {
            let Some(caller) = self.clients.caller(id) else { return };
            if self.may(caller, Action::Subscribe, map) {
                let subscribe = Subscribe { map, from: From::Everything, filter: None, echo: false };
                self.subscribe(caller, None, subscribe);
            }
        }
    }

    fn greet(&mut self, id: ConnectionId, greeting: &Greeting) {
        match greeting {
            Greeting::Data(data) => self.send_welcome(id, data),
            Greeting::Key { map, key } => {
                let Some(caller) = self.clients.caller(id) else { return };
                self.read_greeting(caller, map, key);
            }
        }
    }

    fn send_welcome(&mut self, id: ConnectionId, data: &[u8]) {
        self.turn.spend(work::FRAME + work::copied(data.len()));
        self.clients.tell(id, self.turn.now, Event::Welcome { data });
    }
}

impl super::clients::OfUser {
    /// What a client is to be sent first; roles stay.
    fn take_welcome(&mut self) -> Option<Allowed> {
        let allowed = self.allowed.as_mut()?;
        let roles = allowed.roles.clone();
        Some(std::mem::replace(&mut **allowed, Allowed { roles, ..Allowed::default() }))
    }
}
