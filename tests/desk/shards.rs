//! A desk with the ends of its shards in hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use annulus::auth::{Principal, Refused, Standing};
use annulus::config::IdentityConfig;
use annulus::handover::{DeskPort, FromDesk, Verify};
use annulus::io::{Clock, Control, Event};
use annulus::mesh::ConnectionId;
use annulus::service::Handle;
use annulus::service::desk::{Desk, Serving};
use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::signer::Signer;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// Two shards and their desk.
pub struct Shards {
    pub ports: Vec<DeskPort>,
    pub standing: Arc<Standing>,
    pub handle: Handle,
    event: Event,
    serving: Option<Serving>,
    asked: u32,
}

impl Shards {
    pub fn with(config: &IdentityConfig) -> Self {
        let controls = [Control::new().unwrap(), Control::new().unwrap()];
        let (desk, ports) = Desk::open(config, &controls, Clock::start()).unwrap();
        let (standing, handle, event) = (desk.standing(), desk.handle(), desk.event());
        Self { ports, standing, handle, event, serving: Some(desk.start().unwrap()), asked: 0 }
    }

    pub fn ask(&mut self, shard: usize, credential: &str) {
        self.asked += 1;
        let connection = ConnectionId { index: self.asked, generation: 0 };
        let verify = Verify { connection, credential: credential.into() };
        self.ports[shard].to_desk.push(verify).expect("there is room");
        self.event.raise();
    }

    /// The next that comes for a shard.
    pub fn next(&mut self, shard: usize) -> FromDesk {
        self.next_within(shard, PATIENCE).expect("something comes in time")
    }

    pub fn next_within(&mut self, shard: usize, patience: Duration) -> Option<FromDesk> {
        let began = Instant::now();
        while began.elapsed() < patience {
            if let Ok(item) = self.ports[shard].from_desk.pop() {
                return Some(item);
            }
            thread::sleep(Duration::from_millis(1));
        }
        None
    }

    /// Has a credential judged.
    pub fn judge(&mut self, shard: usize, credential: &str) -> Result<Arc<Principal>, Refused> {
        self.ask(shard, credential);
        match self.next(shard) {
            FromDesk::Verified(verified) => {
                assert_eq!(verified.connection.index, self.asked);
                verified.outcome
            }
            FromDesk::Standing(_) => panic!("nothing has changed"),
        }
    }

    /// The standing that comes next for both.
    pub fn other_standing(&mut self) -> Arc<Standing> {
        let both = [self.next(0), self.next(1)];
        let [FromDesk::Standing(one), FromDesk::Standing(other)] = both else { panic!("nobody has asked") };
        assert!(Arc::ptr_eq(&one, &other) && !Arc::ptr_eq(&one, &self.standing));
        self.standing = Arc::clone(&one);
        one
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.serving.take().unwrap().stop();
    }
}

/// A directory of its own, gone at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("annulus-desk-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// As the commands write a file: whole, under its name at once.
pub fn replace(path: &Path, content: &str) {
    let written = path.with_extension("tmp");
    std::fs::write(&written, content).unwrap();
    std::fs::rename(written, path).unwrap();
}

/// A token of the secret that lives for an hour.
pub fn token_of(user: &str) -> String {
    let now = Clock::start().now().unix_ms / 1000;
    let claims = json!({ "sub": user, "exp": now + 3_600, "iat": now, "jti": format!("t-{user}"), "roles": ["member"] });
    Signer::secret().token(Algorithm::HS256, &claims)
}
