//! The built command, as a user meets it: what it prints, on which stream, and with which exit code.

use std::process::{Command, Output};

/// Runs `annulus` with nothing in its environment but `variables`.
fn annulus(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_annulus"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .expect("cargo has built the command")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("the command writes UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("the command writes UTF-8")
}

/// The effective configuration as one value.
fn config(arguments: &[&str], variables: &[(&str, &str)]) -> simd_json::OwnedValue {
    let mut output = annulus(&[&["config"], arguments].concat(), variables);
    assert!(output.status.success(), "{}", stderr(&output));
    simd_json::to_owned_value(&mut output.stdout).expect("the configuration is JSON")
}

#[test]
fn help_shows_every_topic_and_command() {
    let output = annulus(&["--help"], &[]);
    assert!(output.status.success());
    for part in [
        "backup",
        "export",
        "import",
        "verify",
        "Listening:",
        "Connections:",
        "Delivery:",
        "Data:",
        "Stopping:",
        "Logs:",
        "serve",
        "doctor",
        "config",
    ] {
        assert!(stdout(&output).contains(part), "{part}");
    }
    assert!(stdout(&output).contains("[env: ANNULUS_LISTEN=]"));
    assert!(stdout(&output).contains("  WS_HEARTBEAT_INTERVAL [--heartbeat-ms]\n"));
    assert_eq!(stderr(&output), "");
}

#[test]
fn every_task_teaches_with_an_example() {
    for task in ["backup", "export", "import", "verify"] {
        let output = annulus(&[task, "--help"], &[]);
        assert!(output.status.success(), "{}", stderr(&output));
        let example = stdout(&output).lines().find(|line| line.contains(&format!("annulus {task} ")));
        assert!(example.is_some_and(|line| line.starts_with("  ")), "{}", stdout(&output));
    }
}

#[test]
fn version_is_that_of_the_package() {
    let output = annulus(&["--version"], &[]);
    assert_eq!(stdout(&output), format!("annulus {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_cannot_be_served_exits_2_with_one_line_of_advice() {
    for (arguments, advice) in [
        (["--cores", "60000"], "use cores out of "),
        (["--listen", "127.0.0.1:http"], "write an IP address and a port"),
        (["--listen", "somewhere"], "write an IP address and a port"),
        (["--node", "a:b"], "write 1 to 40 visible ASCII characters"),
        (["--storage", "redb"], "use one of disk, memory"),
        (["--outbox-hard-bytes", "1KiB"], "raise it to at least"),
        (["--xyz", "1"], "see `annulus --help`"),
    ] {
        for before in [&[][..], &["serve"], &["doctor"], &["config"]] {
            let output = annulus(&[before, &arguments].concat(), &[]);
            assert_eq!(output.status.code(), Some(2), "{arguments:?}");
            let text = stderr(&output);
            assert!(text.starts_with("annulus: ") && text.contains(advice), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
            assert_eq!(stdout(&output), "");
        }
    }
}

#[test]
fn variables_are_read_and_the_command_line_wins() {
    let variables = [
        ("ANNULUS_NODE", "from-variable"),
        ("ANNULUS_LISTEN", "127.0.0.1:1,[::1]:2"),
        ("ANNULUS_ENABLE_ECHO", "yes"),
        ("ANNULUS_ALLOWED_ORIGINS", ""),
        ("ANNULUS_DRAIN_MS", "1"),
    ];
    let found = config(&["--drain-ms", "2"], &variables);
    assert_eq!(found["node"], "from-variable");
    assert_eq!(found["listen"], simd_json::json!(["127.0.0.1:1", "[::1]:2"]));
    assert_eq!(found["enable-echo"], true);
    assert_eq!(found["allowed-origins"], simd_json::json!([]));
    assert_eq!(found["drain-ms"], 2);
}

#[test]
fn a_bad_variable_is_named() {
    for name in ["ANNULUS_HEARTBEAT_MS", "WS_HEARTBEAT_INTERVAL", "SYNCKIT_AUTH_REQUIRED", "PORT"] {
        let output = annulus(&["config"], &[(name, "soon")]);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            stderr(&output).starts_with("annulus: ") && stderr(&output).contains(name),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn our_own_variables_win_over_those_of_synckit() {
    let inherited = [("PORT", "8080"), ("WS_HEARTBEAT_INTERVAL", "1000"), ("WS_MAX_CONNECTIONS", "300")];
    let found = config(&["--max-connections", "200"], &inherited);
    assert_eq!(found["listen"], simd_json::json!(["127.0.0.1:8080"]));
    assert_eq!((&found["heartbeat-ms"], &found["max-connections"]), (&2000.into(), &200.into()));

    let own = [("ANNULUS_LISTEN", "[::1]:1"), ("ANNULUS_HEARTBEAT_MS", "500")];
    let found = config(&[], &[&inherited[..], &own].concat());
    assert_eq!(found["listen"], simd_json::json!(["[::1]:1"]));
    assert_eq!((&found["heartbeat-ms"], &found["max-connections"]), (&500.into(), &300.into()));
    assert_eq!(config(&["--no-synckit"], &inherited)["max-connections"], 100_000);
}

#[test]
fn unnamed_nodes_have_names_of_their_own() {
    assert_ne!(config(&[], &[])["node"], config(&[], &[])["node"]);
}

#[test]
fn doctor_reports_line_by_line_and_its_exit_code_agrees() {
    let output = annulus(&["doctor", "--max-connections", "200", "--listen", "127.0.0.1:0"], &[]);
    let text = stdout(&output);
    let report: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
    for line in &report {
        assert!(["ok ", "warn ", "FAIL "].iter().any(|verdict| line.starts_with(verdict)), "{line}");
    }
    for what in [
        "kernel",
        "io_uring ring",
        "open files",
        "cores",
        "listen",
        "accept queue",
        "data directory",
        "free disk",
    ] {
        assert!(report.iter().any(|line| line.contains(what)), "{what} is not in\n{text}");
    }
    let failed = report.iter().any(|line| line.starts_with("FAIL"));
    assert_eq!(output.status.code(), Some(i32::from(failed)), "{text}");
}

#[test]
fn doctor_warns_when_descriptors_do_not_suffice() {
    // The kernel's own ceiling of open files (fs.nr_open) is below this on every machine.
    let output = annulus(&["doctor", "--max-connections", "4294967295", "--listen", "127.0.0.1:0"], &[]);
    let line = stdout(&output).lines().find(|line| line.starts_with("warn  open files")).unwrap();
    assert!(line.contains("→") && line.contains("LimitNOFILE="), "{line}");
}
