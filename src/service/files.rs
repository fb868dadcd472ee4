//! The files of the journal, and its steps on them, carried out on the ring of the service thread.

use std::cell::RefCell;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::rc::Rc;

use tokio_uring::fs::{File, OpenOptions};

use super::place::Place;
use crate::config::{DataMode, StorageConfig};
use crate::storage::{JOURNAL_FOLDER, Step, is_without_room};

/// See the module.
pub(super) struct Files {
    root: PathBuf,
    mode: DataMode,
    folder: File,
    current: RefCell<Option<Current>>,
}

#[derive(Clone)]
struct Current {
    name: Rc<str>,
    file: Rc<File>,
    place: Rc<Place>,
}

/// What became of a step.
pub(super) enum Done {
    Wrote(Vec<u8>),
    Synced,
    Other,
    /// The disk has no room for it, and nothing that counts has changed. With the bytes of a write.
    WithoutRoom(Option<Vec<u8>>),
}

/// The end of the process: what could not be done, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {name}: {source}")]
pub(super) struct StepError {
    what: &'static str,
    name: String,
    source: io::Error,
}

impl StepError {
    pub fn event(source: io::Error) -> Self {
        Self { what: "wait for", name: "the shards".to_owned(), source }
    }

    /// At the end of the server, where nothing more can be waited for.
    pub fn without_room(bytes: u64) -> Self {
        let what = "write the last changes, which no ack called durable, to";
        let source = io::Error::other(format!("the disk has no room for their {bytes} bytes"));
        Self { what, name: JOURNAL_FOLDER.to_owned(), source }
    }

    fn of(what: &'static str, name: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { what, name: name.to_owned(), source }
    }
}

impl Files {
    pub async fn open(config: &StorageConfig) -> Result<Self, StepError> {
        let root = config.data_dir.clone();
        let folder = File::open(root.join(JOURNAL_FOLDER)).await;
        let folder = folder.map_err(StepError::of("open", JOURNAL_FOLDER))?;
        Ok(Self { root, mode: config.data_mode, folder, current: RefCell::new(None) })
    }

    fn current(&self) -> Current {
        self.current.borrow().clone().expect("the journal creates a file before it uses one")
    }

    async fn create(&self, name: &str) -> io::Result<Current> {
        let path = self.root.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(DataMode::OWNER.of_files());
        let file = options.open(&path).await?;
        // Exactly these rights, whatever the umask is; once a segment.
        let rights = Permissions::from_mode(self.mode.of_files());
        fs::set_permissions(&path, rights).inspect_err(|_| {
            // It is created anew if there was no room for that.
            let _ = fs::remove_file(&path);
        })?;
        let place = Rc::new(Place::of(path)?);
        Ok(Current { name: name.into(), file: Rc::new(file), place })
    }
}

/// Carries out one step.
///
/// # Errors
/// What ends the process: after it nobody knows what is in the file.
pub(super) async fn carry_out(files: Rc<Files>, step: Step) -> Result<Done, StepError> {
    match step {
        Step::Create { name } => match files.create(&name).await {
            Err(error) if is_without_room(&error) => Ok(Done::WithoutRoom(None)),
            created => {
                files.current.replace(Some(created.map_err(StepError::of("create", &name))?));
                Ok(Done::Other)
            }
        },
        Step::Write { offset, bytes } => {
            let Current { name, file, place } = files.current();
            match file.write_all_at(bytes, offset).await {
                (Err(error), bytes) if is_without_room(&error) => Ok(Done::WithoutRoom(Some(bytes))),
                (written, bytes) => {
                    written.and_then(|_| place.check()).map_err(StepError::of("write", &name))?;
                    Ok(Done::Wrote(bytes))
                }
            }
        }
        Step::Sync => {
            let Current { name, file, place } = files.current();
            file.sync_data().await.and_then(|()| place.check()).map_err(StepError::of("sync", &name))?;
            Ok(Done::Synced)
        }
        Step::SyncFolder => {
            files.folder.sync_all().await.map_err(StepError::of("sync", JOURNAL_FOLDER))?;
            Ok(Done::Other)
        }
    }
}
