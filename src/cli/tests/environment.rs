//! What the environment says.

use super::*;

#[test]
fn the_variables_of_synckit_are_defaults() {
    let variables = [
        ("PORT", "8080"),
        ("HOST", "0.0.0.0"),
        ("WS_MAX_CONNECTIONS", "4000"),
        ("SYNCKIT_MAX_CONNECTIONS_PER_IP", "50"),
        ("SYNCKIT_MAX_MESSAGES_PER_MINUTE", "500"),
        ("WS_HEARTBEAT_INTERVAL", "30000"),
        ("SYNCKIT_AUTH_REQUIRED", "True"),
        ("JWT_SECRET", SECRET),
        ("DATABASE_URL", "postgres://db"),
        ("REDIS_URL", "redis://cache"),
    ];
    let given = serve_in(&variables, &[]).unwrap();
    let config = &given.config;
    assert_eq!(config.listen, ["0.0.0.0:8080".parse().unwrap()]);
    assert_eq!((config.connections_max, config.connections_per_ip_max), (4000, 50));
    assert_eq!((config.messages_per_minute_max, config.heartbeat_ms), (500, 60_000));
    assert_eq!(given.inherited, variables.map(|(name, _)| name));
    assert_eq!(given.inherited, inherited::VARIABLES.map(|variable| variable.name), "all of them were tried");
    assert_eq!(given.warnings().len(), 2);
    assert_eq!(config.auth, AuthMode::Required);
    assert_eq!(given.identity.and_then(|identity| identity.secret), Some(Secret(SECRET.into())));

    let without = serve_in(&variables, &["--no-synckit"]).unwrap();
    assert_eq!(without.config.listen, Config::default().listen);
    assert!(without.inherited.is_empty() && without.warnings().is_empty());
}

#[test]
fn port_and_host_change_their_part_of_the_default() {
    let listen = |variables: &[(&str, &str)]| {
        serve_in(variables, &["--allow-anonymous"]).unwrap().config.listen[0].to_string()
    };
    assert_eq!(listen(&[("PORT", "80")]), "127.0.0.1:80");
    assert_eq!(listen(&[("HOST", "::")]), "[::]:9000");
    assert_eq!(listen(&[("HOST", ""), ("PORT", "")]), "127.0.0.1:9000");
}

#[test]
fn the_command_line_wins_over_the_variables_of_synckit_and_those_that_lose_are_not_read() {
    let variables = [("PORT", "none"), ("WS_MAX_CONNECTIONS", "none"), ("WS_HEARTBEAT_INTERVAL", "50")];
    let flags = ["--listen", "127.0.0.1:1", "--max-connections", "500"];
    // Also behind the name of an action, where flags are read by another part of the parser.
    for flags in [&flags[..], &[&["serve"], &flags[..]].concat()] {
        let given = serve_in(&variables, flags).unwrap();
        assert_eq!((given.config.listen[0].port(), given.config.connections_max), (1, 500));
        assert_eq!((given.config.heartbeat_ms, given.inherited), (100, vec!["WS_HEARTBEAT_INTERVAL"]));
    }
}

#[test]
fn a_bad_variable_of_synckit_is_named() {
    for (name, value, part) in [
        ("SYNCKIT_AUTH_REQUIRED", "true", "set --jwt-secret-file"),
        ("SYNCKIT_AUTH_REQUIRED", "1", "set --jwt-secret-file"),
        ("SYNCKIT_AUTH_REQUIRED", "perhaps", "write true or false, or set --no-synckit"),
        ("JWT_SECRET", "hush", "the secret has 4 bytes and needs at least 32"),
    ] {
        let text = serve_in(&[(name, value)], &[]).expect_err("it cannot be served").to_string();
        assert!(text.contains(name) && text.contains(part), "{name}={value}: {text}");
        assert!(!text.contains('\n') && text.contains(';'), "one line that says what to do: {text}");
        assert!(serve_in(&[(name, value)], &["--no-synckit"]).is_ok(), "{name} is not read");
    }
}

