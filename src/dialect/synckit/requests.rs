//! From messages to the commands each one asks for, and the answers that need no engine.

use super::awareness;
use super::chunks::{Chunks, Piece};
use super::conversation::Conversation;
use super::document::StateRequest;
use super::documents;
use super::frame::Code;
use super::identity::{Access, authenticate, permit};
use super::message::{self, Fields, Incoming, Nodes, Said};
use super::refusal::Refusal;
use super::replies::{refuse, reply};
use super::unfinished::Unfinished;
use super::writes::{Operations, Writes};
use crate::auth::rules::Action;
use crate::config::Config;
use crate::limits::{MAP_NAME_BYTES_MAX, OWN_PREFIX, PARSE_PADDING_BYTES};
use crate::shard::Caller;
use crate::shard::{AckLevel, MessageKind, Shard, work};
use crate::wire::json::Diagnosis;
use crate::wire::{Payload, Ticket};

/// Tickets of writes: `delta` and `delta_batch`.
pub const DELTA_TICKET: u8 = b'd';
pub const BATCH_TICKET: u8 = b'b';
/// Stands in a ticket between the id that the ack names and the document.
pub const TICKET_SEPARATOR: u8 = b'\n';

/// Bytes of an id or a `messageId` as JSON, at most.
const ID_BYTES_MAX: usize = 256;

/// Bytes of a message that SyncKit's servers take.
const MESSAGE_BYTES_MIN: usize = 2_000_000;

/// Bytes of a message, at most: what SyncKit allows, or more.
pub fn message_bytes_max(config: &Config) -> usize {
    config.message_bytes_max.max(MESSAGE_BYTES_MIN)
}

/// How a message comes to be handled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    Now,
    /// It was put together from pieces, which were counted.
    InPieces,
    /// It has waited until its client had said who it is.
    Before,
}

/// Handles one message.
pub fn handle(shard: &mut Shard, caller: Caller, kind: MessageKind, payload: Payload<'_>) {
    if !caller.is_nobody() {
        return handle_framed(shard, caller, (kind, payload), Came::Now);
    }
    let message: Box<[u8]> = payload.bytes().into();
    if !is_before_identity(shard, kind, payload) {
        return handle_kept(shard, caller, kind, &message, Came::Now);
    }
    if shard.over_message_rate(caller, message.len()).is_some() {
        return refuse(shard, caller, Refusal::TooManyMessages);
    }
    let Some(session) = shard.session(caller) else { return };
    if !Conversation::of(session).held.keep(kind, &message) {
        refuse(shard, caller, Refusal::NotAuthenticated);
    }
}

/// Whether a message has to wait until its client has said who it is.
fn is_before_identity(shard: &mut Shard, kind: MessageKind, payload: Payload<'_>) -> bool {
    let Ok((payload, code)) = message::unframe(kind, payload) else { return false };
    let Ok(object) = shard.parser().parse(payload) else { return false };
    let incoming = Incoming::new(object, code, None);
    let must_wait = match incoming.message() {
        Ok((said, _)) => !matches!(said, Said::Nothing | Said::Ping | Said::Auth),
        Err(_) => false,
    };
    shard.parser().recycle(incoming.into_object());
    must_wait
}

/// Handles what has waited until its client had said who it is.
pub fn handle_held(shard: &mut Shard, caller: Caller) {
    let Some(session) = shard.session(caller).filter(|session| session.is_some()) else { return };
    for (kind, message) in Conversation::of(session).held.take() {
        shard.spend(work::decoded(message.len()));
        handle_kept(shard, caller, kind, &message, Came::Before);
    }
}

fn handle_kept(shard: &mut Shard, caller: Caller, kind: MessageKind, message: &[u8], came: Came) {
    let mut padded = message.to_vec();
    padded.resize(message.len() + PARSE_PADDING_BYTES, 0);
    handle_framed(shard, caller, (kind, Payload::new(&mut padded, message.len())), came);
}

