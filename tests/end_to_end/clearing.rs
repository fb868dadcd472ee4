//! Dropping all maps of a running server.

use simd_json::json;

use crate::client::{Client, set};
use crate::server::{Directory, TestServer, exchange};

const CLEAR: &str = "POST /_test/clear HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n";

fn fill(client: &mut Client, op: &str) {
    for n in 0..50 {
        client.write(&set(&format!("m{}", n % 5), &format!("k{n}"), n));
    }
    client.write(op);
}

fn clear(server: &TestServer) {
    let response = exchange(server.address, CLEAR);
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.ends_with("\r\n\r\n{\"success\":true}"), "{response}");
}

/// All that a server must show after a clear, over and over.
fn drop_and_fill_again(server: &TestServer) {
    for round in 0..5 {
        let mut clients = Client::pair(server.address);
        fill(&mut clients[0], &set("m0", "k0", round));
        let cursor = clients[1].subscribe(r#""map":"m1""#).cursor().to_owned();
        // All shards have told it everything by then, so that none finds it behind.
        clients[1].digest("m1");
        clear(server);
        for client in &mut clients {
            assert_eq!(client.digest("m1").0, 0);
            let snapshot = client.subscribe(&format!(r#""map":"m1","since":"{cursor}""#));
            assert_eq!((&snapshot.end["reset"], snapshot.keys().len()), (&json!(true), 0));
        }
        clients[0].write(r#"{"map":"m1","key":"k1","op":"increment","by":1}"#);
        assert_eq!(clients[1].change("m1")[0]["count"], 1);
        clear(server);
    }
}

#[test]
fn a_server_in_memory_is_empty_again() {
    let server = TestServer::resettable(None);
    drop_and_fill_again(&server);
    server.stop();
}

#[test]
fn a_server_on_disk_is_empty_again_and_stays_so_after_a_restart() {
    let directory = Directory::new();
    let server = TestServer::resettable(Some(directory.path()));
    drop_and_fill_again(&server);
    let mut client = Client::connect(server.address);
    fill(&mut client, &set("m0", "k0", 1));
    let cursor = client.subscribe(r#""map":"m2""#).cursor().to_owned();
    clear(&server);
    client.write(r#"{"map":"m1","key":"k1","op":"increment","by":1}"#);
    drop(client);
    server.stop();
    let server = TestServer::resettable(Some(directory.path()));
    let mut client = Client::connect(server.address);
    assert_eq!((client.digest("m1").0, client.digest("m2").0), (1, 0));
    let snapshot = client.subscribe(&format!(r#""map":"m2","since":"{cursor}""#));
    assert_eq!(snapshot.end["reset"], true);
    server.stop();
}
