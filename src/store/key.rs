//! The key to the sealed records, and what a place where it is kept must answer.
//!
//! Refuses to know what is sealed with the key and when one may be made: `key_record` does. Invariant: a place tells
//! "there is none" from "nobody knows yet", and never overwrites a key.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::directory::quoted;
use super::key_record::restore;
use super::{StoreError, random};

/// A place where the key can be kept. Calls may block for ever: they are made on a thread that nobody waits for.
pub trait KeySource: Send {
    /// Which place.
    fn kind(&self) -> KeyPlace;

    /// Asks for the key of this name; a place that holds one key only does not look at the name.
    ///
    /// # Errors
    /// Something is there, or something is in the way; not that there is no key, and not that it takes longer.
    fn read(&mut self, id: &KeyId) -> Result<Answer, KeyError>;

    /// Keeps a key where [`KeySource::read`] said that there is none. When this returns, it survives a power failure.
    ///
    /// # Errors
    /// It is not kept, or nobody knows.
    fn create(&mut self, id: &KeyId, key: &KeyBytes) -> Result<(), KeyError>;

    /// Removes the key of this name, which nothing is sealed with any more. None there is no error.
    ///
    /// # Errors
    /// It may still be there.
    fn remove(&mut self, id: &KeyId) -> Result<(), KeyError>;
}

/// The kinds of places a key can be kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyPlace {
    /// The platform's keyring: Secret Service, Keychain.
    Keyring,
    /// A credential that the service manager passes.
    SystemdCredential,
    /// Nowhere: it is derived from a passphrase that the user types.
    Passphrase,
    /// A file only its owner can read.
    File,
}

impl KeyPlace {
    /// The word in `key.json`, in `config.toml` and in `status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keyring => "keyring",
            Self::SystemdCredential => "systemd-credential",
            Self::Passphrase => "passphrase",
            Self::File => "file",
        }
    }
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The place of this word.
impl FromStr for KeyPlace {
    type Err = UnknownPlace;

    fn from_str(text: &str) -> Result<Self, UnknownPlace> {
        [Self::Keyring, Self::SystemdCredential, Self::Passphrase, Self::File]
            .into_iter()
            .find(|place| place.as_str() == text)
            .ok_or(UnknownPlace)
    }
}

/// A word for no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownPlace;

impl fmt::Display for UnknownPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("expected keyring, systemd-credential, passphrase or file")
    }
}

impl std::error::Error for UnknownPlace {}

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
#[derive(Clone, PartialEq, Eq)]
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

    /// From bytes that were derived.
    #[must_use]
    pub(super) fn derived(bytes: Zeroizing<[u8; KEY_LENGTH]>) -> Self {
        Self(bytes)
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

/// Why a place does not give or keep the key.
#[derive(Debug)]
pub enum KeyError {
    /// The place itself fails, in its own words.
    Place {
        /// Which.
        kind: KeyPlace,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// What helps.
        remedy: String,
    },
    /// The place cannot keep or remove a key: somebody else is to do that.
    ReadOnly {
        /// Which.
        kind: KeyPlace,
        /// Who, and how.
        remedy: String,
    },
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
            Self::Place { remedy, .. } | Self::ReadOnly { remedy, .. } => remedy.clone(),
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
            Self::Place { kind, source, .. } => write!(formatter, "the {kind} failed: {source}"),
            Self::ReadOnly { kind, .. } => write!(formatter, "no key can be kept in a {kind} from here"),
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
            Self::Place { source, .. } => source.source(),
            Self::Keep(source) => Some(source),
            Self::Damaged { .. } | Self::Exposed { .. } | Self::ReadOnly { .. } => None,
        }
    }
}

/// The cipher's.
pub(super) const KEY_LENGTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

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
