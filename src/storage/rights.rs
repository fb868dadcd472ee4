//! Who may read a data directory that is there already: what was made with wider rights than are asked for keeps them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{BASE_FILE, JOURNAL_FOLDER, format};
use crate::config::DataMode;

/// Says so if something of the data in `root` gives others more rights than `mode` does, with what to do.
pub fn open_to_others(root: &Path, mode: DataMode) -> Option<String> {
    let bits = |path: &Path| fs::metadata(path).map_or(0, |found| found.permissions().mode() & 0o777);
    // What nobody else may enter is closed, whatever is in it.
    if bits(root) & 0o011 == 0 {
        return None;
    }
    let allowed = |name: &str| if name == JOURNAL_FOLDER { mode.of_folders() } else { mode.of_files() };
    let is_open = |name: &&str| bits(&root.join(name)) & 0o077 & !allowed(name) != 0;
    let found = [BASE_FILE, JOURNAL_FOLDER, format::NAME].into_iter().find(is_open)?;
    let (path, root) = (root.join(found), root.display());
    let (found, wanted) = (bits(&path), mode.of_files());
    let path = path.display();
    Some(format!(
        "{path} has mode {found:03o}, which gives others more than --data-mode {wanted:04o} does: \
         `chmod -R u=rwX,go= {root}` closes it"
    ))
}
