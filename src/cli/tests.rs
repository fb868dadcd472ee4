//! The command line as a whole: every flag has its variable and topic, defaults are those of [`Config`], and
//! each rule between flags has its refusal.

mod environment;
mod file;
mod identity;
mod tls;

use std::ffi::OsString;

use super::*;
use crate::config::{
    AllowedOrigin, AuthMode, ChannelBounds, Coalesce, Config, DialectPath, Fsync, RateLimit, Rates, Secret,
};
use crate::dialect::{echo, synckit};

fn serve(flags: &[&str]) -> Result<Serve, ConfigError> {
    serve_in(&[], flags)
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// With these variables of SyncKit's servers.
fn serve_in(variables: &[(&str, &str)], flags: &[&str]) -> Result<Serve, ConfigError> {
    let environment = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    };
    match parse(["annulus"].iter().chain(flags), &environment)? {
        Command::Serve(serve) => Ok(serve),
        other => panic!("expected to serve, not {other:?}"),
    }
}

fn refusal(flags: &[&str]) -> String {
    serve(flags).expect_err("these flags cannot be served").to_string()
}

#[test]
fn every_flag_has_a_variable_a_topic_and_a_reason() {
    let mut count = 0;
    for arg in command().get_arguments().filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version")) {
        let long = arg.get_long().expect("flags are long");
        let variable = format!("ANNULUS_{}", long.replace('-', "_").to_uppercase());
        assert_eq!(arg.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
        assert!(arg.get_help_heading().is_some(), "--{long} has no topic");
        let (short, full) = (arg.get_help().unwrap().to_string(), arg.get_long_help().unwrap().to_string());
        assert!(full.len() > short.len(), "--{long} does not say why");
        count += 1;
    }
    assert!(count > 20, "only {count} flags were walked");
}

#[test]
fn the_definition_is_consistent() {
    command().debug_assert();
}

#[test]
fn without_flags_the_defaults_are_served() {
    let serve = serve(&[]).unwrap();
    let node = serve.config.node.clone();
    assert!(node.len() == 10 && node.starts_with("n-"), "{node}");
    let memory_limit_bytes = ((host::memory_bytes() / 2) >> 20) << 20;
    let dialects = vec![DialectPath::NATIVE, synckit::PATH];
    let front_page = front_page::front_page();
    let defaults =
        Config { node, dialects, front_page, memory_limit_bytes, offers_durable: true, ..Config::default() };
    assert_eq!(format!("{:?}", serve.config), format!("{defaults:?}"));
    assert_eq!(serve.cores, host::allowed_cores());
    assert!(!serve.node_is_chosen);
    let storage = serve.storage.expect("on disk");
    assert_eq!((storage.data_dir.to_str(), storage.fsync), (Some("./annulus-data"), Fsync::Always));
}

#[test]
fn memory_storage_promises_nothing_of_a_disk() {
    let serve = serve(&["--storage", "memory", "--memory-limit", "9GiB", "--node", "a"]).unwrap();
    assert!(serve.storage.is_none() && serve.node_is_chosen);
    assert_eq!((serve.config.memory_limit_bytes, serve.config.offers_durable), (9 << 30, false));
}

#[test]
fn every_storage_flag_reaches_its_setting() {
    let core = host::allowed_cores()[0].to_string();
    let flags = "--data-dir /d --fsync interval --fsync-interval-ms 3 --segment-bytes 4MiB \
        --journal-max-bytes 99MiB --checkpoint-interval-ms 5 --memory-limit 600MiB --disk-reserve 7KiB --salvage --data-mode 0640 --service-core";
    let flags: Vec<&str> = flags.split_whitespace().chain([core.as_str()]).collect();
    let given = serve(&flags).unwrap();
    assert_eq!((given.config.memory_limit_bytes, given.config.offers_durable), (600 << 20, true));
    let expected = crate::config::StorageConfig {
        data_dir: "/d".into(),
        fsync: Fsync::Interval { ms: 3 },
        segment_bytes: 4 << 20,
        journal_bytes_max: 99 << 20,
        checkpoint_interval_ms: 5,
        disk_reserve_bytes: 7 << 10,
        salvage: true,
        data_mode: crate::config::DataMode::new(0o640).unwrap(),
        service_core: Some(host::allowed_cores()[0]),
    };
    assert_eq!(format!("{:?}", given.storage.unwrap()), format!("{expected:?}"));
    let never = serve(&["--fsync", "never"]).unwrap();
    assert_eq!((never.storage.unwrap().fsync, never.config.offers_durable), (Fsync::Never, false));
}

