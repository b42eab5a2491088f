//! One agent per state directory.
//!
//! Owns: taking the lock and writing who holds it. Refuses to know what it protects. Invariant: as long as a
//! [`StateLock`] lives, no other agent on this file system refreshes or writes for this state directory; the kernel
//! lets go when the process ends, however it ends.

use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::Report;
use super::directory::{DirectoryError, PrivateDirectory};
use crate::holder::{Holder, LOCK_FILE};

/// The state directory, held exclusively until this is dropped.
#[derive(Debug)]
pub struct StateLock {
    directory: Arc<PrivateDirectory>,
    /// Never read again: it is the lock.
    file: File,
    weakness: Option<LockError>,
}

impl StateLock {
    /// Makes or checks the state directory, takes its lock without waiting, and writes down who holds it and where
    /// (`socket`) it can be reached. Where nothing can be written, it is locked all the same: see
    /// [`StateLock::report`].
    ///
    /// # Errors
    /// Somebody else holds it, or the directory is not fit, or the file system cannot lock.
    pub fn acquire(state_dir: &Path, socket: &Path) -> Result<Self, LockError> {
        let directory = PrivateDirectory::prepare(state_dir).map_err(LockError::Directory)?;
        let path = directory.path().join(LOCK_FILE);
        // The directory as well: where the lock file cannot be made, it is all there is to lock, and then an agent that
        // starts when it can be made must not think itself alone.
        let directory_is_locked = match lock(&directory.descriptor) {
            Err(Errno::WOULDBLOCK) => return Err(taken(&directory, path)),
            locked => locked.is_ok(),
        };
        let (file, mut weakness) = match lock_file(&directory, &path)? {
            Opened::Writable(file) => (file, None),
            Opened::ReadOnly(file, why) => (file, Some(why)),
            Opened::Missing(why) if directory_is_locked => {
                let directory = directory.descriptor.try_clone();
                (directory.map_err(|source| LockError::Io { doing: "lock", path: path.clone(), source })?, Some(why))
            }
            Opened::Missing(why) => return Err(LockError::Io { doing: "open", path, source: why.into() }),
        };
        let mut file = File::from(file);
        if weakness.is_none()
            && let Err(error) = announce(&mut file, socket)
        {
            weakness = Some(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        }
        let weakness = weakness.map(|source| LockError::Io { doing: "write", path, source: source.into() });
        Ok(Self { directory: Arc::new(directory), file, weakness })
    }

    /// The state directory.
    #[must_use]
    pub const fn directory(&self) -> &Arc<PrivateDirectory> {
        &self.directory
    }

    /// What kept the line about the holder from being written: a full disk, or a directory that can only be read. That
    /// costs the line, not the lock; it tells how saving will fare.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        let weakness = self.weakness.as_ref()?;
        let message = format!(
            "when the agent started, the state directory could not be written: {weakness}; what changes is kept in \
             memory and saving is tried again every 30 s; {}",
            weakness.hint()
        );
        Some(Report { file: self.directory.path().to_owned(), message })
    }
}

impl Drop for StateLock {
    /// Closing the file would do, were it not for a child that is just being started: until it runs its own program,
    /// it has a copy of every descriptor.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
        let _ = rustix::fs::flock(&self.directory.descriptor, FlockOperation::Unlock);
    }
}

/// Why the lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// The state directory is not fit for secrets.
    Directory(DirectoryError),
    /// Another agent holds it.
    Taken {
        /// Which, as far as it can be read.
        holder: Option<Holder>,
        /// The lock file.
        path: PathBuf,
    },
    /// The file system cannot lock.
    Unsupported {
        /// The lock file.
        path: PathBuf,
    },
    /// What is under the lock file's name is not a plain file of ours.
    NotOurs {
        /// What is there.
        path: PathBuf,
    },
    /// A system call failed.
    Io {
        /// What was being done: "open", "lock", ...
        doing: &'static str,
        /// The lock file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl LockError {
    /// What helps, for people.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Directory(error) => error.hint(),
            Self::Taken { holder: Some(holder), .. } => format!(
                "use the agent that is running: set SSO_AGENT_SOCK to {}; or stop it: kill {}",
                crate::untrusted::shown(&holder.socket.to_string_lossy()),
                holder.pid
            ),
            Self::Taken { holder: None, .. } => "stop the other agent".to_owned(),
            Self::Unsupported { .. } => {
                "set SSO_AGENT_STATE_DIR to a directory on a local file system, for instance below /var/tmp or your \
                 home"
                    .to_owned()
            }
            Self::NotOurs { path } => format!("move {} away", path.display()),
            Self::Io { path, .. } => {
                format!("check that there is space and that {} can be read and written by you", path.display())
            }
        }
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(source) => write!(formatter, "{source}"),
            Self::Taken { holder: Some(holder), path } => write!(
                formatter,
                "another agent (process {} on {}, socket {}) holds {}",
                holder.pid,
                crate::untrusted::shown(&holder.host),
                crate::untrusted::shown(&holder.socket.to_string_lossy()),
                path.display()
            ),
            Self::Taken { holder: None, path } => write!(formatter, "another agent holds {}", path.display()),
            Self::Unsupported { path } => {
                write!(formatter, "the file system of {} cannot lock files", path.display())
            }
            Self::NotOurs { path } => write!(formatter, "{} is not a plain file of yours", path.display()),
            Self::Io { doing, path, source } => write!(formatter, "cannot {doing} {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Directory(error) => error.source(),
            // Its text is part of ours.
            Self::Io { source, .. } => source.source(),
            Self::Taken { .. } | Self::Unsupported { .. } | Self::NotOurs { .. } => None,
        }
    }
}

