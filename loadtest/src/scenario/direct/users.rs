//! The users of the load, and what shows that a connection is one of theirs: tokens that it signs itself, with a secret that
//! the server knows.
//!
//! A user is called by its number: those who send first, then those who are sent something.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Serialize;

use crate::clock::{now_ns, unix_ms};
use crate::failure::Failure;
use crate::fleet::Target;

/// How long tokens are good: longer than any run.
const LIFE_SECONDS: u64 = 24 * 3600;

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    exp: u64,
}

/// A secret for HS256 in a file; one of ours is gone with it.
pub struct Secret {
    path: PathBuf,
    key: EncodingKey,
    is_ours: bool,
}

impl Secret {
    /// That of a file, or a new one.
    ///
    /// # Errors
    /// [`Failure::Setup`] for a file that cannot be read, [`Failure::Io`] for one that cannot be written.
    pub fn of(file: Option<&Path>) -> Result<Self, Failure> {
        let Some(file) = file else { return Self::create() };
        let text = fs::read(file)
            .map_err(|error| Failure::Setup(format!("--jwt-secret-file {}: {error}", file.display())))?;
        // As the server reads it: without the end of its last line.
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        Ok(Self { path: file.to_owned(), key: EncodingKey::from_secret(text), is_ours: false })
    }

    fn create() -> Result<Self, Failure> {
        // Nobody is kept out by it but by chance: it lives as long as a server on loopback.
        let secret = format!("{:032x}", u128::from(now_ns()) << 64 | u128::from(unix_ms()));
        let path =
            std::env::temp_dir().join(format!("annulus-loadtest-{}-{}.secret", std::process::id(), now_ns()));
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(secret.as_bytes())?;
        Ok(Self { path, key: EncodingKey::from_secret(secret.as_bytes()), is_ours: true })
    }

    /// What a server is told, so that it believes these tokens.
    pub fn server_arguments(&self) -> Vec<String> {
        let file = self.path.display().to_string();
        ["--auth", "required", "--jwt-secret-file", &file].map(str::to_owned).into()
    }

    fn token(&self, user: &str) -> Result<String, Failure> {
        let claims = Claims { sub: user, exp: unix_ms() / 1000 + LIFE_SECONDS };
        encode(&Header::default(), &claims, &self.key)
            .map_err(|error| Failure::Setup(format!("no token can be signed: {error}")))
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

pub struct Users {
    pub names: Vec<String>,
    /// Those who send: the first ones.
    pub senders: usize,
}

impl Users {
    /// `run`: a part of each name, different in each run.
    pub fn new(run: &str, senders: usize, receivers: usize) -> Self {
        let sender = |index| format!("s-{run}-{index}");
        let receiver = |index| format!("u-{run}-{index}");
        Self { names: (0..senders).map(sender).chain((0..receivers).map(receiver)).collect(), senders }
    }

    pub fn receivers(&self) -> usize {
        self.names.len() - self.senders
    }

    /// The name of who is sent something.
    pub fn receiver(&self, index: usize) -> &str {
        &self.names[self.senders + index]
    }

    /// Who alone sends to that receiver, so that the order of its messages is known.
    pub fn sender_to(&self, receiver: usize) -> usize {
        receiver % self.senders
    }

    /// Where each connection is the user of its number.
    ///
    /// # Errors
    /// [`Failure::Setup`] when no token can be signed.
    pub fn come_to(&self, target: &Target, secret: &Secret) -> Result<Target, Failure> {
        let tokens: Result<Vec<String>, Failure> = self.names.iter().map(|name| secret.token(name)).collect();
        Ok(Target { tokens: tokens?.into(), ..target.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_receiver_has_one_sender_and_every_connection_its_own_token() {
        let users = Users::new("r", 3, 7);
        assert_eq!((users.receivers(), users.receiver(0), users.sender_to(5)), (7, "u-r-0", 2));
        let (secret, target) = (Secret::of(None).unwrap(), Target::loopback(([127, 0, 0, 1], 1).into()));
        let target = users.come_to(&target, &secret).unwrap();
        let mut tokens: Vec<&String> = target.tokens.iter().collect();
        tokens.sort();
        tokens.dedup();
        assert_eq!(tokens.len(), 10);
        let path = secret.path.clone();
        drop(secret);
        assert!(!path.exists());
    }
}
