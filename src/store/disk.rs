//! Sealed records in a directory.
//!
//! Owns: which file is whose, and the order of writes. Refuses to know what a record means. Invariants: a file of
//! another key or a newer version is never written, renamed or deleted; a file of ours that does not open is renamed,
//! never deleted; of one file a later write is never replaced by an earlier one.

use std::collections::HashMap;

use zeroize::Zeroizing;

use super::directory::PrivateDirectory;
use super::key::{KeyId, KeyPlace};
use super::seal::{self, Foreign, Opened, SEALED, SealingKey, file_name};
use super::{Loaded, Record, RecordKind, Report, StoreError, random};
use crate::ids::SessionName;

/// The records of one state directory, for the holder of the state lock.
pub(super) struct DiskStore {
    directory: PrivateDirectory,
    key: SealingKey,
    place: KeyPlace,
    /// The sequence number last read from or written to each file, kept beyond its deletion.
    sequences: HashMap<String, u64>,
}

impl DiskStore {
    pub(super) fn new(directory: PrivateDirectory, key: SealingKey, place: KeyPlace) -> Self {
        Self { directory, key, place, sequences: HashMap::new() }
    }

    /// Where the key is.
    pub(super) const fn place(&self) -> KeyPlace {
        self.place
    }

    /// Which key.
    pub(super) const fn key_id(&self) -> &KeyId {
        self.key.id()
    }

    /// Where the records are.
    pub(super) const fn directory(&self) -> &PrivateDirectory {
        &self.directory
    }

    /// Ends what an interrupted write began: what is whole and newer than what has its name takes that name, the rest
    /// is removed. So a crash loses what the service gave out only if it comes before the write, and not while the
    /// disk is being waited for.
    pub(super) fn finish_writes(&self) -> Result<(), StoreError> {
        for leftover in self.directory.leftovers()? {
            let foreign = self.content(&leftover)?.and_then(|content| self.key.foreign(&content));
            if matches!(foreign, Some(Foreign::Version(_))) {
                // The newer version knows what to do with it.
                continue;
            }
            match self.worth_a_name(&leftover)? {
                Some(name) => {
                    self.directory.finish_write(&leftover, &name)?;
                    tracing::info!(file = name, "finished a write that was interrupted");
                }
                None => self.directory.remove_leftover(&leftover)?,
            }
        }
        Ok(())
    }

    /// The name a leftover should have. It replaces and never adds: what was deleted stays so.
    fn worth_a_name(&self, leftover: &str) -> Result<Option<String>, StoreError> {
        let Some(content) = self.content(leftover)? else { return Ok(None) };
        let Some(name) = seal::name_of(&content) else { return Ok(None) };
        let Opened::Record { record, sequence } = self.key.open(&name, content) else { return Ok(None) };
        if matches!(&*record, Record::Tokens(tokens) if tokens.refresh_sent_at.is_some()) {
            // Nothing is sent before the mark has its name: this one says what has not happened.
            return Ok(None);
        }
        let named = self.content(&name)?.map(|content| self.key.open(&name, content));
        let newer = matches!(named, Some(Opened::Record { sequence: last, .. }) if last < sequence);
        Ok(newer.then_some(name))
    }

    fn content(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let path = || self.directory.path().join(name);
        self.directory.read(name, LARGEST_RECORD).map_err(|source| StoreError::Io {
            doing: "read",
            path: path(),
            source,
        })
    }

    /// Goes through the records that open, with file name and sequence number. What does not open is left alone.
    pub(super) fn each_record(
        &self,
        mut visit: impl FnMut(&str, &Record, u64) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for name in self.directory.names()?.iter().filter(|name| is_record(name)) {
            let content = self.content(name)?;
            if let Some(Opened::Record { record, sequence }) = content.map(|content| self.key.open(name, content)) {
                visit(name, &record, sequence)?;
            }
        }
        Ok(())
    }

