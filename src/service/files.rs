//! The files of the journal, and its steps on them, carried out on the ring of the service thread.
//!
//! A segment that grows is written through the cache of the kernel and synced. One that was prepared is written around it, and what
//! was written is where it survives once the write is over: one operation a group.

use std::cell::RefCell;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::rc::Rc;

use rustix::fs::{Advice, fadvise};
use tokio_uring::buf::BoundedBuf;
use tokio_uring::fs::{File, OpenOptions};

use super::blocks::{Blocks, DIRECT_AND_SYNCED};
use super::place::Place;
use crate::config::{DataMode, StorageConfig};
use crate::storage::{JOURNAL_FOLDER, Step, is_without_room};

/// See the module.
pub(super) struct Files {
    root: PathBuf,
    mode: DataMode,
    folder: File,
    current: RefCell<Option<Current>>,
    blocks: RefCell<Blocks>,
}

#[derive(Clone)]
struct Current {
    name: Rc<str>,
    file: Rc<File>,
    place: Rc<Place>,
    /// It was prepared.
    is_direct: bool,
}

/// What became of a step.
pub(super) enum Done {
    Wrote(Vec<u8>),
    /// The same, and it will survive.
    WroteSynced(Vec<u8>),
    Synced,
    /// A spare file is the current segment.
    Reused,
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
        Ok(Self {
            root,
            mode: config.data_mode,
            folder,
            current: RefCell::default(),
            blocks: RefCell::default(),
        })
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
        Ok(Current { name: name.into(), file: Rc::new(file), place, is_direct: false })
    }

    async fn reuse(&self, spare: &str, name: &str) -> io::Result<Current> {
        let path = self.root.join(name);
        tokio_uring::fs::rename(self.root.join(spare), &path).await?;
        let file = fs::OpenOptions::new().write(true).custom_flags(DIRECT_AND_SYNCED).open(&path)?;
        // Each write would have to drop what the kernel has of it in memory; whether it can do so at once matters little.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        let place = Rc::new(Place::of(path)?);
        Ok(Current { name: name.into(), file: Rc::new(File::from_std(file)), place, is_direct: true })
    }

    /// Writes whole blocks, from memory that a device can read.
    async fn write_blocks(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut blocks = self.blocks.take();
        let place = blocks.fill(bytes);
        let (written, slice) = file.write_all_at(blocks.0.slice(place), offset).await;
        self.blocks.replace(Blocks(slice.into_inner()));
        written
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
        Step::Reuse { spare, name } => match files.reuse(&spare.name, &name).await {
            Err(error) if is_without_room(&error) => Ok(Done::WithoutRoom(None)),
            reused => {
                files.current.replace(Some(reused.map_err(StepError::of("use again", &name))?));
                Ok(Done::Reused)
            }
        },
        Step::Write { offset, bytes } => {
            let Current { name, file, place, is_direct } = files.current();
            if is_direct {
                return match files.write_blocks(&file, &bytes, offset).await {
                    Err(error) if is_without_room(&error) => Ok(Done::WithoutRoom(Some(bytes))),
                    written => {
                        written.and_then(|()| place.check()).map_err(StepError::of("write", &name))?;
                        Ok(Done::WroteSynced(bytes))
                    }
                };
            }
            match file.write_all_at(bytes, offset).await {
                (Err(error), bytes) if is_without_room(&error) => Ok(Done::WithoutRoom(Some(bytes))),
                (written, bytes) => {
                    written.and_then(|_| place.check()).map_err(StepError::of("write", &name))?;
                    Ok(Done::Wrote(bytes))
                }
            }
        }
        Step::Sync => {
            let Current { name, file, place, .. } = files.current();
            file.sync_data().await.and_then(|()| place.check()).map_err(StepError::of("sync", &name))?;
            Ok(Done::Synced)
        }
        Step::SyncFolder => {
            files.folder.sync_all().await.map_err(StepError::of("sync", JOURNAL_FOLDER))?;
            Ok(Done::Other)
        }
    }
}
