//! A directory that only its owner can look into.
//!
//! Owns: making it, checking it, and holding it open so that what was checked is what is used. Refuses to know what
//! lies in it. Invariant: a [`PrivateDirectory`] is ours, is no symbolic link, and gives nothing to group and others.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};
use rustix::io::Errno;

/// A directory, checked and held open.
#[derive(Debug)]
pub struct PrivateDirectory {
    pub(super) descriptor: OwnedFd,
    pub(super) path: PathBuf,
    /// The step of a write that fails, for tests.
    #[cfg(test)]
    pub(super) fails_at: std::sync::Mutex<Option<super::file::Step>>,
}

impl PrivateDirectory {
    /// Opens the directory at `path`; what is missing of it is made, with its parents, for its owner only whatever
    /// the umask.
    ///
    /// # Errors
    /// It cannot be made or opened, or others own it or can look into it.
    pub fn prepare(path: &Path) -> Result<Self, DirectoryError> {
        // A trailing slash would make the system follow a link that must not be followed.
        let path: PathBuf = path.components().collect();
        make(&path)?;
        Self::open(CWD, path.as_os_str(), path.clone())
    }

    /// Opens the directory `name` in this one; it is made where it is missing.
    ///
    /// # Errors
    /// As [`PrivateDirectory::prepare`].
    pub fn prepare_child(&self, name: &str) -> Result<Self, DirectoryError> {
        let path = self.path.join(name);
        make_one(self.descriptor.as_fd(), name.as_ref(), &path)?;
        Self::open(&self.descriptor, name.as_ref(), path)
    }

    /// Opens the directory `name` in this one, if there is one.
    ///
    /// # Errors
    /// It is there and cannot be opened, or others own it or can look into it.
    pub fn existing_child(&self, name: &str) -> Result<Option<Self>, DirectoryError> {
        match Self::open(&self.descriptor, name.as_ref(), self.path.join(name)) {
            Err(DirectoryError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open(base: impl AsFd, name: &OsStr, path: PathBuf) -> Result<Self, DirectoryError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = match rustix::fs::openat(base, name, flags, Mode::empty()) {
            Ok(descriptor) => descriptor,
            // Linux says NOTDIR for a symbolic link as well, other systems LOOP.
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(DirectoryError::NotADirectory { path }),
            Err(error) => return Err(DirectoryError::Io { doing: "open", path, source: error.into() }),
        };
        let stat = rustix::fs::fstat(&descriptor).map_err(|error| DirectoryError::Io {
            doing: "check",
            path: path.clone(),
            source: error.into(),
        })?;
        check(&stat, rustix::process::geteuid().as_raw(), &path)?;
        Ok(Self {
            descriptor,
            path,
            #[cfg(test)]
            fails_at: std::sync::Mutex::default(),
        })
    }
}

/// Why a directory is not used.
#[derive(Debug)]
pub enum DirectoryError {
    /// A system call failed.
    Io {
        /// What was being done: "create", "open", ...
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is something else, or a symbolic link.
    NotADirectory {
        /// What is there.
        path: PathBuf,
    },
    /// It belongs to another user.
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// The user it belongs to.
        owner: u32,
    },
    /// Group or others can look into it or write to it.
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl DirectoryError {
    /// What helps, for people.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Io { path, .. } => format!("check that {} can be made and read by you", path.display()),
            Self::NotADirectory { path } => {
                format!("move {} away, or set SSO_AGENT_STATE_DIR to a directory of your own", path.display())
            }
            Self::NotOurs { .. } => "set SSO_AGENT_STATE_DIR to a directory of your own".to_owned(),
            Self::Exposed { path, .. } => format!("chmod 700 {}", quoted(path)),
        }
    }
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, source } => write!(formatter, "cannot {doing} {}: {source}", path.display()),
            Self::NotADirectory { path } => {
                write!(formatter, "{} is not a directory, or is a symbolic link", path.display())
            }
            Self::NotOurs { path, owner } => {
                write!(formatter, "{} belongs to another user (uid {owner})", path.display())
            }
            Self::Exposed { path, mode } => {
                write!(formatter, "{} is open to other users (mode {mode:04o})", path.display())
            }
        }
    }
}

impl std::error::Error for DirectoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its text is part of ours.
            Self::Io { source, .. } => source.source(),
            Self::NotADirectory { .. } | Self::NotOurs { .. } | Self::Exposed { .. } => None,
        }
    }
}

