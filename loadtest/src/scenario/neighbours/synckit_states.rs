//! Clients of SyncKit that ask for a document of 5 MB, all at once, and read it at a megabyte a second.
//!
//! Bound in the server: states stream or are shared, within what may wait for a connection and for all of them.

use super::behaviour::Row;
use super::peer::{Part, Reading};
use super::requests::{SYNC_REQUEST, document, synckit};
use super::siege::Siege;

pub const ROW: Row = Row {
    name: "synckit-states",
    says: "150 SyncKit clients ask for a document of 5 MB and read 1 MB/s each",
    make: |size| {
        let part = Part::SYNCKIT.reading(Reading::bytes_per_second(1_000_000));
        let request = synckit(SYNC_REQUEST, r#""id":"1","documentId":"room:states""#);
        let siege = Siege::new(document("room:states", 100, 50_000), size.of(150, 40), vec![request], 1);
        Box::new(siege.stored_in_synckit().asked_as(part))
    },
    server_arguments: &[],
};
