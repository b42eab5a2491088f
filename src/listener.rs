//! The agent's socket in the file system.
//!
//! Owns: making the socket and its directory, noticing that it was replaced, removing it; or taking over the one that a
//! service manager made (`inherited`). Refuses to know who connects. Invariants: at no moment does the path lead to a
//! socket that others can open or that nobody listens on; only the holder of the state lock binds, so nobody's living
//! socket is replaced; only our own socket is removed.

mod inherited;
#[cfg(target_os = "macos")]
mod launchd;

use std::fmt;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::paths::{PathError, SocketPath, make_private_directory};
use crate::untrusted::shown;
pub use inherited::{Inherited, InheritedError};

/// Binds the socket. To be called by the holder of the state lock only. The listener does not block.
///
/// # Errors
/// The directory is not ours alone, another agent listens there, something else is there, or a system call failed.
pub fn bind(socket: &SocketPath) -> Result<(UnixListener, Place), ListenError> {
    make_private_directory(socket.directory())?;
    make_way(socket.path())?;
    // Unpredictable names are for directories that others can write. Here the process id will do: what an earlier
    // process of the same id has left behind is nobody's any more.
    let temporary = temporary_path(socket.path());
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(PathError::io("remove", &temporary, error).into());
        }
        _ => {}
    }
    let bound = bind_and_rename(&temporary, socket.path());
    if bound.is_err() {
        // It may not exist, and the error that counts is the one at hand.
        let _ = std::fs::remove_file(&temporary);
    }
    bound
}

/// Listens on what the service manager made.
#[must_use]
pub fn inherit(inherited: Inherited) -> (UnixListener, Place) {
    let path = inherited.path().to_owned();
    (inherited.listener, Place { path, owner: Owner::Manager })
}

/// Where the socket is, and which it is: removed when this is dropped, if we made it and it is still ours.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    owner: Owner,
}

/// Who made the socket, and sees to it.
#[derive(Debug)]
enum Owner {
    Us(Identity),
    Manager,
}

impl Place {
    /// The socket's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to the socket that was bound here. If not, no client finds this agent any more,
    /// and another one may be at work: finish, save, and exit. A manager's socket is the manager's affair: if it takes
    /// that away, it ends the agent too.
    #[must_use]
    pub fn still_ours(&self) -> bool {
        match &self.owner {
            Owner::Us(identity) => Identity::of(&self.path).is_ok_and(|found| found == *identity),
            Owner::Manager => true,
        }
    }

    /// Whether callers can still knock when this process is gone, and have it started again by that.
    #[must_use]
    pub const fn outlives_us(&self) -> bool {
        matches!(self.owner, Owner::Manager)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.outlives_us() && self.still_ours() {
            // Should it fail, the socket stays behind, refuses connections and is replaced by the next agent.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Why there is no socket.
#[derive(Debug)]
pub enum ListenError {
    /// The path, or a system call on it.
    Path(PathError),
    /// What the service manager handed over.
    Inherited(InheritedError),
    /// An agent with another state directory listens there.
    Taken {
        /// The socket.
        path: PathBuf,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(error) => error.fmt(formatter),
            Self::Inherited(error) => error.fmt(formatter),
            Self::Taken { path } => write!(
                formatter,
                "an agent with another state directory listens on {}; stop it, or name another socket with SSO_AGENT_SOCK",
                shown(&path.to_string_lossy())
            ),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // It is shown as it is, so what is below it comes next.
            Self::Path(error) => error.source(),
            Self::Inherited(error) => error.source(),
            Self::Taken { .. } => None,
        }
    }
}

impl From<PathError> for ListenError {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}

impl From<InheritedError> for ListenError {
    fn from(error: InheritedError) -> Self {
        Self::Inherited(error)
    }
}

/// Only a socket that nobody listens on may be replaced.
fn make_way(path: &Path) -> Result<(), ListenError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(PathError::NotASocket { path: path.to_owned() }.into()),
        Ok(_) if somebody_listens(path) => Err(ListenError::Taken { path: path.to_owned() }),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(PathError::io("inspect", path, error).into()),
    }
}

/// Without waiting: an agent that is too busy to accept listens all the same.
fn somebody_listens(path: &Path) -> bool {
    use rustix::io::Errno;
    let connected = SocketAddrUnix::new(path).and_then(|address| {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        rustix::net::connect(&socket, &address)
    });
    matches!(connected, Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS))
}

