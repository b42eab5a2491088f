//! What survives a restart.
//!
//! Owns: the records' format, their sealing, the key to them, and the lock on the state directory. Refuses to know
//! when something is worth saving. Invariants: a record is replaced atomically or not at all; nothing is deleted but
//! on the engine's word; a record that cannot be read is kept and reported; the key is never exchanged behind the
//! user's back.

mod directory;
mod disk;
mod file;
#[cfg(all(feature = "agent", any(test, feature = "fuzzing")))]
pub(crate) mod fuzz;
mod key;
mod key_record;
mod lock;
mod memory;
mod open;
mod random;
mod seal;

#[cfg(test)]
mod child;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod sandbox;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity_center::{ClientRegistration, Origin, TokenSet};
use crate::ids::SessionName;
use crate::time::Timestamp;

pub use self::directory::{DirectoryError, PrivateDirectory};
pub use self::disk::DiskStore;
pub use self::key::{Answer, InvalidKeyId, KeyBytes, KeyError, KeyFile, KeyId, KeySource};
pub use self::lock::{LockError, StateLock};
pub use self::memory::MemoryStore;
pub use self::open::{OpenError, open};
pub use crate::holder::{Holder, HolderError, read_holder};

/// One thing that is saved, replaced and deleted as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// What outlives a sign-out.
    Client(ClientRecord),
    /// What a sign-out deletes.
    Tokens(TokenRecord),
}

/// The client registrations of a session and what is remembered about its sign-ins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRecord {
    /// Whose.
    pub session: SessionName,
    /// Where the registrations were made.
    pub origin: Origin,
    /// One per flow.
    pub registrations: Vec<ClientRegistration>,
    /// From sign-in to the service's definite end, the longest seen.
    pub longest_session: Duration,
    /// When programs started sign-ins, for the limit on them.
    pub program_sign_ins: Vec<Timestamp>,
}

/// The tokens of a signed-in session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Whose.
    pub session: SessionName,
    /// Where the sign-in was made.
    pub origin: Origin,
    /// The tokens with the registration they depend on.
    pub tokens: TokenSet,
    /// When the user signed in.
    pub signed_in_at: Timestamp,
    /// A refresh was sent at this time and its outcome is not known: the mark of a refresh under way.
    pub refresh_sent_at: Option<Timestamp>,
    /// When the service said for good that the refresh token is worth nothing any more, and in which words.
    pub refused: Option<Refused>,
}

/// The service's definite no to a refresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// When.
    pub at: Timestamp,
    /// The last time before at which the session was known to live.
    pub last_alive: Timestamp,
    /// Whether it is the client registration that is refused, not the session.
    pub registration: bool,
    /// The error's name and message, cleaned.
    pub message: String,
}

/// Which of a session's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// [`ClientRecord`].
    Client,
    /// [`TokenRecord`].
    Tokens,
}

impl Record {
    /// Whose it is.
    #[must_use]
    pub const fn session(&self) -> &SessionName {
        match self {
            Self::Client(record) => &record.session,
            Self::Tokens(record) => &record.session,
        }
    }

    /// Which of the session's records it is.
    #[must_use]
    pub const fn kind(&self) -> RecordKind {
        match self {
            Self::Client(_) => RecordKind::Client,
            Self::Tokens(_) => RecordKind::Tokens,
        }
    }
}

/// What was found at start.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The records that opened.
    pub records: Vec<Record>,
    /// The files that did not, and what became of them.
    pub reports: Vec<Report>,
}

/// A record file that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The file where it is now.
    pub file: PathBuf,
    /// What is the matter and what helps, for people.
    pub message: String,
}

/// Keeps records. Calls block (they wait for the disk); the engine's loop makes them on blocking threads, one at a
/// time and in the engine's order.
pub trait Store: Send + 'static {
    /// Where the key is, as `status` says it: `file`, `none`.
    fn key_kind(&self) -> &'static str;

    /// Reads everything there is.
    ///
    /// # Errors
    /// The directory cannot be read. A single file that cannot is in the reports.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Replaces a record: when this returns, it is on disk.
    ///
    /// # Errors
    /// Nothing was changed on disk; or, where only the last step (making the new name durable) failed, the record is
    /// there whole and may be gone after a power failure. Saving again is right in both cases.
    fn save(&mut self, record: &Record) -> Result<(), StoreError>;

    /// Deletes a record: when this returns, it is gone from disk. None there is no error.
    ///
    /// # Errors
    /// It may still be there.
    fn delete(&mut self, session: &SessionName, kind: RecordKind) -> Result<(), StoreError>;
}

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
            Self::Foreign { .. } | Self::Newer { .. } | Self::Crypto => None,
        }
    }
}
