//! Which key it is and where it is kept: `key.json`.
//!
//! Owns: the one decision for a place, made when the first key is, and the rules by which a key is made at all.
//! Invariant: a key is made only if no sealed record exists and its place said positively that it holds none; a key
//! that is not the one recorded is not used.

use std::path::Path;
use std::sync::Arc;

use ring::hmac;
use serde::{Deserialize, Serialize};

use super::directory::{PrivateDirectory, quoted};
use super::disk::DAMAGED;
use super::key::{Answer, KeyBytes, KeyId, KeyPlace, KeySource};
use super::key_file::KEY_FILE;
use super::open::OpenError;
use super::places::{Asked, Places};
use super::seal::{SEALED, SealingKey};
use super::{StoreError, random};
use crate::settings::KeyKind;

/// `key.json`: which key, and where it is kept. Decided once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeyRecord {
    /// What the records call it by.
    pub(super) key_id: KeyId,
    /// [`KeyPlace`]. A text, because a newer version may know more kinds than this one.
    pub(super) kind: String,
    /// Tells the key from any other without revealing it, so that a wrong key is an error of its own and not the
    /// damage of every record.
    pub(super) check: Option<String>,
    /// The directory of the records sealed with it, in the state directory.
    #[serde(default = "first_records")]
    pub(super) records: String,
    /// What migrations have yet to remove: the new key and its copies until the switch, the old ones after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) leftovers: Vec<Leftover>,
}

/// A key that nothing depends on, and the records sealed with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Leftover {
    pub(super) key_id: KeyId,
    /// [`KeyPlace`], or one that only another version knows.
    pub(super) kind: String,
    pub(super) records: String,
    /// Whether its records are but copies of those that count, or were the ones that counted.
    #[serde(default)]
    pub(super) copies: bool,
}

/// The key at hand.
pub(super) struct Obtained {
    pub(super) key: SealingKey,
    pub(super) record: KeyRecord,
    pub(super) place: KeyPlace,
}

impl KeyRecord {
    /// What is recorded; `None` where no key was ever made.
    pub(super) fn read(state: &PrivateDirectory) -> Result<Option<Self>, OpenError> {
        let path = || state.path().join(KEY_RECORD);
        let content = state
            .read(KEY_RECORD, LARGEST_KEY_RECORD)
            .map_err(|source| OpenError::Store(StoreError::Io { doing: "read", path: path(), source }))?;
        content
            .map(|content| serde_json::from_slice(&content).and_then(Self::sound))
            .transpose()
            .map_err(|source| OpenError::KeyRecordDamaged { path: path(), source })
    }

    /// Names nothing outside the state directory, and nothing to be removed that is in use.
    fn sound(self) -> serde_json::Result<Self> {
        let name_is_legal = |name: &str| {
            name.strip_prefix(RECORDS).is_some_and(|rest| {
                rest.is_empty() || rest.strip_prefix('.').is_some_and(|id| id.parse::<KeyId>().is_ok())
            })
        };
        let in_use = |leftover: &Leftover| {
            let one_of_its_kind = leftover.kind == KeyPlace::File.as_str() && leftover.kind == self.kind;
            one_of_its_kind || leftover.key_id == self.key_id || leftover.records == self.records
        };
        let of_leftovers = self.leftovers.iter().all(|leftover| name_is_legal(&leftover.records));
        if !of_leftovers || !name_is_legal(&self.records) {
            return Err(serde::de::Error::custom("it names a directory that is none of records"));
        }
        if self.leftovers.iter().any(in_use) {
            return Err(serde::de::Error::custom("what it says is left over is in use"));
        }
        Ok(self)
    }

    pub(super) fn of(key_id: KeyId, place: KeyPlace, key: &KeyBytes, records: String) -> Self {
        let check = Some(check(&key_id, key));
        Self { key_id, kind: place.to_string(), check, records, leftovers: Vec::new() }
    }

