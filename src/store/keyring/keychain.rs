//! The login keychain of macOS.
//!
//! Owns: which of its results mean what. Refuses to know what the items hold. Invariant: an item is added, never
//! updated. This file is type-checked where the target's library is installed; no test of ours runs it.

use security_framework::base::Error;
use security_framework::os::macos::keychain::SecKeychain;
use zeroize::Zeroizing;

use super::{KeyringError, Look, Prompting, SERVICE};
use crate::env::Env;

/// The default keychain.
#[derive(Debug)]
pub(super) struct Place {
    prompting: Prompting,
}

impl Place {
    pub(super) fn new(_: &Env, prompting: Prompting) -> Self {
        Self { prompting }
    }

    /// The item of this account: a keychain holds one at most.
    pub(super) fn look(&self, account: &str) -> Look {
        let found = self.quietly_or_not(|keychain| keychain.find_generic_password(SERVICE, account));
        match found {
            // The library frees its copy without wiping it.
            Ok((content, _)) => Look::Open { contents: vec![Zeroizing::new(content.to_vec())] },
            Err(error) => match error.code() {
                ITEM_NOT_FOUND => Look::Open { contents: Vec::new() },
                NO_DEFAULT_KEYCHAIN | NO_SUCH_KEYCHAIN | NOT_AVAILABLE => {
                    Look::Nowhere { why: format!("there is no keychain ({error})") }
                }
                // Locked, dismissed, refused to this program, or anything else: nobody knows.
                _ => Look::NotYet {
                    remedy: format!(
                        "unlock the login keychain: run: sso-agent storage unlock, or `security unlock-keychain` \
                         ({error})"
                    ),
                },
            },
        }
    }

    /// Adds an item.
    pub(super) fn put(&self, account: &str, _: &str, content: &[u8]) -> Result<(), KeyringError> {
        self.quietly_or_not(|keychain| keychain.add_generic_password(SERVICE, account, content)).map_err(refused)
    }

    /// Removes the item of this account.
    pub(super) fn remove(&self, account: &str) -> Result<(), KeyringError> {
        match self.quietly_or_not(|keychain| keychain.find_generic_password(SERVICE, account)) {
            Ok((_, item)) => item.delete(),
            Err(error) if error.code() == ITEM_NOT_FOUND => return Ok(()),
            Err(error) => return Err(refused(error)),
        }
        // Deleting says nothing, so look.
        match self.look(account) {
            Look::Open { contents } if contents.is_empty() => Ok(()),
            _ => Err(KeyringError::Refused { why: "the item is still there".to_owned() }),
        }
    }

    /// Without a window where prompting is forbidden.
    fn quietly_or_not<T>(&self, act: impl FnOnce(&SecKeychain) -> Result<T, Error>) -> Result<T, Error> {
        let _quiet = match self.prompting {
            Prompting::Allowed => None,
            Prompting::Forbidden => Some(SecKeychain::disable_user_interaction()?),
        };
        act(&SecKeychain::default()?)
    }
}

fn refused(error: Error) -> KeyringError {
    KeyringError::Refused { why: error.to_string() }
}

const ITEM_NOT_FOUND: i32 = -25300;
const NO_DEFAULT_KEYCHAIN: i32 = -25307;
const NO_SUCH_KEYCHAIN: i32 = -25294;
const NOT_AVAILABLE: i32 = -25291;
