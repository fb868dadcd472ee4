//! What clients say: from the bytes of a WebSocket message to its fields.
//!
//! A text message, or a binary one that begins with `{`, is JSON with `type`, `id` and `timestamp`, and may have its fields
//! in a `payload` object. Any other binary message has the header of `frame.rs`. A first byte of 0x20 is a delta, not
//! white space before JSON.

use simd_json::Node;

use super::frame::{Code, HEADER_BYTES};
use super::refusal::{Reason, Refusal};
use crate::shard::MessageKind;
use crate::wire::json::{Elements, Faults, Found, Members, Number, Object, Scratch, Step, Value};
use crate::wire::{Payload, Reject};

/// One message, parsed.
pub struct Incoming<'a> {
    object: Object<'a>,
    /// The type code, if it came in a header.
    code: Option<Code>,
    faults: Option<Faults>,
}

/// The members whose faults concern single operations.
pub const NAMES: &[&str] = &["payload", "delta", "deltas", "field", "value"];

/// The JSON of a message, and its type code if it came in a header.
///
/// # Errors
/// [`Refusal::InvalidFormat`] for a header or a length that is wrong.
pub fn unframe<'a>(
    kind: MessageKind,
    payload: Payload<'a>,
) -> Result<(Payload<'a>, Option<Code>), Refusal<'static>> {
    let (padded, len) = payload.into_padded();
    if kind == MessageKind::Text || padded[..len].first() == Some(&b'{') {
        return Ok((Payload::new(padded, len), None));
    }
    let header: [u8; HEADER_BYTES] = padded[..len].first_chunk().copied().ok_or(Refusal::InvalidFormat)?;
    let code = Code::from_byte(header[0]).ok_or(Refusal::InvalidFormat)?;
    let json_len = u32::from_be_bytes([header[9], header[10], header[11], header[12]]) as usize;
    if json_len > len - HEADER_BYTES {
        return Err(Refusal::InvalidFormat);
    }
    Ok((Payload::new(&mut padded[HEADER_BYTES..], json_len), Some(code)))
}

impl<'a> Incoming<'a> {
    /// `faults` are there if the message was mended.
    pub fn new(object: Object<'a>, code: Option<Code>, faults: Option<Faults>) -> Self {
        Self { object, code, faults }
    }

    /// Why no part of a mended message can be carried out: what is at fault is not in its operations.
    fn wrong_as_a_whole(&self, said: Said) -> Option<Reason<'static>> {
        let faults = self.faults.as_ref()?;
        let is_in_operations = |found: &&Found| {
            let path = match &found.path[..] {
                [Step::Member("payload"), rest @ ..] => rest,
                path => path,
            };
            matches!(path, [Step::Member("delta" | "deltas" | "field" | "value"), ..])
        };
        let are_operations = faults.are_all && matches!(said, Said::Delta | Said::DeltaBatch);
        let wrong = faults.found.iter().find(|found| !are_operations || !is_in_operations(found))?;
        Some(Reason::of(Reject::ValueFault(wrong.fault)))
    }

    pub fn into_object(self) -> Object<'a> {
        self.object
    }

    /// What the message is and its fields.
    ///
    /// # Errors
    /// [`Refusal::InvalidFormat`] for JSON without its three fields, [`Refusal::InvalidType`] for what no client may say.
    pub fn message(&self) -> Result<(Said, Fields<'_>), Refusal<'_>> {
        let (said, fields) = self.said()?;
        match self.wrong_as_a_whole(said) {
            Some(reason) => Err(Refusal::Unrepresentable(reason)),
            None => Ok((said, fields)),
        }
    }

    fn said(&self) -> Result<(Said, Fields<'_>), Refusal<'_>> {
        let mut fields = Fields::new(self.object.scratch());
        fields.faults = self.faults.as_ref();
        fields.take(self.object.members());
        let Some(code) = self.code else { return self.json_message(fields) };
        match Said::of_code(code) {
            Some(said) => Ok((said, fields)),
            None => Err(Refusal::InvalidType(code.name())),
        }
    }

    fn json_message<'m>(&'m self, mut fields: Fields<'m>) -> Result<(Said, Fields<'m>), Refusal<'m>> {
        let kind = fields.kind.and_then(text).filter(|kind| !kind.is_empty());
        let has_all = is_truthy(fields.id) && is_truthy(fields.timestamp);
        let Some(kind) = kind.filter(|_| has_all) else { return Err(Refusal::InvalidFormat) };
        if let Some(payload) = fields.payload.and_then(Members::of) {
            fields.take(payload);
        }
        let said = match kind {
            "connect" | "snapshot_request" | "snapshot_upload" => Some(Said::Nothing),
            kind => Code::from_name(kind).and_then(Said::of_code),
        };
        said.map(|said| (said, fields)).ok_or(Refusal::InvalidType(kind))
    }
}

