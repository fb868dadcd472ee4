//! A blocking client of the protocol whose server may go at any moment.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use simd_json::OwnedValue as Value;
use simd_json::prelude::*;
use tungstenite::protocol::WebSocket;
use tungstenite::{Error, Message};

/// How long any answer may take: far longer than `--ack-timeout-ms`, after which a server must say something.
const PATIENCE: Duration = Duration::from_secs(30);

/// The connection has ended, as it does when the server is killed.
#[derive(Debug)]
pub struct Gone;

/// One connection that has heard `hello`.
pub struct Client {
    socket: WebSocket<TcpStream>,
    pub hello: Value,
    next_id: u64,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Result<Self, Gone> {
        let stream = TcpStream::connect(address).map_err(|_| Gone)?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let (socket, _) = tungstenite::client("ws://crash/v1", stream).map_err(|_| Gone)?;
        let mut client = Self { socket, hello: Value::null(), next_id: 1 };
        client.hello = client.receive()?;
        assert_eq!(client.hello["type"], "hello");
        Ok(client)
    }

    /// Sends a request, which gets an `id`, and returns that.
    pub fn send(&mut self, request: &str) -> Result<u64, Gone> {
        let id = self.next_id;
        self.next_id += 1;
        let fields = request.strip_prefix('{').expect("a request is an object");
        let sent = self.socket.send(Message::text(format!("{{\"id\":{id},{fields}")));
        sent.map(|()| id).map_err(|_| Gone)
    }

    pub fn receive(&mut self) -> Result<Value, Gone> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let mut json = text.as_bytes().to_vec();
                    return Ok(simd_json::to_owned_value(&mut json).expect("the server sends JSON"));
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("the server is there and says nothing for {PATIENCE:?}");
                }
                // The server drains, or is no more.
                Ok(_) | Err(_) => return Err(Gone),
            }
        }
    }

    /// Sends a request and waits for its answer; nothing else may come meanwhile.
    pub fn ask(&mut self, request: &str) -> Result<Value, Gone> {
        let id = self.send(request)?;
        let answer = self.receive()?;
        assert_eq!(answer.get_u64("id"), Some(id), "{answer}");
        Ok(answer)
    }
}
