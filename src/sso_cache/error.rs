//! Why a file of the cache is not written or not believed, and what helps.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::paths::shell_word;

/// Why a file was not written or removed.
#[derive(Debug)]
pub enum CacheError {
    /// A system call failed.
    Io {
        /// What was being done: "create", "write", ...
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The directory belongs to another user.
    NotOurs {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others can put files into the directory.
    Writable {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is something else where the file belongs: a directory, or a file of another user.
    Occupied {
        /// What.
        path: PathBuf,
    },
    /// There is no home directory to put it into.
    NoHome,
}

impl CacheError {
    /// What helps, for people.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Io { path, .. } => format!("check that {} can be written by you", path.display()),
            Self::NotOurs { path, .. } => format!("{} must be your own directory", path.display()),
            Self::Writable { path, .. } => format!("chmod go-w {}", shell_word(path)),
            Self::Occupied { path } => format!("move {} away", path.display()),
            Self::NoHome => "set HOME".to_owned(),
        }
    }
}

impl fmt::Display for CacheError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, source } => write!(formatter, "cannot {doing} {}: {source}", path.display()),
            Self::NotOurs { path, owner } => {
                write!(formatter, "{} belongs to another user (uid {owner})", path.display())
            }
            Self::Writable { path, mode } => {
                write!(formatter, "{} can be written by other users (mode {mode:04o})", path.display())
            }
            Self::Occupied { path } => write!(formatter, "{} is not a file of ours to replace", path.display()),
            Self::NoHome => formatter.write_str("there is no home directory"),
        }
    }
}

impl std::error::Error for CacheError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its text is part of ours.
            Self::Io { source, .. } => source.source(),
            _ => None,
        }
    }
}

/// Why a file that is there is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// It cannot be opened or read, in the system's words.
    Unreadable(String),
    /// A symbolic link, a directory, a pipe.
    NotAFile,
    /// It belongs to another user.
    NotOurs {
        /// Whose it is.
        owner: u32,
    },
    /// Others can write to it.
    Writable {
        /// Its permission bits.
        mode: u32,
    },
    /// Larger than any token file.
    TooLarge,
    /// JSON, but no sign-in: this member is missing or is not what it should be.
    NoSignIn(&'static str),
}

impl fmt::Display for Unusable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(cause) => write!(formatter, "it cannot be read: {cause}"),
            Self::NotAFile => formatter.write_str("it is not a regular file"),
            Self::NotOurs { owner } => write!(formatter, "it belongs to another user (uid {owner})"),
            Self::Writable { mode } => write!(formatter, "other users can write to it (mode {mode:04o})"),
            Self::TooLarge => formatter.write_str("it is too large for a token file"),
            Self::NoSignIn(member) => write!(formatter, "it holds no sign-in: no usable {member}"),
        }
    }
}

impl std::error::Error for Unusable {}
