//! How the storage is, backups, and exports.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Uri, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Mutex, mpsc};

use super::answer::{Answer, Refusal};
use super::fields::{bad, conflict, pairs, said};
use super::figures::{number, quantiles};
use super::shards::unavailable;
use crate::handover::Progress;
use crate::io::Clock;
use crate::service::{Heard, Request, converse};
use crate::storage::BASE_FILE;

/// Pieces of an export that wait to be taken.
const PIECES_MAX: usize = 16;

/// What `POST /admin/backup` is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    pub directory: PathBuf,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Taken {
    is_running: bool,
    directory: Option<PathBuf>,
    started_unix_ms: Option<u64>,
    ended_unix_ms: Option<u64>,
    progress: Option<String>,
    report: Option<String>,
    error: Option<String>,
}

/// Where maps are kept on disk.
#[derive(Clone, Debug)]
pub struct OnDisk {
    pub data_dir: PathBuf,
    pub progress: Arc<Progress>,
}

/// See the module.
pub struct Storage {
    pub on_disk: Option<OnDisk>,
    clock: Clock,
    taken: Arc<Mutex<Taken>>,
}

impl Storage {
    pub fn new(on_disk: Option<OnDisk>, clock: Clock) -> Self {
        Self { on_disk, clock, taken: Arc::default() }
    }

    fn on_disk(&self) -> Result<&OnDisk, Refusal> {
        self.on_disk.as_ref().ok_or_else(|| Refusal {
            retry_after_ms: None,
            ..unavailable("maps are kept in memory only, so there is nothing on disk")
        })
    }

    /// `GET /admin/storage`, of shards that have so many bytes that are not durable.
    pub fn page(&self, pending_bytes: u64) -> Answer {
        let Some(OnDisk { data_dir, progress }) = &self.on_disk else {
            return said(&json!({ "storage": "memory" }));
        };
        let of = progress.metrics();
        let [p50, p99, p999] = quantiles(&of.syncs()).map(number);
        let now_ms = self.clock.now().unix_ms;
        said(&json!({
            "storage": "disk",
            "data_dir": data_dir,
            "is_read_only": progress.is_read_only(),
            "free_bytes": of.free_bytes.value(),
            "short_bytes": of.short_bytes.value(),
            "base_bytes": file_bytes(&data_dir.join(BASE_FILE)),
            "journal_bytes": folder_bytes(&data_dir.join("journal")),
            "segments": of.segments.value(),
            "unfolded_bytes": of.unfolded_bytes.value(),
            "write_rate_limit_bytes_per_second": of.write_rate_limit.value(),
            "pending_bytes": pending_bytes,
            "written_bytes": of.written_bytes.value(),
            "groups": of.groups.value(),
            "checkpoints": of.checkpoints.value(),
            "checkpoint_age_ms": now_ms.saturating_sub(of.checkpoint_unix_ms.value()),
            "compactions": of.compactions.value(),
            "folded_records": of.folded_records.value(),
            "loaded_bytes": of.loaded_bytes.value(),
            "backups": of.backups.value(),
            "sync_p50_us": p50,
            "sync_p99_us": p99,
            "sync_p999_us": p999,
        }))
    }

    /// `GET /admin/backup`.
    pub async fn backup_page(&self) -> Answer {
        said(&*self.taken.lock().await)
    }

    /// Begins a backup, as `annulus backup` does, on a thread of its own.
    ///
    /// # Errors
    /// One is under way, or there is nothing to be backed up, or the directory is none.
    pub async fn back_up(&self, backup: Backup) -> Result<(), Refusal> {
        let data_dir = self.on_disk()?.data_dir.clone();
        if !backup.directory.is_absolute() {
            return Err(bad("bad_request", "directory is an absolute path on the host of the server"));
        }
        let mut taken = self.taken.lock().await;
        if taken.is_running {
            return Err(conflict("a backup is under way"));
        }
        *taken = Taken {
            is_running: true,
            directory: Some(backup.directory.clone()),
            started_unix_ms: Some(self.clock.now().unix_ms),
            ..Taken::default()
        };
        let (shared, clock) = (Arc::clone(&self.taken), self.clock.clone());
        tokio::task::spawn_blocking(move || {
            let request = Request::Backup(backup.directory);
            let outcome = converse(&data_dir, &request, &mut |heard| {
                if let Heard::Progress(text) = heard {
                    shared.blocking_lock().progress = Some(text.to_owned());
                }
                Ok(())
            });
            let mut taken = shared.blocking_lock();
            (taken.is_running, taken.ended_unix_ms) = (false, Some(clock.now().unix_ms));
            match outcome {
                Ok(report) => taken.report = Some(report),
                Err(error) => taken.error = Some(error.to_string()),
            }
        });
        Ok(())
    }

    /// `GET /admin/export`.
    ///
    /// # Errors
    /// There is nothing on disk, or something else is asked for.
    pub fn export(&self, uri: &Uri) -> Result<Response, Refusal> {
        let data_dir = self.on_disk()?.data_dir.clone();
        let mut maps = Vec::new();
        for (name, value) in pairs(uri) {
            match &*name {
                "map" => maps.push(value),
                _ => return Err(bad("bad_request", "an export has `map`, as often as there are")),
            }
        }
        let (pieces, taken) = mpsc::channel::<std::io::Result<Bytes>>(PIECES_MAX);
        tokio::task::spawn_blocking(move || {
            let outcome = converse(&data_dir, &Request::Export(maps), &mut |heard| match heard {
                Heard::Progress(_) => Ok(()),
                Heard::Bytes(bytes) => pieces
                    .blocking_send(Ok(Bytes::copy_from_slice(bytes)))
                    .map_err(|_| std::io::Error::other("whoever has asked for the export is gone")),
            });
            if let Err(error) = outcome {
                // What was sent is not whole, and must not look as if it were.
                let _ = pieces.blocking_send(Err(std::io::Error::other(error.to_string())));
            }
        });
        let pieces = futures_util::stream::unfold(taken, async |mut taken| {
            let piece = taken.recv().await?;
            Some((piece, taken))
        });
        let kind = HeaderValue::from_static("application/x-ndjson");
        Ok(([(CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response())
    }
}

/// `None`: nobody knows.
fn file_bytes(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|file| file.len())
}

fn folder_bytes(path: &Path) -> Option<u64> {
    let files = fs::read_dir(path).ok()?;
    Some(files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum())
}
