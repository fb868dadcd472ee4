//! A folder whose `mod.rs` has a line `order:` in its header is a tree: its files and folders import from each other only
//! along that line, and never in a circle.
//!
//! ```text
//! //! order: mod → { requests, health } → documents → frame      goes on behind an arrow that ends its line
//! ```
//!
//! What stands in one pair of braces does not meet. `mod` is what `mod.rs` itself defines; where the line does not name it,
//! anybody may use that, and it may use anybody. What it only imports or passes on counts as of where that comes from.
//! Tests may import what they like.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::{Heights, code_of, identifiers, layers_of, names_reached, root, sources};

const ORDER: &str = "//! order: ";

#[test]
fn siblings_import_only_along_the_order_that_their_folder_states() {
    let (mut ordered, mut faults) = (0, Vec::new());
    for file in sources(&root().join("src")) {
        let folder = file.parent().expect("a file is in a folder");
        let text = fs::read_to_string(&file).expect("a source is text");
        if file.ends_with("mod.rs")
            && let Some(order) = order_of(&text)
        {
            ordered += 1;
            faults.extend(faults_in(folder, &text, &order));
        }
    }
    assert!(ordered >= 4, "only {ordered} folders state an order");
    assert!(faults.is_empty(), "against the order of their folder:\n{}", faults.join("\n"));
}

#[test]
fn an_import_against_the_order_is_found_however_it_is_written() {
    let header =
        "//! Things.\n//!\n//! order: mod → { a, b } →\n//! c → d\n\nuse c::Passed;\npub struct Own;\n";
    let order = order_of(header).expect("it is stated");
    let faults = |file: &str, text: &str| {
        faults_of(Path::new(file), text, "crate::shard::things::", &order, &passed_on(header, &order)).len()
    };
    for up in [
        "use super::a::Thing;",
        "use super::{d, b};",
        "use crate::shard::things::b::Thing;",
        "fn f() { super::a::f() }",
        "use super::Own;",
    ] {
        assert_eq!(faults("c.rs", up), 1, "{up}");
        assert_eq!(faults("c/mod.rs", up), 1, "{up}");
        assert_eq!(faults("c/deep.rs", &up.replace("super", "super::super")), 1, "{up}");
    }
    assert_eq!(faults("a.rs", "use super::b;"), 1, "what is in one pair of braces does not meet");
    assert_eq!(faults("d.rs", "use super::Passed;"), 1, "what mod.rs passes on is of where it comes from");
    assert_eq!(faults("e.rs", ""), 1, "each file has its place");
    for fine in [
        "use super::d::Thing;",
        "use super::c::Thing;",
        "use crate::shard::other::a;",
        "use super::super::a;",
        "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use super::*;\n    use super::super::a;\n}",
    ] {
        assert_eq!(faults("c.rs", fine), 0, "{fine}");
    }
    assert_eq!(faults("a.rs", "use super::Passed;"), 0);
    assert_eq!(faults("mod.rs", "mod d;\npub use d::Thing;\nuse c::Passed;"), 0);
}

/// What the header of a `mod.rs` says.
fn order_of(text: &str) -> Option<Heights> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(ORDER));
    let mut order = lines.next()?.strip_prefix(ORDER)?.to_owned();
    while order.trim_end().ends_with('→') {
        order.push_str(lines.next()?.strip_prefix("//!")?);
    }
    Some(layers_of(&order))
}

fn faults_in(folder: &Path, header: &str, order: &Heights) -> Vec<String> {
    let module = folder.strip_prefix(root().join("src")).expect("it is below src");
    let names: Vec<_> = module.iter().map(|name| name.to_string_lossy()).collect();
    let passed = passed_on(header, order);
    let is_there = |unit: &&String| {
        **unit == "mod" || folder.join(unit).is_dir() || folder.join(format!("{unit}.rs")).is_file()
    };
    let missing = order.keys().filter(|unit| !is_there(unit));
    let mut faults: Vec<String> =
        missing.map(|unit| format!("{}: there is no {unit}", folder.display())).collect();
    for file in sources(folder) {
        let text = fs::read_to_string(&file).expect("a source is text");
        let path = file.strip_prefix(folder).expect("it is in the folder");
        let root = format!("crate::{}::", names.join("::"));
        let found = faults_of(path, &text, &root, order, &passed);
        faults.extend(found.iter().map(|fault| format!("{}/{fault}", module.display())));
    }
    faults
}

/// A line for each sibling that the file at `path` of a folder names and may not. `root` is how the folder's path begins.
fn faults_of(
    path: &Path,
    text: &str,
    root: &str,
    order: &Heights,
    passed: &BTreeMap<String, String>,
) -> Vec<String> {
    let own = path.iter().next().expect("a path").to_string_lossy();
    let own = own.trim_end_matches(".rs");
    if own == "tests" {
        return Vec::new();
    }
    let Some(&height) = order.get(own) else {
        let is_free = own == "mod";
        return if is_free { Vec::new() } else { vec![format!("{}: is not in the order", path.display())] };
    };
    let without_tests = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code = code_of(without_tests);
    let mut reached = names_reached(path, &[root], &code);
    if path == Path::new("mod.rs") {
        reached.extend(imports_of(&code, order).map(|(unit, _)| unit));
    }
    let unit_of = |name: &String| match (order.contains_key(name), passed.get(name)) {
        (true, _) => Some(name.clone()),
        (false, Some(unit)) => Some(unit.clone()),
        (false, None) if matches!(&**name, "" | "super" | "self") => None,
        (false, None) => Some("mod".to_owned()),
    };
    let is_wrong = |unit: &String| unit != own && order.get(unit).is_some_and(|&theirs| theirs >= height);
    let wrong = reached.iter().filter_map(unit_of).filter(is_wrong);
    wrong.map(|unit| format!("{}: {own} imports {unit}", path.display())).collect()
}

/// What `mod.rs` imports from its files, or passes on: the name of each, and where it comes from.
fn passed_on(header: &str, order: &Heights) -> BTreeMap<String, String> {
    let code = code_of(header);
    let imports = imports_of(&code, order);
    imports.flat_map(|(unit, names)| names.into_iter().map(move |name| (name, unit.clone()))).collect()
}

fn imports_of(code: &str, order: &Heights) -> impl Iterator<Item = (String, Vec<String>)> {
    code.split(';').filter_map(|statement| {
        let (_, path) = statement.split_once("use ")?;
        let mut names = identifiers(path).filter(|name| name != "self");
        let unit = names.next().filter(|unit| order.contains_key(unit))?;
        Some((unit, names.collect()))
    })
}
