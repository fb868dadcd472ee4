//! Which modules of a crate a source names, and the order of layers that a page draws. The load generator holds its own
//! order with it, too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The height of each module of the crate; what stands in one pair of braces has the same.
pub type Heights = BTreeMap<String, usize>;

/// Reads the one line of `page` that draws the layers.
pub fn heights(page: &str) -> Heights {
    let line = page.lines().find(|line| line.starts_with("main → ")).expect("the page draws the layers");
    let heights = layers_of(line);
    assert!(heights.len() >= 8, "{heights:?}");
    heights
}

/// Of a line such as `a → { b, c } → d`.
pub fn layers_of(line: &str) -> Heights {
    let layers: Vec<&str> = line.split('→').collect();
    let of_layer = |(depth, layer): (usize, &&str)| {
        let height = layers.len() - depth;
        identifiers(layer).map(move |module| (module, height)).collect::<Vec<_>>()
    };
    layers.iter().enumerate().flat_map(of_layer).collect()
}

/// The words of a text that may be names.
pub fn identifiers(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Every `.rs` file below `folder`.
pub fn sources(folder: &Path) -> Vec<PathBuf> {
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
pub fn module_of(path: &Path) -> String {
    let first = path.iter().next().expect("a path").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// A line for each module above its own that the file at `path` names.
pub fn faults_of(path: &Path, text: &str, heights: &Heights) -> Vec<String> {
    let own = module_of(path);
    let Some(&height) = heights.get(&own) else { return Vec::new() };
    let reached = names_reached(path, &["crate::", "annulus::"], &code_of(text));
    let above = |module: &&String| heights.get(*module).is_some_and(|&theirs| theirs > height);
    reached.iter().filter(above).map(|module| format!("{}: {own} imports {module}", path.display())).collect()
}

/// The text without comments and strings.
pub fn code_of(text: &str) -> String {
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
pub fn names_reached(path: &Path, roots: &[&str], code: &str) -> Vec<String> {
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
