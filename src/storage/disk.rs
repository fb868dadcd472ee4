//! What the storage needs of a file system: a data directory with files and one folder deep. The host's is one
//! implementation, the simulator's, which loses power, the other.

use std::borrow::Cow;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::StorageError;
use crate::config::DataMode;

/// A data directory. Names are relative to it, such as `journal/00000000000000c1.log`.
///
/// What is written, created, renamed or removed is certain to survive a power cut only after the sync of the
/// file, and for names of the folder.
pub trait Disk: Send + Sync + 'static {
    /// # Errors
    /// Of the file system; `NotFound` if there is no such file.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates an empty file.
    ///
    /// # Errors
    /// Of the file system; `AlreadyExists` if there is one.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// The names of the files in a folder, sorted; `""` is the data directory itself.
    ///
    /// # Errors
    /// Of the file system.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Gives a file another name; one that has it already is replaced, in one step.
    ///
    /// # Errors
    /// Of the file system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// # Errors
    /// Of the file system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names in a folder survive.
    ///
    /// # Errors
    /// Of the file system.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;

    /// What tells a file from all its copies, and stays as it is when it is renamed.
    ///
    /// # Errors
    /// Of the file system.
    fn birth(&self, name: &str) -> io::Result<String>;
}

/// One open file. Reads and writes at an offset, so that many may use it at once.
pub trait DiskFile: std::fmt::Debug + Send + Sync + 'static {
    /// # Errors
    /// Of the file system.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer`.
    ///
    /// # Errors
    /// Of the file system; `UnexpectedEof` if the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// Of the file system.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// # Errors
    /// Of the file system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the content and the length survive.
    ///
    /// # Errors
    /// Of the file system. After one nothing is known about what was written since the sync before.
    fn sync(&self) -> io::Result<()>;
}

/// Gives `name` the content `bytes`: after a crash the file is as before or as it should be, never anything between.
///
/// # Errors
/// [`StorageError::Io`].
pub fn replace_file(disk: &dyn Disk, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
    replace_file_with(disk, name, |_| Ok(bytes.into()))
}

/// The same with a content that says something of the file itself, which is there by then under the name that is given.
///
/// # Errors
/// [`StorageError::Io`].
pub(super) fn replace_file_with<'a>(
    disk: &dyn Disk,
    name: &str,
    content: impl FnOnce(&str) -> io::Result<Cow<'a, [u8]>>,
) -> Result<(), StorageError> {
    let temporary = format!("{name}.tmp");
    // Of a process that ended in here.
    remove_if_there(disk, &temporary)?;
    let file = disk.create(&temporary).map_err(StorageError::io("create", &temporary))?;
    let written = content(&temporary).and_then(|bytes| file.write_at(&bytes, 0));
    written.map_err(StorageError::io("write", &temporary))?;
    file.sync().map_err(StorageError::io("sync", &temporary))?;
    disk.rename(&temporary, name).map_err(StorageError::io("rename", &temporary))?;
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    disk.sync_folder(folder).map_err(StorageError::io("sync the folder of", name))
}

/// Removes a file, if there is one.
///
/// # Errors
/// [`StorageError::Io`].
pub(super) fn remove_if_there(disk: &dyn Disk, name: &str) -> Result<(), StorageError> {
    match disk.remove(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(StorageError::io("remove", name)),
    }
}

/// A directory of the host.
#[derive(Clone, Debug)]
pub struct HostDisk {
    root: PathBuf,
    is_read_only: bool,
    mode: DataMode,
}

impl HostDisk {
    /// Uses `root`, which is made, with the folders below it, if it is not there. Only its owner may read it.
    ///
    /// # Errors
    /// Of the file system.
    pub fn new(root: &Path) -> io::Result<Self> {
        Self::with_mode(root, DataMode::OWNER)
    }

    /// The same, where what is made has the given rights. What is there keeps those it has.
    ///
    /// # Errors
    /// Of the file system.
    pub fn with_mode(root: &Path, mode: DataMode) -> io::Result<Self> {
        make_folder(root, mode)?;
        make_folder(&root.join(super::JOURNAL_FOLDER), mode)?;
        Ok(Self { root: root.to_owned(), is_read_only: false, mode })
    }

    /// Uses `root` for whoever only reads: it makes and changes nothing, so that no right to write is needed.
    pub fn read_only(root: &Path) -> Self {
        Self { root: root.to_owned(), is_read_only: true, mode: DataMode::OWNER }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn may_write(&self) -> io::Result<()> {
        if self.is_read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }
}

/// Creates a file with exactly these rights, whatever the umask is.
pub(super) fn create_file(path: &Path, mode: DataMode) -> io::Result<File> {
    let owner = DataMode::OWNER.of_files();
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(owner).open(path)?;
    file.set_permissions(Permissions::from_mode(mode.of_files()))?;
    Ok(file)
}

/// Makes a folder with exactly these rights, whatever the umask is, and those above it as usual. One that is there
/// stays as it is. Its name survives a power cut.
pub(super) fn make_folder(path: &Path, mode: DataMode) -> io::Result<()> {
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        fs::create_dir_all(above)?;
    }
    match DirBuilder::new().mode(DataMode::OWNER.of_folders()).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        made => made?,
    }
    fs::set_permissions(path, Permissions::from_mode(mode.of_folders()))?;
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(above)?.sync_all()
}

impl Disk for HostDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(!self.is_read_only).open(self.path(name))?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.may_write()?;
        Ok(Arc::new(create_file(&self.path(name), self.mode)?))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let entries = match fs::read_dir(self.path(folder)) {
            // Programs that copy files may leave an empty folder out, which nobody can make here.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_read_only => return Ok(names),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.may_write()?;
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.may_write()?;
        fs::remove_file(self.path(name))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        File::open(self.path(folder))?.sync_all()
    }

    /// Its inode, and when that was made.
    fn birth(&self, name: &str) -> io::Result<String> {
        let metadata = fs::metadata(self.path(name))?;
        // Not every file system knows.
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Ok(format!("{}.{}", metadata.ino(), born.unwrap_or_default().as_nanos()))
    }
}

impl DiskFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
