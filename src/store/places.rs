//! Which places for the key this machine has.

use std::sync::Arc;

use super::credential::SystemdCredential;
use super::directory::PrivateDirectory;
use super::key::{KeyPlace, KeySource};
use super::key_file::KeyFile;
use super::keyring::{Keyring, Prompting};
use super::passphrase::Passphrase;
use crate::env::Env;
use crate::secret::Secret;

/// The places there are; tests have their own.
pub trait Places: Send + Sync + 'static {
    /// The place of this kind, to be asked in this manner.
    fn source(&self, place: KeyPlace, asked: &Asked) -> Box<dyn KeySource>;
}

/// How the key is asked for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// A person is there: a prompt may be shown.
    pub by_a_person: bool,
    /// What the person typed.
    pub passphrase: Option<Secret>,
}

/// This machine's.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) state: Arc<PrivateDirectory>,
    pub(super) env: Env,
}

impl Places for Machine {
    fn source(&self, place: KeyPlace, asked: &Asked) -> Box<dyn KeySource> {
        let prompting = if asked.by_a_person { Prompting::Allowed } else { Prompting::Forbidden };
        match place {
            KeyPlace::Keyring => Box::new(Keyring::new(&self.env, prompting)),
            KeyPlace::SystemdCredential => Box::new(SystemdCredential::new(&self.env)),
            KeyPlace::Passphrase => Box::new(Passphrase::new(asked.passphrase.clone())),
            KeyPlace::File => Box::new(KeyFile::new(Arc::clone(&self.state))),
        }
    }
}