/// Opens and locks the lock file, if there is one or can be.
fn lock_file(directory: &PrivateDirectory, path: &Path) -> Result<Opened, LockError> {
    let failed = |doing| move |error: Errno| LockError::Io { doing, path: path.to_owned(), source: error.into() };
    loop {
        let opened = open(directory, path)?;
        let (Opened::Writable(file) | Opened::ReadOnly(file, _)) = &opened else { return Ok(opened) };
        match lock(file) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(taken(directory, path.to_owned())),
            Err(Errno::NOLCK | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => {
                return Err(LockError::Unsupported { path: path.to_owned() });
            }
            Err(error) => return Err(failed("lock")(error)),
        }
        // Nobody of ours unlinks it. If somebody did between the two calls, this is a lock on nothing.
        let locked = rustix::fs::fstat(file).map_err(failed("check"))?;
        match rustix::fs::statat(&directory.descriptor, LOCK_FILE, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) if (named.st_dev, named.st_ino) == (locked.st_dev, locked.st_ino) => return Ok(opened),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("check")(error)),
        }
    }
}

fn lock(file: impl AsFd) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive))
}

fn taken(directory: &PrivateDirectory, path: PathBuf) -> LockError {
    // Who holds it is a courtesy: that it is taken is certain even if the line cannot be read.
    let holder = crate::holder::read_holder(directory.path()).ok().flatten();
    LockError::Taken { holder, path }
}

/// The lock file, as far as it can be had.
enum Opened {
    Writable(OwnedFd),
    /// It cannot be written, and why. A lock needs no more.
    ReadOnly(OwnedFd, Errno),
    /// There is none, and why none can be made.
    Missing(Errno),
}

fn open(directory: &PrivateDirectory, path: &Path) -> Result<Opened, LockError> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let failed = |doing| {
        move |error: Errno| match error {
            Errno::LOOP | Errno::ISDIR => LockError::NotOurs { path: path.to_owned() },
            _ => LockError::Io { doing, path: path.to_owned(), source: error.into() },
        }
    };
    let mode = Mode::RUSR | Mode::WUSR;
    let with = |flags| rustix::fs::openat(&directory.descriptor, LOCK_FILE, flags, mode);
    let (file, weakness) = match with(flags | OFlags::RDWR | OFlags::CREATE) {
        Ok(file) => (file, None),
        Err(error @ (Errno::ROFS | Errno::ACCESS | Errno::PERM | Errno::NOSPC | Errno::DQUOT)) => {
            match with(flags | OFlags::RDONLY) {
                Ok(file) => (file, Some(error)),
                Err(Errno::NOENT) => return Ok(Opened::Missing(error)),
                Err(_) => return Err(failed("open")(error)),
            }
        }
        Err(error) => return Err(failed("open")(error)),
    };
    let stat = rustix::fs::fstat(&file).map_err(failed("check"))?;
    let ours = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_uid == rustix::process::geteuid().as_raw();
    if !ours {
        return Err(LockError::NotOurs { path: path.to_owned() });
    }
    match weakness {
        Some(why) => Ok(Opened::ReadOnly(file, why)),
        None => {
            rustix::fs::fchmod(&file, mode).map_err(failed("set the permissions of"))?;
            Ok(Opened::Writable(file))
        }
    }
}

