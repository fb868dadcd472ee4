//! Every fixed limit of the server, in one place, related by compile-time asserts.
//!
//! What a user may tune is a flag (`config.rs`); what is here is either the bound such a flag must keep
//! within or a number nobody should have to think about.

/// Nesting of arrays and objects one message may have. Deep enough for any document, shallow enough that
/// a hostile message cannot grow the parser's stack.
pub const JSON_DEPTH_MAX: usize = 64;
/// The largest integer every JSON client reads exactly: what a double counts to without a gap.
pub const JSON_INTEGER_MAX: u64 = (1 << 53) - 1;
/// Messages up to this many bytes are parsed without allocating. A longer one gets room of its own, which
/// is returned after it, so that one giant does not hold on to up to 28 times its size.
pub const PARSE_RETAINED_BYTES_MAX: usize = 64 << 10;

/// Bytes of a key, UTF-8. Keys are names; what is longer belongs in the value.
pub const KEY_BYTES_MAX: usize = 512;
/// Bytes of a map's name, UTF-8.
pub const MAP_NAME_BYTES_MAX: usize = 256;
/// What the names of the server's own maps begin with, and of the keys in any map that belong to the home of its name. No
/// client may name such a map.
pub const OWN_PREFIX: &str = "__annulus:";
/// Bytes of the name of such a map: that of a channel or a user, behind what says which of them it is.
pub const OWN_NAME_BYTES_MAX: usize = OWN_PREFIX.len() + 8 + MAP_NAME_BYTES_MAX;
/// Bytes of a node name inside a stamp: room for a UUID with its hyphens (36).
pub const NODE_BYTES_MAX: usize = 40;
/// Bytes of an OR-map tag: room for the text form of any stamp.
pub const TAG_BYTES_MAX: usize = 80;
const _: () = assert!(TAG_BYTES_MAX >= 15 + 1 + 5 + 1 + NODE_BYTES_MAX);
/// Bytes of a request `id` when it is a string.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// Bytes of a channel's name, UTF-8.
pub const CHANNEL_NAME_BYTES_MAX: usize = MAP_NAME_BYTES_MAX;
/// The most messages that a channel may be told to keep.
pub const CHANNEL_HISTORY_MAX: u32 = 1_000_000;
/// Messages in one answer to `history`.
pub const HISTORY_PAGE_MAX: u32 = 1000;

/// Members of one room.
pub const PRESENCE_MEMBERS_MAX: usize = 16_384;
/// Bytes of one member's state, as canonical JSON: a cursor and a name, not a document.
pub const PRESENCE_STATE_BYTES_MAX: usize = 64 << 10;
/// Bytes of all names and states in one room: a watcher is sent them all at once, and again when it has fallen behind, which
/// a turn makes in some two milliseconds.
pub const PRESENCE_ROOM_BYTES_MAX: usize = 2 << 20;
const _: () = assert!(PRESENCE_STATE_BYTES_MAX + KEY_BYTES_MAX <= PRESENCE_ROOM_BYTES_MAX);
/// Bytes of changes and members that wait in a shard for its watchers to be told; past it the shard opens no envelope before it
/// has told of some. A few of the largest rooms.
pub const PRESENCE_TOLD_BYTES_MAX: usize = 4 * PRESENCE_ROOM_BYTES_MAX;

/// Bytes of all that is kept of one room over `/v1`, where a watcher is told its members only as long as they are few: names, states
/// and what keeping them takes, of some hundred thousand who are small.
pub const PRESENCE_CROWD_BYTES_MAX: usize = 64 << 20;
/// Bytes of the same past which only the count is told: what one that joins is sent at once.
pub const PRESENCE_FULL_BYTES_MAX: usize = 1 << 20;
const _: () = assert!(PRESENCE_FULL_BYTES_MAX <= PRESENCE_ROOM_BYTES_MAX);
/// The largest `--presence-full-max`.
pub const PRESENCE_FULL_MAX_CEILING: usize = 10_000;
/// Members in one page of a `presence.list`, and bytes past which it ends.
pub const PRESENCE_LIST_MAX: usize = 1_000;
pub const PRESENCE_LIST_BYTES_MAX: usize = 64 << 10;
/// The longest time a member stays whose last connection is gone without a word: five minutes.
pub const PRESENCE_GRACE_MS_MAX: u64 = 300_000;

