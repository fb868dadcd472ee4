//! A client that watches some maps, loses its server, and goes on from its cursors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::client::{Client, Gone};
use crate::maps;
use crate::replica::{Cell, Replica};

/// See the module. Lives as long as its data directory.
#[derive(Default)]
pub struct Subscriber {
    /// What it has of each map it has ever watched, and up to where.
    pub watches: BTreeMap<usize, Watch>,
}

#[derive(Default)]
pub struct Watch {
    pub replica: Replica,
    cursor: Option<String>,
}

impl Subscriber {
    /// Subscribes to these maps, from where it was, and takes in the snapshots. Returns the connection and how many
    /// were resumed.
    pub fn come_back(&mut self, address: SocketAddr, maps: &[usize]) -> Result<(Client, u64), Gone> {
        let mut client = Client::connect(address)?;
        let mut resumed = 0;
        for &map in maps {
            let watch = self.watches.entry(map).or_default();
            let since = watch.cursor.as_ref().map_or(String::new(), |since| format!(r#","since":"{since}""#));
            let name = maps::name(map);
            let id = client.send(&format!(r#"{{"type":"subscribe","map":"{name}","echo":true{since}}}"#))?;
            let is_resuming = watch.cursor.is_some();
            loop {
                let message = client.receive()?;
                self.take(&message);
                if message.get_u64("id") == Some(id) && message.get_bool("more") == Some(false) {
                    assert_eq!(message.get_bool("reset"), Some(false), "{name} was reset: {message}");
                    assert_eq!(message.get_bool("resumed"), Some(is_resuming), "{name}: {message}");
                    break;
                }
            }
            resumed += u64::from(is_resuming);
        }
        Ok((client, resumed))
    }

    /// Takes in what comes until the connection ends, or hears nothing any more as `is_deaf`.
    pub fn listen(&mut self, mut client: Client, is_deaf: &AtomicBool) {
        while let Ok(message) = client.receive() {
            if is_deaf.load(Ordering::SeqCst) {
                return;
            }
            self.take(&message);
        }
    }

    fn take(&mut self, message: &Value) {
        let kind = message.get_str("type").expect("every message has a type");
        assert!(["snapshot", "change"].contains(&kind), "{message}");
        let map = maps::named(message.get_str("map").expect("a map"));
        let watch = self.watches.get_mut(&map).expect("only what was subscribed to comes");
        for entry in message.get_array("entries").expect("entries") {
            let (key, cell) = Cell::of_entry(entry);
            watch.replica.merge(&key, &cell);
        }
        if let Some(cursor) = message.get_str("cursor") {
            watch.cursor = Some(cursor.to_owned());
        }
    }
}
