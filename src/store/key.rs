//! The key to the sealed records, and where it is kept.
//!
//! Owns: what a place for the key must answer, the key file, and `key.json`, which records the one decision which
//! place it is. Refuses to know what is sealed with it. Invariant: a key is made only if no sealed record exists and
//! its place said positively that it holds none; a key that is not the one recorded is not used.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::directory::{PrivateDirectory, quoted};
use super::open::OpenError;
use super::seal::SealingKey;
use super::{StoreError, random};

/// A place where the key can be kept. Calls may block.
pub trait KeySource: Send {
    /// Which place: the word in `key.json` and in `status`.
    fn kind(&self) -> &'static str;

    /// Asks for the key.
    ///
    /// # Errors
    /// Something is there, or something is in the way; not that there is no key, and not that it takes longer.
    fn read(&mut self) -> Result<Answer, KeyError>;

    /// Keeps a key where [`KeySource::read`] said that there is none. When this returns, it survives a power failure.
    ///
    /// # Errors
    /// It is not kept, or nobody knows.
    fn create(&mut self, key: &KeyBytes) -> Result<(), KeyError>;
}

/// What a place says when asked for the key.
pub enum Answer {
    /// Here it is.
    Found(KeyBytes),
    /// The place is open and holds no key.
    Absent,
    /// Nobody knows yet: the place is locked or does not answer. Never a reason to make a key.
    NotYet {
        /// What to unlock, for people.
        remedy: String,
    },
}

/// The key itself; wiped when dropped.
#[derive(Clone)]
pub struct KeyBytes(Zeroizing<[u8; KEY_LENGTH]>);

impl KeyBytes {
    /// A new key; `None` if the system's random generator fails.
    #[must_use]
    pub fn random() -> Option<Self> {
        let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
        random::fill(&mut *bytes)?;
        Some(Self(bytes))
    }

    /// From the text that [`KeyBytes::to_text`] made; white space around it does not matter.
    #[must_use]
    pub fn from_text(text: &[u8]) -> Option<Self> {
        // The decoder wants room for what the text could hold at most.
        let mut room = Zeroizing::new([0; KEY_LENGTH + 16]);
        let length = STANDARD.decode_slice(text.trim_ascii(), &mut *room).ok()?;
        let bytes = <[u8; KEY_LENGTH]>::try_from(&room[..length]).ok()?;
        Some(Self(Zeroizing::new(bytes)))
    }

    /// As text, for places that keep text.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(*self.0))
    }

    pub(super) fn expose(&self) -> &[u8] {
        &*self.0
    }
}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyBytes(***)")
    }
}

/// What records call their key by: 128 random bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyId(Box<str>);

impl KeyId {
    /// A new one; `None` if the system's random generator fails.
    #[must_use]
    pub fn random() -> Option<Self> {
        random::hex_name().map(|name| Self(name.into()))
    }
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        let legal = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if legal { Ok(Self(text.into())) } else { Err(InvalidKeyId) }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that is no key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidKeyId;

impl fmt::Display for InvalidKeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a key id: expected 32 of 0-9 a-f")
    }
}

impl std::error::Error for InvalidKeyId {}

/// The key in a file that only its owner can read: as safe as the permissions of files.
#[derive(Debug)]
pub struct KeyFile<'a> {
    state: &'a PrivateDirectory,
}

impl<'a> KeyFile<'a> {
    /// The key file of a state directory.
    #[must_use]
    pub const fn new(state: &'a PrivateDirectory) -> Self {
        Self { state }
    }

    fn path(&self) -> PathBuf {
        self.state.path().join(KEY_FILE)
    }
}