#[test]
fn a_variable_that_is_another_programs_is_left_alone_and_told_of() {
    for (name, value, part) in [
        ("PORT", "http", "a whole number from 0 to 65535 and does not count; set --listen"),
        ("PORT", "65536", "a whole number from 0 to 65535"),
        ("PORT", "tcp://10.0.0.1:80", "a whole number from 0 to 65535"),
        ("HOST", "x86_64-conda-linux-gnu", "an IP address or localhost and does not count; set --listen"),
        ("HOST", "some\nhost", r#"HOST="some\nhost" is not"#),
        ("WS_MAX_CONNECTIONS", "0", "from 1 to 4294967295"),
        ("WS_MAX_CONNECTIONS", "-1", "from 1 to 4294967295"),
        ("SYNCKIT_MAX_CONNECTIONS_PER_IP", "many", "from 0 to"),
        ("SYNCKIT_MAX_MESSAGES_PER_MINUTE", "1.5", "from 0 to"),
        ("WS_HEARTBEAT_INTERVAL", "49", "from 50 to 1800000"),
        ("WS_HEARTBEAT_INTERVAL", "1800001", "from 50 to 1800000"),
    ] {
        let given = serve_in(&[(name, value)], &[]).expect("it is served");
        let text = given.remarks.join("\n");
        assert!(text.starts_with(name) && text.contains(part), "{name}={value}: {text}");
        assert_eq!((given.warnings(), given.remarks.len()), (vec![text.as_str()], 1));
        assert!(given.inherited.is_empty(), "it does not count");
        assert_eq!(given.config.listen, Config::default().listen);
        let without = serve_in(&[(name, value)], &["--no-synckit"]).unwrap();
        assert!(without.remarks.is_empty(), "{name} is not read");
    }
}

#[test]
fn names_are_looked_up_and_what_means_the_same_is_told() {
    let loopback: std::net::SocketAddr = "127.0.0.1:7".parse().unwrap();
    assert!(serve(&["--listen", "localhost:7"]).unwrap().config.listen.contains(&loopback));
    assert!(
        serve_in(&[("HOST", "localhost"), ("PORT", "7")], &[]).unwrap().config.listen.contains(&loopback)
    );
    let text = refusal(&["--listen", "localhost:7", "--listen", "127.0.0.1:7"]);
    assert!(text.contains("--listen names 127.0.0.1:7 twice"), "{text}");
    let text = refusal(&["--listen", "annulus.invalid:7"]);
    assert!(text.contains("--listen annulus.invalid:7 cannot be looked up"), "{text}");
}

#[test]
fn a_flag_as_other_programs_call_it_is_told_ours() {
    for (flag, ours) in [("--port", "--listen"), ("--host", "--listen"), ("--workers", "--cores")] {
        for flags in [vec![flag, "1"], vec!["serve", flag, "1"]] {
            let text = refusal(&flags);
            assert_eq!(
                text,
                format!("unexpected argument '{flag}' found; did you mean {ours}? See `annulus --help`")
            );
        }
    }
}

#[test]
fn an_empty_variable_of_ours_is_one_that_is_not_set() {
    let empty = |_: &str| Some(OsString::new());
    let command = variables::without_empty(command(), &empty);
    assert!(command.get_arguments().all(|arg| arg.get_env().is_none()));
}

#[test]
fn a_rule_that_a_variable_of_synckit_breaks_names_it() {
    let flags = ["--coalesce-delay-us", "500000"];
    let error = serve_in(&[("WS_HEARTBEAT_INTERVAL", "100")], &flags).expect_err("a rule is broken");
    assert!(error.to_string().ends_with("; --heartbeat-ms comes from WS_HEARTBEAT_INTERVAL"), "{error}");
    let error = serve_in(&[("WS_MAX_CONNECTIONS", "9")], &["--tombstone-retention", "1s"]).unwrap_err();
    assert!(!error.to_string().contains("WS_MAX_CONNECTIONS"), "{error}");
}
