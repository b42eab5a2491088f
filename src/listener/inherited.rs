//! A socket that a service manager made and hands over.
//!
//! Owns: finding it (`LISTEN_FDS` of systemd; launchd in a file of its own), and the check that it is what clients of
//! ours will trust. Refuses to know who connects. Invariants: what is not ours by `LISTEN_PID` is not touched; nothing is
//! accepted from a socket that others could open; no child gets it; it is never removed, for it is the manager's.

use std::fmt;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketType};

use crate::env::Env;
use crate::paths::{self, PathError, check_private_directory};
use crate::untrusted::shown;

/// A listening socket of a service manager's, ready to accept from.
#[derive(Debug)]
pub struct Inherited {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl Inherited {
    /// The socket that this process was started with, if it was. To be called once, early: the descriptors are taken
    /// over.
    ///
    /// # Errors
    /// What was handed over is not a private listening socket with a path.
    pub fn of_process(env: &Env) -> Result<Option<Self>, InheritedError> {
        #[cfg(target_os = "macos")]
        if let Some(socket) = super::launchd::socket(NAME)? {
            return Self::of(socket).map(Some);
        }
        match handed_over(env, std::process::id())? {
            Some(number) if !TAKEN.swap(true, Ordering::Relaxed) => Self::of(take(number)?).map(Some),
            _ => Ok(None),
        }
    }

    /// Where clients find it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn of(socket: OwnedFd) -> Result<Self, InheritedError> {
        rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(failed)?;
        if let Some(why) = why_unfit(&socket) {
            return Err(InheritedError::Unfit(why));
        }
        let listener = UnixListener::from(socket);
        listener.set_nonblocking(true).map_err(InheritedError::Io)?;
        let address = listener.local_addr().map_err(InheritedError::Io)?;
        let path = address.as_pathname().filter(|path| path.is_absolute()).ok_or(InheritedError::NoPath)?.to_owned();
        check_private(&path)?;
        Ok(Self { listener, path })
    }
}

/// Why the socket that was handed over is not used.
#[derive(Debug)]
pub enum InheritedError {
    /// `LISTEN_FDS` and `LISTEN_FDNAMES` do not say which one it is.
    WhichOne(String),
    /// It is not a Unix stream socket that listens.
    Unfit(&'static str),
    /// No client could find it.
    NoPath,
    /// Others can open it.
    OpenToOthers {
        /// The socket.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Its path leads to something else, its owner is somebody else, or its directory is open to others.
    Path(PathError),
    /// A system call failed.
    Io(std::io::Error),
}

impl fmt::Display for InheritedError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the service manager's socket cannot be used: ")?;
        match self {
            Self::WhichOne(count) => {
                write!(formatter, "of LISTEN_FDS={} none is named {NAME} in LISTEN_FDNAMES", shown(count))
            }
            Self::Unfit(why) => formatter.write_str(why),
            Self::NoPath => formatter.write_str("it has no absolute path"),
            Self::OpenToOthers { path, mode } => write!(
                formatter,
                "{} is open to other users (mode {mode:04o}); write SocketMode=0600 into its unit",
                shown(&path.to_string_lossy())
            ),
            Self::Path(error) => error.fmt(formatter),
            Self::Io(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for InheritedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Path(error) => error.source(),
            _ => None,
        }
    }
}

/// Which descriptor is the agent's socket, by what the manager says to the process of this id.
fn handed_over(env: &Env, us: u32) -> Result<Option<RawFd>, InheritedError> {
    // Somebody else's, left over in the environment.
    if env.get("LISTEN_PID").and_then(|pid| pid.parse().ok()) != Some(us) {
        return Ok(None);
    }
    let Some(count) = env.get("LISTEN_FDS") else { return Ok(None) };
    let which_one = || InheritedError::WhichOne(count.to_owned());
    match count.parse::<RawFd>() {
        Ok(0) => Ok(None),
        // Whatever it is called: there is no other.
        Ok(1) => Ok(Some(FIRST)),
        Ok(number @ 2..=MOST) => {
            let names = env.get("LISTEN_FDNAMES").unwrap_or_default().split(':').zip(FIRST..FIRST + number);
            let mut ours = names.filter(|(name, _)| *name == NAME).map(|(_, number)| number);
            match (ours.next(), ours.next()) {
                (Some(number), None) => Ok(Some(number)),
                _ => Err(which_one()),
            }
        }
        _ => Err(which_one()),
    }
}

/// Takes the descriptor over.
#[expect(unsafe_code, reason = "a descriptor that was handed over is known by its number only")]
fn take(number: RawFd) -> Result<OwnedFd, InheritedError> {
    // SAFETY: this asks about a number and touches no memory.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(InheritedError::Io(std::io::Error::last_os_error()));
    }
    // SAFETY: it is open, the manager handed it to this process (`LISTEN_PID`), and `TAKEN` lets nobody here take it twice.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn why_unfit(socket: impl AsFd) -> Option<&'static str> {
    match rustix::net::sockopt::socket_type(&socket) {
        Ok(SocketType::STREAM) => {}
        Ok(_) => return Some("it is not a stream socket (ListenStream=)"),
        Err(_) => return Some("it is not a socket"),
    }
    let family = rustix::net::getsockname(&socket).map(|address| address.address_family());
    if family != Ok(AddressFamily::UNIX) {
        return Some("it is not a Unix socket");
    }
    // macOS does not tell.
    #[cfg(not(target_os = "macos"))]
    if rustix::net::sockopt::socket_acceptconn(&socket) != Ok(true) {
        return Some("it does not listen (Accept=no)");
    }
    None
}

