//! Events that could not be delivered: a file of JSON lines, one a batch, with where it was to go.
//!
//! The server appends, and `annulus hooks replay` takes the file away, under a lock that both hold for a moment only. So no line is
//! lost or sent twice for want of order between them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::batch::Encoded;
use super::http::without_query;
use super::way::Way;
use crate::config::DataMode;
use crate::io::{Unfinished, entries};

/// The file, for who appends to it.
pub struct DeadLetters {
    path: Option<PathBuf>,
    bytes_max: usize,
}

/// One batch, and where it was to go.
#[derive(Debug, Serialize, Deserialize)]
pub struct Letter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What subjects of NATS begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    events: Vec<Event>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Event {
    id: String,
    subject: String,
    event: Box<RawValue>,
}

/// Letters that somebody has taken, to send them again.
pub struct Taken {
    path: PathBuf,
    /// Held as long as they are.
    _locked: File,
    /// One a line, in their order.
    lines: Vec<String>,
    next: usize,
}

impl DeadLetters {
    pub const fn new(path: Option<PathBuf>, bytes_max: usize) -> Self {
        Self { path, bytes_max }
    }

    /// Appends events that were to go there.
    ///
    /// # Errors
    /// Why they are lost.
    pub fn put(&self, way: &Way, events: &[Rc<Encoded>]) -> Result<(), String> {
        let path = self.path.as_ref().ok_or("there is no --hooks-dead-letters")?;
        let mut line = serde_json::to_vec(&Letter::new(way, events)).map_err(|error| error.to_string())?;
        line.push(b'\n');
        let failed = |error: io::Error| format!("--hooks-dead-letters {}: {error}", path.display());
        let mut file = open_locked(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        if bytes + line.len() as u64 > self.bytes_max as u64 {
            let (path, max) = (path.display(), self.bytes_max);
            return Err(format!("{path} has {bytes} bytes, and may have --hooks-dead-letters-bytes {max}"));
        }
        file.write_all(&line).map_err(|error| {
            // Half a line would spoil the next.
            let _ = file.set_len(bytes);
            failed(error)
        })
    }
}

impl Letter {
    fn new(way: &Way, events: &[Rc<Encoded>]) -> Self {
        let (url, subject) = match way {
            Way::Webhook { endpoint, .. } => (Some(endpoint.url.to_string()), None),
            Way::Nats { subject } => (None, Some(subject.to_string())),
        };
        let event = |event: &Rc<Encoded>| Event {
            id: event.id.to_string(),
            subject: event.subject.to_string(),
            event: RawValue::from_string(String::from_utf8_lossy(&event.json).into_owned())
                .expect("events are JSON"),
        };
        Self { url, subject, events: events.iter().map(event).collect() }
    }

    /// Where it was to go, for people: what stands behind `?` may be a secret.
    pub fn to(&self) -> &str {
        self.url.as_deref().map(without_query).or(self.subject.as_deref()).unwrap_or_default()
    }