fn handle_framed(shard: &mut Shard, caller: Caller, (kind, payload): (MessageKind, Payload<'_>), came: Came) {
    let (bytes, bytes_max) = (payload.bytes().len(), message_bytes_max(shard.config()));
    let is_over = came == Came::Now && shard.over_message_rate(caller, bytes).is_some();
    if bytes > bytes_max {
        return refuse(shard, caller, Refusal::TooLarge { bytes, bytes_max });
    }
    let (mut payload, code) = match message::unframe(kind, payload) {
        Ok(unframed) => unframed,
        Err(refusal) => return refuse(shard, caller, refusal),
    };
    let (object, faults) = match shard.parser().parse(payload.reborrow()) {
        Ok(object) => (object, None),
        Err(refused) => {
            let Diagnosis::Mended(faults) = refused.diagnose(&mut payload, message::NAMES) else {
                return refuse(shard, caller, Refusal::InvalidFormat);
            };
            match shard.parser().parse(payload) {
                Ok(object) => (object, Some(faults)),
                Err(_) => return refuse(shard, caller, Refusal::InvalidFormat),
            }
        }
    };
    let incoming = Incoming::new(object, code, faults);
    match incoming.message() {
        // A client that is told to slow down must not take the server for dead.
        Ok((said, _)) if is_over && said != Said::Ping => refuse(shard, caller, Refusal::TooManyMessages),
        Ok((Said::Chunk, fields)) if came != Came::InPieces => take_chunk(shard, caller, &fields),
        Ok((said, fields)) => {
            if let Err(refusal) = carry_out(shard, caller, said, &fields) {
                refuse(shard, caller, refusal);
            }
        }
        Err(refusal) => refuse(shard, caller, refusal),
    }
    shard.parser().recycle(incoming.into_object());
}

fn carry_out<'a>(
    shard: &mut Shard,
    caller: Caller,
    said: Said,
    fields: &Fields<'a>,
) -> Result<(), Refusal<'a>> {
    match said {
        Said::Nothing => {}
        Said::Ping => reply(shard, caller, Code::Pong, |_| {}),
        Said::Auth => authenticate(shard, caller, fields)?,
        Said::Subscribe => {
            let document = checked_document(fields)?;
            permit(shard, caller, Access::Read, document)?;
            let id_of_request = ticket_of(fields)?;
            if let (Some(client), Some(session)) =
                (fields.client.and_then(message::text), shard.session(caller))
            {
                Conversation::of(session).meet(client);
            }
            let failure = documents::SUBSCRIBE_FAILED;
            let request = StateRequest { id: id_of_request, wants_fields: true, failure };
            ask(shard, caller, document, request)?;
            awareness::imply(shard, caller, document);
        }
        Said::SyncRequest => {
            let document = document(fields)?;
            permit(shard, caller, Access::Read, document)?;
            let id_of_request = ticket_of(fields)?;
            let wants_fields = id_of_request.is_none();
            let request = StateRequest { id: id_of_request, wants_fields, failure: "Sync request failed" };
            ask(shard, caller, document, request)?;
        }
        Said::Unsubscribe => {
            let document = document(fields)?;
            permit(shard, caller, Access::Read, document)?;
            documents::leave(shard, caller, document);
        }
        Said::SyncStep1 => {
            let document = document(fields)?;
            permit(shard, caller, Access::Read, document)?;
            reply(shard, caller, Code::SyncStep2, |reply| {
                reply.text("documentId", document);
                reply.json("operations", b"[]");
            });
        }
        Said::Delta => {
            let document = document(fields)?;
            permit(shard, caller, Access::Write, document)?;
            let writes = Writes::of_delta(fields)?;
            write(shard, caller, document, fields, writes, DELTA_TICKET)?;
        }
        Said::DeltaBatch => {
            let document = document(fields)?;
            permit(shard, caller, Access::Write, document)?;
            let writes = Writes::of_batch(document, fields)?;
            write(shard, caller, document, fields, writes, BATCH_TICKET)?;
        }
        // A chunk in a chunk.
        Said::Chunk => return Err(Refusal::InvalidFormat),
        Said::AwarenessSubscribe => {
            let document = document(fields)?;
            permit(shard, caller, Access::Presence, document)?;
            documents::admit(shard, caller, document).map_err(Refusal::AwarenessSubscribe)?;
            awareness::subscribe(shard, caller, document);
        }
        Said::AwarenessUpdate => {
            let document = document(fields)?;
            permit(shard, caller, Access::Presence, document)?;
            documents::admit(shard, caller, document).map_err(Refusal::AwarenessUpdate)?;
            awareness::update(shard, caller, document, fields)?;
        }
    }
    Ok(())
}

