//! Presence, channels and direct messages against the stand-in.

use std::fs;
use std::path::PathBuf;

use crate::standin::{self, Fault};
use crate::{fails, loadtest, passes};

const PRESENCE: &str = "presence --members 8 --rate 20 --ping-rate 0 --alone";
const COUNTED: &str = "presence --told count --rooms 2 --members 25 --rate 4 --churn 5 --ping-rate 0";
const BURST: &str = "presence --join-burst 40";
const STORM_CHANNELS: &str = "storm --channels --clients 20 --maps 4 --rate 500";
const CHANNELS_FANOUT: &str = "fanout --publishers 2 --subscribers 8 --window 4 --dialect channels";
const SOCKETIO_FANOUT: &str = "fanout --publishers 2 --subscribers 8 --window 4 --dialect socket.io";

/// The file of the secret that the stand-in knows; gone with its test.
struct Secret {
    path: PathBuf,
}

impl Secret {
    /// `name`: different in each test.
    fn create(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("loadtest-secret-{}-{name}", std::process::id()));
        fs::write(&path, standin::SECRET).expect("nobody else has that name");
        Self { path }
    }

    fn direct(&self) -> String {
        let path = self.path.display();
        format!(
            "direct --users 6 --senders 2 --messages 30 --rate 200 --ack-every 3 --jwt-secret-file {path}"
        )
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[test]
fn presence_passes_and_is_compared_with_maps() {
    let page = passes("presence --members 8 --rate 20");
    let (maps, presence) = page.split_once("told by name").expect("two parts");
    assert!(!maps.contains("of maps") && presence.contains("of maps"), "{page}");
    for line in ["last screen", "states each", "ping beside"] {
        assert!(presence.contains(line), "{line} is missing: {page}");
    }
    let page = passes(&format!("{PRESENCE} --rooms 3 --everywhere"));
    assert!(page.contains("the same connections in all"), "{page}");
}

#[test]
fn counted_presence_passes_also_where_each_connection_is_in_all_rooms() {
    assert!(passes(COUNTED).contains("counts told"));
    assert!(passes(&format!("{COUNTED} --everywhere")).contains("the same connections in all"));
}

#[test]
fn burst_of_joins_passes_and_says_when_the_count_was_right_and_0() {
    let page = passes(BURST);
    for line in ["right for all", "the watcher sees 0", "pings joining", "pings dropping"] {
        assert!(page.contains(line), "{line} is missing: {page}");
    }
}

#[test]
fn storm_in_channels_passes_and_everybody_recovers() {
    assert!(passes(STORM_CHANNELS).contains("20 recovered"));
}

#[test]
fn fanout_passes_in_channels_and_in_socket_io() {
    assert!(passes(CHANNELS_FANOUT).contains("fanout in channels"));
    assert!(passes(SOCKETIO_FANOUT).contains("fanout in socket.io"));
}

#[test]
fn direct_messages_pass_queued_and_live() {
    let secret = Secret::create("pass");
    let page = passes(&secret.direct());
    for line in ["all have theirs after", "direct, live", "acknowledged every 3"] {
        assert!(page.contains(line), "{line} is missing: {page}");
    }
}

#[test]
fn peers_that_are_not_installed_and_a_secret_that_is_not_known_are_matters_of_setup() {
    for (arguments, word) in [
        ("peers --peers-dir nowhere", "scripts/compare-node"),
        ("direct --users 2 --senders 1", "--jwt-secret-file"),
        ("direct --users 1 --senders 2 --jwt-secret-file nowhere", "--senders"),
    ] {
        let output = loadtest(Fault::None, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(word), "{arguments}");
    }
}

/// A state that one screen is not told, and others are, is lost, also when a later one comes; of a map that is not promised.
#[test]
fn state_that_is_lost_repeated_damaged_or_misplaced_fails_the_run() {
    fails(Fault::LoseDelivery(60), "LOST", PRESENCE);
    for scenario in [PRESENCE, "presence --members 8 --rate 20 --ping-rate 0"] {
        fails(Fault::RepeatDelivery(60), "DUPLICATED", scenario);
        fails(Fault::DamageDelivery(60), "WRONG", scenario);
        fails(Fault::MisplaceDelivery(60), "WRONG", scenario);
    }
}

#[test]
fn count_that_is_wrong_and_a_member_that_stays_fail_the_run() {
    fails(Fault::MisplaceDelivery(60), "WRONG", COUNTED);
    let burst = format!("{BURST} --ping-rate 0");
    fails(Fault::MisplaceDelivery(60), "WRONG", &burst);
    fails(Fault::KeepMember, "LOST", &burst);
}

#[test]
fn message_of_a_channel_that_is_not_recovered_as_it_was_said_fails_the_run() {
    let faults = [
        (Fault::LoseDelivery(30), "LOST"),
        (Fault::RepeatDelivery(30), "DUPLICATED"),
        (Fault::SwapDelivery(30), "LOST"),
        (Fault::DamageDelivery(30), "WRONG"),
        (Fault::MisplaceDelivery(30), "WRONG"),
        (Fault::TrimChannel, "LOST"),
        (Fault::EmptyResume, "LOST"),
        (Fault::LoseAck(20), "LOST"),
        (Fault::RejectWrite(20), "REFUSED"),
    ];
    for (fault, word) in faults {
        fails(fault, word, STORM_CHANNELS);
    }
    for scenario in [CHANNELS_FANOUT, SOCKETIO_FANOUT] {
        fails(Fault::LoseDelivery(30), "OUT OF ORDER", scenario);
        fails(Fault::RepeatDelivery(30), "DUPLICATED", scenario);
        fails(Fault::DamageDelivery(30), "WRONG", scenario);
        fails(Fault::LoseAck(20), "OUT OF ORDER", scenario);
    }
}

/// The first 30 deliveries are of what has waited, 5 for each of 6 users; those behind are to users who are there.
#[test]
fn direct_message_that_is_lost_repeated_refused_or_kept_fails_the_run() {
    let secret = Secret::create("fail");
    let faults = [
        (Fault::LoseDelivery(10), "OUT OF ORDER"),
        (Fault::LoseDelivery(14), "LOST"),
        (Fault::LoseDelivery(60), "OUT OF ORDER"),
        (Fault::RepeatDelivery(10), "DUPLICATED"),
        (Fault::RepeatDelivery(60), "DUPLICATED"),
        (Fault::DamageDelivery(10), "WRONG"),
        (Fault::MisplaceDelivery(10), "WRONG"),
        (Fault::MisplaceDelivery(60), "WRONG"),
        (Fault::ForgetWrite(0), "OUT OF ORDER"),
        (Fault::ForgetAcks, "DUPLICATED"),
        (Fault::LoseAck(5), "LOST"),
        (Fault::LoseAck(60), "LOST"),
        (Fault::RejectWrite(5), "REFUSED"),
    ];
    for (fault, word) in faults {
        fails(fault, word, &secret.direct());
    }
}

#[test]
fn closed_connection_of_who_has_messages_fails_the_run() {
    for scenario in [PRESENCE, COUNTED, STORM_CHANNELS, CHANNELS_FANOUT, SOCKETIO_FANOUT] {
        fails(Fault::CloseConnection(1), "CLOSED", scenario);
    }
}
