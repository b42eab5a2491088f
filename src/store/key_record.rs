//! Which key it is and where it is kept: `key.json`.
//!
//! Owns: the one decision for a place, made when the first key is, and the rules by which a key is made at all.
//! Invariant: a key is made only if no sealed record exists and its place said positively that it holds none; a key
//! that is not the one recorded is not used.

use std::path::Path;

use ring::hmac;
use serde::{Deserialize, Serialize};

use super::directory::{PrivateDirectory, quoted};
use super::key::{Answer, KEY_FILE, KeyBytes, KeyId, KeySource};
use super::open::OpenError;
use super::seal::SealingKey;
use super::{StoreError, random};

/// `key.json`: which key, and where it is kept. Decided once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeyRecord {
    /// What the records call it by.
    pub(super) key_id: KeyId,
    /// [`KeySource::kind`]. A text, because a newer version may know more kinds than this one.
    pub(super) kind: String,
    /// Tells the key from any other without revealing it, so that a wrong key is an error of its own and not the
    /// damage of every record.
    check: Option<String>,
}

impl KeyRecord {
    /// What is recorded; `None` where no key was ever made.
    pub(super) fn read(state: &PrivateDirectory) -> Result<Option<Self>, OpenError> {
        let path = || state.path().join(KEY_RECORD);
        let content = state
            .read(KEY_RECORD, LARGEST_KEY_RECORD)
            .map_err(|source| OpenError::Store(StoreError::Io { doing: "read", path: path(), source }))?;
        content
            .map(|content| serde_json::from_slice(&content))
            .transpose()
            .map_err(|source| OpenError::KeyRecordDamaged { path: path(), source })
    }

    fn of(source: &dyn KeySource, key: &KeyBytes) -> Result<Self, OpenError> {
        let key_id = KeyId::random().ok_or(OpenError::Store(StoreError::Crypto))?;
        let check = Some(check(&key_id, key));
        Ok(Self { key_id, kind: source.kind().to_owned(), check })
    }

    fn write(&self, state: &PrivateDirectory) -> Result<(), OpenError> {
        let mut line = serde_json::to_vec(self).map_err(|error| OpenError::Store(StoreError::Encode(error)))?;
        line.push(b'\n');
        state.replace(KEY_RECORD, &line).map_err(OpenError::Store)
    }

    fn fits(&self, key: &KeyBytes) -> bool {
        self.check.as_ref().is_none_or(|expected| *expected == check(&self.key_id, key))
    }
}

/// Gets the key, or makes it where that loses nothing: `sealed` is the number of records that an earlier key may be
/// needed for.
pub(super) fn obtain(
    state: &PrivateDirectory,
    source: &mut dyn KeySource,
    recorded: Option<KeyRecord>,
    sealed: usize,
) -> Result<SealingKey, OpenError> {
    let kind = source.kind();
    match (source.read().map_err(OpenError::Key)?, recorded) {
        (Answer::NotYet { remedy } | Answer::Nowhere { why: remedy }, _) => {
            Err(OpenError::KeyNotAvailable { kind, remedy })
        }
        (Answer::Found(key), Some(record)) if record.fits(&key) => Ok(SealingKey::new(record.key_id, &key)),
        (Answer::Found(_), Some(_)) => Err(OpenError::WrongKey { kind, state: state.path().to_owned() }),
        (Answer::Found(_), None) if sealed > 0 => {
            Err(OpenError::KeyRecordMissing { path: state.path().join(KEY_RECORD), sealed })
        }
        // Nothing depends on the key that was found: an earlier start got no further, or its record was removed
        // together with what it sealed.
        (Answer::Found(key), None) => {
            let record = KeyRecord::of(source, &key)?;
            record.write(state)?;
            Ok(SealingKey::new(record.key_id, &key))
        }
        (Answer::Absent, _) if sealed > 0 => {
            Err(OpenError::KeyMissing { kind, state: state.path().to_owned(), sealed })
        }
        (Answer::Absent, _) => {
            let key = KeyBytes::random().ok_or(OpenError::Store(StoreError::Crypto))?;
            // The record first: a crash between the two leaves a record without key and nothing sealed, which is
            // made anew; the other way round a key could stay in a keyring that nobody remembers.
            let record = KeyRecord::of(source, &key)?;
            record.write(state)?;
            source.create(&key).map_err(OpenError::Key)?;
            Ok(SealingKey::new(record.key_id, &key))
        }
    }
}

