//! `storage migrate`: another key, in another place, for everything that is sealed.
//!
//! Owns: the steps and their order. Invariant: at every moment `key.json` names a key that is kept and a directory in
//! which everything is sealed with it; the switch from one to the other is one rename. What a migration that was cut
//! off left behind is named in `key.json` too, and removed by the next start.

use std::sync::Arc;

use super::asking::{DEADLINE, DEADLINE_OF_DERIVATION, within};
use super::directory::PrivateDirectory;
use super::disk::{DiskStore, LARGEST_RECORD, is_record};
use super::key::{Answer, KeyBytes, KeyError, KeyId, KeyPlace, KeySource};
use super::key_record::{KeyRecord, Leftover, RECORDS};
use super::places::{Asked, Places};
use super::seal::{self, Opened, SealingKey};
use super::vault::Unsealed;
use super::{ManageError, StoreError};

/// Moves everything to a new key in `to`.
///
/// # Errors
/// Everything is as it was, but for leftovers that `key.json` names.
pub(super) fn migrate(
    state: &Arc<PrivateDirectory>,
    places: &Arc<dyn Places>,
    from: &Unsealed,
    to: KeyPlace,
    asked: &Asked,
) -> Result<Unsealed, ManageError> {
    // A passphrase can be exchanged for another one; any other place already keeps the best it has.
    if from.disk.place() == to && to != KeyPlace::Passphrase {
        return Err(ManageError::AlreadyThere(to));
    }
    if to == KeyPlace::Passphrase && asked.passphrase.is_none() {
        return Err(ManageError::NoPassphrase);
    }
    let from_record = finish(state, places, from.disk.directory(), from.record.clone());
    if let Some(leftover) = &from_record.leftover {
        return Err(ManageError::Unfinished(leftover.kind));
    }
    let mut migration = Migration {
        state,
        places,
        asked,
        from,
        from_record,
        id: KeyId::random().ok_or(StoreError::Crypto)?,
        to,
        key: None,
    };
    for step in STEPS {
        step(&mut migration)?;
    }
    let record = KeyRecord::read(state).ok().flatten().ok_or(ManageError::NotVerified)?;
    let key = migration.key.as_ref().ok_or(ManageError::NotVerified)?;
    let records = migration.new_records()?;
    let record = finish(state, places, &records, record);
    let mut disk = DiskStore::new(records, SealingKey::new(record.key_id.clone(), key), to);
    // The numbers of the last writes, which only a reading finds out.
    disk.load()?;
    Ok(Unsealed { disk, record })
}

/// A migration under way. Each step leaves the disk in a state from which a start finds everything.
struct Migration<'m> {
    state: &'m Arc<PrivateDirectory>,
    places: &'m Arc<dyn Places>,
    asked: &'m Asked,
    from: &'m Unsealed,
    from_record: KeyRecord,
    id: KeyId,
    to: KeyPlace,
    key: Option<KeyBytes>,
}

