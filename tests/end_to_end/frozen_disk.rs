//! A disk that stands still. Goal: writers are slowed by what has come, not by what the disk has taken, however long it takes
//! for a group. Method: a file system of its own that is frozen.

use std::fs;

use crate::client::{Client, set};
use crate::full_disk::gauge;
use crate::process::Running;
use crate::server::await_that;
use crate::small_disk::SmallDisk;

const MIB: u64 = 1 << 20;

#[test]
fn what_waits_for_a_disk_that_stands_still_counts_as_not_folded() {
    let Some(disk) = SmallDisk::new(100 * MIB) else { return };
    let data = disk.path().join("data");
    fs::create_dir(&data).unwrap();
    let flags = ["--segment-bytes", "2MiB", "--journal-max-bytes", "8MiB", "--disk-reserve", "0"];
    let server = Running::on_disk(&data, &flags);
    let mut client = Client::connect(server.address);
    let mut write = |number: u64| {
        let value = format!("\"{number}{}\"", "-".repeat(1000));
        let ops: Vec<String> = (0..200).map(|key| set("m", &format!("k{key}"), value.clone())).collect();
        let ack = client.ask(&format!(r#"{{"type":"write","ack":"memory","ops":[{}]}}"#, ops.join(",")));
        assert_eq!(ack["level"], "memory", "{ack}");
    };
    write(0);
    let Some(frozen) = disk.freeze() else { return };
    (1..25).for_each(&mut write);
    await_that("all of it to wait for the disk", || gauge(&server, "journal_unfolded_bytes ") > 4 * MIB);
    assert!(gauge(&server, "write_rate_limit_bytes ") > 0, "that is more than half of the largest journal");
    drop(frozen);
    await_that("writers to be as fast as they like", || gauge(&server, "write_rate_limit_bytes ") == 0);
    write(25);
    server.stop();
}