/// The longest `ttl_ms`: ten years. What shall live longer needs no expiry.
pub const TTL_MS_MAX: u64 = 10 * 365 * 24 * 3_600_000;
/// Operations in one `write`, and keys in one `read` or `subscribe`.
pub const OPS_PER_REQUEST_MAX: usize = 1000;
/// Bytes of a `query`, as canonical JSON: some hundred values of a key's length, and what a shard keeps for each subscriber.
pub const QUERY_BYTES_MAX: usize = 8 << 10;
/// Conditions and values of its `where`, each of which may be looked at for every change of a map.
pub const QUERY_NODES_MAX: usize = 256;
/// How deep its conditions nest, as whatever looks at them calls itself.
pub const QUERY_DEPTH_MAX: usize = 16;
/// Bytes of a value by which a query is found, encoded: names and numbers. For a longer one it is asked of every change of its fields.
pub const QUERY_PIN_BYTES_MAX: usize = 256;
/// Places in which a query is found, one for each of its fields and each of the values that it needs: at most some 20 KiB of them.
pub const QUERY_PIN_PLACES_MAX: usize = 64;
/// Fields it sorts by.
pub const QUERY_SORT_MAX: usize = 8;
/// Names in the path of a field.
pub const QUERY_PATH_PARTS_MAX: usize = 16;
/// Queries of one connection, which are looked up one by one.
pub const QUERIES_PER_CONNECTION_MAX: usize = 256;
/// Different queries of one map through one view: a change that concerns all of them takes a turn, some two milliseconds.
pub const QUERIES_PER_VIEW_MAX: usize = 10_000;
/// Maps and views of them that nobody asks anything any more, of which a shard keeps the indexes all the same.
pub const QUERY_GROUPS_IDLE_MAX: usize = 64;
/// Bytes of the entries that a query shows, which a subscriber is sent at once: a share of what its outbox has room for.
pub const QUERY_RESULT_BYTES_MAX: usize = 4 << 20;
const _: () = assert!(QUERY_NODES_MAX + QUERY_SORT_MAX <= u16::MAX as usize);
/// Live and removed tags one OR-map key may hold; past it removals are forgotten, and past as many live ones an `add` is
/// `too_large`.
pub const TAGS_PER_KEY_MAX: usize = 16_384;
/// Replica slots one counter may hold; past it those are absorbed that have not counted for the retention, and where there
/// are none, an `increment` of a new replica is `too_large`.
pub const SLOTS_PER_COUNTER_MAX: usize = 16_384;
/// The largest total of one counter slot: the largest integer every JSON client reads exactly.
pub const COUNTER_TOTAL_MAX: u64 = (1 << 53) - 1;
const _: () = assert!(COUNTER_TOTAL_MAX <= JSON_INTEGER_MAX);

/// Sockets beyond `--max-connections` and `--max-handshakes` that may still be closing, over all shards; past it a new one
/// is closed at once.
pub const CLOSING_RESERVE: usize = 1024;
/// Default of `--max-handshakes`: what `--accept-rate` lets in within 0.4 s, in which an honest client that is here asks.
pub const HANDSHAKES_DEFAULT: usize = 8192;

/// The smallest, the default and the largest `--max-header-bytes`. 16 KiB is what HAProxy and Node pass on, twice what
/// nginx takes of one line. A block is read anew whenever more of it arrives, which the largest keeps cheap.
pub const HEADER_BYTES_MIN: usize = 1 << 10;
pub const HEADER_BYTES_DEFAULT: usize = 16 << 10;
pub const HEADER_BYTES_CEILING: usize = 64 << 10;
/// Header lines of one request. Browsers send some twenty, each proxy on the way a few more; HAProxy and Apache take 100.
pub const HEADER_LINES_MAX: usize = 128;

