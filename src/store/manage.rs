//! What people see and do about the key: words for `status` and for `storage`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use super::{DirectoryError, KeyError, KeyPlace, StoreError};
use crate::ids::SessionName;
use crate::secret::Secret;

/// How the stored secrets are protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// Where the key is or will be, as `status` says it: `keyring`, `file`, ..., `none`.
    pub key: &'static str,
    /// What is the matter as long as the key is not there.
    pub awaited: Option<Awaited>,
}

/// Waiting for the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// What is the matter, for people.
    pub message: String,
    /// What helps, for people.
    pub hint: String,
    /// The sessions with a stored sign-in that cannot be read.
    pub sealed: BTreeSet<SessionName>,
}

/// Something a person wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manage {
    /// Ask for the key again, now; a prompt may be shown.
    Unlock {
        /// What the person typed, where the key is a passphrase.
        passphrase: Option<Secret>,
    },
    /// Seal everything with a new key that is kept elsewhere.
    Migrate {
        /// Where.
        to: KeyPlace,
        /// The new passphrase, where it is to be one.
        passphrase: Option<Secret>,
    },
}

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The state directory; `None` where nothing is kept.
    pub directory: Option<PathBuf>,
    /// How many records.
    pub records: usize,
    /// How many were set aside because they did not open.
    pub set_aside: usize,
    /// Whether the place for the key is decided.
    pub decided: bool,
}

/// Why it was not done. The records and their key are as they were.
#[derive(Debug)]
pub enum ManageError {
    /// `storage.key` says that nothing is to be kept.
    NothingKept,
    /// The key is in that place already.
    AlreadyThere(KeyPlace),
    /// A passphrase is needed and none was given.
    NoPassphrase,
    /// The key is still not there: what is the matter, and what helps.
    StillClosed(String, String),
    /// The new place cannot keep a key now: which, and why.
    PlaceNotAvailable(KeyPlace, String),
    /// A key that nobody knows is in the new place.
    Occupied(KeyPlace),
    /// What an earlier migration left in this place cannot be removed yet.
    Unfinished(String),
    /// The disk failed while the keys were switched: which one counts is known when `key.json` can be read again.
    HalfDone,
    /// What was written did not read back the same.
    NotVerified,
    /// The new records' directory.
    Directory(DirectoryError),
    /// The new place.
    Key(KeyError),
    /// The disk.
    Store(StoreError),
}

impl ManageError {
    /// What helps, for people.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NothingKept => Some("change storage.key in config.toml and start the agent again".to_owned()),
            Self::StillClosed(_, hint) => Some(hint.clone()),
            Self::Occupied(KeyPlace::File) => {
                Some("move the file named key away from the state directory, if nothing needs it".to_owned())
            }
            Self::Unfinished(place) => {
                Some(format!("make the {} available and start the agent again", crate::untrusted::shown(place)))
            }
            Self::HalfDone => Some("see: sso-agent storage status".to_owned()),
            Self::Directory(error) => Some(error.hint()),
            Self::Key(error) => Some(error.hint()),
            _ => None,
        }
    }
}

impl fmt::Display for ManageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingKept => formatter.write_str("storage.key is \"none\": nothing is kept, and there is no key"),
            Self::AlreadyThere(place) => write!(formatter, "the key is in the {place} already"),
            Self::NoPassphrase => formatter.write_str("a passphrase is needed"),
            Self::StillClosed(message, _) => formatter.write_str(message),
            Self::PlaceNotAvailable(place, why) => write!(formatter, "the {place} cannot keep a key now: {why}"),
            Self::Occupied(place) => write!(formatter, "there is a key in the {place} that is not in use"),
            Self::Unfinished(place) => {
                let place = crate::untrusted::shown(place);
                write!(formatter, "what an earlier migration left in the {place} cannot be removed yet")
            }
            Self::HalfDone => formatter.write_str("the disk failed in the middle of the switch from key to key"),
            Self::NotVerified => {
                formatter.write_str("what was written did not read back the same; the old key is still in use")
            }
            Self::Directory(error) => error.fmt(formatter),
            Self::Key(error) => error.fmt(formatter),
            Self::Store(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for ManageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // These are shown as they are, so what is below them comes next.
            Self::Directory(error) => error.source(),
            Self::Key(error) => error.source(),
            Self::Store(error) => error.source(),
            _ => None,
        }
    }
}
