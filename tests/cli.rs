//! The built command, as a user meets it: what it prints, on which stream, and with which exit code.

use std::process::{Command, Output};

#[path = "cli/identity.rs"]
mod identity;

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
        "key",
        "revoke",
        "rules",
        "Listening:",
        "Connections:",
        "Identity:",
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
    for task in ["backup", "export", "import", "verify", "key", "revoke", "rules"] {
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
        (["--listen", "127.0.0.1:http"], "write an IP address or a name and a port"),
        (["--listen", "somewhere"], "write an IP address or a name and a port"),
        (["--listen", "annulus.invalid:1"], "write a name or an address of this host"),
        (["--port", "9000"], "did you mean --listen?"),
        (["--node", "a:b"], "write 1 to 40 visible ASCII characters"),
        (["--storage", "redb"], "use one of disk, memory"),
        (["--outbox-hard-bytes", "1KiB"], "raise it to at least"),
        (["--max-cell-bytes", "16MiB"], "lower it to at most 16128KiB"),
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
    for name in ["ANNULUS_HEARTBEAT_MS", "SYNCKIT_AUTH_REQUIRED"] {
        let output = annulus(&["config"], &[(name, "soon")]);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            stderr(&output).starts_with("annulus: ") && stderr(&output).contains(name),
            "{}",
            stderr(&output)
        );
    }
}

// Compose files write variables without a value, and conda, Kubernetes and others have a HOST and a PORT of their own.
#[test]
fn what_the_environment_has_by_chance_stops_neither_server_nor_tools() {
    let found = |variables: &[(&str, &str)]| annulus(&["config"], variables);
    let output = found(&[
        ("HOST", "x86_64-conda-linux-gnu"),
        ("PORT", "tcp://10.0.0.1:9000"),
        ("WS_HEARTBEAT_INTERVAL", "soon"),
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains(r#""127.0.0.1:9000""#), "{}", stdout(&output));
    for name in ["HOST", "PORT", "WS_HEARTBEAT_INTERVAL"] {
        let told = stderr(&output)
            .lines()
            .filter(|line| line.starts_with(&format!("annulus: warning: {name}=")))
            .count();
        assert_eq!(told, 1, "{}", stderr(&output));
    }
    let output = annulus(&["doctor", "--max-connections", "100"], &[("HOST", "x86_64-conda-linux-gnu")]);
    assert!(stdout(&output).contains("warn  environment"), "{}", stdout(&output));

    let all_empty: Vec<(&str, &str)> =
        ["LISTEN", "NODE", "ENABLE_ECHO", "DRAIN_MS", "CORES", "LOG_LEVEL", "DATA_DIR", "STORAGE", "LISTN"]
            .into_iter()
            .map(|name| (&*format!("ANNULUS_{name}").leak(), ""))
            .collect();
    let output = found(&all_empty);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    assert!(stdout(&output).contains(r#""127.0.0.1:9000""#), "{}", stdout(&output));
    let help = annulus(&["--help"], &all_empty);
    assert!(stdout(&help).contains("[env: ANNULUS_LISTEN=]"), "help tells of variables all the same");
}

// An address of the documentation range is on no host (RFC 5737).
#[test]
fn an_address_of_another_host_is_told_with_the_variable_it_comes_from() {
    let output =
        annulus(&["--storage", "memory", "--allow-anonymous"], &[("HOST", "192.0.2.1"), ("PORT", "9")]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("192.0.2.1:9") && text.ends_with("from HOST and PORT\n"), "{text}");
}

#[test]
fn a_slip_in_the_name_of_a_variable_is_told() {
    for arguments in [&["config"][..], &["verify", "/nowhere"]] {
        let output = annulus(arguments, &[("ANNULUS_LISTN", "127.0.0.1:1")]);
        let told = "annulus: warning: ANNULUS_LISTN is no variable of this server and is not read; did you mean ANNULUS_LISTEN?";
        assert!(stderr(&output).lines().any(|line| line == told), "{}", stderr(&output));
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
fn doctor_knows_a_server_of_ours_by_its_answer() {
    let line = |address: &str| {
        let output = annulus(&["doctor", "--max-connections", "200", "--listen", address], &[]);
        let line = stdout(&output).lines().find(|line| line.contains("  listen  ")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{}", stdout(&output)))
    };
    // Says nothing at all.
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let found = line(&address);
    assert!(found.starts_with("warn") && found.contains("is in use, and not by an annulus"), "{found}");
    drop(holder);

    let mut server = Command::new(env!("CARGO_BIN_EXE_annulus"))
        .args(["--storage", "memory", "--listen", &address])
        .env_clear()
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let serves = || std::net::TcpStream::connect(&address).is_ok();
    while !serves() {
        assert_eq!(server.try_wait().unwrap(), None);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let found = line(&address);
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(
        found.starts_with("ok") && found.contains(&format!("a running annulus serves {address}")),
        "{found}"
    );
}

#[test]
fn doctor_warns_when_descriptors_do_not_suffice() {
    // The kernel's own ceiling of open files (fs.nr_open) is below this on every machine.
    let output = annulus(&["doctor", "--max-connections", "4294967295", "--listen", "127.0.0.1:0"], &[]);
    let line = stdout(&output).lines().find(|line| line.starts_with("warn  open files")).unwrap();
    assert!(line.contains("→") && line.contains("LimitNOFILE="), "{line}");
}

#[test]
fn the_manual_and_the_completions_are_printed() {
    let manual = annulus(&["man"], &[]);
    let text = String::from_utf8(manual.stdout).unwrap();
    for part in [".TH annulus 1", "[\\fIFLAGS\\fR]", "\\-\\-drain\\-batch", "upgrade", "SIGTERM"] {
        assert!(text.contains(part), "{part} is not in\n{text:.2000}");
    }
    for (shell, part) in
        [("bash", "complete -F _annulus"), ("zsh", "#compdef annulus"), ("fish", "complete -c annulus")]
    {
        let completions = annulus(&["completions", shell], &[]);
        assert!(String::from_utf8(completions.stdout).unwrap().contains(part), "{shell}");
    }
}
