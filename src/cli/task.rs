//! What is done to a data directory beside serving it: backup, export, import, verify.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::flags::Action;

/// One of them, with everything it needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    Backup { data_dir: PathBuf, target: PathBuf },
    Export { data_dir: PathBuf, maps: Vec<String>, output: Option<PathBuf> },
    Import { data_dir: PathBuf, input: Option<PathBuf> },
    Verify { data_dir: PathBuf },
}

impl Action {
    /// The task this is; itself if it is none.
    pub(super) fn into_task(self, data_dir: &Path) -> Result<Task, Self> {
        let data_dir = data_dir.to_owned();
        Ok(match self {
            Self::Backup { dir } => Task::Backup { data_dir, target: dir },
            Self::Export { maps, output } => Task::Export { data_dir, maps, output },
            Self::Import { file } => Task::Import { data_dir, input: file },
            Self::Verify { dir } => Task::Verify { data_dir: dir.unwrap_or(data_dir) },
            Self::Serve | Self::Doctor | Self::Config => return Err(self),
        })
    }
}

impl Task {
    /// Does it, and says on stderr how far it is.
    pub fn run(self) -> ExitCode {
        eprintln!("annulus: {self:?} is not wired yet");
        ExitCode::FAILURE
    }
}
