//! Who a client is and what it may do with a document, in the words of SyncKit.

use serde_json::Value;

use super::frame::Fields;
use super::refusal::Refusal;
use crate::auth::rules::{ADMIN, Action};
use crate::auth::{ANONYMOUS, Identity, Proof};
use crate::shard::{Caller, Shard};

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
        principal.is_some_and(|principal| {
            principal.proof == Proof::Token && principal.identity.claims.get("permissions").is_none()
        })
    };
    let may = match access {
        _ if !shard.has_rules() && has_none(shard) => false,
        Access::Read => shard.may(caller, Action::Subscribe, document),
        Access::Write => shard.may(caller, Action::Write, document),
        Access::Presence => shard.may_be_in(caller, document),
    };
    if may { Ok(()) } else { Err(Refusal::PermissionDenied { document }) }
}

/// Appends what `auth_success` says of somebody, or of nobody in particular.
pub fn write(identity: Option<&Identity>, fields: &mut Fields<'_>) {
    fields.text("userId", identity.map_or(ANONYMOUS, |identity| &identity.user));
    let permissions = identity.and_then(|identity| identity.claims.get("permissions"));
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