/// A path as a shell takes it.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+@%,:".contains(character);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Who may do what, without the kind of file.
#[cfg_attr(target_os = "linux", expect(clippy::useless_conversion, reason = "16 bits wide elsewhere"))]
pub(super) fn permission_bits(stat: &Stat) -> u32 {
    u32::from(stat.st_mode) & 0o7777
}

fn check(stat: &Stat, euid: u32, path: &Path) -> Result<(), DirectoryError> {
    if stat.st_uid != euid {
        return Err(DirectoryError::NotOurs { path: path.to_owned(), owner: stat.st_uid });
    }
    let mode = permission_bits(stat);
    if mode & 0o077 != 0 {
        return Err(DirectoryError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Makes a directory with the parents it lacks.
fn make(path: &Path) -> Result<(), DirectoryError> {
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make(parent)?;
    }
    make_one(CWD, path.as_os_str(), path)
}

fn make_one(base: std::os::fd::BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(), DirectoryError> {
    let failed = |error: Errno| DirectoryError::Io { doing: "create", path: path.to_owned(), source: error.into() };
    match rustix::fs::mkdirat(base, name, Mode::RWXU) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    // A umask can only take away; it must not take away from the owner.
    let stat = rustix::fs::statat(base, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    if stat.st_mode & 0o700 != 0o700 {
        rustix::fs::chmodat(base, name, Mode::RWXU, AtFlags::empty()).map_err(failed)?;
    }
    // The new name must survive a power failure as what is put into it will. Where the parent cannot be opened there
    // is nothing to be done about it.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(parent) = std::fs::File::open(parent) {
        drop(parent.sync_all());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::sandbox::Sandbox;
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn missing_parents_are_made_for_their_owner_only() {
        let sandbox = Sandbox::new();
        let state = sandbox.path().join("a/b/state");
        PrivateDirectory::prepare(&state).unwrap();
        for made in ["a", "a/b", "a/b/state"] {
            assert_eq!(mode(&sandbox.path().join(made)), 0o700, "{made}");
        }
        PrivateDirectory::prepare(&state).unwrap();
    }

    #[test]
    fn a_directory_others_can_look_into_is_refused_with_the_command_that_mends_it() {
        let sandbox = Sandbox::new();
        let state = sandbox.path().join("my state");
        std::fs::create_dir(&state).unwrap();
        for exposed in [0o701, 0o740, 0o720, 0o777] {
            std::fs::set_permissions(&state, PermissionsExt::from_mode(exposed)).unwrap();
            let error = PrivateDirectory::prepare(&state).unwrap_err();
            assert!(matches!(error, DirectoryError::Exposed { mode, .. } if mode == exposed), "{error}");
            assert_eq!(error.hint(), format!("chmod 700 '{}'", state.display()));
            assert_eq!(mode(&state), exposed, "it is for the user to change it");
        }
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let sandbox = Sandbox::new();
        let directory = PrivateDirectory::prepare(sandbox.path()).unwrap();
        let stat = rustix::fs::fstat(&directory.descriptor).unwrap();
        assert!(check(&stat, stat.st_uid, sandbox.path()).is_ok());
        let error = check(&stat, stat.st_uid + 1, sandbox.path()).unwrap_err();
        assert!(matches!(error, DirectoryError::NotOurs { .. }));
    }

    #[test]
    fn a_symbolic_link_is_not_followed_not_even_with_a_slash_behind_it() {
        let sandbox = Sandbox::new();
        let target = sandbox.path().join("target");
        PrivateDirectory::prepare(&target).unwrap();
        let link = sandbox.path().join("link");
        symlink(&target, &link).unwrap();
        for path in [link.clone(), link.join("")] {
            let error = PrivateDirectory::prepare(&path).unwrap_err();
            assert!(matches!(error, DirectoryError::NotADirectory { .. }), "{error}");
        }
    }

    #[test]
    fn a_file_in_its_place_is_refused() {
        let sandbox = Sandbox::new();
        let path = sandbox.path().join("state");
        std::fs::write(&path, "").unwrap();
        assert!(matches!(PrivateDirectory::prepare(&path), Err(DirectoryError::NotADirectory { .. })));
    }

    #[test]
    fn a_child_that_is_not_there_is_no_error() {
        let sandbox = Sandbox::new();
        let state = PrivateDirectory::prepare(sandbox.path()).unwrap();
        assert!(state.existing_child("records").unwrap().is_none());
        state.prepare_child("records").unwrap();
        assert!(state.existing_child("records").unwrap().is_some());
    }
}