/// What clients will ask of it before they send a byte (A§8), and that nobody else can (A§6).
fn check_private(path: &Path) -> Result<(), InheritedError> {
    let found =
        std::fs::symlink_metadata(path).map_err(|error| InheritedError::Path(PathError::io("inspect", path, error)))?;
    if !found.file_type().is_socket() {
        return Err(InheritedError::Path(PathError::NotASocket { path: path.to_owned() }));
    }
    if found.uid() != paths::our_uid() {
        return Err(InheritedError::Path(PathError::NotOurs { path: path.to_owned(), owner: found.uid() }));
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(InheritedError::OpenToOthers { path: path.to_owned(), mode });
    }
    check_private_directory(path.parent().unwrap_or(Path::new("/"))).map_err(InheritedError::Path)
}

fn failed(error: rustix::io::Errno) -> InheritedError {
    InheritedError::Io(error.into())
}

/// What the units call the agent's own socket.
pub(super) const NAME: &str = "agent";
/// By the protocol.
const FIRST: RawFd = 3;
/// More than any unit of ours will ever have.
const MOST: RawFd = 32;
/// Once in a process.
static TAKEN: AtomicBool = AtomicBool::new(false);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;
    use crate::scratch::Scratch;

    fn env(variables: &[(&str, &str)]) -> Env {
        variables.iter().copied().collect()
    }

    /// A socket as a unit makes it.
    fn socket(dir: &Scratch, mode: u32) -> (PathBuf, UnixListener) {
        let directory = dir.path().join("run");
        paths::make_private_directory(&directory).unwrap();
        let path = directory.join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        (path, listener)
    }

    #[test]
    fn what_was_handed_to_another_process_is_not_taken() {
        let variables = env(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "1")]);
        assert!(matches!(handed_over(&variables, 7), Ok(Some(3))));
        assert!(matches!(handed_over(&variables, 8), Ok(None)));
        assert!(matches!(handed_over(&env(&[("LISTEN_FDS", "1")]), 7), Ok(None)));
        assert!(matches!(handed_over(&env(&[("LISTEN_PID", "7")]), 7), Ok(None)));
        assert!(matches!(handed_over(&env(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "0")]), 7), Ok(None)));
    }

    #[test]
    fn of_several_sockets_the_one_with_our_name_is_taken() {
        let several = |count, names| {
            handed_over(&env(&[("LISTEN_PID", "7"), ("LISTEN_FDS", count), ("LISTEN_FDNAMES", names)]), 7)
        };
        assert!(matches!(several("2", "other:agent"), Ok(Some(4))));
        for (count, names) in [("2", "a:b"), ("2", "agent:agent"), ("2", ""), ("2", "a:b:agent"), ("-1", ""), ("x", "")]
        {
            assert!(matches!(several(count, names), Err(InheritedError::WhichOne(_))), "{count} {names}");
        }
        assert!(matches!(several("2000000000", "agent"), Err(InheritedError::WhichOne(_))));
    }

    #[test]
    fn a_private_listening_socket_is_used_and_left_where_it_is() {
        let dir = Scratch::new();
        let (path, listener) = socket(&dir, 0o600);
        let inherited = Inherited::of(listener.into()).unwrap();
        assert_eq!(inherited.path(), path);
        assert!(rustix::io::fcntl_getfd(&inherited.listener).unwrap().contains(FdFlags::CLOEXEC));
        let (listener, place) = super::super::inherit(inherited);
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        let _caller = UnixStream::connect(&path).unwrap();
        assert!(listener.accept().is_ok());
        assert!(place.still_ours());
        std::fs::rename(&path, path.with_extension("moved")).unwrap();
        assert!(place.still_ours(), "where it is, is the manager's affair");
        std::fs::rename(path.with_extension("moved"), &path).unwrap();
        drop((listener, place));
        assert!(path.exists(), "it is not ours to remove");
    }

    #[test]
    fn a_socket_that_others_can_open_is_refused() {
        let dir = Scratch::new();
        let (_, listener) = socket(&dir, 0o660);
        let error = Inherited::of(listener.into()).unwrap_err();
        assert!(error.to_string().contains("SocketMode=0600"), "{error}");
        let dir = Scratch::new();
        let (path, listener) = socket(&dir, 0o600);
        std::fs::set_permissions(path.parent().unwrap(), PermissionsExt::from_mode(0o755)).unwrap();
        let error = Inherited::of(listener.into()).unwrap_err();
        assert!(matches!(error, InheritedError::Path(PathError::OpenToOthers { .. })), "{error}");
    }

    #[test]
    fn what_no_client_could_reach_is_refused() {
        let dir = Scratch::new();
        let (path, listener) = socket(&dir, 0o600);
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Inherited::of(listener.into()).unwrap_err(), InheritedError::Path(_)));
        let address = {
            use std::os::linux::net::SocketAddrExt;
            let name = format!("sso-agent-inherited-{}", std::process::id());
            std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap()
        };
        let nowhere = UnixListener::bind_addr(&address).unwrap();
        assert!(matches!(Inherited::of(nowhere.into()).unwrap_err(), InheritedError::NoPath));
    }

    #[test]
    fn what_is_no_listening_stream_socket_of_this_machine_is_refused() {
        let unfit = |socket: OwnedFd| match Inherited::of(socket) {
            Err(InheritedError::Unfit(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(unfit(std::fs::File::open("/dev/null").unwrap().into()).contains("not a socket"));
        assert!(unfit(UnixDatagram::unbound().unwrap().into()).contains("stream"));
        assert!(unfit(UnixStream::pair().unwrap().0.into()).contains("listen"));
        assert!(unfit(std::net::TcpListener::bind("127.0.0.1:0").unwrap().into()).contains("Unix"));
    }

    #[test]
    fn a_descriptor_that_is_not_there_is_an_error() {
        assert!(matches!(take(1_000_000), Err(InheritedError::Io(_))));
    }
}
