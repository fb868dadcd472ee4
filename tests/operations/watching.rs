//! What watches a server: names that Prometheus likes, alerts that are of series which are there, and that fire.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::manager::{Manager, one_core};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn file(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect(path)
}

/// The names of all series that `docs/metrics.md` has rows for; `tests/end_to_end/metrics_page.rs` holds it against a server.
pub fn metrics_of_the_page() -> BTreeSet<String> {
    let page = file("docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() >= 4);
    let names: BTreeSet<String> = rows.map(|row| row[3..].split('`').next().unwrap().to_owned()).collect();
    assert!(names.len() > 50, "only {names:?}");
    names
}

/// The names of metrics in a text; those of the parts of a summary are of the summary.
pub fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_metric = |word: &&str| word.starts_with("annulus_") || word.starts_with("process_");
    let whole = |word: &str| {
        let base = word.strip_suffix("_sum").or_else(|| word.strip_suffix("_count"));
        base.filter(|base| base.ends_with("_seconds")).unwrap_or(word).to_owned()
    };
    words.filter(is_metric).map(whole).collect()
}

/// Runs a tool; what it says.
fn run(program: &str, arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; scripts/setup installs it"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

#[test]
fn names_and_help_are_as_prometheus_wants_them() {
    let mut manager = Manager::new();
    let (data_dir, rules) = (manager.data_dir(), manager.folder.path().join("rules.toml"));
    std::fs::write(&rules, "").unwrap();
    let rules = rules.to_str().unwrap();
    let arguments =
        ["--listen", "127.0.0.1:0", "--auth", "optional", "--rules", rules, "--data-dir", &data_dir];
    let address = manager.start(&arguments);
    let page = get(address, "/metrics");
    assert!(page.contains("annulus_hooks_lag_seconds") && page.contains("annulus_read_only"), "{page}");
    let (is_fine, said) = run("promtool", &["check", "metrics"], &page);
    assert!(is_fine && said.trim().is_empty(), "{said}");
    manager.stop();
}

#[test]
fn the_alerts_are_rules_that_fire_when_they_should() {
    for arguments in [["check", "rules", "ops/alerts.yml"], ["test", "rules", "ops/alerts_test.yml"]] {
        let (is_fine, said) = run("promtool", &arguments, "");
        assert!(is_fine, "{said}");
    }
}

#[test]
fn every_alert_is_of_series_that_there_are() {
    let known = metrics_of_the_page();
    let rules = file("ops/alerts.yml");
    let named = names_in(&rules);
    let missing: Vec<_> = named.iter().filter(|name| !known.contains(*name)).collect();
    assert!(named.len() > 15 && missing.is_empty(), "not in docs/metrics.md: {missing:?}");
    // And the other way round: what the page says to alert on is alerted on.
    let page = file("docs/metrics.md");
    let (_, table) = page.split_once("## What to alert on").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let left: Vec<String> = table.lines().map(|row| row.split('|').nth(1).unwrap_or("").to_owned()).collect();
    let told = names_in(&left.join("\n"));
    let missing: Vec<_> = told.iter().filter(|name| !named.contains(*name)).collect();
    assert!(told.len() > 10 && missing.is_empty(), "not in ops/alerts.yml: {missing:?}");
    // Each is tried.
    let tests = file("ops/alerts_test.yml");
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "{alert} is not in ops/alerts_test.yml");
    }
}

/// A Prometheus of its own, killed at the end.
struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Prometheus {
    fn start(folder: &Path, target: SocketAddr) -> Self {
        let rules = root().join("ops/alerts.yml");
        let config = folder.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\n\
             scrape_configs: [{{job_name: annulus, static_configs: [{{targets: ['{target}']}}]}}]\n",
            rules.display()
        );
        std::fs::write(&config, text).unwrap();
        // Free until a moment ago.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("prometheus.log")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus: {error}; scripts/setup installs it"));
        Self { child, address }
    }

    fn firing(&self) -> Vec<String> {
        let Ok(_) = TcpStream::connect(self.address) else { return Vec::new() };
        let page = get(self.address, "/api/v1/alerts");
        let Ok(answer) = serde_json::from_str::<serde_json::Value>(&page) else { return Vec::new() };
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_prometheus_scrapes_a_server_and_an_alert_fires() {
    let mut manager = Manager::new();
    let data_dir = manager.data_dir();
    // No disk has so much free.
    let short = ["--disk-reserve", "1000000GiB"];
    let arguments =
        [&["--listen", "127.0.0.1:0", "--cores", one_core(), "--data-dir", &data_dir], &short[..]].concat();
    let address = manager.start(&arguments);
    let prometheus = Prometheus::start(manager.folder.path(), address);
    manager.await_that("an alert", || prometheus.firing() == ["AnnulusReadOnly"]);
    manager.stop();
    // And it goes on to watch: what is gone is not read-only any more.
    manager.await_that("the end of the alert", || prometheus.firing().is_empty());
}
