//! Copies of the AWS configuration for one command, where the user's own would lead it to other credentials.
//!
//! Owns: their directory, its end, and what others have left behind. Invariants: nobody else can read them; they are in
//! memory, or have no secret in them; what a killed `exec` has left is taken away by the next one, whatever that runs.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{FlockOperation, flock};

use crate::aws_config::shadow::{Kind, Secrets, without_default_credentials};
use crate::aws_config::{SourceFile, Sources};
use crate::env::Env;
use crate::paths::{self, check_private_directory, make_private_directory};

/// Where copies may lie.
pub(super) struct Places {
    /// Gone with the session of the user, and never on a disk.
    memory: Option<PathBuf>,
    disk: Option<PathBuf>,
}

impl Places {
    /// Those of this environment. What was left behind there is taken away.
    pub(super) fn of(env: &Env) -> Self {
        let below = |directory: PathBuf| directory.join(DIRECTORY);
        let memory = paths::runtime_dir(env).filter(|directory| directory.parent().is_some_and(is_in_memory));
        Self { memory: memory.map(below), disk: paths::state_dir(env).ok().map(below) }.tidied()
    }

    fn tidied(self) -> Self {
        for place in self.memory.iter().chain(&self.disk) {
            // Where none is, nothing was left. What cannot be looked at now, is another time.
            if check_private_directory(place).is_ok() {
                let _ = turn(place).and_then(|turn| tidy(place).map(|()| drop(turn)));
            }
        }
        self
    }
}

/// The copies, gone when dropped.
pub(super) struct Overlay {
    directory: PathBuf,
    /// As long as it is locked, it is in use.
    _lock: File,
    files: Vec<(&'static str, PathBuf)>,
}

impl Overlay {
    /// The copies that a command needs with these files; none where it needs none.
    pub(super) fn over(sources: &Sources, places: &Places) -> io::Result<Option<Self>> {
        let secrets = if places.memory.is_some() { Secrets::Kept } else { Secrets::LeftOut };
        let needed = |file: &Option<SourceFile>, kind| {
            file.as_ref().and_then(|file| without_default_credentials(&file.bytes, kind, secrets))
        };
        let texts = [
            ("AWS_CONFIG_FILE", "config", needed(&sources.config, Kind::Config)),
            ("AWS_SHARED_CREDENTIALS_FILE", "credentials", needed(&sources.credentials, Kind::Credentials)),
        ];
        if texts.iter().all(|(_, _, text)| text.is_none()) {
            return Ok(None);
        }
        let place = places.memory.as_ref().or(places.disk.as_ref());
        let place = place.ok_or_else(|| io::Error::other("there is no place for a copy of the AWS configuration"))?;
        let mut overlay = Self::make(place)?;
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
        let _turn = turn(place)?;
        tidy(place)?;
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

/// One at a time, or what is just being made would look left behind.
fn turn(place: &Path) -> io::Result<File> {
    let turn = File::open(place)?;
    flock(&turn, FlockOperation::LockExclusive)?;
    Ok(turn)
}

/// Takes away what nobody uses any more.
fn tidy(place: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(place)?.flatten() {
        let left = File::open(entry.path())
            .is_ok_and(|directory| flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok());
        if left {
            // Another time, then.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn is_in_memory(directory: &Path) -> bool {
    rustix::fs::statfs(directory)
        .is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| [TMPFS, RAMFS].contains(&kind)))
}

#[cfg(not(target_os = "linux"))]
const fn is_in_memory(_directory: &Path) -> bool {
    false
}

#[cfg(target_os = "linux")]
const TMPFS: u64 = 0x0102_1994;
#[cfg(target_os = "linux")]
const RAMFS: u64 = 0x8584_58f6;
/// Below the agent's directory there.
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

    /// On a disk, as far as anybody knows.
    fn places(state: &Scratch) -> Places {
        Places { memory: None, disk: Some(state.path().join(DIRECTORY)) }
    }

    #[test]
    fn a_secret_is_copied_within_memory_and_to_no_disk() {
        let (disk, memory) = (Scratch::new(), Scratch::new());
        let keys = "[default]\naws_access_key_id = a\n[mine]\naws_access_key_id = b\naws_secret_access_key = c\n";
        let copied = |places: &Places| {
            let overlay = Overlay::over(&sources("", keys), places).unwrap().unwrap();
            let [(variable, path)] = overlay.files() else { panic!("one is enough: {:?}", overlay.files()) };
            assert_eq!(*variable, "AWS_SHARED_CREDENTIALS_FILE");
            (path.starts_with(memory.path()), std::fs::read_to_string(path).unwrap())
        };
        assert_eq!(copied(&places(&disk)), (false, "[default]\n[mine]\n".to_owned()));
        let both = Places { memory: Some(memory.path().join(DIRECTORY)), ..places(&disk) };
        let kept = "[default]\n[mine]\naws_access_key_id = b\naws_secret_access_key = c\n";
        assert_eq!(copied(&both), (true, kept.to_owned()));
        let nowhere = Places { memory: None, disk: None };
        assert!(Overlay::over(&sources("", keys), &nowhere).is_err(), "rather than with the wrong ones");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_is_told_from_a_disk() {
        assert!(!is_in_memory(Path::new("/proc")) && !is_in_memory(Path::new("/nonexistent")));
        // Where there is one: containers may have another.
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        if mounts.lines().any(|line| line.contains(" /dev/shm tmpfs ")) {
            assert!(is_in_memory(Path::new("/dev/shm")));
        }
    }

    #[test]
    fn a_file_is_copied_only_where_its_default_profile_leads_to_credentials() {
        let state = Scratch::new();
        let none = Overlay::over(&sources("[default]\nregion = x\n", ""), &places(&state)).unwrap();
        assert!(none.is_none() && !state.path().join(DIRECTORY).exists());
        let shadowing = sources("[default]\nregion = x\nrole_arn = y\n", "[a]\naws_access_key_id = z\n");
        let overlay = Overlay::over(&shadowing, &places(&state)).unwrap().unwrap();
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
        let used = Overlay::over(&shadowing, &places(&state)).unwrap().unwrap();
        let left = state.path().join(DIRECTORY).join("left");
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join("config"), "x").unwrap();
        let other = Overlay::over(&shadowing, &places(&state)).unwrap().unwrap();
        assert!(!left.exists());
        assert!(used.files()[0].1.exists() && other.files()[0].1.exists());
        drop((used, other));
        std::fs::create_dir(&left).unwrap();
        let _ = places(&state).tidied();
        assert!(!left.exists(), "also by one that needs no copy");
        // What somebody has put in its place is not ours to clear.
        let other = Scratch::new();
        std::fs::create_dir(other.path().join("mine")).unwrap();
        std::fs::remove_dir_all(state.path().join(DIRECTORY)).unwrap();
        std::os::unix::fs::symlink(other.path(), state.path().join(DIRECTORY)).unwrap();
        let _ = places(&state).tidied();
        assert!(other.path().join("mine").exists());
    }
}
