//! The store of a state directory, with its key or waiting for it.
//!
//! Owns: the order of the start (key, leftovers, records), and what can be done as long as the key is not there: let
//! go, but neither read nor write. Invariant: while the key is awaited no record is changed but on the user's word.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::asking::{Asking, DEADLINE, DEADLINE_OF_DERIVATION, Waker};
use super::directory::PrivateDirectory;
use super::disk::{DAMAGED, DiskStore, LARGEST_RECORD, is_record};
use super::key::{Answer, KeyId, KeyPlace};
use super::key_record::{KEY_RECORD, KeyRecord, Obtained, directories_of_records, obtain, sealed_anywhere, sealed_in};
use super::migrate;
use super::open::OpenError;
use super::places::{Asked, Places};
use super::seal::{self, SEALED, file_name};
use super::{
    Awaited, Inventory, Loaded, Manage, ManageError, Protection, Record, RecordKind, Report, Store, StoreError,
};
use crate::ids::SessionName;
use crate::secret::Secret;
use crate::settings::KeyKind;

/// Sealed records, and the key to them as soon as it is there. Made by [`super::open`], by the holder of the lock.
pub struct Vault {
    state: Arc<PrivateDirectory>,
    places: Arc<dyn Places>,
    wanted: KeyKind,
    waker: Waker,
    door: Door,
}

enum Door {
    Open(Box<DiskStore>),
    Closed { asking: Asking<Obtained>, why: OpenError },
}

impl Vault {
    pub(super) fn open(state: &Arc<PrivateDirectory>, places: Arc<dyn Places>, wanted: KeyKind) -> Self {
        let waker: Waker = Arc::new(OnceLock::new());
        // At the start the user may well be there: they have just logged in, or typed the command.
        let asked = Asked { by_a_person: true, passphrase: None };
        let asking = ask(state, &places, wanted, Some(asked), &waker);
        let first = asking.answer_within(DEADLINE);
        let mut vault = Self {
            state: Arc::clone(state),
            places,
            wanted,
            waker,
            door: Door::Closed { asking, why: OpenError::NoAnswer },
        };
        if let Some(answer) = first {
            vault.answered(answer);
        }
        vault
    }

    /// Why the key is not there; `None` if it is.
    #[cfg(test)]
    pub(super) fn into_why_closed(self) -> Option<OpenError> {
        match self.door {
            Door::Open(_) => None,
            Door::Closed { why, .. } => Some(why),
        }
    }

    #[cfg(test)]
    pub(super) fn unsealed(&self) -> Option<&DiskStore> {
        match &self.door {
            Door::Open(disk) => Some(disk.as_ref()),
            Door::Closed { .. } => None,
        }
    }

    /// Takes an answer. Says whether the key is there now.
    fn answered(&mut self, answer: Result<Obtained, OpenError>) -> bool {
        let Door::Closed { why, .. } = &mut self.door else { return false };
        let error = match answer.map(|obtained| unseal(&self.state, &self.places, obtained)) {
            Ok(Ok(disk)) => {
                self.door = Door::Open(Box::new(disk));
                return true;
            }
            // The key is there, and nobody asks for it any more.
            Ok(Err(error)) => {
                self.close(error);
                return false;
            }
            Err(error) => error,
        };
        if why.to_string() != error.to_string() {
            tracing::warn!("{error}; {}", error.hint());
        }
        *why = error;
        false
    }

    /// The records could not be read after all: ask again, after a while, until they can.
    fn close(&mut self, error: OpenError) {
        if !matches!(&self.door, Door::Closed { why, .. } if why.to_string() == error.to_string()) {
            tracing::warn!("{error}; {}", error.hint());
        }
        let asking = ask(&self.state, &self.places, self.wanted, None, &self.waker);
        self.door = Door::Closed { asking, why: error };
    }

    /// Whether this is the passphrase that counts; also where nobody can say now.
    fn is_it(&self, passphrase: Option<Secret>) -> bool {
        let Ok(Some(record)) = KeyRecord::read(&self.state) else { return true };
        let asked = Asked { by_a_person: true, passphrase };
        match self.places.source(KeyPlace::Passphrase, &asked).read(&record.key_id) {
            Ok(Answer::Found(key)) => record.fits(&key),
            _ => true,
        }
    }

    fn key_not_available(&self) -> StoreError {
        let (message, hint) = match &self.door {
            Door::Closed { why, .. } => (why.to_string(), why.hint()),
            Door::Open(_) => (String::new(), String::new()),
        };
        StoreError::KeyNotAvailable { message, hint }
    }

