//! An application: a small HTTP server that keeps what it is sent, and answers as the test says.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::server::await_that;

/// A request.
#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    pub signature: Option<String>,
    pub body: Vec<u8>,
}

/// What is said to it.
#[derive(Clone, Debug)]
pub enum Reply {
    Status(u16, String),
    /// After so many milliseconds.
    Late(u64, Box<Reply>),
    /// Never.
    Hang,
    /// The connection is closed without a word.
    Close,
}

/// See the module.
pub struct Receiver {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Reply {
    pub fn ok() -> Self {
        Self::Status(200, String::new())
    }

    pub fn json(body: &str) -> Self {
        Self::Status(200, body.to_owned())
    }
}

impl Receiver {
    /// `reply` is told the request, and how many came before it.
    pub fn start(reply: impl Fn(&Received, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let (all, reply) = (Arc::clone(&received), Arc::new(reply));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (all, reply) = (Arc::clone(&all), Arc::clone(&reply));
                thread::spawn(move || serve(stream.unwrap(), &all, &*reply));
            }
        });
        Self { address, received }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The events of all requests so far, each as often as it has come.
    pub fn events(&self) -> Vec<Value> {
        let arrays = |received: Received| received.events();
        self.received().into_iter().flat_map(arrays).collect()
    }

    /// Waits for so many events, and returns them.
    pub fn await_events(&self, count: usize) -> Vec<Value> {
        await_that("events", || self.events().len() >= count);
        self.events()
    }
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the server sends JSON")
    }

    pub fn events(&self) -> Vec<Value> {
        let Value::Array(events) = self.json() else { panic!("an array of events") };
        events
    }
}

fn serve(stream: TcpStream, all: &Mutex<Vec<Received>>, reply: &dyn Fn(&Received, usize) -> Reply) {
    let mut incoming = BufReader::new(stream.try_clone().unwrap());
    let mut outgoing = stream;
    while let Some(received) = read(&mut incoming) {
        let before = {
            let mut all = all.lock().unwrap();
            all.push(received.clone());
            all.len() - 1
        };
        if !answer(&mut outgoing, reply(&received, before)) {
            return;
        }
    }
}

/// Whether the connection goes on.
fn answer(out: &mut TcpStream, reply: Reply) -> bool {
    match reply {
        Reply::Status(status, body) => {
            let head = format!("HTTP/1.1 {status} Said\r\nLocation: http://127.0.0.1:1/\r\n");
            let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            out.write_all(text.as_bytes()).is_ok()
        }
        Reply::Late(ms, reply) => {
            thread::sleep(Duration::from_millis(ms));
            answer(out, *reply)
        }
        Reply::Hang => {
            thread::sleep(Duration::from_secs(60));
            false
        }
        Reply::Close => false,
    }
}

fn read(incoming: &mut impl BufRead) -> Option<Received> {
    let mut line = String::new();
    incoming.read_line(&mut line).ok().filter(|&bytes| bytes > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    assert!(line.starts_with("POST "), "{line}");
    let (mut signature, mut len) = (None, 0);
    loop {
        line.clear();
        incoming.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "annulus-signature" => signature = Some(value.to_owned()),
            "content-length" => len = value.parse().unwrap(),
            "content-type" => assert_eq!(value, "application/json"),
            _ => {}
        }
    }
    let mut body = vec![0; len];
    incoming.read_exact(&mut body).ok()?;
    Some(Received { path, signature, body })
}
