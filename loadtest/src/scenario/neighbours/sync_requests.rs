//! Requests of 70 bytes for a document with 31 text states of 130 KB, each of which the server holds against others.
//!
//! Bound in the server: states are compared once and that is remembered, not at each request.

use super::behaviour::Row;
use super::peer::Part;
use super::requests::{DELTA_BATCH, SYNC_REQUEST, synckit, value};
use super::siege::Siege;

const STATES: usize = 31;
const STATE_BYTES: usize = 130_000;
const WINDOW: u64 = 4;

pub const ROW: Row = Row {
    name: "sync-requests",
    says: "SyncKit requests of 70 bytes for a document with 31 text states of 130 KB",
    make: |_| {
        let request = synckit(SYNC_REQUEST, r#""id":"1","documentId":"room:texts""#);
        let siege = Siege::new((0..STATES).map(text_state).collect(), 1, vec![request], WINDOW);
        Box::new(siege.stored_in_synckit().asked_as(Part::SYNCKIT))
    },
    server_arguments: &[],
};

/// The state of one client, in the form of the SDK's texts, whose clock contains none of the others.
fn text_state(client: usize) -> super::peer::Bytes {
    let content = value(STATE_BYTES).replace('"', "");
    let state = format!(r#"{{\"content\":\"{content}\",\"clock\":{{\"c{client}\":{client}}}}}"#);
    synckit(
        DELTA_BATCH,
        &format!(
            r#""id":"1","documentId":"room:texts","deltas":[{{"type":"text-state","documentId":"room:texts","clientId":"c{client}","state":"{state}","timestamp":5,"clock":{{"c{client}":1}}}}]"#
        ),
    )
}
