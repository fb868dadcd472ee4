//! A disk that loses power, errs and fills up: in memory, with a live image, which is what the process sees, and a
//! durable one, which is what a power cut leaves at least.
//!
//! Invariant: what a handle of before a crash does changes nothing after it, as its process is gone.
//!
//! ```text
//! mod.rs    the disk and its files, as `annulus::storage` wants them     names.rs  what is in which folder
//! inode.rs  the bytes of one file, live and durable, torn in between     fault.rs  what goes wrong, and when
//! ```

mod fault;
mod inode;
mod names;

pub use fault::{Fault, FaultKind};

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use annulus::storage::{Disk, DiskFile};

use crate::random::Random;
use inode::{Inode, Tearing};
use names::Names;

/// How a process ends without having been asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The kernel lives on, with all that was written.
    Kill,
    /// What was not synced is there, or not, or torn.
    PowerCut,
}

/// See the module. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

struct State {
    random: Random,
    /// Counts the processes that have used it.
    process: u64,
    /// The process has met its end and does not know yet.
    is_over: Option<Crash>,
    names: Names,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    fault: Option<Fault>,
    /// Nothing can be read.
    fails_reads: bool,
    /// What a file that was removed had in it: the disk gives it to whoever grows without writing.
    left_over: Vec<u8>,
    counts: Counts,
}

/// What the disk was asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub syncs: u64,
    pub power_cuts: u64,
    pub kills: u64,
    pub errors: u64,
    /// Power cuts after which a file was neither as synced nor as written.
    pub torn: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.syncs += other.syncs;
        self.power_cuts += other.power_cuts;
        self.kills += other.kills;
        self.errors += other.errors;
        self.torn += other.torn;
    }
}

impl SimDisk {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: Random::new(seed),
            process: 0,
            is_over: None,
            names: Names::default(),
            inodes: BTreeMap::new(),
            next_inode: 1,
            fault: None,
            fails_reads: false,
            left_over: Vec::new(),
            counts: Counts::default(),
        })))
    }

    /// Something will go wrong; replaces what would have.
    pub fn arm(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    pub fn disarm(&self) {
        self.state().fault = None;
    }

    /// Whether no file can be read from now on.
    pub fn fail_reads(&self, fails: bool) {
        self.state().fails_reads = fails;
    }

    /// Goes on counting where another disk has ended.
    pub fn count_on(&self, other: &Self) {
        let counts = other.counts();
        self.state().counts = counts;
    }

    /// The end that the process has met in the middle of something, if it has.
    pub fn is_over(&self) -> Option<Crash> {
        self.state().is_over
    }

    /// Ends the process that used it; the next one finds what is left.
    pub fn crash(&self, crash: Crash) {
        self.state().crash(crash);
    }

    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics with the disk in its hands")
    }

    fn file(&self, inode: u64, state: &State) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), inode, process: state.process })
    }
}

impl State {
    fn crash(&mut self, crash: Crash) {
        self.process += 1;
        self.is_over = None;
        self.fault = None;
        if crash == Crash::Kill {
            self.counts.kills += 1;
            return;
        }
        self.counts.power_cuts += 1;
        self.names.lose_power(&mut self.random);
        let kept: Vec<u64> = self.names.live().collect();
        self.inodes.retain(|id, _| kept.contains(id));
        for (id, inode) in &mut self.inodes {
            let tearing = Tearing::of(&mut self.random, *id);
            self.counts.torn += u64::from(inode.lose_power(&tearing, &self.left_over));
        }
    }

    /// Whether this process may still do anything.
    fn check(&self, process: u64) -> io::Result<()> {
        if self.is_over.is_some() || process != self.process {
            return Err(io::Error::other("this process is over"));
        }
        Ok(())
    }