/// What clients may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Auth,
    Subscribe,
    Unsubscribe,
    SyncRequest,
    SyncStep1,
    Delta,
    DeltaBatch,
    Chunk,
    AwarenessSubscribe,
    AwarenessUpdate,
    Ping,
    /// An ack, a pong, or what has no meaning here.
    Nothing,
}

impl Said {
    fn of_code(code: Code) -> Option<Self> {
        Some(match code {
            Code::Auth => Self::Auth,
            Code::Subscribe => Self::Subscribe,
            Code::Unsubscribe => Self::Unsubscribe,
            Code::SyncRequest => Self::SyncRequest,
            Code::SyncStep1 => Self::SyncStep1,
            Code::Delta => Self::Delta,
            Code::DeltaBatch => Self::DeltaBatch,
            Code::DeltaBatchChunk => Self::Chunk,
            Code::AwarenessSubscribe => Self::AwarenessSubscribe,
            Code::AwarenessUpdate => Self::AwarenessUpdate,
            Code::Ping => Self::Ping,
            Code::Ack | Code::Pong => Self::Nothing,
            Code::AuthSuccess
            | Code::AuthError
            | Code::SyncResponse
            | Code::SyncStep2
            | Code::AwarenessState
            | Code::Error => return None,
        })
    }
}

/// A JSON value: its own node first.
pub type Nodes<'a> = &'a [Node<'a>];

/// Every field a message, or an operation of a batch, may have, as it was sent.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    pub scratch: &'a Scratch,
    /// What was replaced in the message, if anything was.
    pub faults: Option<&'a Faults>,
    pub kind: Option<Nodes<'a>>,
    pub id: Option<Nodes<'a>>,
    pub message_id: Option<Nodes<'a>>,
    pub document: Option<Nodes<'a>>,
    pub token: Option<Nodes<'a>>,
    pub api_key: Option<Nodes<'a>>,
    pub delta: Option<Nodes<'a>>,
    pub deltas: Option<Nodes<'a>>,
    pub field: Option<Nodes<'a>>,
    pub value: Option<Nodes<'a>>,
    pub clock: Option<Nodes<'a>>,
    pub vector_clock: Option<Nodes<'a>>,
    pub client: Option<Nodes<'a>>,
    pub state: Option<Nodes<'a>>,
    pub operation: Option<Nodes<'a>>,
    pub chunk: Option<Nodes<'a>>,
    pub chunks: Option<Nodes<'a>>,
    pub chunk_index: Option<Nodes<'a>>,
    pub data: Option<Nodes<'a>>,
    timestamp: Option<Nodes<'a>>,
    payload: Option<Nodes<'a>>,
}

impl<'a> Fields<'a> {
    fn new(scratch: &'a Scratch) -> Self {
        Self {
            scratch,
            faults: None,
            kind: None,
            id: None,
            message_id: None,
            document: None,
            token: None,
            api_key: None,
            delta: None,
            deltas: None,
            field: None,
            value: None,
            clock: None,
            vector_clock: None,
            client: None,
            state: None,
            operation: None,
            chunk: None,
            chunks: None,
            chunk_index: None,
            data: None,
            timestamp: None,
            payload: None,
        }
    }

