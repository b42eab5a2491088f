//! `storage migrate`: another key, in another place, for everything that is sealed.
//!
//! Owns: the steps and their order. Invariant: at every moment `key.json` names a key that is kept and a directory in
//! which everything is sealed with it; the switch from one to the other is one rename. What a migration that was cut
//! off left behind is named in `key.json` too, and removed by the next start.

use std::sync::Arc;

use super::asking::{DEADLINE, DEADLINE_OF_DERIVATION, within};
use super::directory::PrivateDirectory;
use super::disk::{DAMAGED, DiskStore, LARGEST_RECORD, is_record};
use super::key::{Answer, KeyBytes, KeyError, KeyId, KeyPlace, KeySource};
use super::key_record::{KeyRecord, Leftover, RECORDS};
use super::places::{Asked, Places};
use super::seal::{self, Opened, SealingKey};
use super::{ManageError, StoreError, random};

/// Moves everything to a new key in `to`.
///
/// # Errors
/// Everything is as it was, but for leftovers that `key.json` names; only after [`ManageError::HalfDone`] nobody knows
/// which key counts before `key.json` can be read again.
pub(super) fn migrate(
    state: &Arc<PrivateDirectory>,
    places: &Arc<dyn Places>,
    from: &DiskStore,
    to: KeyPlace,
    asked: &Asked,
) -> Result<DiskStore, ManageError> {
    // A passphrase can be exchanged for another one; any other place already keeps the best it has.
    if from.place() == to && to != KeyPlace::Passphrase {
        return Err(ManageError::AlreadyThere(to));
    }
    if to == KeyPlace::Passphrase && asked.passphrase.as_ref().is_none_or(crate::secret::Secret::is_empty) {
        return Err(ManageError::NoPassphrase);
    }
    // As it is on disk: an earlier migration may have been refused after it was announced.
    let recorded = KeyRecord::read(state).ok().flatten().filter(|record| record.key_id == *from.key_id());
    let from_record = finish(state, places, from.directory(), recorded.ok_or(ManageError::NotVerified)?);
    let in_the_way = |leftover: &&Leftover| to == KeyPlace::File && leftover.kind == to.as_str();
    let most = (from_record.leftovers.len() >= MOST_LEFTOVERS).then(|| from_record.leftovers.first()).flatten();
    if let Some(leftover) = from_record.leftovers.iter().find(in_the_way).or(most) {
        return Err(ManageError::Unfinished(leftover.kind.clone()));
    }
    let id = KeyId::random().ok_or(StoreError::Crypto)?;
    let mut migration = Migration { state, places, asked, from, from_record, id, to, key: None, moved: None };
    migration.look()?;
    for step in STEPS {
        if let Err(error) = step(&mut migration) {
            if !matches!(error, ManageError::HalfDone)
                && let Ok(Some(announced)) = KeyRecord::read(state)
            {
                // On a full disk the copies are what should go first.
                finish(state, places, from.directory(), announced);
            }
            return Err(error);
        }
    }
    let Some(Moved { disk, record, durable }) = migration.moved else { return Err(ManageError::NotVerified) };
    if durable {
        finish(state, places, disk.directory(), record);
    }
    Ok(disk)
}

/// A migration under way. Each step leaves the disk in a state from which a start finds everything.
struct Migration<'m> {
    state: &'m Arc<PrivateDirectory>,
    places: &'m Arc<dyn Places>,
    asked: &'m Asked,
    from: &'m DiskStore,
    from_record: KeyRecord,
    id: KeyId,
    to: KeyPlace,
    key: Option<KeyBytes>,
    moved: Option<Moved>,
}

/// What there is afterwards; made before the switch, for after it nothing may fail.
struct Moved {
    disk: DiskStore,
    record: KeyRecord,
    /// Whether the switch is known to survive a power failure; until then what is old is needed.
    durable: bool,
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
    /// Refuses what cannot be done before anything is written.
    fn look(&self) -> Result<(), ManageError> {
        if self.to == KeyPlace::Passphrase {
            return Ok(());
        }
        match self.read_key()? {
            Answer::NotYet { remedy } => Err(ManageError::PlaceNotAvailable(self.to, remedy)),
            Answer::Nowhere { why } => Err(ManageError::PlaceNotAvailable(self.to, why)),
            // Not made by us, so it is not ours to use, nor to remove should this migration be cut off.
            Answer::Found(_) if self.to == KeyPlace::File => Err(ManageError::Occupied(self.to)),
            Answer::Found(_) | Answer::Absent => Ok(()),
        }
    }

    /// Writes down what is about to be made, so that it is found again.
    fn announce(&mut self) -> Result<(), ManageError> {
        let mut record = self.from_record.clone();
        record.leftovers.push(Leftover {
            key_id: self.id.clone(),
            kind: self.to.to_string(),
            records: self.records_name(),
            copies: true,
        });
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
        self.from.each_record(|name, record, sequence| records.replace(name, &key.seal(name, sequence, record)?))?;
        Ok(())
    }

