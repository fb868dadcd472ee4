//! Who a client is and what it may do with a document, in the words of SyncKit.

use serde_json::Value;

use super::frame::{Code, Fields};
use super::message;
use super::refusal::Refusal;
use super::replies::{refuse, reply};
use crate::auth::rules::{ADMIN, Action};
use crate::auth::{ANONYMOUS, Identity, Proof};
use crate::shard::{Caller, Shard};
use crate::wire::Ticket;

/// Tickets of `auth`.
pub const TICKET: u8 = b'@';

/// What may be done to a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    /// To be shown to who else has it open, and to see them.
    Presence,
}

/// Whether a client may do this.
///
/// # Errors
/// [`Refusal::NotAuthenticated`] to who has yet to say who it is, [`Refusal::PermissionDenied`].
pub fn permit<'a>(
    shard: &mut Shard,
    caller: Caller,
    access: Access,
    document: &'a str,
) -> Result<(), Refusal<'a>> {
    if caller.is_nobody() {
        return Err(Refusal::NotAuthenticated);
    }
    // To their servers a token without permissions has none. Where there are rules, these say what it may do.
    let has_none = |shard: &Shard| {
        let principal = shard.principal(caller);
        principal
            .is_some_and(|principal| principal.proof == Proof::Token && !principal.identity.has_permissions)
    };
    let may = match access {
        _ if !shard.has_rules() && has_none(shard) => false,
        Access::Read => shard.may(caller, Action::Subscribe, document),
        Access::Write => shard.may(caller, Action::Write, document),
        Access::Presence => shard.may_be_in(caller, document),
    };
    if may { Ok(()) } else { Err(Refusal::PermissionDenied { document }) }
}

/// Answers `auth`, or has the desk look at what it brings. Where nobody is asked, everybody is let in, whatever they bring, and nobody
/// is who a token says they are.
pub fn authenticate<'a>(
    shard: &mut Shard,
    caller: Caller,
    fields: &message::Fields<'a>,
) -> Result<(), Refusal<'a>> {
    let api_key = fields.api_key.and_then(message::text);
    if !shard.takes_tokens() && api_key.is_some() {
        return Err(Refusal::ApiKey);
    }
    let shown = fields.token.and_then(message::text).or(api_key).filter(|shown| !shown.is_empty());
    if let Some(credential) = shown.filter(|_| shard.takes_tokens()) {
        shard.authenticate(caller, Some(Ticket::new(&[&[TICKET]])), credential);
        return Ok(());
    }
    if caller.is_nobody() {
        refuse(shard, caller, Refusal::AuthenticationRequired);
        shard.end_unidentified(caller);
        return Ok(());
    }
    let known = shard.principal(caller).map(|principal| principal.identity.clone());
    reply(shard, caller, Code::AuthSuccess, |reply| write(known.as_ref(), reply));
    Ok(())
}

/// Appends what `auth_success` says of somebody, or of nobody in particular.
pub fn write(identity: Option<&Identity>, fields: &mut Fields<'_>) {
    fields.text("userId", identity.map_or(ANONYMOUS, |identity| &identity.user));
    let claims = identity.map(|identity| identity.claims.read()).unwrap_or_default();
    let permissions = claims.get("permissions");
    let list = |name| {
        permissions
            .map_or_else(|| Value::from(["*"].as_slice()), |all| all.get(name).cloned().unwrap_or_default())
    };
    let is_admin = identity.is_some_and(|identity| identity.has_role(ADMIN))
        || permissions.and_then(|all| all.get("isAdmin")) == Some(&Value::Bool(true));
    let as_list = |value: Value| if value.is_array() { value } else { Value::Array(Vec::new()) };
    let out = fields.begin("permissions");
    out.extend_from_slice(b"{\"canRead\":");
    out.extend_from_slice(as_list(list("canRead")).to_string().as_bytes());
    out.extend_from_slice(b",\"canWrite\":");
    out.extend_from_slice(as_list(list("canWrite")).to_string().as_bytes());
    out.extend_from_slice(if is_admin { b",\"isAdmin\":true}" } else { b",\"isAdmin\":false}" });
}
