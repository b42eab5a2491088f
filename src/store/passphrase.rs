//! The key derived from a passphrase that the user types: it is kept nowhere.
//!
//! Owns: the derivation, PBKDF2 with HMAC-SHA-256 (RFC 8018) and the key's own name as salt. Refuses to know how the
//! passphrase is asked for. Invariant: a passphrase is neither stored nor remembered.

use std::num::NonZeroU32;

use ring::pbkdf2;
use zeroize::Zeroizing;

use super::key::{Answer, KEY_LENGTH, KeyBytes, KeyError, KeyId, KeyPlace, KeySource};
use crate::secret::Secret;

/// A passphrase, or none yet.
#[derive(Debug)]
pub(super) struct Passphrase {
    typed: Option<Secret>,
}

impl Passphrase {
    /// Nothing typed is no passphrase.
    pub(super) fn new(typed: Option<Secret>) -> Self {
        Self { typed: typed.filter(|typed| !typed.is_empty()) }
    }
}

impl KeySource for Passphrase {
    fn kind(&self) -> KeyPlace {
        KeyPlace::Passphrase
    }

    fn read(&mut self, id: &KeyId) -> Result<Answer, KeyError> {
        Ok(match &self.typed {
            Some(passphrase) => Answer::Found(derive(passphrase, id)),
            None => Answer::NotYet { remedy: "run: sso-agent storage unlock".to_owned() },
        })
    }

    fn create(&mut self, _: &KeyId, _: &KeyBytes) -> Result<(), KeyError> {
        Ok(())
    }

    fn remove(&mut self, _: &KeyId) -> Result<(), KeyError> {
        Ok(())
    }
}

fn derive(passphrase: &Secret, id: &KeyId) -> KeyBytes {
    let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
    let salt = id.to_string();
    let secret = passphrase.expose().as_bytes();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt.as_bytes(), secret, &mut *bytes);
    KeyBytes::derived(bytes)
}

/// A third of a second on a machine of 2020. Another number would be another kind of key.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).expect("it is not zero");

#[cfg(test)]
mod tests {
    use super::*;

    fn key(passphrase: &str, id: &KeyId) -> KeyBytes {
        match Passphrase::new(Some(Secret::new(passphrase.to_owned()))).read(id).unwrap() {
            Answer::Found(key) => key,
            _ => panic!("no key"),
        }
    }

    #[test]
    fn a_passphrase_gives_one_key_for_each_name() {
        let (one, other) = (KeyId::random().unwrap(), KeyId::random().unwrap());
        assert_eq!(key("correct horse", &one), key("correct horse", &one));
        assert_ne!(key("correct horse", &one), key("correct horse", &other));
        assert_ne!(key("correct horse", &one), key("battery staple", &one));
    }

    #[test]
    fn without_a_passphrase_nobody_knows_yet() {
        let id = KeyId::random().unwrap();
        assert!(matches!(Passphrase::new(None).read(&id), Ok(Answer::NotYet { .. })));
    }
}
