//! Who somebody is: what is left of a token once it has been believed.

use std::sync::Arc;

use serde_json::Value;

use super::claims::{Claims, KeptClaims};
use super::numeric_date::milliseconds;
use crate::limits::{ROLE_BYTES_MAX, ROLES_MAX, SESSION_BYTES_MAX, USER_BYTES_MAX};

/// The user, and the role, of those who show nothing.
pub const ANONYMOUS: &str = "anonymous";
/// How the users begin that API keys name, and no tokens.
pub const KEY_USERS: &str = "key:";

/// A user with roles. Names are compared byte by byte and mean nothing else: a role `*` is a role of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// From 1 to [`USER_BYTES_MAX`] bytes without control characters.
    pub user: Arc<str>,
    /// Without doubles, ascending.
    pub roles: Box<[Box<str>]>,
    /// Which of the user's sessions this is, where the token tells.
    pub session: Option<Box<str>>,
    pub claims: KeptClaims,
    /// Whether `permissions` is one of them, which says what may be done where there are no rules.
    pub has_permissions: bool,
    pub issued_ms: Option<u64>,
    pub expires_ms: Option<u64>,
    /// `jti`, by which one token is revoked.
    pub token_id: Option<Box<str>>,
}

/// What stands in the way of being somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadIdentity {
    User,
    KeyUser,
    Roles,
    Session,
    Date,
    TokenId,
}

impl BadIdentity {
    /// What it has to be instead.
    pub const fn text(self) -> &'static str {
        const {
            assert!(
                USER_BYTES_MAX == 256 && ROLES_MAX == 32 && ROLE_BYTES_MAX == 64 && SESSION_BYTES_MAX == 64
            );
        };
        match self {
            Self::User => "`sub` has to be a string of 1 to 256 bytes without control characters",
            Self::KeyUser => "`sub` begins with `key:`, as only the users of API keys do",
            Self::Roles => {
                "roles are strings, or one with spaces between them, at most 32 of 1 to 64 bytes each"
            }
            Self::Session => "`session` has to be a string of 1 to 64 bytes",
            Self::Date => "`exp`, `nbf` and `iat` are seconds since 1970",
            Self::TokenId => "`jti` has to be a string",
        }
    }
}

impl Identity {
    /// Whom `claims` name; roles are what stands at `roles_claim`.
    ///
    /// # Errors
    /// [`BadIdentity`] for a claim of another kind or size; that of the user alone has to be there.
    pub fn of_claims(claims: &Claims, roles_claim: &str) -> Result<Self, BadIdentity> {
        // Tokens of SyncKit's server say `userId`.
        let user = claims.get("sub").or_else(|| claims.get("userId"));
        let user = user.and_then(Value::as_str).filter(|name| is_name(name, USER_BYTES_MAX));
        let user = user.ok_or(BadIdentity::User)?;
        if user.starts_with(KEY_USERS) {
            return Err(BadIdentity::KeyUser);
        }
        let user = user.into();
        let roles = claims.at(roles_claim).map_or(Ok(Box::default()), roles)?;
        let session = text(claims, "session", SESSION_BYTES_MAX).map_err(|()| BadIdentity::Session)?;
        let token_id = text(claims, "jti", usize::MAX).map_err(|()| BadIdentity::TokenId)?;
        let date =
            |name| claims.get(name).map(|date| milliseconds(date).ok_or(BadIdentity::Date)).transpose();
        let (issued_ms, expires_ms) = (date("iat")?, date("exp")?);
        let has_permissions = claims.get("permissions").is_some();
        Ok(Self {
            has_permissions,
            user,
            roles,
            session,
            issued_ms,
            expires_ms,
            token_id,
            claims: claims.keep(),
        })
    }

    /// Who does not say who it is: user and role are of that name.
    pub fn anonymous() -> Self {
        Self {
            user: ANONYMOUS.into(),
            roles: Box::new([ANONYMOUS.into()]),
            session: None,
            claims: KeptClaims::default(),
            has_permissions: false,
            issued_ms: None,
            expires_ms: None,
            token_id: None,
        }
    }

    /// Bytes that it takes, at most.
    pub fn bytes(&self) -> usize {
        let roles: usize = self.roles.iter().map(|role| size_of::<Box<str>>() + role.len()).sum();
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let texts = self.user.len() + text(&self.session) + text(&self.token_id);
        size_of::<Self>() + roles + texts + self.claims.bytes()
    }

    /// The same with these roles beside its own.
    #[must_use]
    pub fn with_roles(&self, roles: &[Box<str>]) -> Self {
        let mut all: Vec<Box<str>> = self.roles.iter().chain(roles).cloned().collect();
        all.sort_unstable();
        all.dedup();
        Self { roles: all.into(), ..self.clone() }
    }

    pub fn has_role(&self, role: &str) -> bool {
        self.roles.binary_search_by(|own| (**own).cmp(role)).is_ok()
    }
}

