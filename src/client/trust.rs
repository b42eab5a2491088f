//! Whom we talk to: the checks before the first byte, and the way to an agent that listens elsewhere.
//!
//! A socket is connected to only if its directory is ours alone, it is ours itself, and the process that listens on
//! it runs as us (or as root, where the path was named explicitly).

use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use super::deadline::Deadline;
use super::error::{Absence, ClientError, Failure};
#[cfg(target_os = "linux")]
use super::peer::Peer;
use crate::paths::{PathError, SocketPath, check_private_directory, our_uid};
use crate::untrusted::shown;

/// What is wrong with the socket or with who listens on it.
#[derive(Debug)]
pub enum Distrust {
    /// The socket or its directory.
    Path(PathError),
    /// Another user listens.
    Peer {
        /// On which socket.
        socket: PathBuf,
        /// Who.
        uid: u32,
    },
}

impl fmt::Display for Distrust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(error) => write!(formatter, "the agent's socket must not be trusted: {error}"),
            Self::Peer { socket, uid } => write!(
                formatter,
                "the agent's socket must not be trusted: user {uid} listens on {}; remove it: rm {}",
                shown(&socket.to_string_lossy()),
                crate::paths::shell_word(socket)
            ),
        }
    }
}

impl std::error::Error for Distrust {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Path(error) => Some(error),
            Self::Peer { .. } => None,
        }
    }
}

/// Checks the socket, connects, and checks who listens. The stream does not block.
pub(super) fn connect(socket: &SocketPath, deadline: &Deadline) -> Result<UnixStream, Failure> {
    let path = socket.path();
    let missing = || Failure::Missing(ClientError::NoAgent { socket: path.to_owned(), absence: Absence::NoSocket });
    match check_private_directory(socket.directory()) {
        Ok(()) => {}
        Err(error) if error.is_missing() => return Err(missing()),
        Err(error) => return Err(error.into()),
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(PathError::NotASocket { path: path.to_owned() }.into());
        }
        Ok(found) if found.uid() != our_uid() => {
            return Err(PathError::NotOurs { path: path.to_owned(), owner: found.uid() }.into());
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
        Err(error) => return Err(PathError::io("inspect", path, error).into()),
    }
    let io = |doing| move |error: Errno| ClientError::Io { doing, source: error.into() };
    let address = SocketAddrUnix::new(path).map_err(io("name"))?;
    let fd = loop {
        let fd = unconnected().map_err(io("open a socket to"))?;
        match rustix::net::connect(&fd, &address) {
            Ok(()) => break fd,
            // More callers than the agent has accepted yet; the system offers nothing to wait for.
            Err(Errno::AGAIN | Errno::INTR) if !deadline.left().is_zero() => deadline.pause(QUEUE_PAUSE)?,
            Err(Errno::AGAIN | Errno::INTR) => return Err(deadline.passed().into()),
            Err(Errno::NOENT) => return Err(missing()),
            Err(Errno::CONNREFUSED) => {
                let absence = Absence::Refused;
                return Err(Failure::Again(ClientError::NoAgent { socket: path.to_owned(), absence }));
            }
            Err(error) => return Err(io("connect to")(error).into()),
        }
    };
    let stream = UnixStream::from(fd);
    check_peer(&stream, socket)?;
    Ok(stream)
}

/// The socket of the agent that took the lock on this state directory last, if the lock file is one we may believe. It
/// stays behind when its agent dies, so what it names is tried and not presumed.
pub(super) fn socket_of_lock_holder(state_dir: &Path) -> Option<SocketPath> {
    let holder = crate::holder::read_holder(state_dir).ok()??;
    SocketPath::implied(&holder.socket).ok()
}

#[cfg(target_os = "linux")]
fn unconnected() -> Result<OwnedFd, Errno> {
    use rustix::net::SocketFlags;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

#[cfg(not(target_os = "linux"))]
fn unconnected() -> Result<OwnedFd, Errno> {
    let fd = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}

/// The process at the other end.
#[cfg(target_os = "linux")]
pub(super) fn peer_process(stream: &UnixStream) -> Option<u32> {
    Peer::of(stream).ok()?.process
}

#[cfg(not(target_os = "linux"))]
pub(super) fn peer_process(_stream: &UnixStream) -> Option<u32> {
    None
}

#[cfg(target_os = "linux")]
fn check_peer(stream: &UnixStream, socket: &SocketPath) -> Result<(), ClientError> {
    let Peer { uid, .. } = Peer::of(stream).map_err(|source| ClientError::Io { doing: "identify", source })?;
    if uid == our_uid() || (uid == 0 && socket.is_explicit()) {
        Ok(())
    } else {
        Err(Distrust::Peer { socket: socket.path().to_owned(), uid }.into())
    }
}

/// Nobody else could have bound a socket of ours in a directory of ours alone; there is no safe call to ask again.
#[cfg(not(target_os = "linux"))]
fn check_peer(_stream: &UnixStream, _socket: &SocketPath) -> Result<(), ClientError> {
    Ok(())
}

const QUEUE_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);
