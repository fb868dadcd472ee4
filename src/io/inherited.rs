//! Listening sockets that another process has opened and this one is started with: those of a socket unit, those that systemd has
//! kept for this service (`FDSTORE=1`), and those that `annulus upgrade` hands to the next binary. All three come the same way
//! (sd_listen_fds(3)): as descriptors from 3 on, whose number and names are in `LISTEN_FDS` and `LISTEN_FDNAMES`.
//!
//! ```text
//! take      at the start of the process: what there is
//! reserve   the descriptors from 3 on are kept free of anything else, for
//! pass      the listeners in order from 3 on, and into the new program
//! ```
#![allow(unsafe_code, reason = "descriptors that another process has opened come as numbers")]

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::sockopt;

/// The first of them.
const FIRST: RawFd = 3;
/// What the names of those begin with that an earlier life of this server has opened.
const OURS: &str = "annulus-";

/// One of them.
#[derive(Debug)]
pub struct Inherited {
    name: String,
    pub address: SocketAddr,
    pub socket: OwnedFd,
}

impl Inherited {
    /// Ends it: who waits to be accepted is reset, and nobody else gets in. Its descriptor stays as it is, as it is one of those
    /// that [`pass`] needs.
    pub fn end(self) {
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        let _ = self.socket.into_raw_fd();
    }

    /// Whether an earlier life of this server has opened it; if not, a socket unit has.
    pub fn is_ours(&self) -> bool {
        self.name.starts_with(OURS)
    }
}

/// A listener's name for who keeps it: of its address, without the characters that no such name may have.
pub fn name(address: SocketAddr) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
    format!("{OURS}{}", address.to_string().chars().map(plain).collect::<String>())
}

/// Where something was inherited for `wanted`, whose port may be 0, and which is none of those that are `taken`.
pub(super) fn at(wanted: SocketAddr, inherited: &[Inherited], taken: &[SocketAddr]) -> Option<SocketAddr> {
    let fits = |listener: &&Inherited| match wanted.port() {
        0 => listener.is_ours() && listener.address.ip() == wanted.ip(),
        _ => listener.address == wanted,
    };
    inherited.iter().filter(fits).map(|listener| listener.address).find(|address| !taken.contains(address))
}

/// Takes what there is. Called once, before there are threads.
///
/// # Errors
/// One of them is no listening socket of TCP, or what the variables say makes no sense.
pub fn take() -> io::Result<Vec<Inherited>> {
    let mut taken = Vec::new();
    // Where there are none, names make no sense, and are not looked at.
    if sd_notify::listen_fds()?.len() == 0 {
        return Ok(taken);
    }
    for (number, name) in sd_notify::listen_fds_with_names()? {
        // SAFETY: who has started this process has opened it for it (sd_listen_fds(3)), and nobody else here knows its number:
        // this is called once, before anything is opened.
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        let is_listening = sockopt::socket_acceptconn(&socket).unwrap_or(false);
        let address = bound_to(&socket).ok().filter(|_| is_listening);
        let Some(address) = address else {
            return Err(io::Error::other(format!(
                "descriptor {number}, {name}, is no listening socket of TCP; its unit has ListenStream= with an address and a \
                 port, and Accept=no"
            )));
        };
        // Accepted sockets inherit it: frames are coalesced by us, the kernel must not wait for more.
        sockopt::set_tcp_nodelay(&socket, true)?;
        // A ring waits by itself, unless the socket says that it must not.
        rustix::io::ioctl_fionbio(&socket, false)?;
        taken.push(Inherited { name, address, socket });
    }
    Ok(taken)
}

/// Keeps so many descriptors from 3 on for [`pass`], but for those that were inherited. Called before anything else is opened.
///
/// # Errors
/// If no descriptor is left.
pub fn reserve(count: usize) -> io::Result<()> {
    let nothing = std::fs::File::open("/dev/null")?;
    loop {
        let next = fcntl_dupfd_cloexec(&nothing, FIRST)?;
        if next.as_raw_fd() >= end_of(count) {
            return Ok(());
        }
        // Until this process ends or becomes another program.
        let _ = next.into_raw_fd();
    }
}

fn end_of(count: usize) -> RawFd {
    FIRST.saturating_add(RawFd::try_from(count).unwrap_or(RawFd::MAX))
}

/// What the next program is started with.
#[derive(Clone, Debug)]
pub struct Program<'a> {
    pub path: &'a Path,
    pub arguments: &'a [OsString],
}

/// Becomes `program`, in this process, with these listeners. Everything else that is open is closed.
///
/// [`reserve`] has kept at least as many descriptors as there are listeners. Returns only if it fails, and then with the
/// listeners, so that another program can be tried.
pub fn pass(program: &Program<'_>, listeners: Vec<OwnedFd>) -> (io::Error, Vec<OwnedFd>) {
    let names: Vec<String> = listeners.iter().map(name_of).collect();
    let placed = match in_order(&listeners) {
        Ok(()) => names.len(),
        Err(error) => return (error, listeners),
    };
    let error = Command::new(program.path)
        .args(program.arguments)
        .env("LISTEN_PID", std::process::id().to_string())
        .env("LISTEN_FDS", placed.to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .exec();
    (error, listeners)
}

fn name_of(listener: &OwnedFd) -> String {
    bound_to(listener).map_or_else(|_| OURS.to_owned(), name)
}

/// Where a socket is bound.
pub(super) fn bound_to(socket: impl AsFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(rustix::net::getsockname(socket)?)?)
}

/// Copies the listeners to the descriptors from 3 on, which stay open in the next program.
fn in_order(listeners: &[OwnedFd]) -> io::Result<()> {
    let end = end_of(listeners.len());
    // Out of the way first, as some may be where others are to be.
    let aside: Vec<OwnedFd> =
        listeners.iter().map(|listener| fcntl_dupfd_cloexec(listener, end)).collect::<Result<_, _>>()?;
    for (listener, at) in aside.iter().zip(FIRST..) {
        // SAFETY: what is there is one of the listeners, of which there is a copy aside, or was kept by `reserve` for this, or is
        // a listener at which nobody listens any more. The program that follows is the only one to use it.
        if unsafe { libc::dup2(listener.as_raw_fd(), at) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited(name: &str, address: &str) -> Inherited {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap().into();
        Inherited { name: name.to_owned(), address: address.parse().unwrap(), socket }
    }

    #[test]
    fn names_have_no_character_that_separates_them() {
        for (address, expected) in
            [("127.0.0.1:9000", "annulus-127.0.0.1_9000"), ("[::1]:80", "annulus-___1__80")]
        {
            assert_eq!(name(address.parse().unwrap()), expected);
        }
    }

    #[test]
    fn an_address_finds_its_listener_and_port_0_one_of_an_earlier_life() {
        let ours = name("127.0.0.1:7001".parse().unwrap());
        let all = [inherited("annulus.socket", "127.0.0.1:7000"), inherited(&ours, "127.0.0.1:7001")];
        let find = |wanted: &str, taken: &[SocketAddr]| {
            at(wanted.parse().unwrap(), &all, taken).map(|address| address.port())
        };
        assert_eq!(find("127.0.0.1:7000", &[]), Some(7000));
        assert_eq!(find("127.0.0.1:7002", &[]), None);
        assert_eq!(find("127.0.0.2:7000", &[]), None);
        assert_eq!(find("127.0.0.1:0", &[]), Some(7001));
        assert_eq!(find("127.0.0.1:0", &["127.0.0.1:7001".parse().unwrap()]), None);
    }
}
