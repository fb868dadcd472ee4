//! Why an operation or a request was refused while the connection goes on.

use super::json::Fault;

/// Answer, go on. Each is a `code` of `docs/protocol.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reject {
    /// The message is not one JSON object.
    BadJson(Fault),
    /// A field is missing, or of the wrong type.
    BadRequest(&'static str),
    UnknownType,
    /// The map holds another type, fixed by its first write.
    MapType,
    /// The stamp is further ahead of the server than `--max-clock-drift-ms`.
    ClockDrift,
    Forbidden,
    /// The application, which is asked, does not want it.
    Denied,
    /// A key, value, tag list or request over its limit.
    TooLarge(&'static str),
    KeyInvalid(&'static str),
    ValueInvalid(&'static str),
    /// JSON that nothing here can hold, in the name of a map or a key.
    KeyFault(Fault),
    /// The same elsewhere.
    ValueFault(Fault),
    /// Try the same again later.
    Overloaded {
        retry_after_ms: u32,
    },
    ReadOnly,
    /// What is stored of the map cannot be read; nothing of it is changed until it can.
    LoadFailed {
        retry_after_ms: u32,
    },
    /// More messages per second than the limit; this one was not handled.
    RateLimited {
        retry_after_ms: u32,
    },
    /// More subscriptions than the limit.
    TooManySubscriptions,
    /// Another shard did not answer within `--ack-timeout-ms`, or the map was not loaded in that time.
    Timeout,
    /// A token was sent to a server that takes none.
    AuthUnavailable,
    /// Nothing else is taken before a token.
    AuthRequired,
    /// Only who has said who it is may ask for this.
    NoUser,
    /// The token is not believed.
    AuthFailed(&'static str),
    /// What it was believed by has expired; it ends soon unless it is renewed.
    TokenExpired,
    /// It is not in the room whose member it would change.
    NotJoined,
    /// The same client has asked for something else before this was done.
    Cancelled,
}

impl Reject {
    /// The `code` field.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadJson(_) => "bad_json",
            Self::BadRequest(_) => "bad_request",
            Self::UnknownType => "unknown_type",
            Self::MapType => "map_type",
            Self::ClockDrift => "clock_drift",
            Self::Forbidden => "forbidden",
            Self::Denied => "denied",
            Self::TooLarge(_) => "too_large",
            Self::KeyInvalid(_) | Self::KeyFault(_) => "key_invalid",
            Self::ValueInvalid(_) | Self::ValueFault(_) => "value_invalid",
            Self::Overloaded { .. } => "overloaded",
            Self::ReadOnly => "read_only",
            Self::LoadFailed { .. } => "load_failed",
            Self::RateLimited { .. } => "rate_limited",
            Self::TooManySubscriptions => "too_many_subscriptions",
            Self::Timeout => "timeout",
            Self::AuthUnavailable => "auth_unavailable",
            Self::AuthRequired | Self::NoUser => "auth_required",
            Self::AuthFailed(_) => "auth_failed",
            Self::TokenExpired => "token_expired",
            Self::NotJoined => "not_joined",
            Self::Cancelled => "cancelled",
        }
    }

    /// The `message` field: one sentence for the developer who reads it.
    pub const fn message(self) -> &'static str {
        match self {
            Self::BadJson(fault) | Self::KeyFault(fault) | Self::ValueFault(fault) => fault.text(),
            Self::BadRequest(what)
            | Self::TooLarge(what)
            | Self::KeyInvalid(what)
            | Self::ValueInvalid(what)
            | Self::AuthFailed(what) => what,
            Self::UnknownType => "no message has this type",
            Self::MapType => "the map holds another type, fixed by its first write",
            Self::ClockDrift => "the stamp is too far ahead of the server's clock",
            Self::Forbidden => "not allowed for this identity",
            Self::Denied => "the application does not allow it",
            Self::Overloaded { .. } => "the server is busy, send it again later",
            Self::ReadOnly => "the server takes no writes now",
            Self::LoadFailed { .. } => {
                "what is stored of the map cannot be read; the log of the server says why"
            }
            Self::RateLimited { .. } => "too many messages, this one was not handled",
            Self::TooManySubscriptions => "this connection has as many subscriptions as it may",
            Self::Timeout => "the map could not be loaded in time, or another shard did not answer",
            Self::AuthUnavailable => "this server takes no tokens",
            Self::AuthRequired => "this server takes nothing before a token: send auth",
            Self::NoUser => "only users have direct messages, and this connection is of none",
            Self::TokenExpired => "the token has expired: send auth with another now",
            Self::NotJoined => "this connection is not in the room: send presence.join first",
            Self::Cancelled => "a later request took its place before it was done",
        }
    }

    /// The byte of the message that [`Self::message`] is about.
    pub const fn byte(self) -> Option<u32> {
        match self {
            Self::BadJson(fault) | Self::KeyFault(fault) | Self::ValueFault(fault) => Some(fault.byte),
            _ => None,
        }
    }

    pub const fn retry_after_ms(self) -> Option<u32> {
        match self {
            Self::Overloaded { retry_after_ms }
            | Self::RateLimited { retry_after_ms }
            | Self::LoadFailed { retry_after_ms } => Some(retry_after_ms),
            _ => None,
        }
    }
}
