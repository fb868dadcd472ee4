//! Channels over real sockets, cores and disks.

use std::fs;

use rustix::process::Signal;
use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::client::Client;
use crate::process::Running;
use crate::server::{Directory, TestServer, await_that, get};

const RULES: &str = "[[rule]]\nallow = [\"all\"]\nmaps = [\"**\"]\n\
                     [[channel]]\nname = \"chat:*\"\ndurable = true\nhistory = 1000\n";

fn publish(channel: &str, data: usize, ack: &str) -> String {
    format!(r#"{{"type":"publish","id":1,"channel":"{channel}","data":{data},"ack":"{ack}"}}"#)
}

fn join(client: &mut Client, channel: &str, since: Option<(&str, u64)>) -> (Vec<Value>, Value) {
    let since = since
        .map_or("null".to_owned(), |(epoch, offset)| format!(r#"{{"epoch":"{epoch}","offset":{offset}}}"#));
    client.send(&format!(r#"{{"type":"join","id":1,"channel":"{channel}","since":{since}}}"#));
    let mut messages = Vec::new();
    loop {
        let message = client.receive();
        match message["type"].as_str() {
            Some("message") => messages.push(message),
            Some("joined") => return (messages, message),
            _ => panic!("{message}"),
        }
    }
}

/// Goal: whoever has been answered finds its message, and no offset is given twice. Method: publishers on all cores, a kill at
/// any moment, several times over one directory.
#[test]
fn what_was_published_as_durable_is_there_after_a_kill() {
    let directory = Directory::new();
    let rules = directory.path().with_extension("rules.toml");
    fs::write(&rules, RULES).unwrap();
    let arguments = ["--rules", rules.to_str().unwrap()];
    let mut promised: Vec<(u64, usize)> = Vec::new();
    let mut known: Option<(String, u64)> = None;
    for round in 0..3 {
        let server = Running::on_disk(directory.path(), &arguments);
        let mut clients = Client::on_every_shard(server.address, 2);
        if let Some((epoch, offset)) = &known {
            let (messages, joined) = join(&mut clients[0], "chat:1", Some((epoch, *offset)));
            assert_eq!(joined["recovered"], true, "{joined}");
            let found: Vec<(u64, usize)> = messages
                .iter()
                .map(|message| (message["offset"].as_u64().unwrap(), message["data"].as_usize().unwrap()))
                .collect();
            assert!(promised.iter().filter(|said| said.0 > *offset).all(|said| found.contains(said)));
            assert!(found.is_sorted() && joined["epoch"] == *epoch.as_str());
        } else {
            let (_, joined) = join(&mut clients[0], "chat:1", None);
            known = Some((joined["epoch"].as_str().unwrap().to_owned(), 0));
        }
        for n in 0..40 {
            let data = round * 100 + n;
            let client = &mut clients[n % 2];
            client.send(&publish("chat:1", data, if n % 4 == 3 { "memory" } else { "durable" }));
            let answer = loop {
                let message = client.receive();
                if message["type"] == "published" {
                    break message;
                }
            };
            let offset = answer["offset"].as_u64().unwrap();
            assert!(promised.iter().all(|said| said.0 != offset), "{offset} is given twice");
            if n % 4 != 3 {
                promised.push((offset, data));
            }
        }
        server.kill();
    }
    let server = Running::on_disk(directory.path(), &arguments);
    let mut client = Client::connect(server.address);
    let (messages, _) = join(&mut client, "chat:1", known.as_ref().map(|(epoch, _)| (&**epoch, 0)));
    assert!(messages.len() >= promised.len());
    server.stop();
    fs::remove_file(rules).unwrap();
}

#[test]
fn other_rules_count_at_once_for_what_is_kept() {
    let directory = Directory::new();
    let rules = directory.path().with_extension("kept.toml");
    let write = |history: usize| {
        let text = format!(
            "[[rule]]\nallow = [\"all\"]\nmaps = [\"**\"]\n[[channel]]\nname = \"c\"\nhistory = {history}"
        );
        fs::write(rules.with_extension("tmp"), text).unwrap();
        fs::rename(rules.with_extension("tmp"), &rules).unwrap();
    };
    write(50);
    let server = Running::in_memory(&["--rules", rules.to_str().unwrap()]);
    let mut client = Client::connect(server.address);
    for n in 0..60 {
        client.send(&publish("c", n, "memory"));
        assert_eq!(client.receive()["type"], "published");
    }
    let kept = |count: usize| {
        get(server.address, "/metrics").contains(&format!("\nannulus_channel_messages {count}\n"))
    };
    assert!(kept(50));
    write(20);
    server.signal(Signal::HUP);
    await_that("the new rules", || kept(20));
    server.stop();
    fs::remove_file(rules).unwrap();
}

/// Goal: one order for everybody, over cores. Method: publishers and members on all of them, at once.
#[test]
fn all_members_see_one_order() {
    const EACH: usize = 200;
    let server = TestServer::start();
    let mut members = Client::on_every_shard(server.address, 4);
    let mut publishers = Client::on_every_shard(server.address, 4);
    for member in &mut members {
        join(member, "chat:1", None);
    }
    for n in 0..EACH {
        for (place, publisher) in publishers.iter_mut().enumerate() {
            publisher.send(&publish("chat:1", place * 1_000 + n, "memory"));
        }
    }
    let mut offsets = Vec::new();
    for publisher in &mut publishers {
        offsets.extend((0..EACH).map(|_| publisher.receive()["offset"].as_usize().unwrap()));
    }
    offsets.sort_unstable();
    let all = EACH * publishers.len();
    assert!(offsets.iter().copied().eq(1..=all));
    let told: Vec<Vec<String>> =
        members.iter_mut().map(|member| (0..all).map(|_| member.receive().encode()).collect()).collect();
    assert!(told.iter().all(|one| *one == told[0]), "to the byte");
    for (place, message) in (1..).zip(&told[0]) {
        assert!(message.contains(&format!("\"offset\":{place},")), "{message}");
    }
}
