//! `docs/metrics.md` against what a server prints: no series is missing, none is made up, and each has its type.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use annulus::config::IdentityConfig;

use crate::server::{Directory, TestServer, get};
use crate::tls_files::Authority;

#[test]
fn the_page_of_metrics_names_each_series_with_its_type() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = fs::read_to_string(path).expect("the page is there");
    let mut told = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() >= 4) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (name, kind) = (cells[1].trim_matches('`'), cells[2]);
        assert!(!cells[3].is_empty() && !cells[4].is_empty(), "without a unit or a meaning: {row}");
        assert_eq!(told.insert(name.to_owned(), kind.to_owned()), None, "told twice: {name}");
    }
    let directory = Directory::new();
    let rules = directory.path().with_extension("toml");
    fs::write(&rules, "").unwrap();
    let identity = IdentityConfig { rules: Some(rules.clone()), ..IdentityConfig::default() };
    let server = TestServer::asking(directory.path(), identity);
    fs::remove_file(rules).unwrap();
    let authority = Authority::new();
    let with_tls = TestServer::with_tls(authority.server(), |_| {});
    let pages = [get(server.address, "/metrics"), get(with_tls.address, "/metrics")].concat();
    let printed: BTreeMap<String, String> = pages
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    assert!(printed.len() > 50, "only {} series were found", printed.len());
    for (name, kind) in &printed {
        assert_eq!(
            told.get(name),
            Some(kind),
            "docs/metrics.md lacks a row for {name}, or has it with another type"
        );
    }
    for name in told.keys() {
        assert!(printed.contains_key(name), "docs/metrics.md tells of {name}, which no server prints");
    }
}