/// The largest `--max-message-bytes` that is accepted.
pub const MESSAGE_BYTES_CEILING: usize = 64 << 20;
/// Default of `--max-message-bytes`.
pub const MESSAGE_BYTES_DEFAULT: usize = 1 << 20;
/// Default of `--outbox-hard-bytes`: past it a peer is a slow consumer and is closed. Room for 16 of the
/// largest messages, so one burst never closes a healthy peer.
pub const OUTBOX_HARD_BYTES_DEFAULT: usize = 16 << 20;
const _: () = assert!(OUTBOX_HARD_BYTES_DEFAULT >= 16 * MESSAGE_BYTES_DEFAULT);
const _: () = assert!(OUTBOX_HARD_BYTES_DEFAULT >= 8 * PRESENCE_ROOM_BYTES_MAX);
/// Default of `--outbox-soft-bytes`: past it a subscriber is conflated. A few turns of a busy map.
pub const OUTBOX_SOFT_BYTES_DEFAULT: usize = 256 << 10;
const _: () = assert!(OUTBOX_SOFT_BYTES_DEFAULT * 4 <= OUTBOX_HARD_BYTES_DEFAULT);

/// Default of `--max-cell-bytes`: a key is sent whole, so it must fit between the two limits of an outbox, here eight times.
pub const CELL_BYTES_DEFAULT: usize = 1 << 20;
const _: () = assert!(CELL_BYTES_DEFAULT * 8 <= OUTBOX_HARD_BYTES_DEFAULT - OUTBOX_SOFT_BYTES_DEFAULT);
/// The largest `--max-cell-bytes`: lengths of cells, packed and stored, are 32 bits wide.
pub const CELL_BYTES_CEILING: usize = 1 << 30;
const _: () = assert!(CELL_BYTES_CEILING + MESSAGE_BYTES_CEILING < u32::MAX as usize);

/// Bytes of entries in one snapshot chunk. Small enough that a turn encodes it in well under a
/// millisecond, large enough that a frame header and a send are nothing beside it.
pub const CHUNK_BYTES: usize = 64 << 10;
/// The same of the first chunk that is asked of an owner: most maps have less, so that a connection may ask for many at once.
pub const FIRST_CHUNK_BYTES: usize = CHUNK_BYTES / 16;
/// Steps that one question to the condition of a rule may take: past it there is no answer, which denies. Some milliseconds.
pub const CONDITION_STEPS_MAX: usize = 50_000;
/// Bytes of tokens of one shard that wait for the desk: some thousand of them at their longest, and a second of the dearest.
pub const TOKENS_WAITING_BYTES_MAX: usize = 16 << 20;
/// Bytes of the set at one key past which walks tell it in pieces, and no more of it than has changed. What is smaller, or no
/// set, is in one piece, so that every chunk is asked for with room for it.
pub const LARGE_SET_BYTES: usize = CHUNK_BYTES / 4;
/// Entries of the applied order that one chunk may look at. Bounds a turn when a filter passes few of them, or most of them
/// are stale.
pub const CHUNK_CELLS_SCANNED_MAX: usize = 4096;
const _: () = assert!(CHUNK_BYTES * 2 <= OUTBOX_SOFT_BYTES_DEFAULT);

/// Shared frames of at least this size are queued by reference, never copied into an outbox.
pub const SHARED_BYTES_MIN: usize = 4 << 10;
/// A part of shared frames whose rest is made for each receiver is queued by reference from this size on. To copy as much
/// costs each receiver what a send of several pieces costs.
pub const SHARED_PART_BYTES_MIN: usize = 1 << 10;
const _: () = assert!(SHARED_PART_BYTES_MIN <= SHARED_BYTES_MIN);

