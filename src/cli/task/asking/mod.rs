//! What is asked of the running server of a data directory, over `admin.sock`: `docs/admin.md`.
//!
//! order: top → lists → socket

mod lists;
mod socket;
mod top;

use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::TaskError;
use crate::cli::asked::{Asked, Kicked, List, Names};
use crate::cli::stdout;
use lists::Listing;
use socket::Server;

/// Between two looks at a check that is under way.
const LOOK: Duration = Duration::from_millis(200);

/// Asks, and prints what is answered.
pub(super) fn run(data_dir: &Path, asked: &Asked) -> Result<(), TaskError> {
    let server = Server::of(data_dir)?;
    match asked {
        Asked::Top { once } => top::run(&server, *once),
        Asked::Clients { connection: Some(connection), list, .. } => {
            one(&server, "client", &[("connection", Some(connection))], list)
        }
        Asked::Clients { connection: None, user, address, dialect, list } => {
            let parameters =
                [("user", user.as_deref()), ("address", address.as_deref()), ("dialect", dialect.as_deref())];
            lists::print(&server, &lists::CLIENTS, &parameters, list)
        }
        Asked::Maps { map: Some(map), key: Some(key), list, .. } => {
            one(&server, "key", &[("map", Some(map)), ("key", Some(key))], list)
        }
        Asked::Maps { map: Some(map), key: None, prefix, list, .. } => {
            one(&server, "map", &[("map", Some(map))], list)?;
            let parameters = [("map", Some(&**map)), ("prefix", prefix.as_deref())];
            lists::print(&server, &lists::KEYS, &parameters, list)
        }
        Asked::Maps { map: None, prefix, map_type, min_keys, min_subscribers, list, .. } => {
            let [min_keys, min_subscribers] =
                [min_keys, min_subscribers].map(|min| min.map(|min| min.to_string()));
            let parameters = [
                ("prefix", prefix.as_deref()),
                ("type", map_type.as_deref()),
                ("min_keys", min_keys.as_deref()),
                ("min_subscribers", min_subscribers.as_deref()),
            ];
            lists::print(&server, &lists::MAPS, &parameters, list)
        }
        Asked::Rooms { names } => named(&server, &lists::ROOMS, names),
        Asked::Channels { names } => named(&server, &lists::CHANNELS, names),
        Asked::Users { names } => named(&server, &lists::USERS, names),
        Asked::Kick { who: Kicked { connection, user } } => {
            let body = match (connection, user) {
                (Some(connection), _) => json!({ "connection": connection }),
                (None, user) => json!({ "user": user }),
            };
            let answer = server.post("kick", &body)?;
            print(&format!("{} connections are closed\n", lists::shown(&answer["kicked"])))
        }
        Asked::Drain { cancel: true, .. } => {
            said_of_drain(&server.post("drain", &json!({ "cancel": true }))?)
        }
        Asked::Drain { in_ms, cancel: false } => {
            said_of_drain(&server.post("drain", &json!({ "in_ms": in_ms }))?)
        }
        Asked::Settings { changes, json } => settings(&server, changes, *json),
        Asked::Check => check(&server),
    }
}

fn print(text: &str) -> Result<(), TaskError> {
    stdout::print(text).map_err(TaskError::Stdout)
}

fn named(server: &Server, listing: &Listing, names: &Names) -> Result<(), TaskError> {
    lists::print(server, listing, &[("prefix", names.prefix.as_deref())], &names.list)
}

fn one(
    server: &Server,
    page: &str,
    parameters: &[(&str, Option<&str>)],
    list: &List,
) -> Result<(), TaskError> {
    let answer = server.get(page, parameters)?;
    match answer.as_object() {
        Some(fields) if !list.json => print(&lists::fields(fields)),
        _ => print(&format!("{answer}\n")),
    }
}

fn said_of_drain(answer: &Value) -> Result<(), TaskError> {
    let connections = lists::shown(&answer["connections"]);
    match (answer["phase"].as_str(), answer["left_ms"].as_u64()) {
        (Some("countdown"), Some(left_ms)) => {
            print(&format!("the server drains in {left_ms} ms, with {connections} connections\n"))
        }
        // Told with what there was before it began.
        (Some("serving"), _) => print(&format!("{connections} connections\n")),
        (phase, _) => print(&format!("{}, with {connections} connections\n", phase.unwrap_or_default())),
    }
}

fn settings(server: &Server, changes: &[String], as_json: bool) -> Result<(), TaskError> {
    let mut wanted = Map::new();
    for change in changes {
        let bad = || TaskError::Usage(format!("{change:?} has no value; write heartbeat-ms=15000"));
        let (name, value) = change.split_once('=').ok_or_else(bad)?;
        let value = if value == "null" { Value::Null } else { Value::from(value) };
        wanted.insert(name.to_owned(), value);
    }
    let answer = match wanted.is_empty() {
        true => server.get("settings", &[])?,
        false => server.post("settings", &wanted.clone().into())?,
    };
    if as_json {
        return print(&format!("{answer}\n"));
    }
    let all = answer["settings"].as_array().cloned().unwrap_or_default();
    let is_meant = |setting: &&Value| {
        let name = setting["name"].as_str().unwrap_or_default();
        wanted.is_empty() || wanted.contains_key(name)
    };
    let width = all.iter().filter_map(|setting| setting["name"].as_str()).map(str::len).max().unwrap_or(0);
    let mut text = String::new();
    for setting in all.iter().filter(is_meant) {
        let hot = if setting["is_hot"] == true { "hot" } else { "" };
        let was = match &setting["was"] {
            Value::Null => String::new(),
            was => format!(", was {}", lists::shown(was)),
        };
        let (name, value) = (lists::shown(&setting["name"]), lists::shown(&setting["value"]));
        text += &format!("{name:width$}  {:3}  {value}  ({}{was})\n", hot, lists::shown(&setting["source"]));
    }
    print(&text)
}

fn check(server: &Server) -> Result<(), TaskError> {
    let mut answer = server.post("check", &json!({}))?;
    while answer["is_running"] == true {
        thread::sleep(LOOK);
        answer = server.get("check", &[])?;
    }
    let problems = answer["problems"].as_array().cloned().unwrap_or_default();
    for problem in &problems {
        print(&format!("{}\n", lists::shown(problem)))?;
    }
    match answer["violations"].as_u64() {
        Some(0) => {
            print(&format!("looked at {}: everything is as it must be\n", lists::shown(&answer["looked_at"])))
        }
        Some(count) => Err(TaskError::Violations(count)),
        None => Err(TaskError::Server(lists::shown(&answer["error"]))),
    }
}