#[test]
fn tasks_take_the_data_directory_from_its_flag() {
    let task = |words: &[&str]| match parse(["annulus"].iter().chain(words), &|_| None) {
        Ok(Command::Task(task)) => format!("{task:?}"),
        other => panic!("expected a task, not {other:?}"),
    };
    assert_eq!(
        task(&["export", "--map", "a", "--map", "b", "--data-dir", "/d"]),
        r#"Export { data_dir: "/d", maps: ["a", "b"], output: None, mode: DataMode(384) }"#
    );
    assert_eq!(
        task(&["--data-dir", "/d", "backup", "/b", "--data-mode", "0640"]),
        r#"Backup { data_dir: "/d", target: "/b", mode: DataMode(416) }"#
    );
    assert_eq!(task(&["verify"]), r#"Verify { data_dir: "./annulus-data" }"#);
    assert_eq!(
        task(&["clock", "--set-back", "/b", "--max-clock-drift-ms", "9"]),
        r#"Clock { data_dir: "./annulus-data", set_back: Some("/b"), drift_max_ms: 9, mode: DataMode(384) }"#
    );
    assert_eq!(task(&["verify", "/b"]), r#"Verify { data_dir: "/b" }"#);
    let imports = |ahead_ms_max: u64| {
        format!(
            r#"Import {{ data_dir: "./annulus-data", input: None, node: None, ahead_ms_max: {ahead_ms_max}, mode: DataMode(384) }}"#
        )
    };
    assert_eq!(task(&["import"]), imports(60_000));
    assert_eq!(task(&["import", "--max-clock-drift-ms", "9"]), imports(9));
    assert_eq!(task(&["import", "--allow-future"]), imports(u64::MAX));
}

#[test]
fn flags_are_the_same_before_and_after_serve() {
    for flags in [
        ["--drain-ms", "7", "--enable-echo", "--node=a"].as_slice(),
        &["serve", "--drain-ms", "7", "--enable-echo", "--node=a"],
        &["--drain-ms", "7", "serve", "--enable-echo", "--node=a"],
    ] {
        let config = serve(flags).unwrap().config;
        assert_eq!(
            (config.drain_ms, config.dialects.last(), config.node.as_str()),
            (7, Some(&echo::PATH), "a"),
            "{flags:?}"
        );
    }
}

#[test]
fn every_flag_reaches_its_setting() {
    let flags = "--listen 127.0.0.1:1 --listen [::1]:2 --backlog 3 --node n --max-connections 4000 \
        --max-connections-per-ip 5 --max-connections-per-user 6 --sessions replace --connection-rates messages_per_second=1 --user-rates ops_per_second=2,burst_seconds=3 --address-rates connections_per_second=4 --max-handshakes 70 --ipv6-prefix 56 --trusted-proxies ::1,10.0.0.0/8 --proxy-protocol accept --accept-rate 6 --handshake-timeout-ms 7 --max-header-bytes 8KiB --heartbeat-ms 800 \
        --max-message-bytes 2MiB --max-value-bytes 9KiB --max-cell-bytes 70KiB --max-subscriptions 10 --max-query-results 100 --index tasks:due --max-messages-per-second 11 --max-messages-per-minute 110 --rate-limit-policy wait \
        --max-bad-messages 12 --allowed-origins HTTPS://A,https://*.b.c:443/ --enable-echo --no-page --enable-test-reset --synckit-path /kit --synckit-max-value-bytes 8KiB --synckit-max-subscription-bytes 18KiB --synckit-max-awareness-bytes 28KiB --coalesce-delay-us 13 \
        --coalesce-max-bytes 14 --coalesce-max-frames 15 --outbox-soft-bytes 1MiB --outbox-hard-bytes 3MiB \
        --min-drain-bytes-per-second 5KiB --max-presence-bytes 2MiB --presence-tick-ms 51 --presence-grace-ms 52 --presence-full-max 53 --max-presence-state-bytes 5KiB --channel-history 20 --channel-history-bytes 21KiB --channel-history-ttl 22s \
        --direct-queue 20 --direct-queue-bytes 21KiB --direct-queue-ttl 22m \
        --max-clock-drift-ms 16 --tombstone-retention 17s --ack-timeout-ms 18 --drain-lead-ms 190 --drain-ms 19 --slow-turn-ms 61 --memory-soft 3GiB --drain-batch 191 --drain-interval-ms 192 \
        --log-format json --log-level debug --storage memory --memory-limit 0 --preset balanced";
    let given = serve(&flags.split_whitespace().collect::<Vec<_>>()).unwrap();
    let expected = Config {
        listen: vec!["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()],
        // In `tls.rs`.
        tls_listen: Vec::new(),
        http_redirect: false,
        backlog: 3,
        node: "n".to_owned(),
        connections_max: 4000,
        connections_per_ip_max: 5,
        connections_per_user_max: 6,
        sessions: crate::config::Sessions::Replace,
        connection_rates: Rates { messages_per_second: 1, ..Rates::default() },
        user_rates: Rates { ops_per_second: 2, burst_seconds: 3, ..Rates::default() },
        address_rates: Rates { connections_per_second: 4, ..Rates::default() },
        handshakes_max: 70,
        ipv6_prefix: 56,
        trusted_proxies: vec!["::1/128".parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
        proxy_protocol: crate::config::ProxyProtocol::Accept,
        accepts_per_second_max: 6,
        handshake_timeout_ms: 7,
        header_bytes_max: 8 << 10,
        heartbeat_ms: 800,
        message_bytes_max: 2 << 20,
        value_bytes_max: 9 << 10,
        cell_bytes_max: 70 << 10,
        synckit_value_bytes_max: 8 << 10,
        synckit_subscription_bytes_max: 18 << 10,
        synckit_awareness_bytes_max: 28 << 10,
        subscriptions_max: 10,
        query_results_max: 100,
        query_indexes: vec![crate::config::QueryIndex::parse("tasks:due").unwrap()],
        messages_per_second_max: 11,
        messages_per_minute_max: 110,
        rate_limit: RateLimit::Wait,
        bad_messages_max: 12,
        allowed_origins: ["https://a", "https://*.b.c"]
            .map(|origin| AllowedOrigin::parse(origin).unwrap())
            .into(),
        auth: crate::config::AuthMode::None,
        auth_timeout_ms: 5_000,
        dialects: vec![DialectPath::NATIVE, DialectPath { path: "/kit".into(), ..synckit::PATH }, echo::PATH],
        front_page: None,
        test_reset: true,
        coalesce: Coalesce { delay_us: 13, bytes_max: 14, frames_max: 15 },
        outbox_soft_bytes: 1 << 20,
        outbox_hard_bytes: 3 << 20,
        drain_bytes_per_second_min: 5 << 10,
        presence_bytes_max: 2 << 20,
        presence: crate::config::Presence {
            tick_ms: 51,
            grace_ms: 52,
            full_max: 53,
            state_bytes_max: 5 << 10,
        },
        channel_history: ChannelBounds { messages: 20, bytes: 21 << 10, ttl_ms: 22_000, is_durable: false },
        direct: crate::config::DirectConfig { messages_max: 20, bytes_max: 21 << 10, ttl_ms: 22 * 60_000 },
        clock_drift_max_ms: 16,
        tombstone_retention_ms: 17_000,
        ack_timeout_ms: 18,
        drain_lead_ms: 190,
        drain_ms: 19,
        slow_turn_ms: 61,
        memory_soft_bytes: 3 << 30,
        drain_batch: 191,
        drain_interval_ms: 192,
        memory_limit_bytes: 0,
        offers_durable: false,
    };
    assert_eq!(format!("{:?}", given.config), format!("{expected:?}"));
    assert_eq!((given.log.format, given.log.filter.as_str()), (LogFormat::Json, "debug"));
}

#[test]
fn a_preset_sets_what_is_not_set_one_by_one() {
    assert_eq!(serve(&["--preset", "balanced"]).unwrap().config.coalesce, Coalesce::BALANCED);
    let mixed = serve(&["--preset", "high-throughput", "--coalesce-delay-us", "5"]).unwrap().config.coalesce;
    assert_eq!(mixed, Coalesce { delay_us: 5, ..Coalesce::HIGH_THROUGHPUT });
}

#[test]
fn synckit_can_be_left_out() {
    let config = serve(&["--no-synckit", "--synckit-path", "/kit"]).unwrap().config;
    assert_eq!(config.dialects, [DialectPath::NATIVE]);
}

#[test]
fn browsers_get_a_page_unless_it_is_left_out_or_there_are_rules() {
    let folder = Folder::new("page");
    let rules = folder.file("rules.toml", "[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]");
    let has_page = |flags: &[&str]| serve(flags).unwrap().config.front_page.is_some();
    assert!(has_page(&[]));
    assert!(!has_page(&["--no-page"]));
    assert!(!has_page(&["--rules", &rules]), "it would have to be allowed first");
}

#[test]
fn cores_must_exist() {
    let allowed = host::allowed_cores();
    let one = allowed[0].to_string();
    assert_eq!(serve(&["--cores", &one]).unwrap().cores, allowed[..1]);
    let text = refusal(&["--cores", "60000"]);
    assert!(text.contains("core 60000 does not exist"), "{text}");
    assert!(text.contains(&format!("out of {}", cores::CoreList(allowed))), "{text}");
}

#[test]
fn each_rule_between_flags_has_its_refusal() {
    for (flags, part) in [
        (vec!["--listen", "127.0.0.1:9", "--listen", "127.0.0.1:9"], "--listen names 127.0.0.1:9 twice"),
        (vec!["--max-message-bytes", "65MiB"], "choose from 1KiB to 64MiB"),
        (vec!["--max-message-bytes", "1023"], "choose from 1KiB to 64MiB"),
        (vec!["--max-message-bytes", "128KiB"], "--max-value-bytes 256KiB does not fit"),
        (vec!["--max-message-bytes", "16MiB"], "raise it to at least 16640KiB"),
        (vec!["--outbox-soft-bytes", "127KiB"], "raise it to at least 128KiB"),
        (vec!["--outbox-soft-bytes", "16MiB"], "raise it to at least 17MiB"),
        (vec!["--coalesce-max-bytes", "257KiB"], "choose from 1 to --outbox-soft-bytes 256KiB"),
        (vec!["--coalesce-max-bytes", "0"], "choose from 1 to --outbox-soft-bytes 256KiB"),
        (vec!["--heartbeat-ms", "1000", "--coalesce-delay-us", "500001"], "lower the delay"),
        (vec!["--tombstone-retention", "59s"], "raise it to at least 1m"),
        (vec!["--storage", "redb"], "use one of disk, memory"),
        (vec!["--fsync", "often"], "use one of always, interval, never"),
        (vec!["--segment-bytes", "1023KiB"], "choose from 1MiB to 1GiB"),
        (vec!["--memory-limit", "1KiB"], "raise it to at least"),
        (vec!["--memory-limit", "1KiB", "--storage", "memory"], "raise it to at least"),
        (vec!["--service-core", "60000"], "core 60000 does not exist"),
        (vec!["--max-header-bytes", "1023"], "choose from 1KiB to 64KiB"),
        (vec!["--max-header-bytes", "65KiB"], "choose from 1KiB to 64KiB"),
        (vec!["--coalesce-delay-us", "1000001"], "0..=1000000"),
        (vec!["--heartbeat-ms", "99"], "100..=3600000"),
        (vec!["--max-connections", "0"], "1..=4294967295"),
        (vec!["--allowed-origins", "https://a,nonsense"], "'nonsense' is no origin"),
        (vec!["--synckit-path", "/metrics"], "'/metrics' has a meaning already"),
        (vec!["--trusted-proxies", "10.0.0.1,proxy"], "'proxy' is no network"),
        (vec!["--synckit-path", "ws"], "'ws' is no path"),
        (vec!["--log-level", "loud"], "'loud' is no filter"),
        (vec!["--auth", "required"], "set --jwt-secret-file"),
        (vec!["--listen", "0.0.0.0:9"], "--listen 0.0.0.0:9 lets in more than this machine"),
        (vec!["--auth", "some"], "use one of none, optional, required"),
        (
            vec!["--jwks-url", "http://192.0.2.1/keys"],
            "keys come over https, and over http from this host only",
        ),
        (vec!["--jwks-url", "http://localhost@192.0.2.1/keys"], "from this host only"),
        (vec!["--jwks-url", "/keys"], "write one such as https://"),
        (vec!["--jwt-issuer", ""], "a value is required for"),
        (vec!["--auth-revalidate-ms", "999"], "1000..="),
        (vec!["--preset", "fast"], "use one of low-latency, balanced, high-throughput"),
    ] {
        let text = refusal(&flags);
        assert!(text.contains(part), "{flags:?}: {text}");
        assert!(!text.contains('\n') && text.contains(';'), "one line that says what to do: {text}");
    }
}

#[test]
fn a_bad_value_is_told_with_its_flag_and_variable() {
    let text = refusal(&["--listen", "localhost"]);
    let expected = "invalid value 'localhost' for --listen or ANNULUS_LISTEN: 'localhost' is no address with a port; \
        write an IP address or a name and a port, such as 127.0.0.1:9000, 0.0.0.0:9000, [::1]:9000 or localhost:9000";
    assert_eq!(text, expected);
    let text = refusal(&["--listn", "127.0.0.1:1"]);
    assert_eq!(text, "unexpected argument '--listn' found; a similar argument exists: '--listen'");
}

#[test]
fn the_printed_configuration_has_every_flag_by_name() {
    let words = ["annulus", "config", "--node", "x", "--preset", "balanced"];
    let Ok(Command::Config { text: json, .. }) = parse(words, &|_| None) else {
        panic!("valid flags");
    };
    let printed: std::collections::BTreeMap<String, simd_json::OwnedValue> =
        simd_json::from_slice(&mut json.into_bytes()).unwrap();
    let mut flags: Vec<_> =
        command().get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)).collect();
    flags.sort_unstable();
    assert_eq!(printed.keys().cloned().collect::<Vec<_>>(), flags);
    assert_eq!(printed["coalesce-delay-us"], simd_json::json!(1_000));
    assert_eq!(printed["trusted-proxies"], simd_json::json!([]));
    assert_eq!(printed["node"], simd_json::json!("x"));
    assert_eq!(printed["tombstone-retention"], simd_json::json!("30d"));
}

/// A directory of its own, gone at the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("annulus-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A file in it, and its path.
    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
