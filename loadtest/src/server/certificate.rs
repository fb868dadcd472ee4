//! A certificate for a server that is started: files in a folder of their own, gone with the run.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::process::free_address;
use crate::clock::now_ns;
use crate::failure::Failure;

/// See the module.
pub struct Made {
    folder: PathBuf,
    /// Where the server is to speak TLS.
    pub address: SocketAddr,
    /// What tells it so.
    pub arguments: Vec<String>,
}

impl Made {
    /// # Errors
    /// [`Failure::Setup`] when it cannot be made or written.
    pub fn new() -> Result<Self, Failure> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .map_err(|error| Failure::Setup(format!("no certificate can be made: {error}")))?;
        let name = format!("annulus-loadtest-{}-{}", std::process::id(), now_ns());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder)?;
        let address = free_address()?;
        let mut this = Self { folder, address, arguments: Vec::new() };
        let key = this.folder.join("key.pem");
        fs::write(this.path(), made.cert.pem())?;
        fs::write(&key, made.signing_key.serialize_pem())?;
        let (certificate, key) = (this.path().display().to_string(), key.display().to_string());
        let listen = address.to_string();
        this.arguments = ["--tls-listen", &listen, "--tls-cert", &certificate, "--tls-key", &key]
            .map(str::to_owned)
            .to_vec();
        Ok(this)
    }

    /// The file with the certificate, which has signed itself.
    pub fn path(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
