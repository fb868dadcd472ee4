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
        open_files(host::open_files(), serve.config.connections_max, serve.cores.len()),
        cores(&serve.cores, &host::allowed_cores()),
        governor(&governors.collect()),
    ]
}

fn open_files(limit: OpenFiles, connections: usize, shards: usize) -> Check {
    let what = "open files";
    let possible = host::connections_possible(OpenFiles { soft: limit.hard, ..limit }, shards);
    let found = format!("soft {}, hard {}: {possible} connections", limit.soft, limit.hard);
    if possible >= connections {
        return Check::ok(what, found).remark("the server raises the soft limit itself");
    }
    let needed = limit.hard.saturating_add((connections - possible) as u64);
    let advice = format!(
        "the others of --max-connections {connections} will be told to come back later; raise the hard limit \
         with `ulimit -Hn {needed}` as root, systemd: LimitNOFILE={needed}"
    );
    Check::warn(what, found, advice)
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
        let limit = OpenFiles { soft: 1024, hard: 101_088 };
        assert_eq!(open_files(limit, 100_000, 2).verdict, Verdict::Ok);
        let check = open_files(limit, 100_000, 3);
        assert_eq!(check.verdict, Verdict::Warn);
        assert!(check.advice.contains("LimitNOFILE=101104"), "{}", check.advice);
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
