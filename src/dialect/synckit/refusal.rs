//! Why a message is refused, in the words SyncKit's clients know.

use std::fmt::{self, Display, Formatter};

use super::frame::Fields;
use crate::wire::Reject;
use crate::wire::json::{write_integer, write_string};

/// Answered with `error`; the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    InvalidFormat,
    /// JSON that nothing here can hold, and not in an operation that could be left out.
    Unrepresentable(Reason<'static>),
    /// No client may send this type.
    InvalidType(&'a str),
    TooLarge {
        bytes: usize,
        bytes_max: usize,
    },
    TooManyMessages,
    /// All messages of the connection that have come in part are forgotten.
    PiecesDropped,
    NotAuthenticated,
    /// The connection ends.
    AuthenticationRequired,
    PermissionDenied {
        document: &'a str,
    },
    InvalidDocument,
    DocumentTooLong,
    DocumentCharacters,
    EmptyDelta,
    EmptyBatch,
    ApiKey,
    AwarenessSubscribe(Reason<'static>),
    AwarenessUpdate(Reason<'static>),
    /// What failed, as in `Delta application failed`, and why.
    Failed {
        what: &'static str,
        document: &'a str,
        reason: Reason<'a>,
    },
}

/// Why something failed, for the developer who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason<'a> {
    /// As in a `code` of `/v1`.
    code: &'static str,
    text: &'static str,
    /// The byte of the JSON that it is about.
    byte: Option<u32>,
    field: Option<&'a str>,
    limit: Option<usize>,
    flag: Option<&'static str>,
}

/// Bytes of a name that a refusal repeats, at most.
const NAME_SHOWN_MAX: usize = 100;

/// The front of a name that may be as long as a message.
fn shown(name: &str) -> &str {
    let mut ends = (0..=name.len().min(NAME_SHOWN_MAX)).rev();
    &name[..ends.find(|&end| name.is_char_boundary(end)).unwrap_or(0)]
}

impl<'a> Reason<'a> {
    pub const fn too_large(text: &'static str, limit: usize) -> Self {
        Self { limit: Some(limit), ..Self::of(Reject::TooLarge(text)) }
    }

    pub const fn invalid(text: &'static str) -> Self {
        Self::of(Reject::ValueInvalid(text))
    }

    pub const fn of(reject: Reject) -> Self {
        let flag = match reject {
            Reject::TooManySubscriptions => Some("--max-subscriptions"),
            Reject::ClockDrift => Some("--max-clock-drift-ms"),
            Reject::Timeout => Some("--ack-timeout-ms"),
            _ => None,
        };
        Self {
            code: reject.code(),
            text: reject.message(),
            byte: reject.byte(),
            field: None,
            limit: None,
            flag,
        }
    }

    pub const fn field(self, field: &'a str) -> Self {
        Self { field: Some(field), ..self }
    }

    pub const fn limit(self, limit: usize) -> Self {
        Self { limit: Some(limit), ..self }
    }

    pub const fn flag(self, flag: &'static str) -> Self {
        Self { flag: Some(flag), ..self }
    }

    fn write_to(&self, details: &mut Object<'_>) {
        details.text("code", self.code);
        details.text("reason", self.text);
        if let Some(byte) = self.byte {
            write_integer(details.name("byte"), byte);
        }
        if let Some(field) = self.field {
            details.text("field", shown(field));
        }
        if let Some(limit) = self.limit {
            write_integer(details.name("limit"), limit as u64);
        }
        if let Some(flag) = self.flag {
            details.text("flag", flag);
        }
    }
}

impl Display for Refusal<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::InvalidFormat | Self::Unrepresentable(_) => "Invalid message format",
            Self::InvalidType(name) => return write!(formatter, "Invalid message type: {}", shown(name)),
            Self::TooLarge { bytes, bytes_max } => {
                return write!(formatter, "Message too large ({bytes} bytes, max {bytes_max})");
            }
            Self::TooManyMessages => "Too many messages. Please slow down.",
            Self::PiecesDropped => "Message in chunks dropped",
            Self::NotAuthenticated => "Not authenticated",
            Self::AuthenticationRequired => "Authentication required",
            Self::PermissionDenied { .. } => "Permission denied",
            Self::InvalidDocument => "Invalid document ID",
            Self::DocumentTooLong => "Document ID too long",
            Self::DocumentCharacters => "Document ID contains invalid characters",
            Self::EmptyDelta => "Invalid delta message: missing or empty delta",
            Self::EmptyBatch => "Invalid delta batch: missing or empty deltas array",
            Self::ApiKey => "API key authentication not yet implemented",
            Self::AwarenessSubscribe(_) => "Failed to subscribe to awareness",
            Self::AwarenessUpdate(_) => "Failed to update awareness",
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
            Self::AuthenticationRequired => fields.json("details", br#"{"code":"AUTH_REQUIRED"}"#),
            Self::TooManyMessages => fields.json("details", br#"{"code":"RATE_LIMIT_EXCEEDED"}"#),
            Self::PiecesDropped => {
                let text = "messages of which not all chunks have come take as much memory as they may";
                details(
                    fields,
                    None,
                    Some(&Reason { text, ..Reason::of(Reject::Overloaded { retry_after_ms: 0 }) }),
                );
            }
            Self::PermissionDenied { document } => details(fields, Some(document), None),
            Self::Failed { document, reason, .. } => details(fields, Some(document), Some(reason)),
            Self::AwarenessSubscribe(reason)
            | Self::AwarenessUpdate(reason)
            | Self::Unrepresentable(reason) => {
                details(fields, None, Some(reason));
            }
            _ => {}
        }
    }
}

fn details(fields: &mut Fields<'_>, document: Option<&str>, reason: Option<&Reason<'_>>) {
    let mut details = Object::begin(fields.begin("details"));
    if let Some(document) = document {
        details.text("documentId", document);
    }
    if let Some(reason) = reason {
        reason.write_to(&mut details);
    }
    details.end();
}

/// A JSON object that is being appended.
struct Object<'a>(&'a mut Vec<u8>);

impl<'a> Object<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self(out)
    }

    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if self.0.last() != Some(&b'{') {
            self.0.push(b',');
        }
        write_string(self.0, name);
        self.0.push(b':');
        self.0
    }

    fn text(&mut self, name: &str, value: &str) {
        write_string(self.name(name), value);
    }

    fn end(self) {
        self.0.push(b'}');
    }
}
