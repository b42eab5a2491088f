//! From a locked state directory to a store.
//!
//! Owns: the order of the start (leftovers, key, records) and what people read when it fails. Invariant: a failed
//! start has changed no record and no key.

use std::fmt;
use std::path::PathBuf;

use super::directory::{DirectoryError, PrivateDirectory};
use super::disk::{DAMAGED, DiskStore};
use super::key::{FILE, KeyError, KeyFile};
use super::key_record::{self, KEY_RECORD, KeyRecord, RECORDS};
use super::lock::StateLock;
use super::memory::MemoryStore;
use super::seal::SEALED;
use super::{Store, StoreError};
use crate::settings::KeyKind;

/// Opens the store of the state directory that `lock` holds. Blocks.
///
/// # Errors
/// The records, if there are any, are untouched.
pub fn open(lock: &StateLock, wanted: KeyKind) -> Result<Box<dyn Store>, OpenError> {
    let state = lock.directory();
    if wanted == KeyKind::None {
        return match state.existing_child(RECORDS).map_err(OpenError::Directory)? {
            // A sign-out could not reach them, and nobody would look for them any more.
            Some(records) if sealed_in(&records)? > 0 => {
                Err(OpenError::RecordsExist { path: records.path().to_owned() })
            }
            _ => Ok(Box::new(MemoryStore)),
        };
    }
    let recorded = KeyRecord::read(state)?;
    // What is recorded stays, whatever the settings say now; `auto` and `file` mean the same place so far.
    if let Some(record) = recorded.as_ref().filter(|record| record.kind != FILE) {
        return Err(OpenError::UnknownKind { path: state.path().join(KEY_RECORD), kind: record.kind.clone() });
    }
    let records = state.prepare_child(RECORDS).map_err(OpenError::Directory)?;
    state.remove_leftovers().and_then(|()| records.remove_leftovers()).map_err(OpenError::Store)?;
    let sealed = sealed_in(&records)?;
    let key = key_record::obtain(state, &mut KeyFile::new(state), recorded, sealed)?;
    Ok(Box::new(DiskStore::new(records, key, FILE)))
}

/// How many files need the key that is there, also those set aside: a person may still want to look into them.
fn sealed_in(records: &PrivateDirectory) -> Result<usize, OpenError> {
    let names = records.names().map_err(OpenError::Store)?;
    let needs_the_key = |name: &&String| name.ends_with(SEALED) || name.contains(&format!("{SEALED}{DAMAGED}"));
    Ok(names.iter().filter(needs_the_key).count())
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
    /// The key's place cannot be asked yet; trying again later may do.
    KeyNotAvailable {
        /// [`super::KeySource::kind`].
        kind: &'static str,
        /// What to unlock.
        remedy: String,
    },
    /// The key is gone, its records are not.
    KeyMissing {
        /// [`super::KeySource::kind`].
        kind: &'static str,
        /// The state directory.
        state: PathBuf,
        /// How many records.
        sealed: usize,
    },
    /// The key that is there is not the one that was recorded.
    WrongKey {
        /// [`super::KeySource::kind`].
        kind: &'static str,
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
            Self::KeyMissing { state, .. } | Self::WrongKey { state, .. } => key_record::restore("the key", state),
            Self::KeyRecordMissing { path, .. } | Self::KeyRecordDamaged { path, .. } => {
                key_record::restore(KEY_RECORD, path.parent().unwrap_or(path))
            }
            Self::UnknownKind { .. } => "run the newer version of sso-agent that wrote it".to_owned(),
            Self::RecordsExist { path } => format!(
                "set storage.key = \"auto\" and sign out, then move {} away; or keep storage.key = \"auto\"",
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
            Self::KeyNotAvailable { .. }
            | Self::KeyMissing { .. }
            | Self::WrongKey { .. }
            | Self::KeyRecordMissing { .. }
            | Self::UnknownKind { .. }
            | Self::RecordsExist { .. } => None,
        }
    }
}
