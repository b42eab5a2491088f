//! The key in a file that only its owner can read: as safe as the permissions of files.

use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::directory::PrivateDirectory;
use super::key::{Answer, KeyBytes, KeyError, KeyId, KeyPlace, KeySource};

/// The key file of a state directory.
#[derive(Debug)]
pub(super) struct KeyFile {
    state: Arc<PrivateDirectory>,
}

impl KeyFile {
    pub(super) const fn new(state: Arc<PrivateDirectory>) -> Self {
        Self { state }
    }

    fn path(&self) -> PathBuf {
        self.state.path().join(KEY_FILE)
    }
}

impl KeySource for KeyFile {
    fn kind(&self) -> KeyPlace {
        KeyPlace::File
    }

    fn read(&mut self, _: &KeyId) -> Result<Answer, KeyError> {
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

    fn create(&mut self, _: &KeyId, key: &KeyBytes) -> Result<(), KeyError> {
        // Put together in one piece: a text that grows leaves a copy behind that nobody wipes.
        let line = Zeroizing::new([key.to_text().as_bytes(), b"\n"].concat());
        self.state.create(KEY_FILE, &line).map_err(KeyError::Keep)
    }

    fn remove(&mut self, _: &KeyId) -> Result<(), KeyError> {
        self.state.remove(KEY_FILE).map_err(KeyError::Keep)
    }
}

/// The name of the key file in the state directory.
pub(super) const KEY_FILE: &str = "key";

const LARGEST_KEY_FILE: u64 = 4096;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::StoreError;
    use super::super::sandbox::Sandbox;
    use super::*;

    fn state() -> (Sandbox, KeyFile, KeyId) {
        let sandbox = Sandbox::new();
        let state = PrivateDirectory::prepare(sandbox.path()).unwrap();
        (sandbox, KeyFile::new(Arc::new(state)), KeyId::random().unwrap())
    }

    #[test]
    fn a_key_file_is_never_overwritten() {
        let (sandbox, mut file, id) = state();
        std::fs::write(sandbox.path().join(KEY_FILE), "precious").unwrap();
        let error = file.create(&id, &KeyBytes::random().unwrap()).unwrap_err();
        assert!(matches!(error, KeyError::Keep(StoreError::Io { .. })));
        assert_eq!(std::fs::read(sandbox.path().join(KEY_FILE)).unwrap(), b"precious");
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let (sandbox, mut file, id) = state();
        let path = sandbox.path().join(KEY_FILE);
        file.create(&id, &KeyBytes::random().unwrap()).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let error = file.read(&id).err().unwrap();
        assert_eq!(error.hint(), format!("chmod 600 {}", path.display()));
    }
}
