//! Each close code of this dialect, and what comes before it.

use tungstenite::Message;

use crate::peer::{Peer, frame, json};
use crate::raw::{CLOSE, PING};
use crate::server::{TestServer, await_that};
use crate::{on_one_and_two, on_one_and_two_with};

fn said(code: u16, reason: &str) -> (u16, String) {
    (code, reason.to_owned())
}

#[test]
fn one_connection_too_many_of_an_address_is_closed_with_1008() {
    on_one_and_two_with(
        |config| config.connections_per_ip_max = 2,
        |server| {
            let mut kept = [(); 2].map(|()| Peer::connect(server.address));
            kept.iter_mut().for_each(Peer::is_silent);
            let closed = Peer::connect(server.address).closed();
            assert_eq!(closed, said(1008, "Too many connections from your IP"));
            kept.iter_mut().for_each(Peer::is_silent);
            let [first, _second] = kept;
            first.leave();
            await_that("room for one more", || {
                let mut peer = Peer::connect(server.address);
                peer.send_binary(&frame(0x30, "{}"));
                peer.try_receive().is_ok()
            });
        },
    );
}

#[test]
fn one_connection_too_many_is_closed_with_1008() {
    on_one_and_two_with(
        |config| config.connections_max = 2,
        |server| {
            let mut kept = Vec::new();
            let closed = loop {
                assert!(kept.len() <= 2, "the limit holds");
                let mut peer = Peer::connect(server.address);
                peer.send(Message::binary(frame(0x30, "{}")));
                match peer.try_receive() {
                    Ok(_) => kept.push(peer),
                    Err(closed) => break closed,
                }
            };
            assert_eq!(closed, said(1008, "Server at maximum capacity"));
            kept.iter_mut().for_each(Peer::is_silent);
        },
    );
}

#[test]
fn a_server_that_stops_says_so() {
    on_one_and_two(|server| {
        let mut peers = [(); 4].map(|()| Peer::connect(server.address));
        peers[0].set("d", "f", "1");
        peers[0].delta();
        server.drain();
        for peer in peers {
            assert_eq!(peer.closed(), said(1001, "Server shutdown"));
        }
    });
}

#[test]
fn silence_is_closed_with_1008() {
    on_one_and_two_with(
        |config| config.heartbeat_ms = 300,
        |server| {
            let mut raw = Peer::connect(server.address).into_raw();
            assert_eq!(raw.frame(), Some((PING, Vec::new())), "it is asked first");
            let (opcode, payload) = raw.frame().expect("a close frame");
            assert_eq!(opcode, CLOSE);
            assert_eq!(payload, [&1008_u16.to_be_bytes()[..], b"Heartbeat timeout"].concat());
        },
    );
}

#[test]
fn a_message_far_too_large_is_closed_with_1009() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        let mut refused = |bytes: usize| {
            let message = [&frame(0x30, "{}"), &vec![b' '; bytes - 15][..]].concat();
            peer.send_binary(&message);
            let error = format!("Message too large ({bytes} bytes, max 2000000)");
            assert_eq!(peer.refused(), (error, Some(json(r#"{"code":"INVALID_MESSAGE"}"#))));
        };
        refused(2_000_001);
        refused(4_000_000);
        peer.is_silent();
        peer.send_binary(&[&frame(0x30, "{}"), &vec![b' '; 1_999_985][..]].concat());
        assert_eq!(peer.body("pong"), json("{}"));

        // Its header is enough.
        let mut raw = Peer::connect(server.address).into_raw();
        raw.send(&[&[0x82, 0xFF][..], &4_000_001_u64.to_be_bytes(), &[0; 4]].concat());
        let (opcode, payload) = raw.frame().expect("a close frame");
        assert_eq!(opcode, CLOSE);
        assert_eq!(payload, [&1009_u16.to_be_bytes()[..], b"Message too large"].concat());
    });
}

#[test]
fn a_larger_limit_of_the_server_holds_here_too() {
    let server = TestServer::with(|config| config.message_bytes_max = 3_000_000);
    let mut peer = Peer::connect(server.address);
    peer.send_binary(&[&frame(0x30, "{}"), &vec![b' '; 2_999_985][..]].concat());
    assert_eq!(peer.body("pong"), json("{}"));
    peer.send_binary(&[&frame(0x30, "{}"), &vec![b' '; 2_999_986][..]].concat());
    assert_eq!(peer.refused().0, "Message too large (3000001 bytes, max 3000000)");
}

#[test]
fn text_frames_that_are_not_utf8_are_closed_with_1007() {
    on_one_and_two(|server| {
        let mut raw = Peer::connect(server.address).into_raw();
        raw.send_text(b"{\"type\":\"\xFF\"}");
        assert_eq!(raw.close_code(), Some(1007));
    });
}

#[test]
fn any_number_of_bad_messages_is_answered() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        for _ in 0..100 {
            peer.send_binary(b"nonsense");
            assert_eq!(peer.refused().0, "Invalid message format");
        }
        peer.leave();
    });
}