    /// The fields of one operation of a batch; `None` if it is no object.
    pub fn of(operation: Nodes<'a>, scratch: &'a Scratch) -> Option<Self> {
        let mut fields = Self::new(scratch);
        fields.take(Members::of(operation)?);
        Some(fields)
    }

    fn take(&mut self, members: Members<'a>) {
        for (name, value) in members {
            let place = match name.as_bytes() {
                b"type" => &mut self.kind,
                b"id" => &mut self.id,
                b"messageId" => &mut self.message_id,
                b"documentId" => &mut self.document,
                b"token" => &mut self.token,
                b"apiKey" => &mut self.api_key,
                b"delta" => &mut self.delta,
                b"deltas" => &mut self.deltas,
                b"field" => &mut self.field,
                b"value" => &mut self.value,
                b"clock" => &mut self.clock,
                b"vectorClock" => &mut self.vector_clock,
                b"clientId" => &mut self.client,
                b"state" => &mut self.state,
                b"operation" => &mut self.operation,
                b"chunkId" => &mut self.chunk,
                b"totalChunks" => &mut self.chunks,
                b"chunkIndex" => &mut self.chunk_index,
                b"data" => &mut self.data,
                b"timestamp" => &mut self.timestamp,
                b"payload" => &mut self.payload,
                _ => continue,
            };
            *place = Some(value);
        }
    }

    /// The document, if it is a text.
    pub fn document(&self) -> Option<&'a str> {
        self.document.and_then(text)
    }

    /// What an ack names: the `messageId`, else the `id`.
    pub fn reference(&self) -> Option<Nodes<'a>> {
        self.message_id.or(self.id)
    }

    /// A field as canonical JSON.
    pub fn canonical(&self, nodes: Nodes<'a>) -> Vec<u8> {
        let mut json = Vec::new();
        self.json(nodes).write_canonical(&mut json);
        json
    }

    /// A field as a value that can be written.
    pub fn json(&self, nodes: Nodes<'a>) -> Value<'a> {
        Value::new(nodes, self.scratch)
    }

    /// The largest number in the clock that came with it; 0 without one.
    pub fn seen(&self) -> u64 {
        let entries = self.vector_clock.or(self.clock).and_then(Members::of);
        entries.into_iter().flatten().filter_map(|(_, value)| whole(value)).max().unwrap_or(0)
    }
}

/// The text of a value, if it is one.
pub fn text<'a>(nodes: Nodes<'a>) -> Option<&'a str> {
    match nodes.first() {
        Some(Node::String(text)) => Some(text),
        _ => None,
    }
}

/// A value as a whole number of 0 to 2^53 - 1.
pub fn whole(nodes: Nodes<'_>) -> Option<u64> {
    nodes.first().and_then(Number::of).and_then(Number::whole).and_then(|number| number.try_into().ok())
}

/// Whether a value is `true`.
pub fn is_true(nodes: Nodes<'_>) -> bool {
    matches!(nodes.first(), Some(Node::Static(simd_json::StaticNode::Bool(true))))
}

/// The values of an array.
pub fn elements<'a>(nodes: Nodes<'a>) -> Option<Elements<'a>> {
    Elements::of(nodes)
}

/// What JavaScript counts as true.
fn is_truthy(nodes: Option<Nodes<'_>>) -> bool {
    match nodes.and_then(|nodes| nodes.first()) {
        None => false,
        Some(Node::String(text)) => !text.is_empty(),
        Some(Node::Static(value)) => match value {
            simd_json::StaticNode::Null => false,
            simd_json::StaticNode::Bool(value) => *value,
            _ => nodes.and_then(whole) != Some(0),
        },
        Some(_) => true,
    }
}
