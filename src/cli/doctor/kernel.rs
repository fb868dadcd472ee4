//! Is the kernel new enough, and does it let this process use its rings?

use std::io;

use super::{Check, read_number};
use crate::cli::Serve;
use crate::io::probe::{ProbeError, RingFeatures, probe};
use crate::io::ring_memory::{LockedMemory, is_no_memory, try_rings};

/// The first kernel with `IORING_SETUP_DEFER_TASKRUN`, the youngest thing the server needs.
const RELEASE_MIN: (u32, u32) = (6, 1);

pub(super) fn checks(serve: &Serve) -> Vec<Check> {
    let system = rustix::system::uname();
    let disabled = read_number("/proc/sys/kernel/io_uring_disabled");
    let shards = serve.cores.len();
    let memory = LockedMemory::of(shards, serve.storage.is_some());
    vec![
        release(&system.release().to_string_lossy()),
        allowed(disabled),
        features(probe()),
        ring_memory(shards, memory, &try_rings(shards)),
    ]
}

fn release(text: &str) -> Check {
    let what = "kernel";
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= RELEASE_MIN => Check::ok(what, text),
        (Some(Ok(_)), Some(Ok(_))) => Check::fail(what, text, "run Linux 6.1 or newer"),
        // The ring check below decides whether it works.
        _ => Check::warn(what, text, "compare it with Linux 6.1 yourself, the number is not readable"),
    }
}

/// `setting` is `kernel.io_uring_disabled`, which came with Linux 6.6.
fn allowed(setting: Option<u64>) -> Check {
    let what = "io_uring allowed";
    match setting {
        None => Check::ok(what, "no sysctl against it"),
        Some(0) => Check::ok(what, "kernel.io_uring_disabled = 0"),
        // Whether this process is privileged enough for 1, the probe below knows.
        Some(1) => Check::warn(
            what,
            "kernel.io_uring_disabled = 1, only for privileged processes",
            "sysctl -w kernel.io_uring_disabled=0",
        ),
        Some(n) => Check::fail(
            what,
            format!("kernel.io_uring_disabled = {n}"),
            "sysctl -w kernel.io_uring_disabled=0",
        ),
    }
}

fn features(probed: Result<RingFeatures, ProbeError>) -> Check {
    let what = "io_uring ring";
    match probed {
        Ok(features) if features.missing().is_empty() => Check::ok(
            what,
            "SINGLE_ISSUER, DEFER_TASKRUN, provided buffers, multishot accept and receive, MSG_RING",
        ),
        Ok(features) => {
            Check::fail(what, format!("lacks {}", features.missing().join(", ")), "run Linux 6.1 or newer")
        }
        Err(error) => {
            let text = error.to_string();
            let (found, advice) = text.split_once("; ").unwrap_or((&text, "see `dmesg`"));
            Check::fail(what, found, advice)
        }
    }
}

/// `full`: how many of the rings of all shards have their full size.
fn ring_memory(shards: usize, memory: LockedMemory, full: &io::Result<usize>) -> Check {
    let what = "locked memory";
    match full {
        Ok(full) if *full == shards => Check::ok(what, memory.to_string()),
        Ok(full) => Check::warn(
            what,
            format!(
                "{memory}, of which a running server of this user has its part; {full} of {shards} are full ones"
            ),
            format!("smaller ones are slower under load; {}", memory.advice()),
        ),
        Err(error) if is_no_memory(error) => Check::fail(what, memory.to_string(), memory.advice()),
        // The line above says why there are no rings at all.
        Err(error) => Check::fail(what, format!("no ring: {error}"), "see io_uring ring"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        let verdict = |text: &str| release(text).verdict;
        assert_eq!(verdict("6.1.0-18-amd64"), Verdict::Ok);
        assert_eq!(verdict("6.18.44"), Verdict::Ok);
        assert_eq!(verdict("10.0"), Verdict::Ok);
        assert_eq!(verdict("6.0.19"), Verdict::Fail);
        assert_eq!(verdict("5.15.0-91-generic"), Verdict::Fail);
        assert_eq!(verdict("custom"), Verdict::Warn);
    }

    #[test]
    fn a_disabled_io_uring_names_its_sysctl() {
        assert_eq!(allowed(None).verdict, Verdict::Ok);
        assert_eq!(allowed(Some(0)).verdict, Verdict::Ok);
        assert_eq!(allowed(Some(1)).verdict, Verdict::Warn);
        let check = allowed(Some(2));
        assert_eq!(
            (check.verdict, check.advice.as_str()),
            (Verdict::Fail, "sysctl -w kernel.io_uring_disabled=0")
        );
    }

    #[test]
    fn rings_that_do_not_fit_name_what_to_raise() {
        let memory = LockedMemory { needed_bytes: 9 << 20, limit_bytes: Some(8 << 20) };
        assert_eq!(ring_memory(2, memory, &Ok(2)).verdict, Verdict::Ok);
        let check = ring_memory(16, memory, &Ok(15));
        assert_eq!(check.verdict, Verdict::Warn);
        assert!(check.found.contains("15 of 16") && check.advice.contains("LimitMEMLOCK=11M"), "{check:?}");
        let none = Err(io::Error::from(rustix::io::Errno::NOMEM));
        assert_eq!(ring_memory(16, memory, &none).verdict, Verdict::Fail);
    }

    #[test]
    fn a_refused_ring_fails_with_the_advice_of_the_probe() {
        let check = features(Err(ProbeError::TooOld));
        assert_eq!((check.verdict, check.advice.as_str()), (Verdict::Fail, "run Linux 6.1 or newer"));
        let mut lacking = RingFeatures {
            operations: true,
            buffer_ring: true,
            multishot_accept: true,
            multishot_receive: true,
            ring_messages: true,
        };
        assert_eq!(features(Ok(lacking)).verdict, Verdict::Ok);
        lacking.ring_messages = false;
        let check = features(Ok(lacking));
        assert_eq!((check.verdict, check.found.as_str()), (Verdict::Fail, "lacks ring messages"));
    }
}
