//! Does the network stack take as many connections as the flags promise?

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::{Check, read_number};
use crate::cli::Serve;
use crate::io::host::reachable;
use crate::shard::INDEX_TITLE;

pub(super) fn checks(serve: &Serve) -> Vec<Check> {
    let connections = serve.config.connections_max as u64;
    let mut checks: Vec<Check> =
        serve.config.listen.iter().chain(&serve.config.tls_listen).map(|&address| listen(address)).collect();
    checks.push(backlog(read_number("/proc/sys/net/core/somaxconn"), serve.config.backlog));
    let memory = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_mem").unwrap_or_default();
    checks.push(tcp_memory(&memory, rustix::param::page_size() as u64, connections));
    checks.extend(tracked(read_number("/proc/sys/net/netfilter/nf_conntrack_max"), connections));
    let ports = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    checks.push(local_ports(&ports));
    checks
}

/// Binds the address for a moment.
fn listen(address: SocketAddr) -> Check {
    let what = "listen";
    match TcpListener::bind(address) {
        Ok(_) => Check::ok(what, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_annulus(address) => {
            Check::ok(what, format!("a running annulus serves {address}"))
                .remark("a second one beside it needs another --listen")
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => Check::warn(
            what,
            format!("{address} is in use, and not by an annulus that answers"),
            format!("see `ss -ltnp sport = :{}`, or choose another --listen", address.port()),
        ),
        Err(error) => {
            Check::fail(what, format!("{address}: {error}"), "choose an address of this host (`ip address`)")
        }
    }
}

/// How long a server may take to say what it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether what listens there says that it is one of ours.
fn is_annulus(address: SocketAddr) -> bool {
    let asked = || {
        let mut stream = TcpStream::connect_timeout(&reachable(address), ANSWER_TIMEOUT)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: doctor\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        Ok::<_, io::Error>(answer)
    };
    let title = INDEX_TITLE.as_bytes();
    asked().is_ok_and(|answer| answer.windows(title.len()).any(|part| part == title))
}

/// More than the page has.
const ANSWER_BYTES_MAX: u64 = 4 << 10;

fn backlog(somaxconn: Option<u64>, backlog: i32) -> Check {
    let what = "accept queue";
    let Some(limit) = somaxconn else { return Check::ok(what, "net.core.somaxconn is not readable here") };
    let found = format!("net.core.somaxconn {limit}, --backlog {backlog}");
    match u64::try_from(backlog).is_ok_and(|backlog| backlog <= limit) {
        true => Check::ok(what, found),
        false => Check::warn(what, found, format!("sysctl -w net.core.somaxconn={backlog}")),
    }
}

/// `setting` is `net.ipv4.tcp_mem`: three numbers of pages; past the second one the kernel holds TCP back.
fn tcp_memory(setting: &str, page_bytes: u64, connections: u64) -> Check {
    let what = "TCP memory";
    let Some(pages) = setting.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()) else {
        return Check::ok(what, "net.ipv4.tcp_mem is not readable here");
    };
    let found = format!(
        "held back past {} MiB, {} KiB for each of {connections} connections",
        (pages * page_bytes) >> 20,
        pages * page_bytes / connections.max(1) / 1024
    );
    // A socket that holds any data holds a page of it.
    if pages >= connections {
        return Check::ok(what, found);
    }
    let advice = format!("sysctl -w net.ipv4.tcp_mem=\"{connections} {connections} {}\"", 2 * connections);
    Check::warn(what, found, format!("less than a page for each: {advice}"))
}

/// `limit` is that of connection tracking, if the firewall tracks at all.
fn tracked(limit: Option<u64>, connections: u64) -> Option<Check> {
    let (what, limit) = ("conntrack", limit?);
    let found = format!("nf_conntrack_max {limit}, --max-connections {connections}");
    Some(match limit >= connections {
        true => Check::ok(what, found),
        false => {
            Check::warn(what, found, format!("sysctl -w net.netfilter.nf_conntrack_max={}", 2 * connections))
        }
    })
}

/// `setting` is `net.ipv4.ip_local_port_range`: first and last.
fn local_ports(setting: &str) -> Check {
    let what = "local ports";
    let mut ports = setting.split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(first)), Some(Ok(last))) = (ports.next(), ports.next()) else {
        return Check::ok(what, "net.ipv4.ip_local_port_range is not readable here");
    };
    let count = (last + 1).saturating_sub(first);
    Check::ok(what, format!("{count} ({first}-{last})")).remark(
        "the most connections one client address, such as a proxy or the load generator, opens to one --listen",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_port_in_use_is_noticed() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        assert_eq!(listen(address).verdict, Verdict::Warn);
        drop(holder);
        assert_eq!(listen(address).verdict, Verdict::Ok);
        // An address of the documentation range is on no host (RFC 5737).
        assert_eq!(listen(SocketAddr::from(([192, 0, 2, 1], 9000))).verdict, Verdict::Fail);
    }

    #[test]
    fn a_short_accept_queue_names_its_sysctl() {
        assert_eq!(backlog(Some(4096), 4096).verdict, Verdict::Ok);
        let check = backlog(Some(128), 4096);
        assert_eq!(
            (check.verdict, check.advice.as_str()),
            (Verdict::Warn, "sysctl -w net.core.somaxconn=4096")
        );
    }

    #[test]
    fn tcp_memory_must_hold_a_page_for_each_connection() {
        assert_eq!(tcp_memory("46000 100000 92000", 4096, 100_000).verdict, Verdict::Ok);
        let check = tcp_memory("46000\t99999\t92000", 4096, 100_000);
        assert_eq!(check.verdict, Verdict::Warn);
        assert!(check.advice.contains("tcp_mem=\"100000 100000 200000\""), "{}", check.advice);
        assert_eq!(tcp_memory("", 4096, 1).verdict, Verdict::Ok);
    }

    #[test]
    fn only_a_tracking_firewall_is_checked() {
        assert!(tracked(None, 10).is_none());
        assert!(tracked(Some(10), 10).is_some_and(|check| check.verdict == Verdict::Ok));
        assert!(tracked(Some(9), 10).is_some_and(|check| check.verdict == Verdict::Warn));
    }

    #[test]
    fn local_ports_are_counted_inclusively() {
        assert!(local_ports("32768\t60999").found.starts_with("28232 "));
    }
}
