//! The key in the platform's keyring: Secret Service on Linux, Keychain on macOS.
//!
//! Owns: what the item is called and what it holds, and that a key which was kept can be read again. Refuses to know
//! when a key may be made. Invariants: "there is none" is said only of a keyring that is open and was looked through;
//! whatever else it says or does not say is "nobody knows yet"; an item is never replaced; nobody is asked anything
//! where prompting is forbidden. Every call may block for ever.
//!
//! The crate `keyring` reads, makes and removes the item. It would unlock whatever it finds, and replace an item that is
//! there; so the modules below call it only when what it will touch is open, and to make one only after "there is none".
//!
//! What the crates below do not wipe: the temporary key of the encrypted conversation with the keyring, and the
//! keyring's own memory. The key to the records crosses the bus encrypted only, and its text is wiped here.

#[cfg(target_os = "macos")]
mod keychain;
#[cfg(not(target_os = "macos"))]
mod prompt;
#[cfg(not(target_os = "macos"))]
mod secret_service;

#[cfg(test)]
#[cfg(not(target_os = "macos"))]
#[path = "../../tests/support/keyring.rs"]
#[expect(unreachable_pub, dead_code, reason = "the tests of the whole program use it too")]
mod harness;
#[cfg(test)]
#[cfg(not(target_os = "macos"))]
mod tests;
#[cfg(test)]
#[cfg(not(target_os = "macos"))]
mod trickster;

use std::fmt;

use zeroize::Zeroizing;

#[cfg(target_os = "macos")]
use self::keychain::Place;
#[cfg(not(target_os = "macos"))]
use self::secret_service::Place;
use super::key::{Answer, KeyBytes, KeyError, KeyId, KeyPlace, KeySource};
use crate::env::Env;

/// Whether a locked keyring may ask the user for its password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prompting {
    /// It may, and the call lasts as long as the user takes.
    Allowed,
    /// A locked keyring stays locked.
    Forbidden,
}

/// The platform's keyring.
#[derive(Debug)]
pub(super) struct Keyring {
    place: Place,
}

impl Keyring {
    /// The keyring that this environment leads to; nothing is asked yet.
    pub(super) fn new(env: &Env, prompting: Prompting) -> Self {
        Self { place: Place::new(env, prompting) }
    }
}

impl KeySource for Keyring {
    fn kind(&self) -> KeyPlace {
        KeyPlace::Keyring
    }

    fn read(&mut self, id: &KeyId) -> Result<Answer, KeyError> {
        match self.place.look(&id.to_string()) {
            Ok(contents) => key_in(&contents).map(|key| key.map_or(Answer::Absent, Answer::Found)),
            Err(Closed::NotYet { remedy }) => Ok(Answer::NotYet { remedy }),
            Err(Closed::Nowhere { why }) => Ok(Answer::Nowhere { why }),
        }
    }

    fn create(&mut self, id: &KeyId, key: &KeyBytes) -> Result<(), KeyError> {
        match self.read(id)? {
            Answer::Absent => {}
            Answer::Found(_) => return Err(failed(KeyringError::Occupied)),
            Answer::NotYet { remedy: why } | Answer::Nowhere { why } => {
                return Err(failed(KeyringError::Closed { why }));
            }
        }
        self.place.put(&id.to_string(), key.to_text().as_bytes()).map_err(failed)?;
        // A keyring that keeps nothing, or something else, would cost every sign-in at the next start.
        match self.read(id)? {
            Answer::Found(kept) if kept == *key => Ok(()),
            _ => Err(failed(KeyringError::NotKept)),
        }
    }

    fn remove(&mut self, id: &KeyId) -> Result<(), KeyError> {
        self.place.remove(&id.to_string()).map_err(|closed| match closed {
            Closed::NotYet { remedy: why } | Closed::Nowhere { why } => failed(KeyringError::Closed { why }),
        })
    }
}

/// Why a keyring could not be looked through.
enum Closed {
    /// It does not say what it holds.
    NotYet { remedy: String },
    /// There is no keyring.
    Nowhere { why: String },
}

/// The one key that the items hold; `None` where there is no item.
fn key_in(contents: &[Zeroizing<Vec<u8>>]) -> Result<Option<KeyBytes>, KeyError> {
    let mut only: Option<KeyBytes> = None;
    for content in contents {
        let key = KeyBytes::from_text(content).ok_or_else(|| failed(KeyringError::Damaged))?;
        match &only {
            // A copy, as an import of an old keyring may leave behind.
            Some(known) if *known == key => {}
            Some(_) => return Err(failed(KeyringError::Ambiguous)),
            None => only = Some(key),
        }
    }
    Ok(only)
}

fn failed(error: KeyringError) -> KeyError {
    KeyError::Place { kind: KeyPlace::Keyring, remedy: error.remedy(), source: Box::new(error) }
}

/// Why the keyring does not give, keep or remove a key.
#[derive(Debug)]
enum KeyringError {
    /// Its item holds something that is no key.
    Damaged,
    /// Several items of the key's name hold different keys.
    Ambiguous,
    /// A key was to be kept where one is.
    Occupied,
    /// It is locked, or not there.
    Closed {
        /// What helps.
        why: String,
    },
    /// What was kept cannot be read again.
    NotKept,
    /// It took no key, and said why.
    Refused {
        /// What it said, cleaned.
        why: String,
    },
}

impl KeyringError {
    fn remedy(&self) -> String {
        match self {
            Self::Damaged | Self::Ambiguous => {
                "put the key back from a backup of the keyring; or delete the item, and see: sso-agent status"
                    .to_owned()
            }
            Self::Closed { why } => why.clone(),
            Self::Occupied | Self::NotKept | Self::Refused { .. } => {
                "check that the keyring works, or choose another place: storage.key in config.toml".to_owned()
            }
        }
    }
}

impl fmt::Display for KeyringError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => write!(formatter, "its item of {SERVICE} is damaged"),
            Self::Ambiguous => write!(formatter, "several items of {SERVICE} hold different keys"),
            Self::Occupied => formatter.write_str("it holds a key of this name already"),
            Self::Closed { .. } => formatter.write_str("it is not open"),
            Self::NotKept => formatter.write_str("it took the key and did not keep it"),
            Self::Refused { why } => write!(formatter, "it said: {why}"),
        }
    }
}

impl std::error::Error for KeyringError {}

/// The item's service; its account is the key's id.
const SERVICE: &str = "sso-agent";
