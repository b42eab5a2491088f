//! The key in the platform's keyring.

use super::key::{Answer, KeyBytes, KeyError, KeyId, KeyPlace, KeySource};
use crate::env::Env;

/// Whether the keyring may ask the user to unlock it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prompting {
    /// A person has just asked for something.
    Allowed,
    /// Nobody may be there.
    Forbidden,
}

/// The keyring of this user's session.
#[derive(Debug)]
pub(super) struct Keyring;

impl Keyring {
    pub(super) fn new(_: &Env, _: Prompting) -> Self {
        Self
    }
}

impl KeySource for Keyring {
    fn kind(&self) -> KeyPlace {
        KeyPlace::Keyring
    }

    fn read(&mut self, _: &KeyId) -> Result<Answer, KeyError> {
        Ok(Answer::Nowhere { why: "this build has no keyring".to_owned() })
    }

    fn create(&mut self, _: &KeyId, _: &KeyBytes) -> Result<(), KeyError> {
        Err(KeyError::ReadOnly { kind: KeyPlace::Keyring, remedy: String::new() })
    }

    fn remove(&mut self, _: &KeyId) -> Result<(), KeyError> {
        Ok(())
    }
}
