//! `docs/flags.md`, made from the definitions of the flags and held against them by its test.
//! `BLESS=1 cargo test --lib flags_page` writes it anew.

use std::fmt::Write;

use super::command;
use super::inherited::{VARIABLES, Variable};
use crate::service::signals::{MEANINGS, Meaning};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/flags.md");

const HEAD: &str = "# Flags

Made from `src/cli/flags`; do not edit. Every flag is also read from the variable `ANNULUS_` with its name in capitals and
`_` for `-`, such as `ANNULUS_LOG_FORMAT`, and from the file of `--config`, whose keys are the flags without their hyphens, such as
`log-format = \"json\"`. The command line wins, then the variable, then the file, then what a SyncKit server would read (below),
then the default. An empty variable is one that is not set; one that begins so and is none of these is warned about. A key of
the file that is none is an error, which names the line. `annulus config` prints what is in effect, `annulus config --explain`
where each of it comes from, and [ops/annulus.toml](../ops/annulus.toml) is a file with every key. Sizes are written
`65536`, `64KiB` or `1MiB`; spans of time `30d`, `12h`, `10m`, `5s` or `250ms`.
";

const INHERITED_HEAD: &str = "
## Variables of SyncKit's servers

Where SyncKit's clients are served, these are read as well, so that an environment that was made for one of its servers goes on
to work. They are defaults only: the command line wins, then `ANNULUS_` variables, then the file of `--config`, then these. An empty one counts as none. The
banner lists those that counted. Some have common names: what sets `PORT` or `HOST` for another program sets them here, too. A
value that can be none of theirs, such as a `HOST` that conda sets, does not count, and the banner says so.

| variable | default of | meaning |
|---|---|---|
";

const SIGNALS_HEAD: &str = "
## Signals of a running server

| signal | meaning |
|---|---|
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut topic = None;
    for arg in command().get_arguments() {
        let (Some(heading), Some(long)) = (arg.get_help_heading(), arg.get_long()) else { continue };
        if topic.replace(heading.to_owned()).as_deref() != Some(heading) {
            write!(page, "\n## {heading}\n\n| flag | default | meaning |\n|---|---|---|\n").unwrap();
        }
        let value = match arg.get_action().takes_values() {
            true => format!(" {}", arg.get_value_names().unwrap().join(" ")),
            false => String::new(),
        };
        let text = arg.get_long_help().unwrap().to_string();
        // A default that depends on something else stands in the text, as clap has none to show.
        let (text, computed) = match (text.find("[default: "), text.find(']')) {
            (Some(start), Some(end)) if start < end => {
                let default = text[start + "[default: ".len()..end].to_owned();
                (format!("{}{}", text[..start].trim_end(), &text[end + 1..]), default)
            }
            _ => (text, String::new()),
        };
        let fixed: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = match (arg.get_action().takes_values(), fixed.is_empty()) {
            (false, _) => "off".to_owned(),
            (true, true) => computed,
            (true, false) => format!("`{}`", fixed.join(",")),
        };
        let mut sentences: Vec<String> =
            text.split("\n\n").map(|part| part.trim().replace('\n', " ")).collect();
        if arg.get_action().takes_values() && !arg.get_possible_values().is_empty() {
            let names: Vec<_> =
                arg.get_possible_values().iter().map(|v| format!("`{}`", v.get_name())).collect();
            sentences.push(format!("One of {}.", names.join(", ")));
        }
        let meaning = format!("{}. {}", sentences[0], sentences[1..].join(" ")).replace('|', "\\|");
        writeln!(page, "| `--{long}{value}` | {default} | {meaning} |").unwrap();
    }
    page.push_str(INHERITED_HEAD);
    for Variable { name, flag, meaning } in VARIABLES {
        let flag = flag.map_or("none".to_owned(), |flag| format!("`{flag}`"));
        writeln!(page, "| `{name}` | {flag} | {meaning} |").unwrap();
    }
    page.push_str(SIGNALS_HEAD);
    for Meaning { signals, meaning } in &MEANINGS {
        writeln!(page, "| `{}` | {meaning} |", signals.replace(", ", "`, `")).unwrap();
    }
    page
}

#[test]
fn the_page_of_flags_is_up_to_date() {
    let page = page();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(PATH, &page).unwrap();
    }
    let written = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(written == page, "docs/flags.md is behind: BLESS=1 cargo test --lib flags_page");
}
