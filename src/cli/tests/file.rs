//! The file of `--config`: what of it counts, and how its faults are told.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A file with this text, removed at the end of the test.
struct Written(PathBuf);

impl Written {
    fn new(text: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("annulus-config-{}-{number}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn serve_file(text: &str, variables: &[(&str, &str)], flags: &[&str]) -> Result<Serve, String> {
    let file = Written::new(text);
    let flags = [&["--config", file.path()], flags].concat();
    serve_in(variables, &flags).map_err(|error| error.to_string().replace(file.path(), "annulus.toml"))
}

/// What is refused of this file.
fn refused(text: &str) -> String {
    let told = serve_file(text, &[], &[]).expect_err(text);
    assert!(!told.contains('\n'), "one line: {told}");
    told
}

fn config_text(words: &[&str], file: &Written) -> String {
    let words = [&["annulus", "--config", file.path(), "config"], words].concat();
    match parse(words, &|name| (name == "WS_HEARTBEAT_INTERVAL").then(|| "4000".into())).unwrap() {
        Command::Config { text, .. } => text.replace(file.path(), "annulus.toml"),
        other => panic!("expected a page, not {other:?}"),
    }
}

#[test]
fn keys_of_the_file_are_flags() {
    let core = host::allowed_cores()[0];
    let text = format!(
        "# A comment.\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nmax-connections = 1_000\nno-page = true\n\
         cores = [{core}]\noutbox-soft-bytes = \"200KiB\"\nstorage = \"memory\"\nsalvage = false\n\
         allowed-origins = []\ntrusted-proxies = [\"10.0.0.0/8\", \"127.0.0.1\"]\nauth = 'optional'\n"
    );
    let given = serve_file(&text, &[], &[]).unwrap();
    let config = &given.config;
    assert_eq!(config.listen, ["127.0.0.1:1", "127.0.0.1:2"].map(|text| text.parse().unwrap()));
    assert_eq!((config.connections_max, config.outbox_soft_bytes), (1000, 200 << 10));
    assert!(config.front_page.is_none() && given.storage.is_none() && config.allowed_origins.is_empty());
    assert_eq!((given.cores, config.auth), (vec![core], AuthMode::Optional));
    assert_eq!(config.trusted_proxies.len(), 2);
}

#[test]
fn a_flag_wins_over_the_file_and_that_over_the_variables_of_synckit() {
    let text = "max-connections = 7000\nheartbeat-ms = 9000\nlisten = \"127.0.0.1:1\"\n";
    let variables = [("WS_MAX_CONNECTIONS", "10"), ("WS_HEARTBEAT_INTERVAL", "1000"), ("PORT", "77")];
    let given = serve_file(text, &variables, &["--max-connections", "500"]).unwrap();
    assert_eq!((given.config.connections_max, given.config.heartbeat_ms), (500, 9000));
    assert_eq!(given.config.listen[0].port(), 1);
    assert!(given.inherited.is_empty(), "they lose, and are not looked at: {:?}", given.inherited);
    // A switch that the file has on stays on, as there is no flag to turn one off.
    assert!(serve_file("no-page = true", &[], &["--no-page"]).unwrap().config.front_page.is_none());
    // Also behind the name of an action, where flags are read by another part of the parser.
    let file = Written::new("max-connections = 7000\n");
    let flags = ["annulus", "serve", "--config", file.path(), "--max-connections", "600"];
    let Ok(Command::Serve(given)) = parse(flags, &|_| None) else { panic!("valid flags") };
    assert_eq!(given.config.connections_max, 600);
}

#[test]
fn a_flag_may_need_what_the_file_has() {
    let text = "nats-url = \"nats://127.0.0.1:4222\"\n";
    assert!(serve_file(text, &[], &["--nats-credentials-file", "/c"]).unwrap().hooks.nats.is_some());
}

#[test]
fn tasks_read_the_file_too() {
    let file = Written::new("data-dir = \"/d\"\n");
    let Ok(Command::Task(task)) = parse(["annulus", "verify", "--config", file.path()], &|_| None) else {
        panic!("a task")
    };
    assert_eq!(format!("{task:?}"), r#"Verify { data_dir: "/d" }"#);
}

#[test]
fn a_fault_of_the_file_is_told_with_its_line_and_what_to_write() {
    for (text, line, part) in [
        ("\nmax-conections = 1\n", 2, "max-conections is no setting; did you mean max-connections?"),
        ("port = 1\n", 1, "did you mean listen?"),
        ("max_connections = 1\n", 1, "did you mean max-connections?"),
        ("--listen = 1\n", 1, "did you mean listen?"),
        ("zz = 1\n", 1, "zz is no setting; see `annulus config --sample`"),
        ("help = true\n", 1, "help is no setting"),
        ("config = \"b.toml\"\n", 1, "a file cannot name another one"),
        ("listen = \"127.0.0.1:1\"\n\n[data]\ndata-dir = \"/d\"\n", 3, "data is a section"),
        ("max-connections = \n", 1, "write it as `max-connections = 1000`"),
        ("listen = \"a:1\"\nlisten = \"a:2\"\n", 2, "duplicate key"),
        ("no-page = 1\n", 1, "write true or false"),
        ("no-page = \"yes\"\n", 1, "write true or false"),
        ("#\n#\nmax-connections = \"many\"\n", 3, "invalid value 'many' for max-connections"),
        ("max-connections = 0\n", 1, "max-connections"),
        ("listen = [\"127.0.0.1:1\", \"9000\"]\n", 1, "'9000' is no address with a port"),
        ("auth = \"perhaps\"\n", 1, "use one of none, optional, required"),
        ("listen = [[\"a:1\"]]\n", 1, "a list in its list"),
        ("listen = 2026-01-01\n", 1, "takes a text or a number"),
    ] {
        let told = refused(text);
        assert!(told.starts_with(&format!("annulus.toml:{line}: ")) && told.contains(part), "{text}: {told}");
    }
}

#[test]
fn a_rule_between_settings_says_which_of_them_come_from_the_file() {
    let told = refused("#\nmax-value-bytes = \"2MiB\"\n");
    assert!(told.contains("; --max-value-bytes comes from annulus.toml:2"), "{told}");
    assert!(!told.contains("--max-message-bytes comes"), "{told}");
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_its_name() {
    for path in ["/not/there.toml", "/"] {
        let told = refusal(&["--config", path]);
        assert!(told.starts_with(&format!("{path}: ")) && told.contains("config --sample"), "{told}");
    }
    let large = Written::new(&"#".repeat((1 << 20) + 1));
    assert!(refusal(&["--config", large.path()]).contains("more than 1048576 bytes"));
}

#[test]
fn every_setting_is_explained_with_its_origin() {
    let file = Written::new("#\nmax-connections = 1000\npreset = \"balanced\"\n");
    let text = config_text(&["--explain", "--node", "eu-1"], &file);
    for part in [
        "max-connections = 1000\n    # annulus.toml:2: ",
        "node = \"eu-1\"\n    # flag --node: ",
        "preset = \"balanced\"\n    # annulus.toml:3: ",
        "coalesce-delay-us = 1000\n    # preset balanced: ",
        "heartbeat-ms = 8000\n    # variable WS_HEARTBEAT_INTERVAL: ",
        "listen = [\"127.0.0.1:9000\"]\n    # default: Address and port to listen on; may be repeated\n",
        "# rules is not set\n    # default: ",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let flags = command().get_arguments().filter(|arg| arg.get_help_heading().is_some()).count();
    assert_eq!(text.matches("\n    # ").count(), flags);
}

// What a page shows must be what can be written.
#[test]
fn what_is_explained_and_the_sample_can_be_read_as_a_file() {
    let nothing = Written::new("");
    let explained = config_text(&["--explain"], &nothing).replace("config = \"annulus.toml\"", "");
    assert!(serve_file(&explained, &[], &[]).is_ok());
    let sample = config_text(&["--sample"], &nothing);
    assert!(serve_file(&sample, &[], &[]).is_ok());
    let keys = sample.lines().filter(|line| line.starts_with('#') && line.as_bytes().get(1) != Some(&b' '));
    let keys: Vec<&str> = keys.filter(|line| !line.starts_with("##")).collect();
    let flags = command().get_arguments().filter(|arg| arg.get_help_heading().is_some()).count();
    assert_eq!(keys.len(), flags - 1, "all but config");
    for key in keys {
        // Each alone: some need files, or others.
        let told = serve_file(&key[1..], &[], &[]).err().unwrap_or_default();
        assert!(!told.starts_with("annulus.toml:"), "{key}: {told}");
    }
}

#[test]
fn a_check_looks_at_what_the_settings_name() {
    let file = Written::new("auth = \"required\"\njwt-secret-file = \"/not/there\"\n");
    let words = ["annulus", "config", "--check", "--config", file.path()];
    let told = parse(words, &|_| None).expect_err("there is no such secret").to_string();
    assert!(told.contains("/not/there"), "{told}");
    let fine = Written::new("max-connections = 1000\n");
    assert_eq!(config_text(&["--check"], &fine), "these settings can be served\n");
}