    pub(super) fn write(&self, state: &PrivateDirectory) -> Result<(), StoreError> {
        let mut line = serde_json::to_vec(self).map_err(StoreError::Encode)?;
        line.push(b'\n');
        state.replace(KEY_RECORD, &line)
    }

    pub(super) fn fits(&self, key: &KeyBytes) -> bool {
        self.check.as_ref().is_none_or(|expected| *expected == check(&self.key_id, key))
    }

    /// The place, if this version knows it.
    pub(super) fn place(&self, state: &PrivateDirectory) -> Result<KeyPlace, OpenError> {
        self.kind
            .parse()
            .map_err(|_| OpenError::UnknownKind { path: state.path().join(KEY_RECORD), kind: self.kind.clone() })
    }
}

/// Gets the key, or makes it where that loses nothing. Blocks for as long as the place does.
///
/// # Errors
/// The records, if there are any, are untouched, and no key was made.
pub(super) fn obtain(
    state: &Arc<PrivateDirectory>,
    places: &dyn Places,
    wanted: KeyKind,
    asked: &Asked,
) -> Result<Obtained, OpenError> {
    // Read each time: a person may have put something back meanwhile.
    if let Some(record) = KeyRecord::read(state)? {
        // What is recorded stays, whatever the settings say now.
        let mut source = places.source(record.place(state)?, asked);
        return recorded(state, source.as_mut(), record);
    }
    let sealed = sealed_anywhere(state)?;
    if sealed > 0 {
        return Err(OpenError::KeyRecordMissing { path: state.path().join(KEY_RECORD), sealed });
    }
    let choices: &[KeyPlace] = match wanted {
        KeyKind::Auto => &[KeyPlace::Keyring, KeyPlace::SystemdCredential, KeyPlace::File],
        KeyKind::Keyring => &[KeyPlace::Keyring],
        KeyKind::SystemdCredential => &[KeyPlace::SystemdCredential],
        KeyKind::Passphrase => &[KeyPlace::Passphrase],
        KeyKind::File | KeyKind::None => &[KeyPlace::File],
    };
    let mut nowhere = None;
    for place in choices {
        match first(state, places.source(*place, asked).as_mut(), None) {
            // Only "there is no such place" leads on to the next: one that is locked is waited for.
            Err(OpenError::NoSuchPlace { kind, why }) => {
                tracing::debug!(%kind, why, "no place for the key");
                nowhere = Some(OpenError::NoSuchPlace { kind, why });
            }
            decided => return decided,
        }
    }
    Err(nowhere.unwrap_or(OpenError::Store(StoreError::Crypto)))
}

/// The key that is recorded.
fn recorded(
    state: &Arc<PrivateDirectory>,
    source: &mut dyn KeySource,
    record: KeyRecord,
) -> Result<Obtained, OpenError> {
    let kind = source.kind();
    let here = || state.path().to_owned();
    match source.read(&record.key_id).map_err(OpenError::Key)? {
        Answer::Found(key) if record.fits(&key) => {
            Ok(Obtained { key: SealingKey::new(record.key_id.clone(), &key), record, place: kind })
        }
        Answer::Found(_) => Err(OpenError::WrongKey { kind, state: here() }),
        Answer::NotYet { remedy } => Err(OpenError::KeyNotAvailable { kind, remedy }),
        // Another credential would not do: this is not the hint on how to make one.
        Answer::Nowhere { why } if kind == KeyPlace::SystemdCredential => {
            let remedy = format!("{why}: start the agent from the unit that has the one it was first started with");
            Err(OpenError::KeyNotAvailable { kind, remedy })
        }
        Answer::Nowhere { why } => Err(OpenError::NoSuchPlace { kind, why }),
        Answer::Absent => match sealed_anywhere(state)? {
            0 => first(state, source, Some(record)),
            sealed => Err(OpenError::KeyMissing { kind, state: here(), sealed }),
        },
    }
}