    /// The sessions whose tokens are sealed, as far as the headers say; those are not authenticated without the key.
    ///
    /// Also where the directory is not fit to be used: nobody shall be sent to sign in again for that.
    fn sealed_sessions(&self) -> BTreeSet<SessionName> {
        let directories = self.names_of_records().into_iter().map(|name| self.state.path().join(name));
        let files = directories.filter_map(|directory| std::fs::read_dir(directory).ok()).flatten().flatten();
        let of_tokens = files.filter(|file| {
            let name = file.file_name();
            name.to_str().is_some_and(|name| is_record(name) && name.starts_with("tokens-"))
        });
        of_tokens.filter_map(|file| session_in(&file.path())).collect()
    }

    /// The name of the directory of the records; of every one there is, where nobody can say which it is.
    fn names_of_records(&self) -> Vec<String> {
        match KeyRecord::read(&self.state) {
            Ok(Some(record)) => vec![record.records],
            Ok(None) | Err(_) => directories_of_records(&self.state).unwrap_or_default(),
        }
    }

    /// The records; where they cannot be read after all, the key is asked for again, after a while, until they can.
    fn read(&mut self) -> Option<Loaded> {
        let Door::Open(disk) = &mut self.door else { return None };
        match disk.load() {
            Ok(mut loaded) => {
                loaded.reports.extend(self.of_other_keys());
                Some(loaded)
            }
            Err(error) => {
                self.close(OpenError::Store(error));
                None
            }
        }
    }

    /// Records that `key.json` leads nobody to: it was put back as it was before a migration.
    fn of_other_keys(&self) -> Vec<Report> {
        let Ok(Some(record)) = KeyRecord::read(&self.state) else { return Vec::new() };
        let mut names = directories_of_records(&self.state).unwrap_or_default();
        names.retain(|name| *name != record.records && record.leftovers.iter().all(|known| known.records != *name));
        let reports = names.into_iter().filter_map(|name| match sealed_in(&self.state, &name) {
            Ok(0) => None,
            sealed => Some(Report {
                file: self.state.path().join(&name),
                message: format!(
                    "{} stored records are sealed with a key that {KEY_RECORD} does not name and were left alone; put \
                     that key and its {KEY_RECORD} back, or move the directory away",
                    sealed.map_or_else(|_| "some".to_owned(), |sealed| sealed.to_string()),
                ),
            }),
        });
        reports.collect()
    }

    fn records(&self) -> Vec<PrivateDirectory> {
        let names = self.names_of_records().into_iter();
        names.filter_map(|name| self.state.existing_child(&name).ok().flatten()).collect()
    }

    /// Deletes a record that cannot be read: it is still the user's to let go.
    fn delete_sealed(&self, session: &SessionName, kind: RecordKind) -> Result<(), StoreError> {
        let name = file_name(session, kind);
        let unreadable = |_| self.key_not_available();
        let Some(record) = KeyRecord::read(&self.state).map_err(unreadable)? else {
            return match sealed_anywhere(&self.state).map_err(unreadable)? {
                0 => Ok(()),
                _ => Err(self.key_not_available()),
            };
        };
        self.delete_in(&record.records, &record.key_id, &name)?;
        // A migration that was cut off may have left it once more, under a key that may be there.
        record.leftovers.iter().try_for_each(|leftover| self.delete_in(&leftover.records, &leftover.key_id, &name))
    }

    fn delete_in(&self, directory: &str, key: &KeyId, name: &str) -> Result<(), StoreError> {
        let Some(records) = self.state.existing_child(directory).map_err(|_| self.key_not_available())? else {
            return Ok(());
        };
        let path = || records.path().join(name);
        let content = records.read(name, LARGEST_RECORD);
        let content = content.map_err(|source| StoreError::Io { doing: "read", path: path(), source })?;
        match content {
            Some(content) if seal::foreign_to(&content, key).is_some() => Err(StoreError::Foreign { path: path() }),
            _ => records.remove(name),
        }
    }

    /// Where the key is or will be.
    fn place(&self, why: &OpenError) -> &'static str {
        let recorded = || KeyRecord::read(&self.state).ok().flatten()?.kind.parse::<KeyPlace>().ok();
        why.place().or_else(recorded).map_or(self.wanted.as_str(), KeyPlace::as_str)
    }
}

impl Store for Vault {
    fn protection(&self) -> Protection {
        match &self.door {
            Door::Open(disk) => Protection { key: disk.place().as_str(), awaited: None },
            Door::Closed { why, .. } => Protection {
                key: self.place(why),
                awaited: Some(Awaited { message: why.to_string(), hint: why.hint(), sealed: self.sealed_sessions() }),
            },
        }
    }

    fn load(&mut self) -> Loaded {
        self.read().unwrap_or_default()
    }

    fn save(&mut self, record: &Record) -> Result<(), StoreError> {
        match &mut self.door {
            Door::Open(disk) => disk.save(record),
            Door::Closed { .. } => Err(self.key_not_available()),
        }
    }

    fn delete(&mut self, session: &SessionName, kind: RecordKind) -> Result<(), StoreError> {
        match &mut self.door {
            Door::Open(disk) => disk.delete(session, kind),
            Door::Closed { .. } => self.delete_sealed(session, kind),
        }
    }

