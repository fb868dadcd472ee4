//! `neighbours` on servers that are the stand-in.

use std::process::Command;

use crate::loadtest_with_servers;

const NEIGHBOURS: &str = "neighbours --quick --storage disk --seconds 0.6 --timeout 1.5";

/// Goal: a row says what was measured, and a run has one for each behaviour. Method: the stand-in knows nothing of SyncKit's
/// awareness and of `/metrics`, which a behaviour must live with.
#[test]
fn neighbours_prints_a_row_for_each_behaviour_on_a_server_of_its_own() {
    let output =
        loadtest_with_servers("None", &format!("{NEIGHBOURS} --only reconnects,held-awareness,scrapes"));
    let (page, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "without --check the figures are all that is wanted: {errors}");
    assert!(page.contains("of 3 rows"), "{page}");
    for name in ["reconnects", "held-awareness", "scrapes"] {
        let row = page.lines().find(|line| line.starts_with(name)).expect("a row");
        assert!(row.split_whitespace().count() >= 12 && !row.contains('–'), "{row}");
    }
}

#[test]
fn neighbour_that_costs_the_victim_an_answer_is_missed_and_the_next_row_follows() {
    let arguments = format!("{NEIGHBOURS} --only one-byte-frames,reconnects --check");
    let output = loadtest_with_servers("LosePong", &arguments);
    let (page, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("FAILED MISSED"), "{errors}");
    assert!(page.contains("the victim was not answered 1 times") && page.contains("reconnects"), "{page}");
}

/// Goal: a server that is gone or frozen is a result and never a hang. Method: it ends or freezes while the load is on; the
/// run must be over long before the test program would be.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the rule protects the server; how long a run takes is what is tested"
)]
fn server_that_ends_or_freezes_is_said_to_and_nothing_hangs() {
    for (fault, word) in [("EndSoon", "the server ended with"), ("FreezeSoon", "the victim was not answered")]
    {
        let began = std::time::Instant::now();
        let output = loadtest_with_servers(fault, &format!("{NEIGHBOURS} --only reconnects --check"));
        let (page, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{fault}: {errors}");
        assert!(page.contains(word), "{fault}: {page}{errors}");
        assert!(began.elapsed().as_secs() < 30, "{fault} took {:?}", began.elapsed());
    }
}

#[test]
fn behaviours_are_listed_and_others_are_refused() {
    let loadtest = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_loadtest")).arg("neighbours").args(arguments).output().unwrap()
    };
    let listed = loadtest(&["--list"]);
    assert!(listed.status.success());
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), 28);
    assert_eq!(loadtest(&["--only", "nobody"]).status.code(), Some(2));
    assert_eq!(
        loadtest(&["--url", "ws://127.0.0.1:1/v1"]).status.code(),
        Some(2),
        "it starts its own servers"
    );
}
