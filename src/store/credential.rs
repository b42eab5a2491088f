//! The key as a credential that the service manager passes: a file in `$CREDENTIALS_DIRECTORY`.
//!
//! Owns: finding and checking it. Refuses to know how it is protected (a TPM, a host key): whoever wrote the unit
//! decided that. Invariant: nothing is ever written here.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::key::{Answer, KeyBytes, KeyError, KeyId, KeyPlace, KeySource};
use crate::env::Env;

/// The credential of the unit this process was started by.
#[derive(Debug)]
pub(super) struct SystemdCredential {
    directory: Option<PathBuf>,
}

impl SystemdCredential {
    pub(super) fn new(env: &Env) -> Self {
        Self { directory: env.get_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) }
    }
}

impl KeySource for SystemdCredential {
    fn kind(&self) -> KeyPlace {
        KeyPlace::SystemdCredential
    }

    fn read(&mut self, _: &KeyId) -> Result<Answer, KeyError> {
        let Some(directory) = &self.directory else {
            return Ok(Answer::Nowhere { why: "the service manager passed no credentials".to_owned() });
        };
        let path = directory.join(CREDENTIAL);
        match content(&path) {
            Ok(content) => match KeyBytes::from_text(&content) {
                Some(key) => Ok(Answer::Found(key)),
                None => Err(KeyError::Damaged { path }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Answer::Nowhere { why: format!("the service manager passed no credential {CREDENTIAL}") })
            }
            Err(source) => Err(KeyError::Io { path, source }),
        }
    }

    fn create(&mut self, _: &KeyId, _: &KeyBytes) -> Result<(), KeyError> {
        Err(read_only())
    }

    /// Whoever made it removes it.
    fn remove(&mut self, _: &KeyId) -> Result<(), KeyError> {
        Ok(())
    }
}

fn content(path: &std::path::Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it at once: a growing buffer leaves copies behind that nobody wipes.
    let mut content = Zeroizing::new(Vec::with_capacity(LARGEST));
    File::open(path)?.take(LARGEST as u64).read_to_end(&mut content)?;
    Ok(content)
}

fn read_only() -> KeyError {
    KeyError::ReadOnly { kind: KeyPlace::SystemdCredential, remedy: HOW_TO_MAKE_ONE.to_owned() }
}

/// How the credential comes to be, for people.
pub(super) const HOW_TO_MAKE_ONE: &str = "make one with: head -c 32 /dev/urandom | base64 | systemd-creds encrypt \
     --name=sso-agent-key - FILE, and name it in the service unit: LoadCredentialEncrypted=sso-agent-key:FILE";

const CREDENTIAL: &str = "sso-agent-key";
const LARGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::super::sandbox::Sandbox;
    use super::*;

    fn read(sandbox: &Sandbox) -> Result<Answer, KeyError> {
        let env = Env::from_iter([("CREDENTIALS_DIRECTORY", sandbox.path())]);
        SystemdCredential::new(&env).read(&KeyId::random().unwrap())
    }

    #[test]
    fn a_credential_is_read_verified_and_never_written() {
        let sandbox = Sandbox::new();
        assert!(matches!(read(&sandbox), Ok(Answer::Nowhere { .. })));
        let key = KeyBytes::random().unwrap();
        std::fs::write(sandbox.path().join(CREDENTIAL), key.to_text().as_bytes()).unwrap();
        assert!(matches!(read(&sandbox), Ok(Answer::Found(found)) if found == key));
        std::fs::write(sandbox.path().join(CREDENTIAL), "a passphrase somebody thought of").unwrap();
        assert!(matches!(read(&sandbox), Err(KeyError::Damaged { .. })));
        let mut none = SystemdCredential::new(&Env::default());
        let id = KeyId::random().unwrap();
        assert!(matches!(none.read(&id), Ok(Answer::Nowhere { .. })));
        assert!(none.create(&id, &key).unwrap_err().hint().contains("systemd-creds"));
    }
}
