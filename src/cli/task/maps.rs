//! `annulus export`, `import` and `verify`: a data directory, whose server is asked where there is one, or a backup.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use super::running::Server;
use super::{TaskError, check_there, now_and_then, output};
use crate::cli::resolve::fresh_node;
use crate::cli::stdout::{self, Stdout};
use crate::config::DataMode;
use crate::io::Clock;
use crate::service::Request;
use crate::storage::export::ExportOptions;
use crate::storage::import::ImportOptions;
use crate::storage::{Format, StorageError, export, import, verify};

/// Bytes read or written at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes the maps and says what was written.
pub(super) fn export(
    data_dir: &Path,
    maps: &[String],
    output: Option<&Path>,
    mode: DataMode,
) -> Result<String, TaskError> {
    check_there(data_dir)?;
    match output {
        None => {
            let mut out = BufWriter::with_capacity(BUFFER_BYTES, Stdout::default());
            let exported = export_to(data_dir, maps, &mut out).and_then(|report| {
                out.flush().map_err(StorageError::io("write", "the export"))?;
                Ok(report)
            });
            if out.get_ref().reader_is_gone { Err(TaskError::ReaderGone) } else { exported }
        }
        Some(path) => output::to_file(path, mode, |out| export_to(data_dir, maps, out)),
    }
}

/// From the server of the directory if there is one, else from its files.
fn export_to(data_dir: &Path, maps: &[String], out: &mut dyn Write) -> Result<String, TaskError> {
    match Server::connect(data_dir) {
        Ok(server) => server.ask(&Request::Export(maps.to_vec()), out),
        Err(unreached) => {
            let options = ExportOptions { maps, now_ms: Clock::start().now().unix_ms };
            let exported = export::export(data_dir, options, out, &mut now_and_then());
            Ok(exported.map_err(unreached.explain())?.to_string())
        }
    }
}

/// Merges what is read and says what was merged.
pub(super) fn import(
    data_dir: &Path,
    input: Option<&Path>,
    node: Option<&str>,
    ahead_ms_max: u64,
    mode: DataMode,
) -> Result<String, TaskError> {
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
    let options = ImportOptions { now_ms: Clock::start().now().unix_ms, ahead_ms_max, fresh, mode };
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
