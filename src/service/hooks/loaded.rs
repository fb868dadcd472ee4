//! Hooks with what their messages are signed with.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::hooks::{Endpoint, HookSet};
use crate::limits::KEY_FILE_BYTES_MAX;
use crate::service::reading;

/// Bytes of a secret, at least: what nobody guesses.
const SECRET_BYTES_MIN: usize = 16;

/// See the module.
#[derive(Clone, Default)]
pub struct Loaded {
    pub set: Option<Arc<HookSet>>,
    /// By the files as they are named.
    secrets: HashMap<PathBuf, Arc<[u8]>>,
}

// A secret is in no log.
impl std::fmt::Debug for Loaded {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Loaded").field("set", &self.set).finish_non_exhaustive()
    }
}

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct LoadError {
    pub path: PathBuf,
    pub problem: String,
}

impl Loaded {
    /// Reads the secrets of hooks that stand in the file `rules`.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn read(set: Option<&Arc<HookSet>>, rules: &Path) -> Result<Self, LoadError> {
        let folder = rules.parent().unwrap_or(Path::new(""));
        let files = set.into_iter().flat_map(|set| set.secret_files());
        let read = |file: &PathBuf| Ok((file.clone(), read(&folder.join(file))?));
        Ok(Self { set: set.cloned(), secrets: files.map(read).collect::<Result<_, LoadError>>()? })
    }

    /// What requests there are signed with.
    pub fn secret(&self, endpoint: &Endpoint) -> Option<Arc<[u8]>> {
        self.secrets.get(endpoint.secret_file.as_ref()?).cloned()
    }
}

fn read(path: &Path) -> Result<Arc<[u8]>, LoadError> {
    let bad = |problem: String| LoadError { path: path.to_owned(), problem };
    let content = reading::read(path, KEY_FILE_BYTES_MAX).map_err(|error| bad(error.to_string()))?;
    let secret = content.trim_ascii_end();
    if secret.len() < SECRET_BYTES_MIN {
        return Err(bad(format!(
            "a secret has at least {SECRET_BYTES_MIN} bytes; `openssl rand -base64 32` makes one"
        )));
    }
    Ok(secret.into())
}
