//! Imports point down the order in the header of `src/main.rs`, and those that stand there in one pair of braces do not
//! name each other: so no two modules can name each other in a circle. The scenarios keep an order of their own.

#[path = "../../tests/layers/imports.rs"]
mod imports;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use imports::{Heights, code_of, faults_of, heights, module_of, names_reached, sources};

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The order, without the marks of a comment.
fn order() -> Heights {
    let main = fs::read_to_string(source_folder().join("main.rs")).expect("main.rs is there");
    let header: Vec<&str> = main.lines().map(|line| line.trim_start_matches("//! ")).collect();
    heights(&header.join("\n"))
}

/// Each file below `src`, by its path there, with its text.
fn files() -> Vec<(PathBuf, String)> {
    let folder = source_folder();
    let files: Vec<(PathBuf, String)> = sources(&folder)
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).expect("a source is text");
            (file.strip_prefix(&folder).expect("below src").to_owned(), text)
        })
        .collect();
    assert!(files.len() > 40, "only {} files were found", files.len());
    files
}

/// A line for each module of the same height that the file at `path` names.
fn level_faults_of(path: &Path, text: &str, heights: &Heights) -> Vec<String> {
    let own = module_of(path);
    let level = |module: &&String| **module != own && heights.get(*module) == heights.get(&own);
    let reached = names_reached(path, &["crate::"], &code_of(text));
    reached.iter().filter(level).map(|module| format!("{}: {own} imports {module}", path.display())).collect()
}

#[test]
fn imports_point_down_the_order_and_never_sideways() {
    let order = order();
    let mut faults = Vec::new();
    for (path, text) in files() {
        faults.extend(faults_of(&path, &text, &order));
        faults.extend(level_faults_of(&path, &text, &order));
    }
    assert!(faults.is_empty(), "imports that do not point down:\n{}", faults.join("\n"));
}

#[test]
fn every_module_has_its_place_in_the_order() {
    let order = order();
    for (path, _) in files() {
        let module = module_of(&path);
        assert!(order.contains_key(&module), "{module} is nowhere in the header of main.rs");
    }
}

#[test]
fn import_of_a_neighbour_in_braces_is_found() {
    let heights = heights("main → a → { b, c, d } → e → f → g → h");
    let faults = |text: &str| level_faults_of(Path::new("b/deep.rs"), text, &heights).len();
    assert_eq!(faults("use crate::c::Thing;\nuse crate::{d, e};"), 2);
    assert_eq!(faults("use crate::b::Other;\nuse crate::e::Thing;\n// use crate::c;"), 0);
}

/// Goal: no two scenarios name each other, however many are in between. Method: take away what names no other, again and
/// again; what is left goes round in a circle. What a file takes from its parent counts as `mod`, which names them all.
#[test]
fn no_scenarios_name_each_other_in_a_circle() {
    for folder in ["scenario", "scenario/neighbours"] {
        let below = |path: &Path| path.strip_prefix(folder).map(Path::to_owned).ok();
        let files: Vec<(PathBuf, String)> =
            files().into_iter().filter_map(|(path, text)| Some((below(&path)?, text))).collect();
        assert!(files.len() > 10, "{folder} has only {} files", files.len());
        let left = circle_of(folder, &files);
        assert!(left.is_empty(), "in {folder} these name each other: {left:?}");
    }
}

#[test]
fn circle_is_found_and_a_tree_is_none() {
    let file = |path: &str, text: &str| (PathBuf::from(path), text.to_owned());
    let root = file("mod.rs", "pub mod a;");
    let with = |c: &str| {
        let (a, b) = ("use super::b::B;", "use super::super::c;");
        vec![root.clone(), file("a.rs", a), file("b/deep.rs", b), file("c.rs", c)]
    };
    assert!(circle_of("scenario", &with("use crate::ring::a;")).is_empty());
    assert_eq!(circle_of("scenario", &with("use crate::scenario::a::A;")), ["a", "b", "c", "mod"]);
    assert_eq!(
        circle_of("scenario", &with("use super::Item;")),
        ["a", "b", "c", "mod"],
        "c needs who names it"
    );
}

/// The modules among `files`, whose paths begin below `folder`, that are part of a circle or lead to one.
fn circle_of(folder: &str, files: &[(PathBuf, String)]) -> Vec<String> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let prefix = format!("crate::{}::", folder.replace('/', "::"));
    let modules: Vec<String> = files.iter().map(|(path, _)| module_of(path)).collect();
    for (path, text) in files {
        let code = code_of(text).replace(&prefix, "super::".repeat(depth_of(path)).as_str());
        let own = module_of(path);
        let from_crate = names_reached(path, &["crate::"], &code.replace("super::", "_"));
        let reached =
            names_reached(path, &["crate::"], &code).into_iter().filter(|name| !from_crate.contains(name));
        let named = reached.filter(|name| !name.is_empty() && *name != own);
        let known = named.map(|name| if modules.contains(&name) { name } else { "mod".to_owned() });
        names.entry(own.clone()).or_default().extend(known);
    }
    if let Some(root) = names.get_mut("mod") {
        root.extend(modules.iter().filter(|name| *name != "mod").cloned());
    }
    loop {
        let count = names.len();
        let left: Vec<String> = names.keys().cloned().collect();
        names.retain(|_, named| named.iter().any(|name| left.contains(name)));
        if names.len() == count {
            return left;
        }
    }
}

/// How many times `super::` leads from a file below a folder to that folder.
fn depth_of(path: &Path) -> usize {
    path.iter().count() - usize::from(path.ends_with("mod.rs"))
}
