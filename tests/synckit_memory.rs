//! What one shard keeps for SyncKit's clients, in bytes: whatever they send, and however little they read.
//!
//! Method: one shard without sockets (`synckit_frames/host.rs`), and an allocator that counts what this thread has.

#[allow(dead_code, reason = "bytes are counted here")]
mod counting_allocator;
#[allow(dead_code, reason = "shared with the tests of frames")]
#[path = "synckit_frames/host.rs"]
mod host;

use annulus::config::Config;
use annulus::dialect::synckit::PATH;
use annulus::mesh::ConnectionId;
use counting_allocator::bytes;
use host::{Host, TEXT};

/// Bytes of a document's name.
const NAME_BYTES: usize = 200;

/// A shard whose answers are not kept here, and a connection.
fn host(change: impl FnOnce(&mut Config)) -> (Host, ConnectionId) {
    let mut host = Host::with(PATH, "/ws", change);
    let id = host.open();
    host.keeps = false;
    (host, id)
}

fn say(host: &mut Host, id: ConnectionId, kind: &str, fields: &str) {
    let message = format!(r#"{{"type":"{kind}","id":"i","timestamp":1,{fields}}}"#);
    host.send(id, TEXT, message.as_bytes());
}

/// Says each of these to documents of long names; how many bytes are kept afterwards.
fn kept_of(documents: usize, messages: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> usize {
    let (mut host, id) = host(change);
    let before = bytes();
    for n in 0..documents {
        for (kind, fields) in messages {
            say(&mut host, id, kind, &format!(r#""documentId":"{n:0>NAME_BYTES$}"{fields}"#));
        }
    }
    (bytes() - before) as usize
}

const WRITE: (&str, &str) = ("delta", r#","field":"f","value":1"#);

#[test]
fn what_names_of_documents_take_has_a_bound() {
    const BYTES_MAX: usize = 1 << 20;
    for kind in ["subscribe", "sync_request", "awareness_subscribe"] {
        let kept = kept_of(10_000, &[(kind, "")], |config| config.synckit_subscription_bytes_max = BYTES_MAX);
        assert!(kept <= BYTES_MAX + (256 << 10), "{kind}: {kept}");
    }
    // The same by default, for ten thousand names of any length.
    let kept = kept_of(10_000, &[("subscribe", "")], |_| {});
    assert!(kept <= Config::default().synckit_subscription_bytes_max, "{kept}");
}

#[test]
fn a_write_to_one_document_too_many_is_refused_before_it_is_kept() {
    let limited = |config: &mut Config| config.subscriptions_max = 100;
    let [few, many] = [100, 5_000].map(|documents| kept_of(documents, &[WRITE], limited));
    assert!(many <= few + few / 4, "{few} became {many}");
    let left = kept_of(5_000, &[("subscribe", ""), ("unsubscribe", "")], limited);
    assert!(left <= few, "who leaves may come again: {left}");
}