/// The first key of a state directory in which nothing is sealed.
fn first(
    state: &Arc<PrivateDirectory>,
    source: &mut dyn KeySource,
    before: Option<KeyRecord>,
) -> Result<Obtained, OpenError> {
    let place = source.kind();
    let id = KeyId::random().ok_or(OpenError::Store(StoreError::Crypto))?;
    let (key, create) = match source.read(&id).map_err(OpenError::Key)? {
        // Nothing depends on the key that was found: an earlier start got no further, or its record was removed
        // together with what it sealed.
        Answer::Found(key) => (key, false),
        Answer::Absent => (KeyBytes::random().ok_or(OpenError::Store(StoreError::Crypto))?, true),
        Answer::NotYet { remedy } => return Err(OpenError::KeyNotAvailable { kind: place, remedy }),
        Answer::Nowhere { why } => return Err(OpenError::NoSuchPlace { kind: place, why }),
    };
    // The record first: a crash between the two leaves a record without key and nothing sealed, which is made anew;
    // the other way round a key could stay in a keyring that nobody remembers.
    let mut record = KeyRecord::of(id, place, &key, first_records());
    if let Some(before) = before {
        // What was left over still is.
        (record.records, record.leftovers) = (before.records, before.leftovers);
    }
    record.write(state).map_err(OpenError::Store)?;
    if create {
        source.create(&record.key_id, &key).map_err(OpenError::Key)?;
    }
    Ok(Obtained { key: SealingKey::new(record.key_id.clone(), &key), record, place })
}

/// How many files need a key, also those set aside: a person may still want to look into them.
pub(super) fn sealed_anywhere(state: &PrivateDirectory) -> Result<usize, OpenError> {
    let directories = directories_of_records(state).map_err(OpenError::Store)?;
    directories.iter().map(|name| sealed_in(state, name)).sum()
}

/// As [`sealed_anywhere`], in one directory of the state directory.
pub(super) fn sealed_in(state: &PrivateDirectory, name: &str) -> Result<usize, OpenError> {
    let needs_a_key = |name: &&String| name.ends_with(SEALED) || name.contains(&format!("{SEALED}{DAMAGED}"));
    let records = state.existing_child(name).map_err(OpenError::Directory)?;
    let names = records.map(|records| records.names()).transpose().map_err(OpenError::Store)?;
    Ok(names.unwrap_or_default().iter().filter(needs_a_key).count())
}

