//! A stand-in for Redis: `PING`, `SET`, `GET` and `DBSIZE`, a thread for each connection, and on demand one fault.
#![expect(
    clippy::disallowed_types,
    reason = "the rule protects the shards; here many threads have one small table"
)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What it does wrong, once, at the `SET` of that number (from 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    LoseReply(u64),
    RepeatReply(u64),
    Refuse(u64),
    /// Answers a `SET` that it does not store.
    Forget(u64),
    /// Stores another value.
    Damage(u64),
}

#[derive(Default)]
struct Store {
    values: HashMap<Vec<u8>, Vec<u8>>,
    sets: u64,
}

/// Starts it on a free port; it lives as long as the test process.
pub fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    let address = listener.local_addr().expect("the listener is bound");
    let store = Arc::new(Mutex::new(Store::default()));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let store = Arc::clone(&store);
            thread::spawn(move || serve(stream, fault, &store));
        }
    });
    address
}

fn serve(mut stream: TcpStream, fault: Fault, store: &Mutex<Store>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream.try_clone()?);
    loop {
        let count = number(&mut input, b'*')?;
        let words = (0..count).map(|_| word(&mut input)).collect::<Result<Vec<_>>>()?;
        let reply = answer(&words, fault, &mut store.lock().expect("nobody panics while holding it"));
        stream.write_all(&reply)?;
    }
}

fn answer(words: &[Vec<u8>], fault: Fault, store: &mut Store) -> Vec<u8> {
    match (words[0].as_slice(), &words[1..]) {
        (b"PING", []) => b"+PONG\r\n".to_vec(),
        (b"DBSIZE", []) => format!(":{}\r\n", store.values.len()).into_bytes(),
        (b"GET", [key]) => store.values.get(key).map_or(b"$-1\r\n".to_vec(), |value| {
            [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
        }),
        (b"SET", [key, value]) => set(key, value, fault, store),
        _ => b"-ERR unknown command\r\n".to_vec(),
    }
}

fn set(key: &[u8], value: &[u8], fault: Fault, store: &mut Store) -> Vec<u8> {
    let number = store.sets;
    store.sets += 1;
    if fault != Fault::Forget(number) {
        let mut value = value.to_vec();
        if fault == Fault::Damage(number) {
            value.reverse();
        }
        store.values.insert(key.to_vec(), value);
    }
    let ok = b"+OK\r\n";
    match fault {
        Fault::LoseReply(at) if at == number => Vec::new(),
        Fault::RepeatReply(at) if at == number => ok.repeat(2),
        Fault::Refuse(at) if at == number => b"-MISCONF the disk is full\r\n".to_vec(),
        _ => ok.to_vec(),
    }
}

fn word(input: &mut impl BufRead) -> Result<Vec<u8>> {
    let length = number(input, b'$')?;
    let mut word = vec![0; length + 2];
    input.read_exact(&mut word)?;
    word.truncate(length);
    Ok(word)
}

fn number(input: &mut impl BufRead, kind: u8) -> Result<usize> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let digits = line.strip_prefix(char::from(kind)).map(str::trim_end);
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}