/// What helps when records exist and their key does not.
pub(super) fn restore(what: &str, state: &Path) -> String {
    format!(
        "put {what} back from a backup; without it the stored sign-ins are lost: then move {0}, {1} and {2} away and \
         sign in again",
        quoted(&state.join(RECORDS)),
        quoted(&state.join(KEY_FILE)),
        quoted(&state.join(KEY_RECORD)),
    )
}

fn check(id: &KeyId, key: &KeyBytes) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
    random::hex(hmac::sign(&key, format!("sso-agent key check {id}").as_bytes()).as_ref())
}

/// The name of this record in the state directory.
pub(super) const KEY_RECORD: &str = "key.json";
/// The name of the sealed records' directory in the state directory.
pub(super) const RECORDS: &str = "records";

const LARGEST_KEY_RECORD: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::super::key::{KeyError, KeyFile};
    use super::super::sandbox::Sandbox;
    use super::*;

    /// A place that gives one answer and must not be asked to keep anything.
    struct Says(fn() -> Answer);

    impl KeySource for Says {
        fn kind(&self) -> &'static str {
            "elsewhere"
        }

        fn read(&mut self) -> Result<Answer, KeyError> {
            Ok(self.0())
        }

        fn create(&mut self, _: &KeyBytes) -> Result<(), KeyError> {
            panic!("a key was made")
        }
    }

    fn state() -> (Sandbox, PrivateDirectory) {
        let sandbox = Sandbox::new();
        let state = PrivateDirectory::prepare(sandbox.path()).unwrap();
        (sandbox, state)
    }

    #[test]
    fn a_place_that_does_not_know_yet_gets_no_new_key() {
        let (sandbox, state) = state();
        let mut locked = Says(|| Answer::NotYet { remedy: "unlock it".to_owned() });
        let error = obtain(&state, &mut locked, None, 0).err().unwrap();
        assert!(matches!(error, OpenError::KeyNotAvailable { .. }));
        assert_eq!(error.hint(), "unlock it");
        assert!(!sandbox.path().join(KEY_RECORD).exists());
    }

    #[test]
    fn a_missing_key_is_not_made_again_while_records_exist() {
        let (_sandbox, state) = state();
        let error = obtain(&state, &mut Says(|| Answer::Absent), None, 1).err().unwrap();
        assert!(matches!(error, OpenError::KeyMissing { sealed: 1, .. }));
    }

    #[test]
    fn a_key_that_is_not_the_recorded_one_is_not_used() {
        let (_sandbox, state) = state();
        let mut source = KeyFile::new(&state);
        obtain(&state, &mut source, None, 0).unwrap();
        let recorded = KeyRecord::read(&state).unwrap();
        let mut other = Says(|| Answer::Found(KeyBytes::random().unwrap()));
        let error = obtain(&state, &mut other, recorded, 1).err().unwrap();
        assert!(matches!(error, OpenError::WrongKey { .. }));
    }

    #[test]
    fn a_start_that_got_no_further_than_the_record_or_the_key_is_finished_by_the_next() {
        let (sandbox, state) = state();
        obtain(&state, &mut KeyFile::new(&state), None, 0).unwrap();
        std::fs::remove_file(sandbox.path().join(KEY_FILE)).unwrap();
        obtain(&state, &mut KeyFile::new(&state), KeyRecord::read(&state).unwrap(), 0).unwrap();
        std::fs::remove_file(sandbox.path().join(KEY_RECORD)).unwrap();
        obtain(&state, &mut KeyFile::new(&state), None, 0).unwrap();
        obtain(&state, &mut KeyFile::new(&state), KeyRecord::read(&state).unwrap(), 1).unwrap();
    }
}