fn bind_and_rename(temporary: &Path, path: &Path) -> Result<(UnixListener, Place), ListenError> {
    let failed = |doing| move |error: rustix::io::Errno| PathError::io(doing, path, error);
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).map_err(failed("open"))?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC).map_err(failed("open"))?;
    let address = SocketAddrUnix::new(temporary).map_err(failed("bind"))?;
    rustix::net::bind(&socket, &address).map_err(failed("bind"))?;
    std::fs::set_permissions(temporary, std::fs::Permissions::from_mode(0o600))
        .map_err(|error| PathError::io("set the mode of", temporary, error))?;
    rustix::net::listen(&socket, BACKLOG).map_err(failed("listen on"))?;
    let listener = UnixListener::from(socket);
    listener.set_nonblocking(true).map_err(|error| PathError::io("open", path, error))?;
    let identity = Identity::of(temporary).map_err(|error| PathError::io("inspect", temporary, error))?;
    std::fs::rename(temporary, path).map_err(|error| PathError::io("rename", temporary, error))?;
    Ok((listener, Place { path: path.to_owned(), owner: Owner::Us(identity) }))
}

fn temporary_path(path: &Path) -> PathBuf {
    let suffix = format!(".{:x}", std::process::id() & 0xff_ffff);
    debug_assert!(suffix.len() <= crate::paths::TEMPORARY_SUFFIX_BYTES);
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Which file it is, whatever its name.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        std::fs::symlink_metadata(path).map(|found| Self { device: found.dev(), inode: found.ino() })
    }
}

/// Callers that wait to be accepted; the system has its own upper bound.
const BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::scratch::Scratch;

    fn socket(dir: &Scratch) -> SocketPath {
        SocketPath::implied(&dir.path().join("run/agent.sock")).unwrap()
    }

    #[test]
    fn the_socket_and_its_directory_are_private_and_it_is_removed_in_the_end() {
        let dir = Scratch::new();
        let (listener, place) = bind(&socket(&dir)).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(place.path()), mode(place.path().parent().unwrap())), (0o600, 0o700));
        assert!(place.still_ours() && UnixStream::connect(place.path()).is_ok());
        assert_eq!(std::fs::read_dir(dir.path().join("run")).unwrap().count(), 1, "no temporary name is left");
        let path = place.path().to_owned();
        drop((listener, place));
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_a_living_one_is_not() {
        let dir = Scratch::new();
        let (listener, place) = bind(&socket(&dir)).unwrap();
        assert!(matches!(bind(&socket(&dir)), Err(ListenError::Taken { .. })));
        drop(listener);
        let (_listener, replacement) = bind(&socket(&dir)).unwrap();
        assert!(!place.still_ours() && replacement.still_ours());
        drop(place);
        assert!(replacement.still_ours(), "whoever was replaced must not remove its successor's socket");
    }

    #[test]
    fn an_agent_too_busy_to_accept_is_not_replaced_and_not_waited_for() {
        let dir = Scratch::new();
        let path = dir.path().join("agent.sock");
        let busy = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&busy, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&busy, 0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        assert!(matches!(make_way(&path), Err(ListenError::Taken { .. })));
    }

    #[test]
    fn a_file_that_is_no_socket_is_not_replaced() {
        let dir = Scratch::new();
        let path = dir.path().join("notes");
        std::fs::write(&path, "mine").unwrap();
        let error = bind(&SocketPath::explicit(&path).unwrap()).unwrap_err();
        assert!(matches!(error, ListenError::Path(PathError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn the_longest_path_a_client_accepts_can_be_bound() {
        let dir = Scratch::new();
        let room = crate::paths::MOST_SOCKET_BYTES - dir.path().as_os_str().len() - 1;
        let longest = SocketPath::explicit(&dir.path().join("s".repeat(room))).unwrap();
        assert!(bind(&longest).is_ok());
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        let dir = Scratch::new();
        make_private_directory(socket(&dir).directory()).unwrap();
        std::fs::set_permissions(socket(&dir).directory(), PermissionsExt::from_mode(0o711)).unwrap();
        let error = bind(&socket(&dir)).unwrap_err();
        assert!(error.to_string().contains("chmod 700 "), "{error}");
    }
}