    fn wake_with(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        // An answer that came before anybody could be woken is found by the first look.
        wake();
        let _ = self.waker.set(wake);
    }

    fn look(&mut self) -> Option<Loaded> {
        let Door::Closed { asking, .. } = &self.door else { return None };
        let answer = asking.newest()?;
        if !self.answered(answer) {
            return None;
        }
        let loaded = self.read()?;
        tracing::info!(key = self.protection().key, records = loaded.records.len(), "the key is available");
        Some(loaded)
    }

    fn manage(&mut self, order: Manage) -> Result<Option<Loaded>, ManageError> {
        match (order, &mut self.door) {
            (Manage::Unlock { passphrase }, Door::Open(disk)) => {
                // Two people may have chosen one at the same time: the slower must not believe in theirs.
                if passphrase.is_some() && disk.place() == KeyPlace::Passphrase && !self.is_it(passphrase) {
                    let error = OpenError::WrongKey { kind: KeyPlace::Passphrase, state: self.state.path().to_owned() };
                    return Err(ManageError::StillClosed(error.to_string(), error.hint()));
                }
                Ok(None)
            }
            (Manage::Unlock { passphrase }, Door::Closed { asking, .. }) => {
                let deadline = if passphrase.is_some() { DEADLINE_OF_DERIVATION } else { DEADLINE };
                asking.again(Asked { by_a_person: true, passphrase });
                let answer = asking.answer_within(deadline).unwrap_or(Err(OpenError::NoAnswer));
                let loaded = if self.answered(answer) { self.read() } else { None };
                match &self.door {
                    Door::Closed { why, .. } => Err(ManageError::StillClosed(why.to_string(), why.hint())),
                    Door::Open(_) => Ok(loaded),
                }
            }
            (Manage::Migrate { .. }, Door::Closed { why, .. }) => {
                Err(ManageError::StillClosed(why.to_string(), why.hint()))
            }
            (Manage::Migrate { to, passphrase }, Door::Open(disk)) => {
                let asked = Asked { by_a_person: true, passphrase };
                match migrate::migrate(&self.state, &self.places, disk, to, &asked) {
                    Ok(moved) => {
                        **disk = moved;
                        Ok(None)
                    }
                    Err(error) => {
                        if matches!(error, ManageError::HalfDone) {
                            // What is written now could go to where no start looks for it.
                            self.close(KeyRecord::read(&self.state).err().unwrap_or(OpenError::NoAnswer));
                        }
                        Err(error)
                    }
                }
            }
        }
    }

    fn inventory(&self) -> Inventory {
        let names = match &self.door {
            Door::Open(disk) => disk.directory().names().unwrap_or_default(),
            Door::Closed { .. } => {
                self.records().iter().flat_map(|records| records.names().unwrap_or_default()).collect()
            }
        };
        Inventory {
            directory: Some(self.state.path().to_owned()),
            records: names.iter().filter(|name| is_record(name)).count(),
            set_aside: names.iter().filter(|name| name.contains(&format!("{SEALED}{DAMAGED}"))).count(),
            decided: Path::new(self.state.path()).join(KEY_RECORD).exists(),
        }
    }
}

/// Whose tokens are sealed in this file.
fn session_in(path: &Path) -> Option<SessionName> {
    // What is no plain file could hang whoever opens it.
    if !path.symlink_metadata().ok()?.is_file() {
        return None;
    }
    let mut header = Vec::new();
    std::fs::File::open(path).ok()?.take(LONGEST_HEADER).read_to_end(&mut header).ok()?;
    seal::session_of(&header)
}

fn ask(
    state: &Arc<PrivateDirectory>,
    places: &Arc<dyn Places>,
    wanted: KeyKind,
    first: Option<Asked>,
    waker: &Waker,
) -> Asking<Obtained> {
    let (state, places) = (Arc::clone(state), Arc::clone(places));
    let ask = move |asked: &Asked| obtain(&state, places.as_ref(), wanted, asked);
    Asking::start(ask, first, Arc::clone(waker))
}

/// From the key to the records.
fn unseal(state: &Arc<PrivateDirectory>, places: &Arc<dyn Places>, obtained: Obtained) -> Result<DiskStore, OpenError> {
    let Obtained { key, record, place } = obtained;
    let records = state.prepare_child(&record.records).map_err(OpenError::Directory)?;
    migrate::finish(state, places, &records, record);
    let disk = DiskStore::new(records, key, place);
    if let Err(error) = state.remove_leftovers().and_then(|()| disk.finish_writes()) {
        // A directory that cannot be written can still be read.
        tracing::warn!("what an interrupted write left behind stays: {error}");
    }
    Ok(disk)
}

const LONGEST_HEADER: u64 = 64 * 1024;
