//! Events on subjects of a real NATS server, which goes away and comes back.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use annulus::config::NatsConfig;
use serde_json::Value;

use crate::client::{Client, set};
use crate::hooks::{come, hooked};
use crate::server::{PATIENCE, await_that};

const PASSWORD: &str = "annulus:one of these days";

/// A server, ended with the test.
struct Nats {
    child: Child,
    port: u16,
}

/// Who hears of everything.
struct Subscriber(BufReader<TcpStream>);

impl Nats {
    fn start(port: u16) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/nats_server/bin/nats-server");
        assert!(program.is_file(), "there is no NATS server: run scripts/setup");
        let (user, password) = PASSWORD.split_once(':').unwrap();
        let child = Command::new(program)
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "--user", user, "--pass", password])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        await_that("a NATS server", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port }
    }

    fn subscribe(&self) -> Subscriber {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (user, pass) = PASSWORD.split_once(':').unwrap();
        let hello = serde_json::json!({"verbose": false, "user": user, "pass": pass, "headers": true});
        write!(stream, "CONNECT {hello}\r\nSUB events.> 1\r\nPING\r\n").unwrap();
        let mut subscriber = Subscriber(BufReader::new(stream));
        while subscriber.line() != "PONG" {}
        subscriber
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Subscriber {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Subject, id and event of the next message.
    fn next(&mut self) -> (String, String, Value) {
        loop {
            let line = self.line();
            let mut words = line.split(' ');
            match words.next() {
                Some("HMSG") => {
                    let subject = words.next().unwrap().to_owned();
                    let sizes: Vec<usize> = words.skip(1).map(|size| size.parse().unwrap()).collect();
                    let mut content = vec![0; sizes[1] + 2];
                    std::io::Read::read_exact(&mut self.0, &mut content).unwrap();
                    let headers = String::from_utf8_lossy(&content[..sizes[0]]).into_owned();
                    let id = headers.split("Nats-Msg-Id: ").nth(1).unwrap().trim_end().to_owned();
                    let event = serde_json::from_slice(&content[sizes[0]..sizes[1]]).unwrap();
                    return (subject, id, event);
                }
                Some("PING") => self.0.get_mut().write_all(b"PONG\r\n").unwrap(),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn credentials(content: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("annulus-nats-{}-{}", std::process::id(), content.len()));
    std::fs::write(&path, format!("{content}\n")).unwrap();
    path
}

#[test]
fn events_are_published_by_kind_and_name_and_survive_the_end_of_the_server() {
    let nats = Nats::start(free_port());
    let port = nats.port;
    let mut subscriber = nats.subscribe();
    let tables = "[[hook]]\nevents = [\"connected\", \"changed\"]\nsubject = \"events\"\n";
    let file = credentials(PASSWORD);
    let hooked = hooked(tables, |config| {
        let named = NatsConfig::parse(&format!("nats://127.0.0.1:{port}")).unwrap();
        config.nats = Some(NatsConfig { credentials_file: Some(file.clone()), ..named });
    });
    let _anna = come(&hooked, "anna.b *");
    let (subject, id, event) = subscriber.next();
    assert_eq!((subject.as_str(), &event["user"]), ("events.connected.anna%2Eb%20%2A", &"anna.b *".into()));
    assert_eq!(event["id"], id);
    let mut client = Client::connect(hooked.server.address);
    client.write(&set("open:a.b", "k1", 1));
    let (subject, _, event) = subscriber.next();
    assert_eq!((subject.as_str(), &event["keys"][0]), ("events.changed.open:a%2Eb", &"k1".into()));
    await_that("nothing waits", || hooked.server.metric("annulus_hooks_waiting") == 0.0);
    drop(nats);
    client.write(&set("open:a.b", "k2", 1));
    await_that("a failure", || hooked.server.metric("annulus_hooks_failures_total") >= 1.0);
    let nats = Nats::start(port);
    // It may be published before anybody has subscribed; the next one is told to who has.
    let mut subscriber = nats.subscribe();
    await_that("it is delivered", || hooked.server.metric("annulus_hooks_delivered_total") >= 3.0);
    client.write(&set("open:a.b", "k3", 1));
    let keys = std::iter::from_fn(|| Some(subscriber.next().2["keys"][0].clone()));
    assert!(keys.take(2).any(|key| key == "k3"));
    hooked.server.stop();
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_server_that_does_not_let_us_in_costs_nobody_anything() {
    let nats = Nats::start(free_port());
    let tables = "[[hook]]\nevents = [\"changed\"]\nsubject = \"events\"\nattempts = 2\n";
    let file = credentials("wrong");
    let hooked = hooked(tables, |config| {
        let named = NatsConfig::parse(&format!("nats://127.0.0.1:{}", nats.port)).unwrap();
        config.nats = Some(NatsConfig { credentials_file: Some(file.clone()), ..named });
    });
    let mut client = Client::connect(hooked.server.address);
    client.write(&set("open:a", "k", 1));
    hooked.server.await_metric("annulus_hooks_lost_total", 1.0);
    hooked.server.stop();
    std::fs::remove_file(file).unwrap();
}
