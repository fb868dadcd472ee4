//! Files of entries, each a line of JSON: what is damaged is found by its line.

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// Why a file has no entries; none of it counts then.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadFile {
    #[error("line {line}: {problem}")]
    Line { line: usize, problem: String },
    #[error("there are more than {max} entries")]
    TooMany { max: usize },
}

/// The entries of a text, each with the number of its line; empty lines have none.
pub(super) fn parse<T: DeserializeOwned>(text: &str, max: usize) -> Result<Vec<(usize, T)>, BadFile> {
    let is_entry = |(_, text): &(usize, &str)| !text.trim().is_empty();
    let mut entries = Vec::new();
    for (line, text) in (1..).zip(text.lines()).filter(is_entry) {
        if entries.len() == max {
            return Err(BadFile::TooMany { max });
        }
        // Where it is in the line; the line is named already.
        let problem = |error: serde_json::Error| {
            let text = error.to_string();
            let what = text.rsplit_once(" at line ").map_or(&*text, |(what, _)| what);
            BadFile::Line { line, problem: format!("{what} at column {}", error.column()) }
        };
        entries.push((line, serde_json::from_str(text).map_err(problem)?));
    }
    Ok(entries)
}

pub(super) fn text<T: Serialize>(entries: impl IntoIterator<Item = T>) -> String {
    let line = |entry| serde_json::to_string(&entry).expect("names and numbers have a JSON form") + "\n";
    entries.into_iter().map(line).collect()
}