/// Partitions of the key space, spread over the shards. A power of two, far more than cores, so that
/// partitions divide evenly.
pub const PARTITIONS: usize = 1024;
/// Shards one process may have: the width of the bit set of interested shards.
pub const SHARDS_MAX: usize = 128;
const _: () = assert!(PARTITIONS.is_multiple_of(SHARDS_MAX));

/// Envelopes one mesh queue holds. A turn sends at most one per destination, so this is how many turns a
/// shard may lag before its senders hold back.
pub const MESH_QUEUE_ENVELOPES: usize = 64;
/// Bytes waiting for one destination, while its queue is full, past which this shard takes no new requests.
pub const MESH_PENDING_BYTES_MAX: usize = 4 << 20;
/// Requests of one connection that wait for other shards, past which the connection is not read.
pub const CONNECTION_REQUESTS_PENDING_MAX: usize = 256;
/// Bytes that those requests take wherever they wait, past which the connection is not read. Four of the largest
/// messages, so that one that waits keeps none from being read.
pub const CONNECTION_REQUEST_BYTES_MAX: usize = 4 << 20;
const _: () = assert!(CONNECTION_REQUEST_BYTES_MAX >= 4 * MESSAGE_BYTES_DEFAULT);
/// Bytes of requests that may wait in one shard, for their maps or because it is congested, past which more are
/// `overloaded`. Room for two of the largest that any server takes.
pub const WAITING_REQUEST_BYTES_MAX: usize = 128 << 20;
const _: () = assert!(WAITING_REQUEST_BYTES_MAX >= 2 * MESSAGE_BYTES_CEILING);

/// Bytes an ack takes at most for one operation: its stamp, or `null` and why it was rejected.
pub const ACK_OP_BYTES_MAX: usize = 256;
const _: () = assert!(OUTBOX_HARD_BYTES_DEFAULT >= 16 * OPS_PER_REQUEST_MAX * ACK_OP_BYTES_MAX);
/// Bytes the rest of an answer takes at most: its type and `id`, and a name in which each byte is escaped.
pub const ANSWER_FRAME_BYTES_MAX: usize = 2 << 10;
const _: () = assert!(ANSWER_FRAME_BYTES_MAX >= 6 * MAP_NAME_BYTES_MAX + 6 * REQUEST_ID_BYTES_MAX + 128);
/// Bytes of the answer to a `read` of several keys: what the largest message has written, one answer holds, and a turn makes
/// it in some two milliseconds. One key alone is answered as long as there is room for it.
pub const READ_ANSWER_BYTES_MAX: usize = 2 << 20;
const _: () = assert!(READ_ANSWER_BYTES_MAX >= 2 * MESSAGE_BYTES_DEFAULT);
const _: () = assert!(READ_ANSWER_BYTES_MAX >= PRESENCE_ROOM_BYTES_MAX);
const _: () = assert!(READ_ANSWER_BYTES_MAX * 4 <= OUTBOX_HARD_BYTES_DEFAULT - OUTBOX_SOFT_BYTES_DEFAULT);
/// The largest answer to a `read`, however much an outbox may hold: lengths in an envelope are 32 bits wide.
pub const READ_ANSWER_BYTES_CEILING: usize = 1 << 30;
const _: () = assert!(READ_ANSWER_BYTES_CEILING + MESH_PENDING_BYTES_MAX < u32::MAX as usize);
/// Bytes of one packed entry, past which the tags of a key go into several. Only a key that was written before there was a
/// limit comes near.
pub const ENTRY_BYTES_MAX: usize = 1 << 30;
const _: () =
    assert!(ENTRY_BYTES_MAX + 2 * MESSAGE_BYTES_CEILING + 256 * TAGS_PER_KEY_MAX < u32::MAX as usize);
/// Bytes that a buffer keeps for its next use; what a giant message has made larger is given back.
pub const SCRATCH_BYTES_MAX: usize = 256 << 10;