    /// Its events as they are sent.
    pub fn events(&self) -> Vec<Rc<Encoded>> {
        let encoded = |event: &Event| {
            let json = event.event.get().as_bytes().to_vec();
            let (id, subject) = (event.id.as_str().into(), event.subject.as_str().into());
            Rc::new(Encoded { id, unix_ms: 0, subject, json })
        };
        self.events.iter().map(encoded).collect()
    }
}

/// Opens what is there under this name, and is not taken away any more until it is closed.
fn open_locked(path: &Path) -> io::Result<File> {
    loop {
        let file =
            OpenOptions::new().append(true).create(true).mode(DataMode::OWNER.of_files()).open(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        if entries::is_named(&file, path)? {
            return Ok(file);
        }
    }
}

/// Takes all letters of the file, or those that a replay before has left; the server begins another file.
///
/// # Errors
/// What the file system says; [`ErrorKind::NotFound`] where there are none, [`ErrorKind::WouldBlock`] where somebody has them: two
/// at a time would send everything twice.
pub fn take(path: &Path) -> io::Result<Taken> {
    let mut name = path.as_os_str().to_owned();
    name.push(".replaying");
    let taken = PathBuf::from(name);
    loop {
        match File::open(&taken) {
            Ok(file) => {
                flock(&file, FlockOperation::NonBlockingLockExclusive)?;
                if entries::is_named(&file, &taken)? {
                    let lines = BufReader::new(&file).lines().collect::<io::Result<_>>()?;
                    return Ok(Taken { path: taken, _locked: file, lines, next: 0 });
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => set_aside(path, &taken)?,
            Err(error) => return Err(error),
        }
    }
}

/// Copies what is there to another file, so that the server, which may be waiting for this one, never waits for a replay.
fn set_aside(path: &Path, taken: &Path) -> io::Result<()> {
    if !path.try_exists()? {
        return Err(ErrorKind::NotFound.into());
    }
    let _locked = open_locked(path)?;
    // Who had the lock before may have done it.
    if taken.try_exists()? {
        return Ok(());
    }
    let mut aside = Unfinished::create(taken, DataMode::OWNER)?;
    io::copy(&mut File::open(path)?, &mut aside.file)?;
    aside.finish(taken)?;
    fs::remove_file(path)
}

impl Taken {
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The next letter, as it stands in the file.
    pub fn next(&self) -> Option<&str> {
        self.lines.get(self.next).map(String::as_str)
    }

    /// How many are not delivered yet.
    pub fn left(&self) -> usize {
        self.lines.len() - self.next
    }

    /// It is delivered.
    pub const fn done(&mut self) {
        self.next += 1;
    }

    /// Keeps what is left for the next replay; there is no file where nothing is.
    ///
    /// # Errors
    /// What the file system says.
    pub fn finish(self) -> io::Result<()> {
        let left = &self.lines[self.next..];
        if left.is_empty() {
            return fs::remove_file(&self.path);
        }
        let mut kept = Unfinished::create(&self.path, DataMode::OWNER)?;
        for line in left {
            kept.file.write_all(line.as_bytes())?;
            kept.file.write_all(b"\n")?;
        }
        kept.finish(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(number: u32) -> Rc<Encoded> {
        let json = format!(r#"{{"id":"i-{number}","event":"changed"}}"#).into_bytes();
        Rc::new(Encoded { id: format!("i-{number}").into(), unix_ms: 7, subject: "changed.m".into(), json })
    }

    #[test]
    fn letters_are_kept_in_order_taken_once_and_bounded() {
        let path = std::env::temp_dir().join(format!("annulus-dead-letters-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let letters = DeadLetters::new(Some(path.clone()), 400);
        let way = Way::Nats { subject: "events".into() };
        assert_eq!(take(&path).err().map(|error| error.kind()), Some(ErrorKind::NotFound));
        let put = (0..9).take_while(|&number| letters.put(&way, &[encoded(number)]).is_ok()).count();
        assert!((2..6).contains(&put), "{put}");
        let mut taken = take(&path).expect("there are some");
        letters.put(&way, &[encoded(77)]).expect("another file is begun");
        assert_eq!(taken.len(), put);
        let second = take(&path).err().map(|error| error.kind());
        assert_eq!(second, Some(ErrorKind::WouldBlock), "somebody sends them");
        let letter: Letter = serde_json::from_str(taken.next().expect("one")).expect("a letter");
        assert_eq!((letter.subject.as_deref(), letter.url), (Some("events"), None));
        taken.done();
        taken.finish().expect("what is left is kept");
        let mut taken = take(&path).expect("those that were left come first");
        assert_eq!(taken.len(), put - 1);
        let letter: Letter = serde_json::from_str(taken.next().expect("one")).expect("a letter");
        assert_eq!((&*letter.events()[0].id, &letter.events()[0].json), ("i-1", &encoded(1).json));
        (1..put).for_each(|_| taken.done());
        taken.finish().expect("nothing is left");
        let taken = take(&path).expect("the other file");
        assert!(taken.len() == 1 && taken.next().is_some_and(|line| line.contains("i-77")));
        let mut taken = taken;
        taken.done();
        taken.finish().expect("nothing is left");
        assert!(DeadLetters::new(None, 400).put(&way, &[encoded(1)]).is_err());
    }
}