/// Who asks, with its claims read.
pub struct Asker<'a> {
    pub identity: &'a Identity,
    pub claims: Claims,
}

impl<'a> From<&'a Identity> for Asker<'a> {
    fn from(identity: &'a Identity) -> Self {
        Self { identity, claims: identity.claims.read() }
    }
}

fn is_name(name: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// A claim that may be absent, and is a name otherwise.
fn text(claims: &Claims, name: &str, bytes_max: usize) -> Result<Option<Box<str>>, ()> {
    let Some(claim) = claims.get(name) else { return Ok(None) };
    let text = claim.as_str().filter(|text| is_name(text, bytes_max)).ok_or(())?;
    Ok(Some(text.into()))
}

fn roles(claim: &Value) -> Result<Box<[Box<str>]>, BadIdentity> {
    let named: Option<Vec<&str>> = match claim {
        Value::Array(roles) => roles.iter().map(Value::as_str).collect(),
        Value::String(roles) => Some(roles.split_ascii_whitespace().collect()),
        _ => None,
    };
    let mut named = named.ok_or(BadIdentity::Roles)?;
    if named.len() > ROLES_MAX || !named.iter().all(|role| is_name(role, ROLE_BYTES_MAX)) {
        return Err(BadIdentity::Roles);
    }
    named.sort_unstable();
    named.dedup();
    Ok(named.into_iter().map(Box::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(claims: &str) -> Result<Identity, BadIdentity> {
        let claims = serde_json::from_str(claims).expect("claims are JSON");
        Identity::of_claims(&claims, "app.roles")
    }

    #[test]
    fn a_user_has_a_name() {
        for name in ["u", "Jörg Müller", "auth0|1", "*", "\u{1F600}"] {
            let who = identity(&format!(r#"{{"sub":"{name}"}}"#)).expect("a name");
            assert_eq!((&*who.user, who.roles.len(), who.expires_ms), (name, 0, None));
        }
        let who = |claims| identity(claims).map(|who| who.user.to_string());
        assert_eq!(who(r#"{"userId":"a"}"#), Ok("a".to_owned()));
        assert_eq!(who(r#"{"userId":"a","sub":"b"}"#), Ok("b".to_owned()));
        assert_eq!(who(r#"{"userId":"a","sub":""}"#), Err(BadIdentity::User));
        let long = format!(r#"{{"sub":"{}"}}"#, "a".repeat(10 << 10));
        for bad in ["{}", r#"{"sub":""}"#, r#"{"sub":7}"#, r#"{"sub":null}"#, r#"{"sub":"a\nb"}"#, &long] {
            assert_eq!(identity(bad), Err(BadIdentity::User), "{bad:.40}");
        }
        assert_eq!(identity(r#"{"sub":"key:backend"}"#), Err(BadIdentity::KeyUser));
        assert!(identity(r#"{"sub":"keys:backend"}"#).is_ok());
    }

    #[test]
    fn roles_are_names_and_nothing_else() {
        let who = identity(r#"{"sub":"u","app":{"roles":["b","*","a","b"]}}"#).expect("roles");
        assert_eq!(who.roles.iter().map(|role| &**role).collect::<Vec<_>>(), ["*", "a", "b"]);
        assert!(who.has_role("*") && !who.has_role("c"));
        let who = identity(r#"{"sub":"u","app":{"roles":"b a"}}"#).expect("roles");
        assert!(who.has_role("a") && who.has_role("b"));
        let many = format!(r#"{{"sub":"u","app":{{"roles":[{}"x"]}}}}"#, r#""x","#.repeat(ROLES_MAX));
        for bad in [
            r#"{"sub":"u","app":{"roles":[1]}}"#,
            r#"{"sub":"u","app":{"roles":{}}}"#,
            r#"{"sub":"u","app":{"roles":[""]}}"#,
            &many,
        ] {
            assert_eq!(identity(bad), Err(BadIdentity::Roles), "{bad:.40}");
        }
    }

    #[test]
    fn what_else_a_token_says_has_its_kind() {
        let who = identity(r#"{"sub":"u","session":"s","jti":"t","iat":1,"exp":2.5}"#).expect("a token");
        assert_eq!((who.session.as_deref(), who.token_id.as_deref()), (Some("s"), Some("t")));
        assert_eq!((who.issued_ms, who.expires_ms), (Some(1000), Some(2500)));
        for (bad, error) in [
            (r#"{"sub":"u","session":""}"#, BadIdentity::Session),
            (r#"{"sub":"u","jti":1}"#, BadIdentity::TokenId),
            (r#"{"sub":"u","exp":"2"}"#, BadIdentity::Date),
            (r#"{"sub":"u","iat":-1}"#, BadIdentity::Date),
        ] {
            assert_eq!(identity(bad), Err(error), "{bad}");
        }
    }
}