/// Bytes of messages that one shard puts together from several and that are not complete, at most: room for eight of the longest
/// that SyncKit allows.
pub const RECEIVED_BYTES_MAX: usize = 16 << 20;
/// Bytes of one provided receive buffer.
pub const RECEIVE_BUFFER_BYTES: usize = 8 << 10;
/// Bytes that are kept of a connection whose next message waits for the next turn; past it the connection is not read.
pub const UNREAD_BYTES_MAX: usize = 2 * RECEIVE_BUFFER_BYTES;
/// Provided receive buffers of one shard; a power of two (`io_uring_setup_buf_ring`).
pub const RECEIVE_BUFFERS: usize = 512;
const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two() && RECEIVE_BUFFERS <= 32_768);
/// Bytes beyond a message that its buffer must own, so that `simd-json` parses in place without a copy.
pub const PARSE_PADDING_BYTES: usize = 64;
const _: () = assert!(PARSE_PADDING_BYTES >= simd_json::INPUT_PADDING);
/// Bytes of records that are kept of a connection while they are no whole message: the largest record (RFC 5246 section
/// 6.2.3) and a receive buffer; a handshake with a chain of certificates of its client takes less. Past it, it is closed.
pub const TLS_INCOMING_BYTES_MAX: usize = 32 << 10;
const _: () = assert!(TLS_INCOMING_BYTES_MAX >= (16 << 10) + (2 << 10) + 5 + RECEIVE_BUFFER_BYTES);
/// Bytes of plaintext that are encrypted for one connection at a time, as the kernel takes them: four records. What waits
/// behind them waits as plaintext, which others may share.
pub const TLS_FLIGHT_BYTES_MAX: usize = 64 << 10;
/// Bytes of a header of the PROXY protocol, at most: version 1 has 107, version 2 16 and what it says of addresses and TLS.
pub const PROXY_HEADER_BYTES_MAX: usize = 552;
/// Submission queue entries of one ring. A fan-out to more connections submits in several rounds.
pub const RING_ENTRIES: u32 = 4096;
/// Completion queue entries of one ring: every connection may complete a send and a receive at once.
pub const RING_COMPLETIONS: u32 = 16_384;
const _: () = assert!(RING_COMPLETIONS >= 2 * RING_ENTRIES);

/// Submission queue entries of the ring of the service thread, which writes a few files; it has twice as many completions.
pub const SERVICE_RING_ENTRIES: u32 = 256;

/// Ends of connections that one shard tells of each second at `info`: enough to see what is wrong, few enough for any disk.
pub const ENDS_LOGGED_PER_SECOND: u32 = 10;
/// Bytes of log lines that wait for stderr; past it they are dropped. Some thousand lines, so that a reader that rests for
/// a moment misses none.
pub const LOG_QUEUE_BYTES_MAX: usize = 1 << 20;

/// Milliseconds a start waits for what an earlier server may be about to let go of: its addresses and its data.
pub const TAKEOVER_WAIT_MS: u64 = 1_000;
/// Milliseconds a draining server goes on accepting whoever had begun to connect: a long round trip.
pub const ACCEPT_LINGER_MS: u64 = 100;
const _: () = assert!(ACCEPT_LINGER_MS * 5 <= TAKEOVER_WAIT_MS);
/// Milliseconds whoever has connected and asked for nothing has to do so when the server drains.
pub const DRAIN_HANDSHAKE_MS: u64 = 1_000;

/// Milliseconds a peer has to answer our close frame, or to read what was queued before it.
pub const CLOSE_TIMEOUT_MS: u64 = 3_000;