    /// Reads everything back, with the key as its place gives it.
    fn verify(&mut self) -> Result<(), ManageError> {
        let Answer::Found(key) = self.read_key()? else { return Err(ManageError::NotVerified) };
        let opener = SealingKey::new(self.id.clone(), &key);
        let records = self.state.existing_child(&self.records_name()).map_err(ManageError::Directory)?;
        let records = records.ok_or(ManageError::NotVerified)?;
        let mut whole = true;
        self.from.each_record(|name, expected, _| {
            let content = records.read(name, LARGEST_RECORD).ok().flatten();
            whole &= content.is_some_and(
                |content| matches!(opener.open(name, content), Opened::Record { record, .. } if *record == *expected),
            );
            Ok(())
        })?;
        if !whole {
            return Err(ManageError::NotVerified);
        }
        let mut disk = DiskStore::new(records, self.sealing_key()?, self.to);
        // The numbers of the last writes, which only a reading finds out.
        disk.load()?;
        let mut record = KeyRecord::of(self.id.clone(), self.to, &key, self.records_name());
        record.leftovers.clone_from(&self.from_record.leftovers);
        record.leftovers.push(Leftover {
            key_id: self.from_record.key_id.clone(),
            kind: self.from.place().to_string(),
            records: self.from_record.records.clone(),
            copies: false,
        });
        self.moved = Some(Moved { disk, record, durable: true });
        Ok(())
    }

    /// From here on the new key counts, and the old one is what is left over.
    fn switch(&mut self) -> Result<(), ManageError> {
        let moved = self.moved.as_mut().ok_or(ManageError::NotVerified)?;
        let Err(error) = moved.record.write(self.state) else { return Ok(()) };
        // The last step of a write may fail when the name is there already. What is written from now on must go to
        // where the next start looks for it.
        match KeyRecord::read(self.state) {
            Ok(Some(found)) if found.key_id == self.id => {
                tracing::warn!("the key was changed, but it is not certain that the disk keeps that: {error}");
                moved.durable = false;
                Ok(())
            }
            Ok(Some(found)) if found.key_id == self.from_record.key_id => Err(error.into()),
            _ => Err(ManageError::HalfDone),
        }
    }

    fn records_name(&self) -> String {
        format!("{RECORDS}.{}", self.id)
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

/// Removes what migrations left behind, if there is something. Nothing that is still needed is named there.
///
/// What cannot be removed now stays named.
pub(super) fn finish(
    state: &Arc<PrivateDirectory>,
    places: &Arc<dyn Places>,
    records: &PrivateDirectory,
    record: KeyRecord,
) -> KeyRecord {
    let mut finished = record.clone();
    let mut silent = None;
    finished.leftovers.retain(|leftover| match clear(state, places, records, leftover, silent) {
        Ok(()) => false,
        Err(error) => {
            if let ManageError::PlaceNotAvailable(place, _) = &error {
                silent = Some(*place);
            }
            let kind = crate::untrusted::shown(&leftover.kind);
            tracing::warn!(%kind, "what a migration left behind stays for now: {error}");
            true
        }
    });
    if finished.leftovers.len() == record.leftovers.len() {
        return record;
    }
    match finished.write(state) {
        Ok(()) => finished,
        Err(error) => {
            tracing::warn!("what a migration left behind is gone, but still named: {error}");
            record
        }
    }
}

fn clear(
    state: &Arc<PrivateDirectory>,
    places: &Arc<dyn Places>,
    records: &PrivateDirectory,
    leftover: &Leftover,
    silent: Option<KeyPlace>,
) -> Result<(), ManageError> {
    if let Some(old) = state.existing_child(&leftover.records).map_err(ManageError::Directory)? {
        old.remove_leftovers()?;
        let kept = records.names()?;
        for name in old.names()?.iter().filter(|name| *name != "." && *name != "..") {
            let content = if is_record(name) { old.read(name, LARGEST_RECORD).ok().flatten() } else { None };
            let sealed_with_it = content.is_some_and(|content| seal::foreign_to(&content, &leftover.key_id).is_none());
            if sealed_with_it && (leftover.copies || kept.contains(name)) {
                old.remove(name)?;
            } else if sealed_with_it || kept.contains(name) {
                // It did not open, or it is in the way of one that counts: kept, as what is damaged is.
                let suffix = random::hex_name().ok_or(StoreError::Crypto)?;
                old.move_to(name, records, &format!("{name}{DAMAGED}{suffix}"))?;
            } else {
                // Another key's or a newer version's: kept, beside what counts.
                old.move_to(name, records, name)?;
            }
        }
        state.remove_directory(&leftover.records)?;
    }
    let kind = leftover.kind.parse().map_err(|_| ManageError::Unfinished(leftover.kind.clone()))?;
    let no_answer = || ManageError::PlaceNotAvailable(kind, "it does not answer".to_owned());
    if silent == Some(kind) {
        // Nobody waits for it twice.
        return Err(no_answer());
    }
    let mut source = places.source(kind, &Asked::default());
    let id = leftover.key_id.clone();
    within(DEADLINE, move || source.remove(&id)).ok_or_else(no_answer)??;
    Ok(())
}

/// More keys than this are not left behind for later.
const MOST_LEFTOVERS: usize = 8;

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
