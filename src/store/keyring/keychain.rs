//! The login keychain of macOS.
//!
//! Owns: which of its results mean what. Refuses to know what the items hold. Invariant: no window is shown where nobody
//! may be asked. This file is type-checked where the target's library is installed; no test of ours runs it.

use std::error::Error as _;

use keyring::macos::decode_error;
use keyring::{Entry, Error};
use security_framework::os::macos::keychain::SecKeychain;
use zeroize::Zeroizing;

use super::{Closed, KeyringError, Prompting, SERVICE};
use crate::env::Env;

/// The user's default keychain.
#[derive(Debug)]
pub(super) struct Place {
    prompting: Prompting,
}

impl Place {
    pub(super) fn new(_: &Env, prompting: Prompting) -> Self {
        Self { prompting }
    }

    /// The item of this account: a keychain holds one at most.
    pub(super) fn look(&self, account: &str) -> Result<Vec<Zeroizing<Vec<u8>>>, Closed> {
        match self.ask(account, Entry::get_secret) {
            Ok(content) => Ok(vec![Zeroizing::new(content)]),
            Err(Error::NoEntry) => Ok(Vec::new()),
            Err(error) => Err(closed(&error)),
        }
    }

    /// Makes the item of this account, which is not there.
    pub(super) fn put(&self, account: &str, content: &[u8]) -> Result<(), KeyringError> {
        self.ask(account, |entry| entry.set_secret(content))
            .map_err(|error| KeyringError::Refused { why: error.to_string() })
    }

    /// Removes the item of this account.
    pub(super) fn remove(&self, account: &str) -> Result<(), Closed> {
        match self.ask(account, Entry::delete_credential) {
            Ok(()) | Err(Error::NoEntry) => {}
            Err(error) => return Err(closed(&error)),
        }
        // Deleting says nothing, so look.
        if self.look(account)?.is_empty() {
            return Ok(());
        }
        Err(Closed::NotYet { remedy: "delete the item in Keychain Access".to_owned() })
    }

    /// Without a window where prompting is forbidden, which the crate `keyring` cannot say.
    fn ask<T>(&self, account: &str, act: impl FnOnce(&Entry) -> Result<T, Error>) -> Result<T, Error> {
        let _quiet = match self.prompting {
            Prompting::Allowed => None,
            Prompting::Forbidden => Some(SecKeychain::disable_user_interaction().map_err(decode_error)?),
        };
        act(&Entry::new(SERVICE, account)?)
    }
}

fn closed(error: &Error) -> Closed {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<security_framework::base::Error>());
    match cause.map(|cause| cause.code()) {
        Some(NO_DEFAULT_KEYCHAIN | NO_SUCH_KEYCHAIN | NOT_AVAILABLE) => {
            Closed::Nowhere { why: format!("there is no keychain ({error})") }
        }
        // Locked, dismissed, refused to this program, or anything else: nobody knows.
        _ => Closed::NotYet {
            remedy: format!(
                "unlock the login keychain: run: sso-agent storage unlock, or `security unlock-keychain` ({error})"
            ),
        },
    }
}

const NO_DEFAULT_KEYCHAIN: i32 = -25307;
const NO_SUCH_KEYCHAIN: i32 = -25294;
const NOT_AVAILABLE: i32 = -25291;