/// Bytes of records a shard may have handed over that are not durable yet, past which new `durable` writes are
/// refused: a quarter of a second of a slow disk, so that who waits for it need not wait long.
pub const JOURNAL_OVERLOAD_BYTES: usize = 16 << 20;
/// The same, past which the shard reads no client, so that the backlog of memory-level writers is bounded too.
pub const JOURNAL_BACKLOG_BYTES: usize = 64 << 20;
const _: () = assert!(JOURNAL_OVERLOAD_BYTES * 2 <= JOURNAL_BACKLOG_BYTES);
/// Bytes of cells in one chunk of a map that is being loaded, which is what a shard takes in at once.
pub const LOAD_CHUNK_BYTES: usize = 64 << 10;
/// Bytes of cells that are looked up for one read before its map is there; one that asks for more waits for the map.
pub const LOOKED_UP_BYTES_MAX: usize = 4 * LOAD_CHUNK_BYTES;
/// The smallest, the default and the largest `--segment-bytes`. A segment is read whole, and places in it are 32 bits
/// wide, which leaves room for the last group to go past it.
pub const SEGMENT_BYTES_MIN: usize = 1 << 20;
pub const SEGMENT_BYTES_DEFAULT: usize = 64 << 20;
pub const SEGMENT_BYTES_CEILING: usize = 1 << 30;
/// The default of `--journal-max-bytes`: what a start reads in a few seconds.
pub const JOURNAL_BYTES_MAX_DEFAULT: usize = 1 << 30;
const _: () = assert!(JOURNAL_BYTES_MAX_DEFAULT >= 4 * SEGMENT_BYTES_DEFAULT);
/// Milliseconds a client that writes is not read at most, where writers are slowed: less than any of them waits for an answer.
pub const WRITER_SLOWED_MS_MAX: u64 = 3_000;
const _: () = assert!(SEGMENT_BYTES_CEILING + 2 * MESSAGE_BYTES_CEILING < u32::MAX as usize);
/// The smallest `--memory-limit` of one shard: below it every use of a map would be a load.
pub const SHARD_MEMORY_BYTES_MIN: usize = 1 << 20;

/// Bytes of a token, which is read whole before anything of it is believed: what `--max-header-bytes` lets through with
/// room for the rest of a request.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;
const _: () = assert!(TOKEN_BYTES_MAX < HEADER_BYTES_DEFAULT);
/// Bytes of a user's name, UTF-8: room for the identifiers of any identity provider.
pub const USER_BYTES_MAX: usize = 256;
/// Roles of one user, and bytes of the name of one.
pub const ROLES_MAX: usize = 32;
pub const ROLE_BYTES_MAX: usize = 64;
/// The largest `--direct-queue`: an acknowledgement of all of them is a removal each, in one turn.
pub const DIRECT_QUEUE_MAX: usize = 10_000;
/// Users whom one user may have blocked.
pub const DIRECT_BLOCKS_MAX: usize = 1_000;
/// Bytes of the name of a session.
pub const SESSION_BYTES_MAX: usize = 64;
/// Bytes of a file with keys for tokens.
pub const KEY_FILE_BYTES_MAX: usize = 256 << 10;
/// Keys that tokens may be signed with. All that fit a token without a name of a key are tried.
pub const TOKEN_KEYS_MAX: usize = 64;
/// API keys, and tokens and users that are revoked: each file is read whole when it changes, in a tenth of a second at most.
pub const API_KEYS_MAX: usize = 10_000;
pub const REVOCATIONS_MAX: usize = 100_000;
/// Bytes of one of these files.
pub const AUTH_FILE_BYTES_MAX: usize = 32 << 20;
const _: () = assert!(AUTH_FILE_BYTES_MAX >= REVOCATIONS_MAX * (USER_BYTES_MAX + 64));
/// Credentials that are remembered once they were believed, and bytes of that: as many as a server has connections.
pub const BELIEVED_MAX: usize = 100_000;
pub const BELIEVED_BYTES_MAX: usize = 48 << 20;
/// Bytes of a pattern in a rule: the name of a map, or of a key, with some wildcards.
pub const PATTERN_BYTES_MAX: usize = 512;
const _: () = assert!(PATTERN_BYTES_MAX >= MAP_NAME_BYTES_MAX && PATTERN_BYTES_MAX >= KEY_BYTES_MAX);
/// Bytes of a rules file, and rules in it: all are looked at for each new identity, and a fifth of a millisecond each at most.
pub const RULES_BYTES_MAX: usize = 256 << 10;
pub const RULES_MAX: usize = 1000;
/// Bytes of a condition, and nodes of its tree: what it may cost, with the size of the value that it looks at.
pub const CONDITION_BYTES_MAX: usize = 2 << 10;
pub const CONDITION_NODES_MAX: usize = 200;