fn ask<'a>(
    shard: &mut Shard,
    caller: Caller,
    document: &'a str,
    request: StateRequest,
) -> Result<(), Refusal<'a>> {
    let what = request.failure;
    documents::ask(shard, caller, document, request).map_err(|reason| Refusal::Failed {
        what,
        document,
        reason,
    })
}

/// The document of a message, as any map may be named.
fn document<'a>(fields: &Fields<'a>) -> Result<&'a str, Refusal<'a>> {
    let document =
        fields.document().filter(|document| !document.is_empty()).ok_or(Refusal::InvalidDocument)?;
    if document.len() > MAP_NAME_BYTES_MAX {
        return Err(Refusal::DocumentTooLong);
    }
    if document.contains('\0') || document.starts_with(OWN_PREFIX) {
        return Err(Refusal::DocumentCharacters);
    }
    Ok(document)
}

/// The document of a `subscribe`, which SyncKit's servers are stricter with.
fn checked_document<'a>(fields: &Fields<'a>) -> Result<&'a str, Refusal<'a>> {
    let document = document(fields)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-');
    if document.bytes().all(is_plain) { Ok(document) } else { Err(Refusal::DocumentCharacters) }
}

/// The `id` of a message as JSON.
///
/// # Errors
/// [`Refusal::InvalidFormat`] if it is too long to be kept until the answer.
fn ticket_of<'a>(fields: &Fields<'a>) -> Result<Option<Ticket>, Refusal<'a>> {
    let Some(id) = fields.id else { return Ok(None) };
    Ok(Some(Ticket::new(&[&short_json(fields, id)?])))
}

/// A value that is kept until an answer repeats it.
fn short_json<'a>(fields: &Fields<'a>, nodes: Nodes<'a>) -> Result<Vec<u8>, Refusal<'a>> {
    let json = fields.canonical(nodes);
    if json.len() <= ID_BYTES_MAX { Ok(json) } else { Err(Refusal::InvalidFormat) }
}

fn write<'a>(
    shard: &mut Shard,
    caller: Caller,
    document: &'a str,
    fields: &Fields<'a>,
    mut writes: Writes<'a>,
    kind: u8,
) -> Result<(), Refusal<'a>> {
    let reference = match fields.reference() {
        Some(given) => short_json(fields, given)?,
        None => b"\"\"".to_vec(),
    };
    let what = what_failed(kind);
    if let Some(reason) = writes.bad() {
        return Err(Refusal::Failed { what, document, reason });
    }
    let unrepresentable = writes.unrepresentable;
    let bad_field = writes.take_bad_fields(fields.scratch, shard.config().synckit_value_bytes_max);
    let Some(session) = shard.session(caller) else { return Ok(()) };
    let conversation = Conversation::of(session);
    if let Some(client) = writes.client {
        conversation.set_client(client);
    }
    // No two connections of a shard have the same name.
    let id = caller.connection();
    let serial = conversation.next_id(0).serial << 40 ^ u64::from(id.generation) << 8 ^ u64::from(id.index);
    if let Err(reason) = documents::join(shard, caller, document) {
        return Err(Refusal::Failed { what, document, reason });
    }
    if !writes.relayed.is_empty() && !shard.may(caller, Action::Publish, document) {
        return Err(Refusal::PermissionDenied { document });
    }
    for message in writes.relayed.messages(serial) {
        shard.publish(caller, document, &message);
    }
    let bytes_max = message_bytes_max(shard.config());
    let operations = Operations::new(document, &writes, fields.scratch, bytes_max);
    if let Some(reason) = unrepresentable.or(bad_field) {
        // What is good is applied all the same; there is no ack for that.
        shard.write(caller, None, AckLevel::None, operations);
        return Err(Refusal::Failed { what, document, reason });
    }
    if !writes.keeps() {
        reply(shard, caller, Code::Ack, |reply| reply.json("messageId", &reference));
        return Ok(());
    }
    let level = if shard.may_wait_for_disk() { AckLevel::Durable } else { AckLevel::Memory };
    let ticket = Ticket::new(&[&[kind], &reference, &[TICKET_SEPARATOR], document.as_bytes()]);
    shard.write(caller, Some(ticket), level, operations);
    Ok(())
}