type Step = fn(&mut Migration<'_>) -> Result<(), ManageError>;

const STEPS: [Step; 5] = [
    |migration| migration.announce(),
    |migration| migration.make_key(),
    |migration| migration.reseal(),
    |migration| migration.verify(),
    |migration| migration.switch(),
];

impl Migration<'_> {
    /// Writes down what is about to be made, so that it is found again.
    fn announce(&mut self) -> Result<(), ManageError> {
        let leftover = Leftover { key_id: self.id.clone(), kind: self.to, records: self.records_name() };
        let record = KeyRecord { leftover: Some(leftover), ..self.from_record.clone() };
        Ok(record.write(self.state)?)
    }

    /// Makes the key, keeps it, and reads it back.
    fn make_key(&mut self) -> Result<(), ManageError> {
        let found = match self.read_key()? {
            Answer::Found(key) => key,
            Answer::NotYet { remedy } => return Err(ManageError::PlaceNotAvailable(self.to, remedy)),
            Answer::Nowhere { why } => return Err(ManageError::PlaceNotAvailable(self.to, why)),
            Answer::Absent => {
                let key = KeyBytes::random().ok_or(StoreError::Crypto)?;
                let (id, kept) = (self.id.clone(), key.clone());
                self.with_source(move |source| source.create(&id, &kept))??;
                match self.read_key()? {
                    Answer::Found(found) if found == key => key,
                    _ => return Err(ManageError::NotVerified),
                }
            }
        };
        self.key = Some(found);
        Ok(())
    }

    /// Seals every record once more, with the new key and in a directory of its own.
    fn reseal(&mut self) -> Result<(), ManageError> {
        let key = self.sealing_key()?;
        let records = self.state.prepare_child(&self.records_name()).map_err(ManageError::Directory)?;
        self.from
            .disk
            .each_record(|name, record, sequence| records.replace(name, &key.seal(name, sequence, record)?))?;
        Ok(())
    }

    /// Reads everything back, with the key as its place gives it.
    fn verify(&mut self) -> Result<(), ManageError> {
        let Answer::Found(key) = self.read_key()? else { return Err(ManageError::NotVerified) };
        let key = SealingKey::new(self.id.clone(), &key);
        let records = self.new_records()?;
        let mut whole = true;
        self.from.disk.each_record(|name, expected, _| {
            let content = records.read(name, LARGEST_RECORD).ok().flatten();
            whole &= content.is_some_and(
                |content| matches!(key.open(name, content), Opened::Record { record, .. } if *record == *expected),
            );
            Ok(())
        })?;
        if whole { Ok(()) } else { Err(ManageError::NotVerified) }
    }

    /// From here on the new key counts, and the old one is what is left over.
    fn switch(&mut self) -> Result<(), ManageError> {
        let key = self.key.as_ref().ok_or(ManageError::NotVerified)?;
        let mut record = KeyRecord::of(self.id.clone(), self.to, key, self.records_name());
        record.leftover = Some(Leftover {
            key_id: self.from_record.key_id.clone(),
            kind: self.from.disk.place(),
            records: self.from_record.records.clone(),
        });
        Ok(record.write(self.state)?)
    }

    fn records_name(&self) -> String {
        format!("{RECORDS}.{}", self.id)
    }

    fn new_records(&self) -> Result<PrivateDirectory, ManageError> {
        self.state.existing_child(&self.records_name()).map_err(ManageError::Directory)?.ok_or(ManageError::NotVerified)
    }

    fn sealing_key(&self) -> Result<SealingKey, ManageError> {
        let key = self.key.as_ref().ok_or(ManageError::NotVerified)?;
        Ok(SealingKey::new(self.id.clone(), key))
    }

    fn read_key(&self) -> Result<Answer, ManageError> {
        let id = self.id.clone();
        Ok(self.with_source(move |source| source.read(&id))??)
    }

    /// Asks the new place, which may be a keyring that never answers.
    fn with_source<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn KeySource) -> T + Send + 'static,
    ) -> Result<T, ManageError> {
        let mut source = self.places.source(self.to, self.asked);
        let deadline = if self.to == KeyPlace::Passphrase { DEADLINE_OF_DERIVATION } else { DEADLINE };
        let no_answer = || ManageError::PlaceNotAvailable(self.to, "it does not answer".to_owned());
        within(deadline, move || work(source.as_mut())).ok_or_else(no_answer)
    }
}

/// Removes what a migration left behind, if there is something. Nothing that is still needed is named there.
///
/// What cannot be removed now stays named.
pub(super) fn finish(
    state: &Arc<PrivateDirectory>,
    places: &Arc<dyn Places>,
    records: &PrivateDirectory,
    record: KeyRecord,
) -> KeyRecord {
    let Some(leftover) = record.leftover.clone() else { return record };
    let finished = KeyRecord { leftover: None, ..record.clone() };
    match clear(state, places, records, &leftover).and_then(|()| Ok(finished.write(state)?)) {
        Ok(()) => finished,
        Err(error) => {
            tracing::warn!(kind = %leftover.kind, "what a migration left behind stays for now: {error}");
            record
        }
    }
}

fn clear(
    state: &Arc<PrivateDirectory>,
    places: &Arc<dyn Places>,
    records: &PrivateDirectory,
    leftover: &Leftover,
) -> Result<(), ManageError> {
    if let Some(old) = state.existing_child(&leftover.records).map_err(ManageError::Directory)? {
        old.remove_leftovers()?;
        let kept = records.names()?;
        for name in old.names()?.iter().filter(|name| *name != "." && *name != "..") {
            let content = if is_record(name) { old.read(name, LARGEST_RECORD).ok().flatten() } else { None };
            let sealed_with_it = content.is_some_and(|content| seal::foreign_to(&content, &leftover.key_id).is_none());
            if sealed_with_it && kept.contains(name) {
                old.remove(name)?;
            } else {
                // Another key's, a newer version's, or a damaged one: kept, beside what counts.
                old.move_to(name, records)?;
            }
        }
        state.remove_directory(&leftover.records)?;
    }
    let mut source = places.source(leftover.kind, &Asked::default());
    let id = leftover.key_id.clone();
    let no_answer = || ManageError::PlaceNotAvailable(leftover.kind, "it does not answer".to_owned());
    within(DEADLINE, move || source.remove(&id)).ok_or_else(no_answer)??;
    Ok(())
}

impl From<StoreError> for ManageError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<KeyError> for ManageError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

#[cfg(test)]
#[path = "migrate_tests.rs"]
mod tests;
