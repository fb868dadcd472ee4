//! Who a client is, and the tokens it shows for that.

use simd_json::OwnedValue;
use simd_json::prelude::*;

use annulus::config::AuthMode;

use super::{Asked, Client, Context};
use crate::link::Link;

/// Microseconds that a token lives which lasts.
const LASTING_US: u64 = 86_400_000_000;
/// How long a connection may outlive its token: what the server gives it, and what clocks are apart and step.
const GRACE_US: u64 = 5_000_000 + 10_000_000;

/// See the module.
pub struct Pass {
    pub user: String,
    /// It has no other tokens than those that last.
    pub is_careful: bool,
    /// It brings no other token when this one ends.
    forgets: bool,
    /// What keys begin with that are hidden from it, once that is in force everywhere.
    pub hides: Option<String>,
    /// When its connection began.
    began_us: u64,
    /// What it showed with its upgrade, until that is answered.
    with_upgrade: Option<Shown>,
    is_believed: bool,
    /// It was not believed: nothing more is told on this connection.
    is_refused: bool,
    /// It has shown something on this connection that may end it.
    may_fail: bool,
    /// The connection must be over then.
    pub ends_by_us: Option<u64>,
}

/// What was shown.
#[derive(Clone, Debug)]
pub enum Shown {
    Own {
        expires_ms: Option<u64>,
        ends_by_us: Option<u64>,
    },
    /// A token of somebody else, by a client that was believed.
    Foreign,
    Garbage,
}

impl Pass {
    pub fn user(index: usize) -> String {
        format!("u{index}")
    }

    pub fn new(client: usize) -> Self {
        Self {
            // Some have two clients.
            user: Self::user(client / 2),
            is_careful: false,
            forgets: false,
            hides: None,
            began_us: 0,
            with_upgrade: None,
            is_believed: false,
            is_refused: false,
            may_fail: false,
            ends_by_us: None,
        }
    }

    /// An observer lasts.
    pub fn observer(client: usize) -> Self {
        Self { is_careful: true, ..Self::new(client) }
    }

    /// Another connection begins; the line of its upgrade that shows a token, if one does.
    pub fn connected(&mut self, lasts: bool, must_show: bool, context: &mut Context<'_>) -> String {
        *self = Self { user: std::mem::take(&mut self.user), is_careful: self.is_careful, ..Self::new(0) };
        self.began_us = context.now_us;
        if !must_show && context.random.per_mille(400) {
            return String::new();
        }
        let (shown, token) = match context.random.below(if lasts { 1 } else { 20 }) {
            19 => (Shown::Garbage, "garbage".to_owned()),
            _ => self.token(lasts, context),
        };
        self.note(&shown);
        self.with_upgrade = Some(shown);
        format!("Authorization: Bearer {token}\r\n")
    }

    fn may_be_revoked(&self, context: &Context<'_>) -> bool {
        context.revoked.is_some_and(|revoked| revoked.may_be(&self.user, self.began_us))
    }

    fn note(&mut self, shown: &Shown) {
        self.may_fail |= match shown {
            Shown::Own { ends_by_us, .. } => ends_by_us.is_some(),
            Shown::Foreign => false,
            Shown::Garbage => true,
        };
    }

    fn token(&self, lasts: bool, context: &mut Context<'_>) -> (Shown, String) {
        let life_us = match context.random.below(2) {
            _ if !lasts && context.random.per_mille(600) => {
                Some(context.random.pick(&[30_000, 300_000, 3_000_000]))
            }
            0 => None,
            _ => Some(LASTING_US),
        };
        let expires_ms = life_us.map(|life_us| context.unix_ms + life_us / 1000);
        let ends = life_us.filter(|life_us| *life_us < LASTING_US);
        let ends_by_us = ends.map(|life_us| context.now_us + life_us + GRACE_US);
        (Shown::Own { expires_ms, ends_by_us }, token(&self.user, context.unix_ms, expires_ms))
    }
}

fn token(user: &str, issued_ms: u64, expires_ms: Option<u64>) -> String {
    let date = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let expiry = expires_ms.map(|at_ms| format!(",'exp':{}", date(at_ms))).unwrap_or_default();
    format!("{{'sub':'{user}','roles':['member','{user}'],'iat':{}{expiry}}}", date(issued_ms))
}

impl Client {
    /// What `hello` says of identities is right; who has shown nothing may do so first of all.
    pub(super) fn introduce(&mut self, hello: &OwnedValue, link: &mut Link, context: &mut Context<'_>) {
        let mode = context.scenario.config.auth;
        let said = match mode {
            AuthMode::None => "none",
            AuthMode::Optional => "optional",
            AuthMode::Required => "required",
        };
        assert_eq!(hello.get_str("auth"), Some(said));
        let Some(identity) = &self.identity else { return };
        let has_shown = identity.with_upgrade.is_some();
        if !has_shown && (mode == AuthMode::Required || context.random.per_mille(500)) {
            let lasts = identity.is_careful;
            self.show_own(lasts, link, context);
        }
    }

    fn show_own(&mut self, lasts: bool, link: &mut Link, context: &mut Context<'_>) {
        let Some(identity) = &self.identity else { return };
        let (shown, token) = identity.token(lasts || context.is_calm, context);
        self.show(shown, &token, link, context);
    }

