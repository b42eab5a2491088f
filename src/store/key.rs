//! The key to the sealed records, and where it is kept.
//!
//! Owns: the key, its name, what a place for it must answer, and the one place there is so far, a file. Refuses to
//! know what is sealed with it and when one may be made: `key_record` does. Invariant: a place tells "there is none"
//! from "nobody knows yet", and never overwrites a key.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::directory::{PrivateDirectory, quoted};
use super::key_record::restore;
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
    /// There is no such place on this machine.
    Nowhere {
        /// What is missing, for people.
        why: String,
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
            // Its text is part of ours.
            Self::Io { source, .. } => source.source(),
            Self::Keep(source) => Some(source),
            Self::Damaged { .. } | Self::Exposed { .. } => None,
        }
    }
}

/// The kind of [`KeyFile`].
pub(super) const FILE: &str = "file";
/// The name of the key file in the state directory.
pub(super) const KEY_FILE: &str = "key";

const KEY_LENGTH: usize = 32;
const LARGEST_KEY_FILE: u64 = 4096;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::sandbox::Sandbox;
    use super::*;

    fn state() -> (Sandbox, PrivateDirectory) {
        let sandbox = Sandbox::new();
        let state = PrivateDirectory::prepare(sandbox.path()).unwrap();
        (sandbox, state)
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