impl KeySource for KeyFile<'_> {
    fn kind(&self) -> &'static str {
        FILE
    }

    fn read(&mut self) -> Result<Answer, KeyError> {
        let io = |source| KeyError::Io { path: self.path(), source };
        let Some(content) = self.state.read(KEY_FILE, LARGEST_KEY_FILE).map_err(io)? else {
            return Ok(Answer::Absent);
        };
        let mode = self.state.mode(KEY_FILE).map_err(io)?;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: self.path(), mode });
        }
        match KeyBytes::from_text(&content) {
            Some(key) => Ok(Answer::Found(key)),
            None => Err(KeyError::Damaged { path: self.path() }),
        }
    }

    fn create(&mut self, key: &KeyBytes) -> Result<(), KeyError> {
        // Put together in one piece: a text that grows leaves a copy behind that nobody wipes.
        let line = Zeroizing::new([key.to_text().as_bytes(), b"\n"].concat());
        self.state.create(KEY_FILE, &line).map_err(KeyError::Keep)
    }
}

/// Why a place does not give or keep the key.
#[derive(Debug)]
pub enum KeyError {
    /// It cannot be read.
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What is there is no key.
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Others can read it.
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A new key could not be kept.
    Keep(StoreError),
}

impl KeyError {
    /// What helps, for people.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Io { path, .. } => format!("check that {} is a file you can read", path.display()),
            Self::Damaged { path } => restore(&path.display().to_string(), path.parent().unwrap_or(path)),
            Self::Exposed { path, .. } => format!("chmod 600 {}", quoted(path)),
            Self::Keep(_) => "free some space, or set storage.key = \"none\" to keep everything in memory".to_owned(),
        }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(formatter, "cannot read the key {}: {source}", path.display()),
            Self::Damaged { path } => write!(formatter, "the key file {} is damaged", path.display()),
            Self::Exposed { path, mode } => {
                write!(formatter, "the key file {} is open to other users (mode {mode:04o})", path.display())
            }
            Self::Keep(source) => write!(formatter, "cannot keep a new key: {source}"),
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Keep(source) => Some(source),
            Self::Damaged { .. } | Self::Exposed { .. } => None,
        }
    }
}

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
            .read(KEY_RECORD, LARGEST_KEY_FILE)
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
        (Answer::NotYet { remedy }, _) => Err(OpenError::KeyNotAvailable { kind, remedy }),
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
pub(super) fn restore(what: &str, state: &std::path::Path) -> String {
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

/// The kind of [`KeyFile`].
pub(super) const FILE: &str = "file";
pub(super) const KEY_FILE: &str = "key";
pub(super) const KEY_RECORD: &str = "key.json";
/// The directory of the sealed records.
pub(super) const RECORDS: &str = "records";

const KEY_LENGTH: usize = 32;
const LARGEST_KEY_FILE: u64 = 4096;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

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

    #[test]
    fn a_key_file_is_never_overwritten() {
        let (sandbox, state) = state();
        std::fs::write(sandbox.path().join(KEY_FILE), "precious").unwrap();
        let error = KeyFile::new(&state).create(&KeyBytes::random().unwrap()).unwrap_err();
        assert!(matches!(error, KeyError::Keep(StoreError::Io { .. })));
        assert_eq!(std::fs::read(sandbox.path().join(KEY_FILE)).unwrap(), b"precious");
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let (sandbox, state) = state();
        let path = sandbox.path().join(KEY_FILE);
        KeyFile::new(&state).create(&KeyBytes::random().unwrap()).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let error = KeyFile::new(&state).read().err().unwrap();
        assert_eq!(error.hint(), format!("chmod 600 {}", path.display()));
    }

    #[test]
    fn a_key_survives_its_text_and_a_shorter_or_longer_one_is_none() {
        let key = KeyBytes::random().unwrap();
        let text = format!(" {}\n", *key.to_text());
        assert_eq!(KeyBytes::from_text(text.as_bytes()).unwrap().expose(), key.expose());
        for wrong in ["", "AAAA", &STANDARD.encode([0; 31]), &STANDARD.encode([0; 33]), &STANDARD.encode([0; 300]), "?"]
        {
            assert!(KeyBytes::from_text(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_key_cannot_be_formatted() {
        assert_eq!(format!("{:?}", KeyBytes::random().unwrap()), "KeyBytes(***)");
    }
}