    fn show(&mut self, shown: Shown, token: &str, link: &mut Link, context: &mut Context<'_>) {
        self.identity.iter_mut().for_each(|identity| identity.note(&shown));
        let id = self.ask(Asked::Auth { shown });
        self.send_text(link, context, &format!(r#"{{"type":"auth","id":{id},"token":"{token}"}}"#));
    }

    /// Shows something by chance; whether it does.
    pub(super) fn show_some(&mut self, link: &mut Link, context: &mut Context<'_>) -> bool {
        let Some(identity) = &self.identity else { return false };
        if !context.random.per_mille(30) {
            return false;
        }
        match context.random.below(20) {
            0 => self.show(Shown::Garbage, "garbage", link, context),
            1..4 if identity.is_believed => {
                let token = token("somebody", context.unix_ms, None);
                self.show(Shown::Foreign, &token, link, context);
            }
            _ => self.show_own(false, link, context),
        }
        true
    }

    /// Has a token that lasts instead of one that does not.
    pub fn take_care(&mut self, link: &mut Link, context: &mut Context<'_>) {
        let ends = self.identity.as_ref().is_some_and(|identity| identity.ends_by_us.is_some());
        if self.is_open() && ends && self.synckit.is_none() {
            self.show_own(true, link, context);
        }
    }

    /// Has a token that ends soon, perhaps.
    pub fn neglect(&mut self, link: &mut Link, context: &mut Context<'_>) {
        let Some(identity) = &mut self.identity else { return };
        if self.synckit.is_some() || self.is_observer || context.random.per_mille(500) {
            return;
        }
        identity.is_careful = false;
        let life_us = context.random.pick(&[30_000, 300_000, 2_000_000]);
        let expires_ms = Some(context.unix_ms + life_us / 1000);
        let shown = Shown::Own { expires_ms, ends_by_us: Some(context.now_us + life_us + GRACE_US) };
        let token = token(&identity.user, context.unix_ms, expires_ms);
        self.show(shown, &token, link, context);
    }

    pub(super) fn handle_authenticated(
        &mut self,
        message: &OwnedValue,
        id: Option<u64>,
        link: &mut Link,
        context: &mut Context<'_>,
    ) {
        let asked = id.map(|id| self.answered(id, message));
        self.check_is_allowed(link, context);
        let identity = self.identity.as_mut().expect("nobody was asked who it is");
        let shown = match asked {
            None => identity.with_upgrade.take(),
            Some(Asked::Auth { shown }) => Some(shown),
            Some(asked) => panic!("{asked:?} was answered with {message}"),
        };
        let Some(Shown::Own { expires_ms, ends_by_us }) = shown else {
            panic!("{shown:?} was believed: {message}");
        };
        assert_eq!(message.get_str("user"), Some(&identity.user[..]), "{message}");
        // A date with a fraction is a little earlier than it was meant to be.
        let (said_ms, meant_ms) = (message.get_u64("expires_at"), expires_ms);
        let is_near = said_ms.zip(meant_ms).is_some_and(|(said, meant)| meant - said <= 1);
        assert!(is_near || said_ms.is_none() && meant_ms.is_none(), "{message}, shown {shown:?}");
        identity.is_believed = true;
        identity.ends_by_us = ends_by_us;
        identity.forgets = context.random.per_mille(400);
        if identity.is_careful {
            self.take_care(link, context);
        }
    }

    /// Its token is over, or soon will be: it may forget to bring another.
    pub(super) fn handle_expiry(&mut self, link: &mut Link, context: &mut Context<'_>) {
        let identity = self.identity.as_ref().expect("nobody was asked who it is");
        assert!(identity.may_fail && identity.is_believed, "a token that lasts is said to end");
        let lasts = identity.is_careful;
        if lasts || !identity.forgets && context.random.per_mille(500) {
            self.show_own(lasts, link, context);
        }
    }

    /// What it has shown was not believed.
    pub(super) fn handle_auth_failed(
        &mut self,
        asked: Option<&Asked>,
        message: &OwnedValue,
        context: &Context<'_>,
    ) {
        let identity = self.identity.as_mut().expect("nobody was asked who it is");
        let shown = match asked {
            Some(Asked::Auth { shown }) => Some(shown.clone()),
            _ => identity.with_upgrade.take(),
        };
        let is_revoked = message.get_str("message") == Some("it was revoked");
        identity.is_refused = !matches!(shown, Some(Shown::Foreign)) || is_revoked;
        let is_right = match shown {
            _ if is_revoked => identity.may_be_revoked(context),
            Some(Shown::Own { ends_by_us, .. }) => ends_by_us.is_some(),
            Some(Shown::Foreign | Shown::Garbage) => true,
            None => false,
        };
        assert!(is_right, "{shown:?} was not believed: {message}");
    }

    /// Whether it still is somebody, or may be told anything.
    pub(super) fn check_is_not_refused(&self, message: &OwnedValue) {
        let is_refused = self.identity.as_ref().is_some_and(|identity| identity.is_refused);
        assert!(!is_refused, "told {message} although it was not believed");
    }

    /// Nobody is let in, or told anything, who was revoked before its connection began, and has been since.
    pub(super) fn check_is_allowed(&self, link: &Link, context: &Context<'_>) {
        let Some((identity, revoked)) = self.identity.as_ref().zip(context.revoked) else { return };
        let is_certain = revoked.is_certain(&identity.user, link.shard, identity.began_us);
        assert!(!is_certain, "{} was believed although it is revoked", self.name);
    }

    /// Whose connection this is, if it is somebody's.
    pub fn user(&self) -> Option<&str> {
        // Clients of SyncKit are not told, but show what is believed.
        let identity = self.identity.as_ref().filter(|_| self.is_open())?;
        (identity.is_believed || self.synckit.is_some()).then_some(&identity.user[..])
    }

    /// Whether the server may end the connection for want of a token that is believed.
    pub(super) fn may_be_closed_with(&self, code: u16, context: &Context<'_>) -> bool {
        let Some(identity) = &self.identity else { return false };
        match code {
            4001 => !identity.is_believed && !context.is_calm,
            4002 => identity.may_fail || identity.may_be_revoked(context),
            _ => false,
        }
    }
}
