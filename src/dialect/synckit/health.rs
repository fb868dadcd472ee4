//! `GET /health`, in the shape in which SyncKit's TypeScript server answers it. It names no document: whoever may ask for
//! the page may not read them.

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use crate::shard::Health;

#[derive(Serialize)]
struct Body {
    status: &'static str,
    timestamp: String,
    version: &'static str,
    /// Seconds.
    uptime: f64,
    connections: Connections,
    documents: Documents,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connections {
    total_connections: u64,
    /// Nobody is known by name while there are no tokens.
    total_users: u64,
    total_clients: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Documents {
    total_documents: u64,
    total_subscriptions: u64,
    documents: [(); 0],
}

/// The page.
pub fn body(health: Health) -> String {
    let timestamp = UNIX_EPOCH + Duration::from_millis(health.unix_ms);
    let body = Body {
        status: if health.is_draining { "draining" } else { "healthy" },
        timestamp: humantime::format_rfc3339_millis(timestamp).to_string(),
        version: env!("CARGO_PKG_VERSION"),
        uptime: health.uptime_ms as f64 / 1000.0,
        connections: Connections {
            total_connections: health.connections,
            total_users: 0,
            total_clients: health.connections,
        },
        documents: Documents {
            total_documents: health.maps,
            total_subscriptions: health.subscriptions,
            documents: [],
        },
    };
    simd_json::to_string(&body).expect("numbers and text have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTH: Health = Health {
        is_draining: false,
        unix_ms: 1_700_000_000_123,
        uptime_ms: 61_500,
        connections: 3,
        maps: 2,
        subscriptions: 5,
    };

    #[test]
    fn the_page_has_the_fields_of_the_typescript_server() {
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            r#"{{"status":"healthy","timestamp":"2023-11-14T22:13:20.123Z","version":"{version}","uptime":61.5,"connections":{{"totalConnections":3,"totalUsers":0,"totalClients":3}},"documents":{{"totalDocuments":2,"totalSubscriptions":5,"documents":[]}}}}"#
        );
        assert_eq!(body(HEALTH), expected);
    }

    #[test]
    fn a_server_that_stops_says_so() {
        assert!(body(Health { is_draining: true, ..HEALTH }).starts_with(r#"{"status":"draining","#));
    }
}
