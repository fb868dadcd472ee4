//! Imports point down the layers of `docs/architecture.md`, whose line is read here, too, so that the page cannot
//! say anything else.
//!
//! Method: every path in `src/` that begins at the crate (`crate::shard::…`, `annulus::shard::…` in `main.rs`, and
//! `super::` where it leaves a module) names the layer it reaches; that must not be above the file's own.

#[path = "layers/folders.rs"]
mod folders;
#[path = "layers/imports.rs"]
mod imports;

use std::fs;
use std::path::Path;

use imports::{
    Heights, code_of, faults_of, heights, identifiers, layers_of, module_of, names_reached, sources,
};

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
    let is_above = |file: &std::path::PathBuf| {
        file.parent().is_some_and(|folder| folder == shard || folder == shard.join("commands"))
    };
    let below: Vec<_> = with_it.iter().filter(|file| !is_above(file)).collect();
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

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