/// What a write of this kind says when it fails.
pub const fn what_failed(kind: u8) -> &'static str {
    if kind == BATCH_TICKET { "Delta batch application failed" } else { "Delta application failed" }
}

fn take_chunk(shard: &mut Shard, caller: Caller, fields: &Fields<'_>) {
    let (bytes_max, now_ms) = (message_bytes_max(shard.config()), shard.now().timer_ms());
    let piece = match Piece::of(fields) {
        Ok(piece) => piece,
        Err(name) => {
            name.into_iter().for_each(|name| with_chunks(shard, caller, |chunks| chunks.forget(name)));
            return refuse(shard, caller, Refusal::InvalidFormat);
        }
    };
    // Before others lose anything for it.
    let Some(session) = shard.session(caller) else { return };
    let bytes = match Conversation::of(session).chunks.check(&piece, bytes_max) {
        Ok(bytes) => bytes,
        Err(refusal) => {
            with_chunks(shard, caller, |chunks| chunks.forget(piece.name));
            return refuse(shard, caller, refusal);
        }
    };
    if !has_room_for_piece(shard, caller, &piece, bytes_max) {
        return;
    }
    let mut taken = None;
    with_chunks(shard, caller, |chunks| taken = chunks.take(&piece, bytes, now_ms));
    let Some(mut message) = taken else { return };
    let len = message.len();
    // All of it is read at once, whatever its last piece was.
    shard.spend(work::copied(len) + work::decoded(len));
    message.resize(len + PARSE_PADDING_BYTES, 0);
    handle_framed(shard, caller, (MessageKind::Binary, Payload::new(&mut message, len)), Came::InPieces);
}

/// Changes the messages in pieces of a connection, and keeps account of what they take.
fn with_chunks(shard: &mut Shard, caller: Caller, change: impl FnOnce(&mut Chunks)) {
    let Some(session) = shard.session(caller).filter(|session| session.is_some()) else { return };
    let chunks = &mut Conversation::of(session).chunks;
    let before = chunks.held();
    change(chunks);
    let after = chunks.held();
    shard.commons().of::<Unfinished>().changed(caller, before, after);
}

/// Whether there is room for one more piece of this connection. Where there is not, whoever holds most loses its messages in
/// pieces until there is, be it this one.
fn has_room_for_piece(shard: &mut Shard, caller: Caller, piece: &Piece<'_>, bytes_max: usize) -> bool {
    let room = shard.received_bytes_max(bytes_max);
    let Some(session) = shard.session(caller) else { return false };
    let chunks = &Conversation::of(session).chunks;
    let adds = chunks.adds(piece);
    let own = chunks.held().bytes + adds;
    loop {
        let unfinished = shard.commons().of::<Unfinished>();
        if adds == 0 || unfinished.bytes() + adds <= room {
            return true;
        }
        let largest = unfinished.largest().filter(|&(bytes, _)| bytes >= own);
        let loser = largest.map_or(caller, |(_, caller)| caller);
        with_chunks(shard, loser, Chunks::forget_all);
        refuse(shard, loser, Refusal::PiecesDropped);
        if loser.connection() == caller.connection() {
            return false;
        }
    }
}

/// Forgets messages in pieces, of whatever connection, whose time to become complete is over.
pub fn forget_unfinished(shard: &mut Shard) {
    let now_ms = shard.now().timer_ms();
    while let Some(caller) = shard.commons().of::<Unfinished>().next(now_ms) {
        with_chunks(shard, caller, |chunks| chunks.forget_old(now_ms));
    }
}