/// Bytes of the reason in a close frame (RFC 6455 section 5.5).
pub const CLOSE_REASON_BYTES_MAX: usize = 123;
/// Tables `[[hook]]`, and `[[welcome]]`, of a rules file.
pub const HOOKS_MAX: usize = 100;
/// The most attempts to deliver a batch of events: some hours.
pub const HOOK_ATTEMPTS_MAX: u32 = 500;
/// The longest time that a request to the application may take.
pub const HOOK_TIMEOUT_MS_MAX: u64 = 60_000;
/// Bytes of the static JSON of a `[[welcome]]`.
pub const WELCOME_BYTES_MAX: usize = 16 << 10;
/// Events of one shard that the thread of the hooks has yet to take, and bytes of them. What finds more is dropped, and counted.
pub const HOOK_QUEUE_EVENTS: usize = 4096;
pub const HOOK_QUEUE_BYTES_MAX: usize = 4 << 20;
/// Keys, and bytes of keys, that one event of a changed map names; what has changed beyond is another event.
pub const HOOK_CHANGED_KEYS_MAX: usize = 256;
pub const HOOK_CHANGED_BYTES_MAX: usize = 64 << 10;
const _: () =
    assert!(HOOK_CHANGED_BYTES_MAX >= 2 * KEY_BYTES_MAX && HOOK_CHANGED_BYTES_MAX <= HOOK_QUEUE_BYTES_MAX);
/// Events in one request, bytes of it that no further event begins beyond, and the time for which it waits for more of them.
pub const HOOK_BATCH_EVENTS_MAX: usize = 100;
pub const HOOK_BATCH_BYTES_MAX: usize = 1 << 20;
pub const HOOK_BATCH_MS: u64 = 100;
/// Bytes of events that wait for one target; past it events are dead letters at once.
pub const HOOK_TARGET_BYTES_MAX: usize = 16 << 20;
const _: () = assert!(HOOK_TARGET_BYTES_MAX >= 2 * (HOOK_BATCH_BYTES_MAX + MESSAGE_BYTES_DEFAULT));
/// Questions of one shard that are being asked, and bytes of all that wait; past it connections are told to come back later.
pub const QUESTIONS_ASKED_MAX: usize = 256;
pub const QUESTIONS_WAITING_BYTES_MAX: usize = 16 << 20;
/// Bytes of an answer of the application, and messages and maps in it.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
pub const QUESTION_MESSAGES_MAX: usize = 64;
/// Default of `--hooks-dead-letters-bytes`.
pub const DEAD_LETTERS_BYTES_DEFAULT: usize = 64 << 20;

/// Questions of the admin thread that one shard has and has not answered, slots that it looks at for one, bytes of an answer that no
/// further row begins beyond, and rows of it: a fifth of a millisecond each.
pub const INSPECTIONS_MAX: usize = 64;
pub const INSPECTED_SLOTS_MAX: u32 = 1024;
pub const INSPECTED_BYTES_MAX: usize = CHUNK_BYTES;
pub const INSPECTED_ROWS_MAX: u32 = 500;
/// Bytes of a value in a list of keys, past which it is left out; the same where one key is shown; and its tags or slots.
pub const INSPECTED_VALUE_BYTES_MAX: usize = 4 << 10;
pub const INSPECTED_KEY_BYTES_MAX: usize = 64 << 10;
pub const INSPECTED_TAGS_MAX: usize = 256;
/// Bytes of an error that a client tells of, and of what it says beside.
pub const CLIENT_ERROR_MESSAGE_BYTES_MAX: usize = 1 << 10;
pub const CLIENT_ERROR_CONTEXT_BYTES_MAX: usize = 4 << 10;