    /// Counts one barrier, which is where processes end: between two of them the order of writes is open anyway.
    fn barrier(&mut self) -> io::Result<()> {
        let Some(fault) = &mut self.fault else { return Ok(()) };
        fault.after_barriers = fault.after_barriers.saturating_sub(1);
        match fault.kind {
            FaultKind::End(crash) if fault.after_barriers == 0 => {
                self.is_over = Some(crash);
                Err(io::Error::other("the process ends here"))
            }
            _ => Ok(()),
        }
    }

    /// The error that is due for an operation that `kinds` can befall.
    fn take_error(&mut self, kinds: &[FaultKind]) -> Option<FaultKind> {
        let fault = self.fault.as_ref().filter(|fault| fault.after_barriers == 0)?;
        let kind = kinds.iter().copied().find(|kind| *kind == fault.kind)?;
        self.fault = None;
        self.counts.errors += 1;
        Some(kind)
    }

    fn inode(&mut self, id: u64) -> &mut Inode {
        self.inodes.get_mut(&id).expect("a file that is open has an inode")
    }
}

impl Disk for SimDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state();
        state.check(state.process)?;
        let inode = state.names.find(name).ok_or(ErrorKind::NotFound)?;
        Ok(self.file(inode, &state))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.check(state.process)?;
        state.barrier()?;
        if state.take_error(&[FaultKind::NoSpace]).is_some() {
            return Err(ErrorKind::StorageFull.into());
        }
        if state.names.find(name).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        state.names.link(name, inode);
        Ok(self.file(inode, &state))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check(state.process)?;
        Ok(state.names.list(folder))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.check(state.process)?;
        state.barrier()?;
        let inode = state.names.find(from).ok_or(ErrorKind::NotFound)?;
        state.names.rename(from, to, inode);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.check(state.process)?;
        state.barrier()?;
        let inode = state.names.find(name).ok_or(ErrorKind::NotFound)?;
        state.left_over = state.inode(inode).live().to_vec();
        state.names.unlink(name);
        Ok(())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.state();
        state.check(state.process)?;
        state.barrier()?;
        if state.take_error(&[FaultKind::SyncError]).is_some() {
            return Err(io::Error::other("input/output error"));
        }
        state.names.sync(folder);
        Ok(())
    }

    fn birth(&self, name: &str) -> io::Result<String> {
        let state = self.state();
        state.check(state.process)?;
        Ok(state.names.find(name).ok_or(ErrorKind::NotFound)?.to_string())
    }
}

/// One open file of one process.
struct SimFile {
    disk: SimDisk,
    inode: u64,
    process: u64,
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "file {} of process {}", self.inode, self.process)
    }
}

impl SimFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        state.check(self.process)?;
        Ok(state)
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.state()?.inode(self.inode).live().len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.state()?;
        if state.fails_reads || state.take_error(&[FaultKind::ReadError]).is_some() {
            return Err(io::Error::other("input/output error"));
        }
        let offset = offset as usize;
        let bytes = state.inode(self.inode).live().get(offset..offset + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let error = state.take_error(&[FaultKind::WriteError, FaultKind::ShortWrite, FaultKind::NoSpace]);
        let Some(error) = error else {
            state.inode(self.inode).write(bytes, offset as usize);
            return Ok(());
        };
        if error != FaultKind::WriteError {
            let len = state.random.below(bytes.len() + 1);
            state.inode(self.inode).write(&bytes[..len], offset as usize);
        }
        Err(match error {
            FaultKind::NoSpace => ErrorKind::StorageFull.into(),
            FaultKind::ShortWrite => ErrorKind::WriteZero.into(),
            _ => io::Error::other("input/output error"),
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state()?;
        if state.take_error(&[FaultKind::NoSpace]).is_some() {
            return Err(ErrorKind::StorageFull.into());
        }
        state.inode(self.inode).set_len(len as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state()?;
        state.barrier()?;
        state.counts.syncs += 1;
        let is_error = state.take_error(&[FaultKind::SyncError]).is_some();
        let inode = state.inode(self.inode);
        if is_error {
            inode.fail_sync();
            return Err(io::Error::other("input/output error"));
        }
        inode.sync();
        Ok(())
    }
}
