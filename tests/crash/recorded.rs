//! A file system every write and flush of which is recorded: a file that `qemu-storage-daemon` serves over FUSE, writes
//! to a copy and logs (its driver `blklogwrites`), on a loop device.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::power::{PATIENCE, run, unmount};

/// Of the disk, which is sparse; XFS takes no less than 300 MiB.
const DISK_BYTES: u64 = 320 << 20;
/// Of the log, which is sparse and must not end.
const LOG_BYTES: u64 = 1 << 40;
/// Of the superblock of the log, where the number of entries is; the daemon writes it with each flush.
const ENTRIES_AT: u64 = 16;

/// See the module. Unmounted, with the daemon gone, when it goes out of scope.
pub struct RecordedDisk {
    root: PathBuf,
    daemon: Child,
}

impl RecordedDisk {
    /// Makes one below `root` with a file system of this type, and `base.img`, as it is at first.
    ///
    /// # Errors
    /// Says why this machine allows none.
    pub fn new(root: &Path, file_system: &str) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root may mount".to_owned());
        }
        if !Path::new("/dev/fuse").exists() {
            return Err("there is no /dev/fuse".to_owned());
        }
        let path = |name: &str| root.join(name);
        let made = fs::create_dir_all(path("mount"))
            .and_then(|()| File::create(path("disk.img"))?.set_len(DISK_BYTES))
            .and_then(|()| File::create(path("log.img"))?.set_len(LOG_BYTES))
            .and_then(|()| File::create(path("export")).map(drop));
        made.map_err(|error| error.to_string())?;
        run(Command::new(format!("mkfs.{file_system}")).arg("-q").arg(path("disk.img")))?;
        run(Command::new("cp").arg("--sparse=always").arg(path("disk.img")).arg(path("base.img")))?;
        let disk = Self { daemon: daemon(root)?, root: root.to_owned() };
        disk.wait_for_export()?;
        mount(file_system, &path("export"), &path("mount"))?;
        Ok(disk)
    }

    pub fn mount(&self) -> PathBuf {
        self.root.join("mount")
    }

    pub fn log(&self) -> PathBuf {
        self.root.join("log.img")
    }

    /// The daemon serves the disk at its size; until then the file is empty.
    fn wait_for_export(&self) -> Result<(), String> {
        let began = Instant::now();
        while fs::metadata(self.root.join("export")).map_or(0, |export| export.len()) != DISK_BYTES {
            if began.elapsed() > PATIENCE {
                let said = fs::read_to_string(self.root.join("daemon.log")).unwrap_or_default();
                return Err(format!("qemu-storage-daemon does not serve the disk: {}", said.trim()));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for RecordedDisk {
    fn drop(&mut self) {
        let mount = self.mount();
        // It was never mounted where the daemon did not come up.
        if run(Command::new("mountpoint").arg("-q").arg(&mount)).is_ok()
            && let Err(error) = unmount(&mount)
        {
            eprintln!("{} stays mounted: {error}", mount.display());
        }
        let _ = kill_process(Pid::from_child(&self.daemon), Signal::TERM);
        let _ = self.daemon.wait();
    }
}

/// How many entries the log had at the last flush.
pub fn entries(log: &File) -> u64 {
    let mut count = [0; 8];
    log.read_exact_at(&mut count, ENTRIES_AT).unwrap();
    u64::from_le_bytes(count)
}

/// Mounts an image; the loop device is freed when it is unmounted.
pub fn mount(file_system: &str, image: &Path, mount: &Path) -> Result<(), String> {
    run(Command::new("mount").args(["-t", file_system, "-o", "loop"]).arg(image).arg(mount))
}

fn daemon(root: &Path) -> Result<Child, String> {
    let log = File::create(root.join("daemon.log")).map_err(|error| error.to_string())?;
    let path = |name: &str| root.join(name).display().to_string();
    let block = |text: String| ["--blockdev".to_owned(), text];
    // Neither file is synced, as the machine goes on; what reaches the log does not change.
    let (disk, record, export) = (path("disk.img"), path("log.img"), path("export"));
    Command::new("qemu-storage-daemon")
        .args(block(format!("driver=file,cache.no-flush=on,node-name=disk,filename={disk}")))
        .args(block(format!("driver=file,cache.no-flush=on,node-name=log,filename={record}")))
        .args(block("driver=blklogwrites,node-name=both,file=disk,log=log,log-sector-size=512".to_owned()))
        .arg("--export")
        .arg(format!("type=fuse,id=export,node-name=both,mountpoint={export},writable=on"))
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|error| format!("qemu-storage-daemon: {error}"))
}
