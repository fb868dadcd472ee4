//! Why a message is refused, in the words SyncKit's clients know.

use std::fmt::{self, Display, Formatter};

use super::frame::Fields;
use crate::wire::json::write_string;

/// Answered with `error`; the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    InvalidFormat,
    /// No client may send this type.
    InvalidType(&'a str),
    TooLarge {
        bytes: usize,
        bytes_max: usize,
    },
    TooManyMessages,
    NotAuthenticated,
    PermissionDenied {
        document: &'a str,
    },
    InvalidDocument,
    DocumentTooLong,
    DocumentCharacters,
    EmptyDelta,
    EmptyBatch,
    ApiKey,
    AwarenessSubscribe,
    AwarenessUpdate,
    /// What failed, as in `Delta application failed`.
    Failed {
        what: &'static str,
        document: &'a str,
    },
}

impl Display for Refusal<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::InvalidFormat => "Invalid message format",
            Self::InvalidType(name) => return write!(formatter, "Invalid message type: {name}"),
            Self::TooLarge { bytes, bytes_max } => {
                return write!(formatter, "Message too large ({bytes} bytes, max {bytes_max})");
            }
            Self::TooManyMessages => "Too many messages. Please slow down.",
            Self::NotAuthenticated => "Not authenticated",
            Self::PermissionDenied { .. } => "Permission denied",
            Self::InvalidDocument => "Invalid document ID",
            Self::DocumentTooLong => "Document ID too long",
            Self::DocumentCharacters => "Document ID contains invalid characters",
            Self::EmptyDelta => "Invalid delta message: missing or empty delta",
            Self::EmptyBatch => "Invalid delta batch: missing or empty deltas array",
            Self::ApiKey => "API key authentication not yet implemented",
            Self::AwarenessSubscribe => "Failed to subscribe to awareness",
            Self::AwarenessUpdate => "Failed to update awareness",
            Self::Failed { what, .. } => what,
        })
    }
}

impl Refusal<'_> {
    /// Appends `error` and, where there are any, `details`.
    pub fn write_to(&self, fields: &mut Fields<'_>) {
        fields.text("error", &self.to_string());
        match self {
            Self::InvalidType(_) | Self::TooLarge { .. } => {
                fields.json("details", br#"{"code":"INVALID_MESSAGE"}"#);
            }
            Self::TooManyMessages => fields.json("details", br#"{"code":"RATE_LIMIT_EXCEEDED"}"#),
            Self::PermissionDenied { document } | Self::Failed { document, .. } => {
                let out = fields.begin("details");
                out.extend_from_slice(b"{\"documentId\":");
                write_string(out, document);
                out.push(b'}');
            }
            _ => {}
        }
    }
}
