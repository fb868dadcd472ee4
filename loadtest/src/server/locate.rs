//! Which process listens on a local port, so that its CPU time can be read.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The file of a data directory that a durable server has open as long as it runs.
const BASE: &str = "base.redb";

/// `LISTEN` in the state column of `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The process that listens on the port of `address`; `None` if it is not on this machine or not ours to see.
pub fn listener_pid(address: SocketAddr) -> Option<u32> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listening_inodes(&table, address.port()))
        .collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        holds_any(pid, &inodes).then_some(pid)
    })
}

/// The cores to which that process has threads pinned, ascending. The floor goes to the first.
pub fn pinned_cores(pid: u32) -> Vec<usize> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let mut cores: Vec<usize> = tasks
        .flatten()
        .filter_map(|task| {
            let status = fs::read_to_string(task.path().join("status")).ok()?;
            let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
            list.trim().parse().ok()
        })
        .collect();
    cores.sort_unstable();
    cores.dedup();
    cores
}

/// The folder in which that process has its base open; `None` when it has none, or is not ours to see.
pub fn data_dir(pid: u32) -> Option<PathBuf> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let mut files = descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    files.find(|file| file.file_name().is_some_and(|name| name == BASE))?.parent().map(PathBuf::from)
}

fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    let port = format!(":{port:04X}");
    let rows = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let matches = columns.get(1)?.ends_with(&port) && *columns.get(3)? == LISTEN;
        matches.then(|| format!("socket:[{}]", columns.get(9).copied().unwrap_or("")))
    });
    rows.collect()
}

fn holds_any(pid: u32, inodes: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .any(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_directory_is_found_by_the_base_that_is_open() {
        let folder = std::env::temp_dir().join(format!("loadtest-locate-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let base = fs::File::create(folder.join(BASE)).unwrap();
        assert_eq!(data_dir(std::process::id()), Some(folder.canonicalize().unwrap()));
        drop(base);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn own_listener_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(listener_pid(listener.local_addr().unwrap()), Some(std::process::id()));
    }
}
