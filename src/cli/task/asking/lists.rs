//! Lists as columns of text, a page at a time.

use serde_json::{Map, Value};

use super::socket::Server;
use crate::cli::asked::List;
use crate::cli::stdout;
use crate::cli::task::TaskError;

/// Rows that are asked for at once.
const PAGE_MAX: usize = 500;

/// What is listed: its page, the name of its rows, and which of their fields are columns.
pub struct Listing {
    pub page: &'static str,
    pub rows: &'static str,
    pub columns: &'static [&'static str],
}

pub const CLIENTS: Listing = Listing {
    page: "clients",
    rows: "clients",
    columns: &[
        "connection",
        "phase",
        "user",
        "address",
        "dialect",
        "connected_ms",
        "idle_ms",
        "received_bytes",
        "sent_bytes",
        "outbox_bytes",
        "subscriptions",
    ],
};
pub const MAPS: Listing = Listing {
    page: "maps",
    rows: "maps",
    columns: &["map", "type", "keys", "cells", "bytes", "subscribers", "home"],
};
pub const KEYS: Listing =
    Listing { page: "keys", rows: "keys", columns: &["key", "is_live", "bytes", "shard", "value"] };
pub const ROOMS: Listing =
    Listing { page: "rooms", rows: "rooms", columns: &["room", "dialect", "members", "bytes", "home"] };
pub const CHANNELS: Listing = Listing {
    page: "channels",
    rows: "channels",
    columns: &["channel", "members", "messages", "bytes", "last_offset", "is_durable", "home"],
};
pub const USERS: Listing =
    Listing { page: "users", rows: "users", columns: &["user", "connections", "home"] };

/// Prints the rows that `parameters` are about, as they come.
pub fn print(
    server: &Server,
    listing: &Listing,
    parameters: &[(&str, Option<&str>)],
    list: &List,
) -> Result<(), TaskError> {
    let (mut left, mut after) = (list.limit, None::<String>);
    let mut widths: Vec<usize> = listing.columns.iter().map(|name| name.len()).collect();
    let mut is_first = true;
    while left > 0 {
        let limit = left.min(PAGE_MAX).to_string();
        let mut asked = parameters.to_vec();
        asked.extend([("limit", Some(&*limit)), ("after", after.as_deref())]);
        let answer = server.get(listing.page, &asked)?;
        let rows = answer[listing.rows].as_array().cloned().unwrap_or_default();
        left = left.saturating_sub(rows.len());
        let text = match list.json {
            true => format!("{answer}\n"),
            false => columns(listing, &rows, &mut widths, is_first),
        };
        stdout::print(&text).map_err(TaskError::Stdout)?;
        is_first &= rows.is_empty();
        match answer["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    Ok(())
}

/// Rows below each other, under a head where they are the first. Columns only get wider.
fn columns(listing: &Listing, rows: &[Value], widths: &mut [usize], with_head: bool) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| listing.columns.iter().map(|name| shown(&row[*name])).collect()).collect();
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head = with_head.then(|| listing.columns.iter().map(|name| (*name).to_owned()).collect());
    let mut text = String::new();
    for row in head.iter().chain(&cells) {
        let padded = row.iter().zip(&*widths).map(|(cell, width)| format!("{cell:width$}"));
        text += padded.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// A field in one line; what is not known is a dash.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.replace(char::is_control, "�"),
        value => value.to_string(),
    }
}

/// All fields of an object, one a line, but for lists of objects, which are told apart.
pub fn fields(of: &Map<String, Value>) -> String {
    let width = of.keys().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in of {
        match value.as_array() {
            Some(all) if all.iter().any(Value::is_object) => {
                for one in all {
                    text += &format!("{name:width$}  {one}\n");
                }
            }
            _ => text += &format!("{name:width$}  {}\n", shown(value)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_aligned_and_control_characters_are_not_printed() {
        let rows = [
            json!({"user": "anna", "connections": 2, "home": 0}),
            json!({"user": "b\u{1b}[31m", "connections": 10}),
        ];
        let mut widths = vec![4, 11, 4];
        let text = columns(&USERS, &rows, &mut widths, true);
        assert_eq!(text, "user    connections  home\nanna    2            0\nb�[31m  10           -\n");
        assert_eq!(columns(&USERS, &[], &mut widths, true), "");
    }
}
