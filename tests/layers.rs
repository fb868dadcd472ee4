//! Imports point down the layers of `docs/architecture.md`, whose line is read here, too, so that the page cannot
//! say anything else.
//!
//! Method: every path in `src/` that begins at the crate (`crate::shard::…`, `annulus::shard::…` in `main.rs`, and
//! `super::` where it leaves a module) names the layer it reaches; that must not be above the file's own.

#[path = "layers/folders.rs"]
mod folders;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The height of each module of the crate; what stands in one pair of braces has the same.
type Heights = BTreeMap<String, usize>;

#[test]
fn no_module_imports_from_a_layer_above() {
    let root = root();
    let heights = heights(&fs::read_to_string(root.join("docs/architecture.md")).expect("the page is there"));
    let files = sources(&root.join("src"));
    assert!(files.len() > 50, "only {} files were found", files.len());
    let mut faults = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source is text");
        let path = file.strip_prefix(root.join("src")).expect("below src").to_owned();
        faults.extend(faults_of(&path, &text, &heights));
    }
    assert!(faults.is_empty(), "upward imports:\n{}", faults.join("\n"));
}

#[test]
fn every_module_has_its_place_on_the_page() {
    let root = root();
    let heights = heights(&fs::read_to_string(root.join("docs/architecture.md")).expect("the page is there"));
    for file in sources(&root.join("src")) {
        let path = file.strip_prefix(root.join("src")).expect("below src");
        let module = module_of(path);
        assert!(module == "lib" || heights.contains_key(&module), "{module} is in no layer");
    }
}

#[test]
fn only_the_files_directly_in_shard_see_the_whole_shard() {
    let shard = root().join("src/shard");
    let has_it = |file: &std::path::PathBuf| {
        let text = code_of(&fs::read_to_string(file).expect("a source is text"));
        text.lines().any(|line| line.starts_with("impl") && line.contains("Shard ") && line.ends_with('{'))
    };
    let with_it: Vec<_> = sources(&shard).into_iter().filter(has_it).collect();
    assert!(with_it.len() > 5, "only {with_it:?} were found");
    let below: Vec<_> = with_it.iter().filter(|file| file.parent() != Some(&*shard)).collect();
    assert!(below.is_empty(), "parts take what they touch, and not the whole shard: {below:?}");
}

#[test]
fn an_upward_import_is_found_however_it_is_written() {
    let heights = heights("```\nmain → cli → server → { io, service } → shard → { wire, mesh } → crdt\n```");
    let faults = |path: &str, text: &str| faults_of(Path::new(path), text, &heights).len();
    for up in [
        "use crate::io::Clock;",
        "use crate::{crdt::Map, io::Clock};",
        "use crate::{\n    crdt::Map,\n    io,\n};",
        "use crate::{crdt::{Map, Cell}, server};",
        "fn f() { crate::io::host::open_files(); }",
        "use super::super::io::Clock;",
        "pub(in crate::io) fn f() {}",
        "#[cfg(test)] mod tests { use crate::server::Server; }",
    ] {
        assert_eq!(faults("shard/deep.rs", up), 1, "{up}");
    }
    assert_eq!(faults("shard/mod.rs", "use super::io::Clock;"), 1);
    assert_eq!(faults("crdt/map.rs", "use crate::wire::Reject;\nuse crate::mesh::Item;"), 2);
    assert_eq!(faults("server.rs", "use annulus::cli;"), 1);
    for fine in [
        "use crate::wire::Reject;",
        "use crate::mesh::{ConnectionId, Filter};",
        "use crate::{crdt::Map, wire::{self, io_error}};",
        "use super::io_like::Thing;",
        "// use crate::io::Clock;",
        "/// See [`crate::io::Clock`].",
        "//! See [`crate::server`].",
        "let text = \"crate::io::Clock\";",
        "use super::super::wire::Reject;",
        "use io::Clock;",
    ] {
        assert_eq!(faults("shard/deep.rs", fine), 0, "{fine}");
    }
    assert_eq!(faults("wire/http.rs", "use crate::mesh::Item;"), 0, "neighbours in one layer may meet");
    assert_eq!(faults("main.rs", "use annulus::{cli, io, server};"), 0);
}

/// Reads the one line of `page` that draws the layers.
fn heights(page: &str) -> Heights {
    let line = page.lines().find(|line| line.starts_with("main → ")).expect("the page draws the layers");
    let heights = layers_of(line);
    assert!(heights.len() >= 8, "{heights:?}");
    heights
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Of a line such as `a → { b, c } → d`.
fn layers_of(line: &str) -> Heights {
    let layers: Vec<&str> = line.split('→').collect();
    let of_layer = |(depth, layer): (usize, &&str)| {
        let height = layers.len() - depth;
        identifiers(layer).map(move |module| (module, height)).collect::<Vec<_>>()
    };
    layers.iter().enumerate().flat_map(of_layer).collect()
}

/// The words of a text that may be names.
fn identifiers(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Every `.rs` file below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("src is there") {
        let path = entry.expect("src is readable").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The module of the crate that a path below `src` belongs to.
fn module_of(path: &Path) -> String {
    let first = path.iter().next().expect("a path").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// A line for each module above its own that the file at `path` names.
fn faults_of(path: &Path, text: &str, heights: &Heights) -> Vec<String> {
    let own = module_of(path);
    let Some(&height) = heights.get(&own) else { return Vec::new() };
    let reached = names_reached(path, &["crate::", "annulus::"], &code_of(text));
    let above = |module: &&String| heights.get(*module).is_some_and(|&theirs| theirs > height);
    reached.iter().filter(above).map(|module| format!("{}: {own} imports {module}", path.display())).collect()
}

/// The text without comments and strings.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        let mut in_string = false;
        let mut last = ' ';
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '"' if last != '\\' && last != '\'' => in_string = !in_string,
                '/' if !in_string && characters.peek() == Some(&'/') => break,
                _ if !in_string => code.push(character),
                _ => {}
            }
            last = character;
        }
        code.push('\n');
    }
    code
}

/// The names that paths in `code` begin with behind one of `roots`, or behind as many `super::` as `path` is deep.
fn names_reached(path: &Path, roots: &[&str], code: &str) -> Vec<String> {
    let mut reached = Vec::new();
    for root in roots {
        for (place, _) in code.match_indices(root) {
            if !is_in_word(code, place) {
                reached.extend(first_names(&code[place + root.len()..]));
            }
        }
    }
    // `super::` leaves the module after as many of them as the file is deep.
    let is_folder = path.file_name().is_some_and(|name| name == "mod.rs");
    let depth = path.iter().count() - usize::from(is_folder);
    let chain = "super::".repeat(depth);
    for (place, _) in code.match_indices(&chain) {
        let before = &code[..place];
        if depth > 0 && !is_in_word(code, place) && !before.ends_with("super::") {
            reached.extend(first_names(&code[place + chain.len()..]));
        }
    }
    reached
}

fn is_in_word(code: &str, place: usize) -> bool {
    code[..place].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
}

/// The name a path begins with, or each name that the members of a `{…}` begin with.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| {
        let text = text.trim_start();
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let mut names = vec![name(group)];
    let mut depth = 1;
    for (place, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(name(&group[place + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}