fn announce(file: &mut File, socket: &Path) -> io::Result<()> {
    let line = Holder::this_process(socket)?.to_line()?;
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a line names nobody.
        let _ = file.set_len(0);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Stdio;

    use super::super::StoreError;
    use super::super::child;
    use super::super::sandbox::Sandbox;
    use super::*;
    use crate::holder::{HolderError, read_holder};

    const SOCKET: &str = "/run/user/1000/sso-agent/agent.sock";

    #[test]
    fn what_the_system_said_is_said_once() {
        let said = || io::Error::from(Errno::NOSPC);
        let path = || PathBuf::from("/state/lock");
        let lock = LockError::Io { doing: "write", path: path(), source: said() };
        let directory = DirectoryError::Io { doing: "write", path: path(), source: said() };
        let store = StoreError::Io { doing: "write", path: path(), source: said() };
        for error in [&lock as &dyn std::error::Error, &directory, &store] {
            assert_eq!(error.to_string(), "cannot write /state/lock: No space left on device (os error 28)");
            assert!(error.source().is_none());
        }
    }

    #[test]
    fn the_second_agent_is_told_who_holds_the_lock() {
        let sandbox = Sandbox::new();
        let state = sandbox.path().join("state");
        let first = StateLock::acquire(&state, Path::new(SOCKET)).unwrap();
        let error = StateLock::acquire(&state, Path::new("/elsewhere")).unwrap_err();
        let LockError::Taken { holder: Some(holder), .. } = &error else { panic!("{error}") };
        assert_eq!(holder.pid, std::process::id());
        assert_eq!(holder.socket, Path::new(SOCKET));
        assert_eq!(read_holder(&state).unwrap().as_ref(), Some(holder));
        assert!(error.to_string().contains(SOCKET));
        drop(first);
        assert_eq!(read_holder(&state).unwrap().as_ref(), Some(holder));
        StateLock::acquire(&state, Path::new(SOCKET)).unwrap();
    }

    #[test]
    fn the_lock_file_stays_and_is_for_its_owner_only() {
        let sandbox = Sandbox::new();
        drop(StateLock::acquire(sandbox.path(), Path::new(SOCKET)).unwrap());
        let path = sandbox.path().join(LOCK_FILE);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_longer_line_of_an_earlier_holder_leaves_nothing_behind() {
        let sandbox = Sandbox::new();
        drop(StateLock::acquire(sandbox.path(), &Path::new("/").join("long".repeat(500))).unwrap());
        let _lock = StateLock::acquire(sandbox.path(), Path::new("/short")).unwrap();
        assert_eq!(read_holder(sandbox.path()).unwrap().unwrap().socket, Path::new("/short"));
    }

    #[test]
    fn a_link_in_place_of_the_lock_is_refused() {
        let sandbox = Sandbox::new();
        let elsewhere = sandbox.path().join("elsewhere");
        std::fs::write(&elsewhere, "untouched").unwrap();
        symlink(&elsewhere, sandbox.path().join(LOCK_FILE)).unwrap();
        let error = StateLock::acquire(sandbox.path(), Path::new(SOCKET)).unwrap_err();
        assert!(matches!(error, LockError::NotOurs { .. }), "{error}");
        assert_eq!(std::fs::read(&elsewhere).unwrap(), b"untouched");
        assert!(read_holder(sandbox.path()).is_err());
    }

    #[test]
    fn a_lock_file_that_others_can_write_names_nobody() {
        let sandbox = Sandbox::new();
        drop(StateLock::acquire(sandbox.path(), Path::new(SOCKET)).unwrap());
        let path = sandbox.path().join(LOCK_FILE);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o622)).unwrap();
        assert!(matches!(read_holder(sandbox.path()), Err(HolderError::NotOurs { .. })));
        // The next agent takes the right away from them.
        drop(StateLock::acquire(sandbox.path(), Path::new(SOCKET)).unwrap());
        assert!(read_holder(sandbox.path()).unwrap().is_some());
    }

    #[test]
    fn nobody_holds_a_directory_without_a_lock_file() {
        let sandbox = Sandbox::new();
        assert_eq!(read_holder(sandbox.path()).unwrap(), None);
    }

    #[test]
    fn the_lock_dies_with_its_holder() {
        if let Some(state) = child::told() {
            return hold_until_killed(&state);
        }
        let sandbox = Sandbox::new();
        let mut child = child::command(&[], "store::lock::tests::the_lock_dies_with_its_holder", sandbox.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("locked")), "the child did not get the lock");
        let error = StateLock::acquire(sandbox.path(), Path::new(SOCKET)).unwrap_err();
        let LockError::Taken { holder: Some(holder), .. } = error else { panic!("{error}") };
        assert_eq!(holder.pid, child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        StateLock::acquire(sandbox.path(), Path::new(SOCKET)).unwrap();
    }

    fn hold_until_killed(state: &Path) {
        let _lock = StateLock::acquire(state, Path::new(SOCKET)).unwrap();
        println!("\nlocked");
        // Until the parent kills this process or goes away itself.
        io::stdin().read_line(&mut String::new()).unwrap();
    }
}
