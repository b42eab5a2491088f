//! Who listens at the other end of a connection.
//!
//! Owns: one socket option, asked for by hand: a process of another namespace has no number here, and the safe wrapper's
//! type has no place for that. Every agent outside of a container is such a process to whoever is inside.

use std::io;
use std::os::unix::net::UnixStream;

/// The other end, as the kernel tells it in our namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    /// Its process; none where that is in a namespace we do not see into.
    pub(super) process: Option<u32>,
    /// Its user.
    pub(super) uid: u32,
}

impl Peer {
    #[expect(unsafe_code, reason = "the safe call cannot take a process without a number")]
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let mut told = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let size = size_of::<libc::ucred>();
        let mut length = libc::socklen_t::try_from(size).map_err(io::Error::other)?;
        // SAFETY: the descriptor is open as long as the stream is borrowed; the kernel writes at most `length` bytes,
        // which is what there is room for, and every pattern of them is a `ucred`.
        let outcome = unsafe {
            let place = std::ptr::from_mut(&mut told).cast();
            libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, place, &raw mut length)
        };
        if outcome != 0 {
            return Err(io::Error::last_os_error());
        }
        if usize::try_from(length).ok() != Some(size) {
            return Err(io::Error::other("the system told less than who it is"));
        }
        Ok(Self { process: u32::try_from(told.pid).ok().filter(|pid| *pid > 0), uid: told.uid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_is_told_with_its_process_and_user() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer, Peer { process: Some(std::process::id()), uid: crate::paths::our_uid() });
    }
}
