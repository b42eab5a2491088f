//! What survives a restart.
//!
//! Owns: the records' format, their sealing, the key to them, and the lock on the state directory. Refuses to know
//! when something is worth saving. Invariants: a record is replaced atomically or not at all; nothing is deleted but
//! on the engine's word; a record that cannot be read is kept and reported; the key is never exchanged behind the
//! user's back.

mod asking;
mod credential;
mod directory;
mod disk;
mod error;
mod file;
#[cfg(all(feature = "agent", any(test, feature = "fuzzing")))]
pub(crate) mod fuzz;
mod key;
mod key_file;
mod key_record;
mod keyring;
mod latch;
mod lock;
mod manage;
mod memory;
mod migrate;
mod open;
mod passphrase;
mod places;
mod random;
mod seal;
mod vault;

#[cfg(test)]
mod child;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod sandbox;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity_center::{ClientRegistration, Origin, TokenSet};
use crate::ids::SessionName;
use crate::sso_cache::Published;
use crate::time::Timestamp;

pub use self::directory::{DirectoryError, PrivateDirectory};
pub use self::error::StoreError;
pub use self::key::{Answer, InvalidKeyId, KeyBytes, KeyError, KeyId, KeyPlace, KeySource, UnknownPlace};
pub use self::latch::{Latch, LatchFile, LatchKeeper, LatchOrder, LatchReport, Lock, Verifier, is_latched};
pub use self::lock::{LockError, StateLock};
pub use self::manage::{Awaited, Inventory, Manage, ManageError, Protection};
pub use self::memory::MemoryStore;
pub use self::open::{OpenError, open};
pub use self::places::{Asked, Places};
pub use self::vault::Vault;
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
    /// Nobody wanted the sign-in that a program's request had started: until when no other is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<Quiet>,
    /// From the last sign-in to the service's definite end, where that was seen as it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_session: Option<Duration>,
    /// Of which sign-in the user was told that its session is about to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_announced: Option<Timestamp>,
    /// What was written into the AWS CLI's cache.
    #[serde(default)]
    pub published: Published,
}

/// No sign-in is started on demand for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiet {
    /// Until then.
    pub until: Timestamp,
    /// How often in a row that was.
    pub times: u32,
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
    /// How far the service's clock was ahead of ours when the tokens' times were written, in milliseconds.
    #[serde(default)]
    pub clock_ahead: i64,
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
    /// How the secrets are protected now.
    fn protection(&self) -> Protection;

    /// Reads everything there is; nothing as long as the key is awaited. A file that cannot be read is in the reports.
    fn load(&mut self) -> Loaded;

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

    /// `wake` is called whenever it is worth a look: now, and when somebody has answered. From any thread.
    fn wake_with(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        drop(wake);
    }

    /// The records, if the key has come since the last look.
    fn look(&mut self) -> Option<Loaded> {
        None
    }

    /// Does what a person wants done with the key. Brings the records, where they became readable with it.
    ///
    /// # Errors
    /// Nothing has changed for the records.
    fn manage(&mut self, order: Manage) -> Result<Option<Loaded>, ManageError> {
        match order {
            Manage::Unlock { .. } => Ok(None),
            Manage::Migrate { .. } => Err(ManageError::NothingKept),
        }
    }

    /// What is there.
    fn inventory(&self) -> Inventory {
        Inventory::default()
    }
}