/// The names in the state directory that directories of records have.
pub(super) fn directories_of_records(state: &PrivateDirectory) -> Result<Vec<String>, StoreError> {
    let mut names = state.names()?;
    names.retain(|name| name.strip_prefix(RECORDS).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')));
    Ok(names)
}

/// What helps when records exist and their key does not.
pub(super) fn restore(what: &str, state: &Path) -> String {
    format!(
        "put {what} back from a backup; without it the stored sign-ins are lost: then move {0}*, {1} and {2} away and \
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

fn first_records() -> String {
    RECORDS.to_owned()
}

/// The name of this record in the state directory.
pub(super) const KEY_RECORD: &str = "key.json";
/// The name of the first sealed records' directory in the state directory; a migration's has the key's name after it.
pub(super) const RECORDS: &str = "records";

const LARGEST_KEY_RECORD: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::super::key::KeyError;
    use super::super::key_file::KeyFile;
    use super::super::sandbox::Sandbox;
    use super::*;

    /// A keyring that gives one answer and must not be asked to keep anything; a key file that works.
    struct Says(Arc<PrivateDirectory>, fn() -> Answer);

    impl Places for Says {
        fn source(&self, place: KeyPlace, _: &Asked) -> Box<dyn KeySource> {
            match place {
                KeyPlace::File => Box::new(KeyFile::new(Arc::clone(&self.0))),
                _ => Box::new(Keyring(place, self.1)),
            }
        }
    }

    struct Keyring(KeyPlace, fn() -> Answer);

    impl KeySource for Keyring {
        fn kind(&self) -> KeyPlace {
            self.0
        }

        fn read(&mut self, _: &KeyId) -> Result<Answer, KeyError> {
            Ok(self.1())
        }

        fn create(&mut self, _: &KeyId, _: &KeyBytes) -> Result<(), KeyError> {
            panic!("a key was made")
        }

        fn remove(&mut self, _: &KeyId) -> Result<(), KeyError> {
            panic!("a key was removed")
        }
    }

    fn state() -> (Sandbox, Arc<PrivateDirectory>) {
        let sandbox = Sandbox::new();
        let state = PrivateDirectory::prepare(sandbox.path()).unwrap();
        (sandbox, Arc::new(state))
    }

    fn ask(state: &Arc<PrivateDirectory>, wanted: KeyKind, says: fn() -> Answer) -> Result<Obtained, OpenError> {
        obtain(state, &Says(Arc::clone(state), says), wanted, &Asked::default())
    }

    fn seal_something(state: &PrivateDirectory) {
        state.prepare_child(RECORDS).unwrap().replace("tokens-x.sealed", b"sealed").unwrap();
    }

    const NOWHERE: fn() -> Answer = || Answer::Nowhere { why: "no bus".to_owned() };
    const LOCKED: fn() -> Answer = || Answer::NotYet { remedy: "unlock it".to_owned() };
    const FOUND: fn() -> Answer = || Answer::Found(KeyBytes::random().unwrap());

    #[test]
    fn a_place_that_does_not_know_yet_gets_no_new_key_and_no_other_place_is_taken() {
        let (sandbox, state) = state();
        let error = ask(&state, KeyKind::Auto, LOCKED).err().unwrap();
        assert!(matches!(error, OpenError::KeyNotAvailable { .. }));
        assert_eq!(error.hint(), "unlock it");
        assert!(!sandbox.path().join(KEY_RECORD).exists());
        assert!(!sandbox.path().join(KEY_FILE).exists());
    }

    #[test]
    fn without_a_keyring_and_a_credential_it_is_a_file_for_good() {
        let (_sandbox, state) = state();
        assert_eq!(ask(&state, KeyKind::Auto, NOWHERE).unwrap().place, KeyPlace::File);
        assert_eq!(ask(&state, KeyKind::Auto, FOUND).unwrap().place, KeyPlace::File);
        assert_eq!(ask(&state, KeyKind::Keyring, FOUND).unwrap().place, KeyPlace::File);
    }

    #[test]
    fn a_place_that_was_asked_for_and_does_not_exist_is_said_and_no_other_is_taken() {
        let (sandbox, state) = state();
        let error = ask(&state, KeyKind::Keyring, NOWHERE).err().unwrap();
        assert!(matches!(error, OpenError::NoSuchPlace { kind: KeyPlace::Keyring, .. }), "{error}");
        assert!(!sandbox.path().join(KEY_RECORD).exists());
    }

    #[test]
    fn a_missing_key_is_not_made_again_while_records_exist() {
        let (sandbox, state) = state();
        ask(&state, KeyKind::File, NOWHERE).unwrap();
        seal_something(&state);
        std::fs::remove_file(sandbox.path().join(KEY_FILE)).unwrap();
        let error = ask(&state, KeyKind::Auto, FOUND).err().unwrap();
        assert!(matches!(error, OpenError::KeyMissing { sealed: 1, .. }), "{error}");
    }

    #[test]
    fn a_missing_key_record_is_not_made_again_while_records_exist() {
        let (sandbox, state) = state();
        ask(&state, KeyKind::File, NOWHERE).unwrap();
        seal_something(&state);
        std::fs::remove_file(sandbox.path().join(KEY_RECORD)).unwrap();
        let error = ask(&state, KeyKind::Auto, FOUND).err().unwrap();
        assert!(matches!(error, OpenError::KeyRecordMissing { sealed: 1, .. }), "{error}");
    }

    #[test]
    fn a_key_that_is_not_the_recorded_one_is_not_used() {
        let (_sandbox, state) = state();
        ask(&state, KeyKind::Passphrase, FOUND).unwrap();
        let error = ask(&state, KeyKind::Passphrase, FOUND).err().unwrap();
        assert!(matches!(error, OpenError::WrongKey { .. }), "{error}");
    }

    #[test]
    fn a_start_that_got_no_further_than_the_record_or_the_key_is_finished_by_the_next() {
        let (sandbox, state) = state();
        ask(&state, KeyKind::Auto, NOWHERE).unwrap();
        std::fs::remove_file(sandbox.path().join(KEY_FILE)).unwrap();
        ask(&state, KeyKind::Auto, NOWHERE).unwrap();
        std::fs::remove_file(sandbox.path().join(KEY_RECORD)).unwrap();
        ask(&state, KeyKind::Auto, NOWHERE).unwrap();
        seal_something(&state);
        ask(&state, KeyKind::Auto, NOWHERE).unwrap();
    }

    #[test]
    fn a_key_record_that_would_lead_elsewhere_or_remove_what_is_in_use_is_damaged() {
        let (sandbox, state) = state();
        ask(&state, KeyKind::Auto, NOWHERE).unwrap();
        seal_something(&state);
        let good: serde_json::Value =
            serde_json::from_slice(&std::fs::read(sandbox.path().join(KEY_RECORD)).unwrap()).unwrap();
        let other = "0123456789abcdef0123456789abcdef";
        let left = |key_id: &serde_json::Value, kind: &str, records: &str| serde_json::json!([{"key_id": key_id, "kind": kind, "records": records}]);
        let (own, another) = (good["key_id"].clone(), serde_json::Value::from(other));
        for (member, value) in [
            ("records", "../elsewhere".into()),
            ("records", "/etc".into()),
            ("records", "".into()),
            ("key_id", "short".into()),
            ("leftovers", left(&own, "keyring", "records.0123456789abcdef0123456789abcdef")),
            ("leftovers", left(&another, "keyring", "records")),
            ("leftovers", left(&another, "file", "records.0123456789abcdef0123456789abcdef")),
            ("leftovers", left(&another, "keyring", "..")),
        ] {
            let mut odd = good.clone();
            odd[member] = value;
            std::fs::write(sandbox.path().join(KEY_RECORD), odd.to_string()).unwrap();
            let error = ask(&state, KeyKind::Auto, NOWHERE).err().unwrap();
            assert!(matches!(error, OpenError::KeyRecordDamaged { .. }), "{member}: {error}");
        }
        for odd in [" ".repeat(1 << 20), format!("{good}{}", "x".repeat(5000)), "null".to_owned(), String::new()] {
            std::fs::write(sandbox.path().join(KEY_RECORD), odd).unwrap();
            assert!(matches!(ask(&state, KeyKind::Auto, NOWHERE), Err(OpenError::KeyRecordDamaged { .. })));
        }
        std::fs::remove_file(sandbox.path().join(KEY_RECORD)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", sandbox.path().join(KEY_RECORD)).unwrap();
        assert!(matches!(ask(&state, KeyKind::Auto, NOWHERE), Err(OpenError::Store(StoreError::Io { .. }))));
        std::fs::remove_file(sandbox.path().join(KEY_RECORD)).unwrap();
        std::fs::write(sandbox.path().join(KEY_RECORD), good.to_string()).unwrap();
        ask(&state, KeyKind::Auto, NOWHERE).unwrap();
    }

    #[test]
    fn a_credential_that_was_decided_for_and_is_missing_is_not_to_be_made_anew() {
        let (_sandbox, state) = state();
        ask(&state, KeyKind::SystemdCredential, FOUND).unwrap();
        let error = ask(&state, KeyKind::SystemdCredential, NOWHERE).err().unwrap();
        assert!(error.hint().contains("first started with"), "{}", error.hint());
    }
}
