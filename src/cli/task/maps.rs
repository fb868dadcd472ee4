//! `annulus export`, `import` and `verify`: a data directory that no server uses, or a backup.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter};
use std::path::Path;

use super::{TaskError, check_there, now_and_then};
use crate::cli::resolve::fresh_node;
use crate::cli::stdout::{self, Stdout};
use crate::io::Clock;
use crate::storage::import::ImportOptions;
use crate::storage::{Format, export, import, verify};

/// Bytes read or written at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes the maps and says what was written.
pub(super) fn export(data_dir: &Path, maps: &[String], output: Option<&Path>) -> Result<String, TaskError> {
    check_there(data_dir)?;
    let report = match output {
        None => {
            let mut out = BufWriter::with_capacity(BUFFER_BYTES, Stdout::default());
            let exported = export::export(data_dir, maps, &mut out, &mut now_and_then());
            if out.get_ref().reader_is_gone {
                return Err(TaskError::ReaderGone);
            }
            exported?
        }
        Some(path) => {
            // Under its own name only once it is whole, as half an export looks like one.
            let mut unfinished = path.as_os_str().to_owned();
            unfinished.push(".tmp");
            let unfinished = Path::new(&unfinished);
            let failed = |error| TaskError::file(unfinished, error);
            let mut out = BufWriter::with_capacity(BUFFER_BYTES, File::create(unfinished).map_err(failed)?);
            let report = export::export(data_dir, maps, &mut out, &mut now_and_then())?;
            out.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)?;
            fs::rename(unfinished, path).map_err(|error| TaskError::file(path, error))?;
            report
        }
    };
    Ok(report.to_string())
}

/// Merges what is read and says what was merged.
pub(super) fn import(data_dir: &Path, input: Option<&Path>, node: Option<&str>) -> Result<String, TaskError> {
    let mut input: Box<dyn BufRead> = match input {
        None => Box::new(io::stdin().lock()),
        Some(path) => {
            let file = File::open(path).map_err(|error| TaskError::file(path, error))?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, file))
        }
    };
    let random = || getrandom::u64().map_err(TaskError::Random);
    let node = match node {
        Some(node) => node.to_owned(),
        None => fresh_node().map_err(TaskError::Random)?,
    };
    let fresh = Format { epoch: random()?, secret: random()?, node };
    let options = ImportOptions { now_ms: Clock::start().now().unix_ms, fresh };
    let imported = import::import(data_dir, options, &mut input, &mut now_and_then());
    let instead = "stop the server first: lines are merged into files that nobody else writes";
    Ok(imported.map_err(TaskError::in_use(instead))?.to_string())
}

/// Prints the digests and what is damaged.
pub(super) fn verify(data_dir: &Path) -> Result<(), TaskError> {
    check_there(data_dir)?;
    let now_ms = Clock::start().now().unix_ms;
    let verified = verify::verify(data_dir, now_ms, &mut |_| {});
    let report = verified.map_err(TaskError::in_use("take an `annulus backup` and verify that"))?;
    stdout::print(&format!(
        "{report}
"
    ))
    .map_err(TaskError::Stdout)?;
    if report.is_sound() { Ok(()) } else { Err(TaskError::Damaged) }
}
