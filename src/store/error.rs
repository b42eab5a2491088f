//! Why the disk did not do it.

use std::fmt;
use std::path::PathBuf;

/// Why the disk did not do it.
#[derive(Debug)]
pub enum StoreError {
    /// A system call failed.
    Io {
        /// What was being done: "write", "rename", ...
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The key is awaited: nothing can be read or written before it comes.
    KeyNotAvailable {
        /// What is the matter.
        message: String,
        /// What helps.
        hint: String,
    },
    /// The record belongs to another key or a newer version and must not be overwritten.
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by somebody else since it was read; what is in it is newer than what was to be saved.
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// The cipher or the random generator failed.
    Crypto,
    /// The record cannot be encoded.
    Encode(serde_json::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, source } => write!(formatter, "cannot {doing} {}: {source}", path.display()),
            Self::KeyNotAvailable { message, hint } => write!(formatter, "{message}; {hint}"),
            Self::Foreign { path } => {
                write!(
                    formatter,
                    "{} was written with another key or by a newer version and is left alone",
                    path.display()
                )
            }
            Self::Newer { path } => {
                write!(formatter, "{} holds a newer record than the one to be saved", path.display())
            }
            Self::Crypto => formatter.write_str("the cipher or the system's random generator failed"),
            Self::Encode(_) => formatter.write_str("the record cannot be encoded"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its text is part of ours.
            Self::Io { source, .. } => source.source(),
            Self::Encode(source) => Some(source),
            Self::KeyNotAvailable { .. } | Self::Foreign { .. } | Self::Newer { .. } | Self::Crypto => None,
        }
    }
}
