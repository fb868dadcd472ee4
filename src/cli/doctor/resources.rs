//! Does this process get the descriptors and cores its flags ask for?

use std::collections::BTreeSet;

use super::Check;
use crate::cli::Serve;
use crate::cli::cores::CoreList;
use crate::io::host::{self, OpenFiles};

pub(super) fn checks(serve: &Serve) -> Vec<Check> {
    let governors = serve.cores.iter().filter_map(|core| {
        let path = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
        std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
    });
    vec![
        open_files(host::open_files(), serve.config.connections_max as u64, serve.cores.len() as u64),
        cores(&serve.cores, &host::allowed_cores()),
        governor(&governors.collect()),
    ]
}

/// Descriptors of a shard beside its connections: its ring and its listeners, with some to spare for those
/// who are told to come back later.
const DESCRIPTORS_PER_SHARD: u64 = 32;

fn open_files(limit: OpenFiles, connections: u64, shards: u64) -> Check {
    let what = "open files";
    let needed = connections + shards * DESCRIPTORS_PER_SHARD;
    let found = format!("soft {}, hard {}; {needed} needed", limit.soft, limit.hard);
    if limit.hard >= needed {
        return Check::ok(what, found).remark("the server raises the soft limit itself");
    }
    let advice = "raise the hard limit: `ulimit -Hn";
    let advice =
        format!("{advice} {needed}` as root, systemd: LimitNOFILE={needed}; or lower --max-connections");
    Check::fail(what, found, advice)
}

fn cores(used: &[usize], allowed: &[usize]) -> Check {
    let (used_list, allowed_list) = (CoreList(used.to_vec()), CoreList(allowed.to_vec()));
    let check = Check::ok("cores", format!("{used_list} of {allowed_list}"));
    match used.len() < allowed.len() {
        true => check,
        false => {
            check.remark("leave one to the network card and other programs with --cores when they are busy")
        }
    }
}

/// `governors` are those of the cores the server uses; virtual machines have none.
fn governor(governors: &BTreeSet<String>) -> Check {
    let what = "CPU governor";
    let names: Vec<&str> = governors.iter().map(String::as_str).collect();
    match names[..] {
        [] => Check::ok(what, "none to read").remark("a virtual machine leaves it to its host"),
        ["performance"] => Check::ok(what, "performance"),
        _ => Check::warn(
            what,
            names.join(", "),
            "a core that must first speed up answers late: cpupower frequency-set -g performance",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn descriptors_must_suffice_for_all_connections() {
        let limit = OpenFiles { soft: 1024, hard: 100_064 };
        assert_eq!(open_files(limit, 100_000, 2).verdict, Verdict::Ok);
        let check = open_files(limit, 100_000, 3);
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.advice.contains("LimitNOFILE=100096"), "{}", check.advice);
    }

    #[test]
    fn a_saving_governor_is_a_warning() {
        let of = |names: &[&str]| governor(&names.iter().map(|&name| name.to_owned()).collect()).verdict;
        assert_eq!(of(&[]), Verdict::Ok);
        assert_eq!(of(&["performance"]), Verdict::Ok);
        assert_eq!(of(&["powersave"]), Verdict::Warn);
        assert_eq!(of(&["performance", "schedutil"]), Verdict::Warn);
    }

    #[test]
    fn using_every_core_is_remarked() {
        assert!(cores(&[0], &[0, 1]).advice.is_empty());
        assert!(cores(&[0, 1], &[0, 1]).advice.contains("--cores"));
    }
}
