//! Why a connection ends: the close codes of `docs/protocol.md`, one variant each.

/// Hang up, with this code. What a peer did or what became of the server, never a fault to panic over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Close {
    /// 1000: either side is done.
    Normal,
    /// 1001: the server stops or drains; the reason says when to come back.
    GoingAway { retry_after_ms: u32 },
    /// 1002: a frame breaks RFC 6455.
    Protocol(&'static str),
    /// 1003: a kind of data this endpoint does not take.
    Unsupported,
    /// 1007: text that is not UTF-8, or too many messages that are not JSON.
    InvalidData(&'static str),
    /// 1009: a message over `--max-message-bytes`.
    TooBig,
    /// 1008: a rule of this server, such as its origins.
    Policy(&'static str),
    /// 1011: a fault of the server.
    Internal,
    /// 1013: a connection or rate limit; the reason says when to come back.
    TryAgainLater { retry_after_ms: u32 },
    /// 1013: a limit of connections of one address; the reason says when to come back.
    TooManyOfAddress { retry_after_ms: u32 },
    /// 1013: a limit of connections of one user; the reason says when to come back.
    TooManyOfUser { retry_after_ms: u32 },
    /// As a dialect words it.
    Said { code: u16, reason: &'static str },
    /// 4001: no `auth` in time.
    AuthRequired,
    /// 4002: the token is invalid or has expired.
    AuthFailed,
    /// 4003: the identity may not use this server.
    PermissionDenied,
    /// 4003: another session of the user is connected, where that may not be.
    OtherSession,
    /// 4003: the application has said no, with a reason of its own, or without.
    Denied,
    /// 4003: an administrator has ended it.
    Dismissed,
    /// 4005: silence for longer than the heartbeat allows.
    HeartbeatTimeout,
    /// 4008: the peer reads slower than the hard outbound limit allows.
    SlowConsumer,
    /// 4009: a newer session of the same identity took over.
    Replaced,
    /// The peer closed first; the answer repeats its code (RFC 6455 section 5.5.1).
    Echoed { code: Option<u16> },
    /// No close frame: the transport is gone, or never became a WebSocket.
    Gone,
}

impl Close {
    /// The code on the wire (RFC 6455 section 7.4; 4000–4999 are ours). [`Close::Gone`] counts as 1006 and a
    /// peer's close without a code as 1005, which are never sent.
    pub const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway { .. } => 1001,
            Self::Protocol(_) => 1002,
            Self::Unsupported => 1003,
            Self::Gone => 1006,
            Self::InvalidData(_) => 1007,
            Self::Policy(_) => 1008,
            Self::TooBig => 1009,
            Self::Internal => 1011,
            Self::TryAgainLater { .. } | Self::TooManyOfAddress { .. } | Self::TooManyOfUser { .. } => 1013,
            Self::Said { code, .. } => code,
            Self::AuthRequired => 4001,
            Self::AuthFailed => 4002,
            Self::PermissionDenied | Self::OtherSession | Self::Dismissed | Self::Denied => 4003,
            Self::HeartbeatTimeout => 4005,
            Self::SlowConsumer => 4008,
            Self::Replaced => 4009,
            Self::Echoed { code: Some(code) } => code,
            Self::Echoed { code: None } => 1005,
        }
    }

    /// Why, for the log: in words of whoever runs the server, not of its peer.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Normal => "both sides are done",
            Self::GoingAway { .. } => "the server drains",
            Self::Protocol(reason) | Self::InvalidData(reason) | Self::Policy(reason) => reason,
            Self::Said { reason, .. } => reason,
            Self::Unsupported => "a kind of message that this endpoint does not take",
            Self::TooBig => "a message over the limit of its dialect, such as --max-message-bytes",
            Self::Internal => "a fault of the server",
            Self::TryAgainLater { .. } => "over --max-connections or --accept-rate",
            Self::TooManyOfAddress { .. } => "over --max-connections-per-ip or --address-rates",
            Self::TooManyOfUser { .. } => {
                "over --max-connections-per-user, or its user's connections_per_second"
            }
            Self::AuthRequired => "no token in time",
            Self::AuthFailed => "an invalid token",
            Self::PermissionDenied => "an identity that may not",
            Self::OtherSession => "another session of its user is connected (--sessions reject)",
            Self::Denied => "the application has said no (on_connect)",
            Self::Dismissed => "an administrator has ended it",
            Self::HeartbeatTimeout => "silent for --heartbeat-ms",
            Self::SlowConsumer => "more than --outbox-hard-bytes waited for it",
            Self::Replaced => "a newer session of the same identity",
            Self::Echoed { .. } => "the peer closed it",
            Self::Gone => "the peer ended it without a close frame",
        }
    }

    /// Whether who is gone with this does not come back by itself: both sides are done, or it may not (4001 to 4003), unless it is
    /// the peer that says so.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Echoed { code } => matches!(code, Some(1000)),
            _ => matches!(self.code(), 1000 | 4001..=4003),
        }
    }

    /// Whether no healthy client meets this: something is wrong with it, with the way to it, or here.
    pub const fn is_abnormal(self) -> bool {
        match self {
            Self::Protocol(_)
            | Self::Unsupported
            | Self::InvalidData(_)
            | Self::TooBig
            | Self::Policy(_)
            | Self::Internal
            | Self::Said { .. }
            | Self::HeartbeatTimeout
            | Self::SlowConsumer => true,
            Self::Normal
            | Self::GoingAway { .. }
            | Self::TryAgainLater { .. }
            | Self::TooManyOfAddress { .. }
            | Self::TooManyOfUser { .. }
            | Self::OtherSession
            | Self::AuthRequired
            | Self::AuthFailed
            | Self::PermissionDenied
            | Self::Denied
            | Self::Dismissed
            | Self::Replaced
            | Self::Echoed { .. }
            | Self::Gone => false,
        }
    }

    /// Writes the reason text, at most 123 bytes (RFC 6455 section 5.5).
    pub fn write_reason(self, out: &mut Vec<u8>) {
        match self {
            Self::Protocol(reason)
            | Self::InvalidData(reason)
            | Self::Policy(reason)
            | Self::Said { reason, .. } => {
                out.extend_from_slice(reason.as_bytes());
            }
            Self::GoingAway { retry_after_ms }
            | Self::TryAgainLater { retry_after_ms }
            | Self::TooManyOfAddress { retry_after_ms }
            | Self::TooManyOfUser { retry_after_ms } => {
                out.extend_from_slice(b"retry_after_ms=");
                out.extend_from_slice(itoa::Buffer::new().format(retry_after_ms).as_bytes());
            }
            Self::Normal | Self::Gone | Self::Echoed { .. } => {}
            Self::Unsupported => out.extend_from_slice(b"this endpoint takes text messages"),
            Self::TooBig => out.extend_from_slice(b"message over the limit"),
            Self::Internal => out.extend_from_slice(b"internal error"),
            Self::AuthRequired => out.extend_from_slice(b"authentication required"),
            Self::AuthFailed => out.extend_from_slice(b"authentication failed"),
            Self::PermissionDenied => out.extend_from_slice(b"permission denied"),
            Self::OtherSession => out.extend_from_slice(b"another session of this user is connected"),
            Self::Denied => out.extend_from_slice(b"refused by the application"),
            Self::Dismissed => out.extend_from_slice(b"disconnected by an administrator"),
            Self::HeartbeatTimeout => out.extend_from_slice(b"heartbeat timeout"),
            Self::SlowConsumer => out.extend_from_slice(b"slow consumer"),
            Self::Replaced => out.extend_from_slice(b"replaced by a newer session"),
        }
    }
}