    fn load_file(&mut self, name: &str, loaded: &mut Loaded) {
        let file = self.directory.path().join(name);
        let content = match self.directory.read(name, LARGEST_RECORD) {
            Ok(Some(content)) => content,
            Ok(None) => return,
            Err(error) => {
                let message = format!("the stored record cannot be read and was left where it is: {error}");
                loaded.reports.push(Report { file, message });
                return;
            }
        };
        match self.key.open(name, content) {
            Opened::Record { record, sequence } => {
                self.sequences.insert(name.to_owned(), sequence);
                loaded.records.push(*record);
            }
            Opened::Foreign(why) => loaded.reports.push(Report { file, message: foreign_message(&why) }),
            Opened::Damaged(why) => loaded.reports.push(self.set_aside(name, why).unwrap_or_else(|error| Report {
                file,
                message: format!("the stored record does not open: {why}; it could not be set aside: {error}"),
            })),
        }
    }

    fn set_aside(&self, name: &str, why: &str) -> Result<Report, StoreError> {
        let aside = format!("{name}{DAMAGED}{}", random::hex_name().ok_or(StoreError::Crypto)?);
        self.directory.rename(name, &aside)?;
        Ok(Report {
            file: self.directory.path().join(aside),
            message: format!(
                "the stored record does not open: {why}; it was set aside; sign in again, then the file can be deleted"
            ),
        })
    }

    /// The sequence number for the next write of a file, if it may be written.
    fn next_sequence(&self, name: &str) -> Result<u64, StoreError> {
        let path = || self.directory.path().join(name);
        let known = self.sequences.get(name).copied();
        let found = match self.content(name)?.map(|content| self.key.open(name, content)) {
            None => None,
            Some(Opened::Record { sequence, .. }) => Some(sequence),
            Some(Opened::Foreign(_)) => return Err(StoreError::Foreign { path: path() }),
            Some(Opened::Damaged(why)) => {
                let report = self.set_aside(name, why)?;
                tracing::warn!(file = %report.file.display(), why, "record set aside");
                None
            }
        };
        // More than we know of: somebody else wrote since we read, and has the newer tokens.
        if let (Some(known), Some(found)) = (known, found)
            && found > known
        {
            return Err(StoreError::Newer { path: path() });
        }
        let last = known.max(found).unwrap_or(0);
        // At the end of the numbers, which only a forged file could reach, nothing may be written.
        last.checked_add(1).ok_or_else(|| StoreError::Newer { path: path() })
    }
}

impl DiskStore {
    /// [`super::Store::load`].
    pub(super) fn load(&mut self) -> Result<Loaded, StoreError> {
        let mut loaded = Loaded::default();
        for name in self.directory.names()? {
            if is_record(&name) {
                self.load_file(&name, &mut loaded);
            }
        }
        Ok(loaded)
    }

    /// [`super::Store::save`].
    pub(super) fn save(&mut self, record: &Record) -> Result<(), StoreError> {
        let name = file_name(record.session(), record.kind());
        let sequence = self.next_sequence(&name)?;
        let sealed = self.key.seal(&name, sequence, record)?;
        // Counted before the write: should only its last step fail, the number is on disk already.
        self.sequences.insert(name.clone(), sequence);
        self.directory.replace(&name, &sealed)
    }

    /// [`super::Store::delete`].
    pub(super) fn delete(&mut self, session: &SessionName, kind: RecordKind) -> Result<(), StoreError> {
        let name = file_name(session, kind);
        let path = || self.directory.path().join(&name);
        if self.content(&name)?.is_some_and(|content| self.key.foreign(&content).is_some()) {
            return Err(StoreError::Foreign { path: path() });
        }
        self.directory.remove(&name)
    }
}

/// Whether a file holds a record as far as its name says. Others in the directory are not ours to touch.
pub(super) fn is_record(name: &str) -> bool {
    let digits = |rest: &str| {
        rest.strip_suffix(SEALED)
            .is_some_and(|hash| hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
    };
    name.strip_prefix("client-").or_else(|| name.strip_prefix("tokens-")).is_some_and(digits)
}

fn foreign_message(why: &Foreign) -> String {
    match why {
        Foreign::Version(version) => format!(
            "the stored record has format {version}, which this version does not know, and was left alone; run the \
             newer version again, or move the file away and sign in again"
        ),
        Foreign::Key(id) => format!(
            "the stored record is sealed with another key ({id}) and was left alone; put that key and its key.json \
             back, or move the file away and sign in again"
        ),
    }
}

/// What stands between a set-aside record's old name and a random suffix.
pub(super) const DAMAGED: &str = ".damaged-";

/// Far over any record; what is longer does not open.
pub(super) const LARGEST_RECORD: u64 = 4 * 1024 * 1024;

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
