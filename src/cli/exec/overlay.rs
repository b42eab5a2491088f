//! Copies of the AWS configuration for one command, where the user's own would lead it to other credentials.
//!
//! Owns: their directory, its end, and what others have left behind. Invariant: nobody else can read them, and what a
//! killed `exec` has left is taken away by the next one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{FlockOperation, flock};

use crate::aws_config::shadow::{Kind, without_default_credentials};
use crate::aws_config::{SourceFile, Sources};
use crate::paths::make_private_directory;

/// The copies, gone when dropped.
pub(super) struct Overlay {
    directory: PathBuf,
    /// As long as it is locked, it is in use.
    _lock: File,
    files: Vec<(&'static str, PathBuf)>,
}

impl Overlay {
    /// The copies that a command needs with these files; none where it needs none.
    pub(super) fn over(sources: &Sources, state_dir: &Path) -> io::Result<Option<Self>> {
        let needed = |file: &Option<SourceFile>, kind| {
            file.as_ref().and_then(|file| without_default_credentials(&file.bytes, kind))
        };
        let texts = [
            ("AWS_CONFIG_FILE", "config", needed(&sources.config, Kind::Config)),
            ("AWS_SHARED_CREDENTIALS_FILE", "credentials", needed(&sources.credentials, Kind::Credentials)),
        ];
        if texts.iter().all(|(_, _, text)| text.is_none()) {
            return Ok(None);
        }
        let mut overlay = Self::make(&state_dir.join(DIRECTORY))?;
        for (variable, name, text) in texts {
            let Some(text) = text else { continue };
            let path = overlay.directory.join(name);
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?.write_all(text.as_bytes())?;
            overlay.files.push((variable, path));
        }
        Ok(Some(overlay))
    }

    /// Which variables are to name which files.
    pub(super) fn files(&self) -> &[(&'static str, PathBuf)] {
        &self.files
    }

    fn make(place: &Path) -> io::Result<Self> {
        make_private_directory(place).map_err(io::Error::other)?;
        // One at a time, or what is just being made would look left behind.
        let turn = File::open(place)?;
        flock(&turn, FlockOperation::LockExclusive)?;
        for entry in std::fs::read_dir(place)?.flatten() {
            let left = File::open(entry.path())
                .is_ok_and(|directory| flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok());
            if left {
                // Another time, then.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let mut random = [0; 8];
        SystemRandom::new().fill(&mut random).map_err(|_| io::Error::other("the system has no randomness"))?;
        let directory = place.join(format!("{:016x}", u64::from_ne_bytes(random)));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let lock = File::open(&directory)?;
        flock(&lock, FlockOperation::LockExclusive)?;
        Ok(Self { directory, _lock: lock, files: Vec::new() })
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // What cannot be removed, the next one removes.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Below the state directory.
const DIRECTORY: &str = "exec";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::scratch::Scratch;

    fn sources(config: &str, credentials: &str) -> Sources {
        let file = |text: &str| Some(SourceFile { path: "/x".into(), bytes: text.into() });
        Sources { config: file(config), credentials: file(credentials) }
    }

    #[test]
    fn a_file_is_copied_only_where_its_default_profile_leads_to_credentials() {
        let state = Scratch::new();
        let none = Overlay::over(&sources("[default]\nregion = x\n", ""), state.path()).unwrap();
        assert!(none.is_none() && !state.path().join(DIRECTORY).exists());
        let shadowing = sources("[default]\nregion = x\nrole_arn = y\n", "[a]\naws_access_key_id = z\n");
        let overlay = Overlay::over(&shadowing, state.path()).unwrap().unwrap();
        let [(variable, path)] = overlay.files() else { panic!("one is enough: {:?}", overlay.files()) };
        assert_eq!(*variable, "AWS_CONFIG_FILE");
        assert_eq!(std::fs::read_to_string(path).unwrap().trim_end(), "[default]\nregion = x");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(path.parent().unwrap().metadata().unwrap().mode() & 0o777, 0o700);
        let path = path.clone();
        drop(overlay);
        assert!(!path.parent().unwrap().exists());
    }

    #[test]
    fn what_was_left_behind_is_taken_away_and_what_is_in_use_is_not() {
        let state = Scratch::new();
        let shadowing = sources("[default]\nrole_arn = y\n", "");
        let used = Overlay::over(&shadowing, state.path()).unwrap().unwrap();
        let left = state.path().join(DIRECTORY).join("left");
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join("config"), "x").unwrap();
        let other = Overlay::over(&shadowing, state.path()).unwrap().unwrap();
        assert!(!left.exists());
        assert!(used.files()[0].1.exists() && other.files()[0].1.exists());
    }
}
