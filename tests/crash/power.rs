//! A real file system that loses its power: ext4 in a file, on a loop device, shut down without its journal.
//!
//! `EXT4_IOC_SHUTDOWN` stops all writing at once and leaves on the device what was there: what was written and not synced
//! is gone, as with the power.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How long a file system may be busy after all processes that used it have ended.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Room for a life; the file is sparse.
const IMAGE_BYTES: u64 = 256 << 20;
/// `_IOR('X', 125, __u32)`.
const EXT4_IOC_SHUTDOWN: u64 = 0x8004_587D;
const GOING_FLAGS_NOLOGFLUSH: u32 = 2;

/// The file system; unmounted, which frees the loop device, when it goes out of scope.
pub struct PowerDisk {
    image: PathBuf,
    mount: PathBuf,
}

impl PowerDisk {
    /// Makes one below `root`.
    ///
    /// # Errors
    /// Says why this machine allows none.
    pub fn new(root: &Path) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root may mount".to_owned());
        }
        let (image, mount) = (root.join("disk.img"), root.join("mount"));
        let made = fs::create_dir_all(&mount).and_then(|()| File::create(&image)?.set_len(IMAGE_BYTES));
        made.map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        let disk = Self { image, mount };
        disk.mount()?;
        Ok(disk)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.mount.join("data")
    }

    /// The loop device, for the log.
    pub fn device(&self) -> String {
        let found = Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(&self.mount).output();
        found
            .map_or_else(|_| "?".to_owned(), |found| String::from_utf8_lossy(&found.stdout).trim().to_owned())
    }

    /// Nothing that is not on the disk by now will ever be.
    ///
    /// # Errors
    /// Of the kernel, which may not know how.
    pub fn cut(&self) -> Result<(), String> {
        let root = File::open(&self.mount).map_err(|error| error.to_string())?;
        shut_down(&root).map_err(|error| format!("EXT4_IOC_SHUTDOWN: {error}"))
    }

    /// The power is back. Nobody may use it meanwhile.
    ///
    /// # Errors
    /// Of the commands.
    pub fn restore(&self) -> Result<(), String> {
        unmount(&self.mount)?;
        self.mount()
    }

    /// The loop device is freed when it is unmounted.
    fn mount(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&self.image).arg(&self.mount))
    }
}

impl Drop for PowerDisk {
    fn drop(&mut self) {
        // Lazily, as a server may not be gone yet where a test has failed.
        if let Err(error) = run(Command::new("umount").arg("-l").arg(&self.mount)) {
            eprintln!("power cuts: {} stays mounted: {error}", self.mount.display());
        }
    }
}

/// Unmounts what no process uses any more.
///
/// # Errors
/// Of the command.
pub fn unmount(mount: &Path) -> Result<(), String> {
    let began = Instant::now();
    // The kernel closes the files of a ring some time after its process is gone.
    while let Err(error) = run(Command::new("umount").arg(mount)) {
        if began.elapsed() > PATIENCE {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

pub fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

#[allow(unsafe_code, reason = "no library knows this ioctl")]
fn shut_down(root: &File) -> io::Result<()> {
    let flags = GOING_FLAGS_NOLOGFLUSH;
    // SAFETY: the descriptor is open, and the kernel reads the 4 bytes of `flags`, which outlive the call.
    let result = unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_SHUTDOWN as _, &raw const flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
