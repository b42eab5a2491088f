//! From a locked state directory to a store, and what people read as long as there is no key to it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::credential::HOW_TO_MAKE_ONE;
use super::directory::DirectoryError;
use super::key::{KeyError, KeyPlace};
use super::key_record::{self, KEY_RECORD, RECORDS};
use super::lock::StateLock;
use super::memory::MemoryStore;
use super::places::Machine;
use super::vault::Vault;
use super::{Store, StoreError};
use crate::env::Env;
use crate::settings::KeyKind;

/// Opens the store of the state directory that `lock` holds. Blocks, but no longer than anybody waits for a keyring:
/// a key that is not there by then is awaited.
///
/// # Errors
/// The settings say that nothing is to be kept, and something is.
pub fn open(lock: &StateLock, wanted: KeyKind, env: &Env) -> Result<Box<dyn Store>, OpenError> {
    let state = lock.directory();
    if wanted == KeyKind::None {
        return match key_record::sealed_anywhere(state)? {
            0 => Ok(Box::new(MemoryStore)),
            // A sign-out could not reach them, and nobody would look for them any more.
            _ => Err(OpenError::RecordsExist { path: state.path().join(RECORDS) }),
        };
    }
    let machine = Machine { state: Arc::clone(state), env: env.clone() };
    Ok(Box::new(Vault::open(state, Arc::new(machine), wanted)))
}

/// Why there is no store. `Display` says what is the matter, [`OpenError::hint`] what helps.
#[derive(Debug)]
pub enum OpenError {
    /// The state directory or the records' is not fit for secrets.
    Directory(DirectoryError),
    /// The disk did not do it.
    Store(StoreError),
    /// The key's place does not give it, or cannot keep a new one.
    Key(KeyError),
    /// The key's place has not answered in time.
    NoAnswer,
    /// There is no such place on this machine.
    NoSuchPlace {
        /// The place.
        kind: KeyPlace,
        /// What is missing.
        why: String,
    },
    /// The key's place cannot be asked yet; trying again later may do.
    KeyNotAvailable {
        /// [`super::KeySource::kind`].
        kind: KeyPlace,
        /// What to unlock.
        remedy: String,
    },
    /// The key is gone, its records are not.
    KeyMissing {
        /// [`super::KeySource::kind`].
        kind: KeyPlace,
        /// The state directory.
        state: PathBuf,
        /// How many records.
        sealed: usize,
    },
    /// The key that is there is not the one that was recorded.
    WrongKey {
        /// [`super::KeySource::kind`].
        kind: KeyPlace,
        /// The state directory.
        state: PathBuf,
    },
    /// `key.json` is gone, the records are not.
    KeyRecordMissing {
        /// Where it should be.
        path: PathBuf,
        /// How many records.
        sealed: usize,
    },
    /// `key.json` cannot be understood.
    KeyRecordDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// `key.json` names a kind of key that this version does not know.
    UnknownKind {
        /// The file.
        path: PathBuf,
        /// The kind.
        kind: String,
    },
    /// `storage.key` says that nothing is to be kept, and something is.
    RecordsExist {
        /// The records' directory.
        path: PathBuf,
    },
}

impl OpenError {
    /// The place that is asked for the key, where it is known.
    #[must_use]
    pub const fn place(&self) -> Option<KeyPlace> {
        match self {
            Self::NoSuchPlace { kind, .. }
            | Self::KeyNotAvailable { kind, .. }
            | Self::KeyMissing { kind, .. }
            | Self::WrongKey { kind, .. } => Some(*kind),
            _ => None,
        }
    }

    /// What helps, for people.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Directory(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::Store(StoreError::Io { path, .. }) => {
                format!("check that there is space and that {} can be read and written by you", path.display())
            }
            Self::Store(_) => "this machine's random generator or cipher does not work; try again".to_owned(),
            Self::KeyNotAvailable { remedy, .. } => remedy.clone(),
            Self::NoAnswer => "answer its prompt if there is one, then run: sso-agent storage unlock".to_owned(),
            Self::NoSuchPlace { kind: KeyPlace::SystemdCredential, .. } => HOW_TO_MAKE_ONE.to_owned(),
            Self::NoSuchPlace { .. } => {
                "start it; or choose another place: storage.key in config.toml, if nothing is stored yet".to_owned()
            }
            Self::WrongKey { kind: KeyPlace::Passphrase, .. } => "run: sso-agent storage unlock".to_owned(),
            Self::KeyMissing { state, .. } | Self::WrongKey { state, .. } => key_record::restore("the key", state),
            Self::KeyRecordMissing { path, .. } | Self::KeyRecordDamaged { path, .. } => {
                key_record::restore(KEY_RECORD, path.parent().unwrap_or(path))
            }
            Self::UnknownKind { .. } => "run the newer version of sso-agent that wrote it".to_owned(),
            Self::RecordsExist { path } => format!(
                "set storage.key = \"auto\" and sign out, then move {}* away; or keep storage.key = \"auto\"",
                super::directory::quoted(path)
            ),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(source) => write!(formatter, "{source}"),
            Self::Store(source) => write!(formatter, "{source}"),
            Self::Key(source) => write!(formatter, "{source}"),
            Self::KeyNotAvailable { kind, .. } => {
                write!(formatter, "the key to the stored sign-ins ({kind}) is not available yet")
            }
            Self::NoAnswer => formatter.write_str("the keyring does not answer, so the stored sign-ins stay sealed"),
            Self::NoSuchPlace { kind, why } => {
                write!(formatter, "the key to the stored sign-ins is to be kept in the {kind}, but {why}")
            }
            Self::WrongKey { kind: KeyPlace::Passphrase, .. } => {
                formatter.write_str("that is not the passphrase of the stored sign-ins; they were left alone")
            }
            Self::KeyMissing { kind, state, sealed } => write!(
                formatter,
                "the key ({kind}) to {sealed} stored records in {} is missing; they were left alone",
                state.display()
            ),
            Self::WrongKey { kind, state } => write!(
                formatter,
                "the key ({kind}) is not the one that the records in {} are sealed with; they were left alone",
                state.display()
            ),
            Self::KeyRecordMissing { path, sealed } => {
                write!(formatter, "{} is missing, but {sealed} stored records exist", path.display())
            }
            Self::KeyRecordDamaged { path, source } => {
                write!(formatter, "{} is damaged: {source}", path.display())
            }
            Self::UnknownKind { path, kind } => write!(
                formatter,
                "{} says that the key is kept in \"{}\", which this version does not know",
                path.display(),
                crate::untrusted::shown(kind)
            ),
            Self::RecordsExist { path } => {
                write!(formatter, "storage.key is \"none\", but {} still holds stored sign-ins", path.display())
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // These speak for themselves: what they say is said already, what caused them comes next.
            Self::Directory(error) => error.source(),
            Self::Store(error) => error.source(),
            Self::Key(error) => error.source(),
            Self::KeyRecordDamaged { source, .. } => Some(source),
            Self::NoAnswer
            | Self::NoSuchPlace { .. }
            | Self::KeyNotAvailable { .. }
            | Self::KeyMissing { .. }
            | Self::WrongKey { .. }
            | Self::KeyRecordMissing { .. }
            | Self::UnknownKind { .. }
            | Self::RecordsExist { .. } => None,
        }
    }
}
