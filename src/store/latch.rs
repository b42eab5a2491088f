//! The lock that a person puts on the agent: a file in the state directory, so that a restart does not open it.
//!
//! Owns: the file `locked`, and the check of a passphrase against what is kept of it. Refuses to know what a locked agent
//! refuses. Invariants: no passphrase is stored, only what tells it from another (PBKDF2 with HMAC-SHA-256 and a salt of
//! its own); a guess is counted on disk before anybody knows whether it is right; a file that cannot be understood is a
//! lock that nobody can open, never none.

use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::pbkdf2;
use serde::{Deserialize, Serialize};

use super::directory::PrivateDirectory;
use super::{StoreError, random};
use crate::secret::Secret;
use crate::time::Timestamp;

/// What is locked, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Since when.
    pub since: Timestamp,
    /// What tells the passphrase; none where everybody may unlock.
    pub verifier: Option<Verifier>,
    /// How many wrong passphrases were tried.
    pub failures: u32,
}

/// What tells a passphrase from another one, and is not that passphrase.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verifier {
    salt: String,
    iterations: NonZeroU32,
    hash: String,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Verifier(***)")
    }
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Latch {
    /// There is none.
    #[default]
    Open,
    /// The agent is locked.
    Locked(Lock),
    /// There is something, and nobody knows what.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why it means nothing, for people.
        reason: String,
    },
}

/// Something to be done about the lock. All of it takes its time.
#[derive(Debug)]
pub enum LatchOrder {
    /// Lock from this moment on; without a passphrase everybody may unlock.
    Lock(Timestamp, Option<Secret>),
    /// Take this lock off, if this is its passphrase, or if it has none.
    Unlock(Lock, Option<Secret>),
}

/// What came of it.
#[derive(Debug)]
pub enum LatchReport {
    /// This is the lock from now on, and whether it is on disk.
    Locked(Lock, Result<(), StoreError>),
    /// It is off, and whether the file is gone.
    Unlocked(Result<(), StoreError>),
    /// That was not the passphrase; the lock with one more failure.
    Wrong(Lock),
    /// The system gives no randomness: without a salt there is no verifier, and the lock is one without a passphrase
    /// in memory alone.
    NotLocked(StoreError),
}

/// Whoever carries that out; blocks.
pub trait LatchKeeper: Send + Sync {
    /// Does this.
    fn carry_out(&self, order: LatchOrder) -> LatchReport;
}

/// The file in the state directory.
#[derive(Debug, Clone)]
pub struct LatchFile(Arc<PrivateDirectory>);

/// As it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    since: Timestamp,
    verifier: Option<Verifier>,
    failures: u32,
}

/// Whether an agent of this state directory would come up locked; for who finds none.
#[must_use]
pub fn is_latched(state_dir: &Path) -> bool {
    // What cannot be looked at is a lock.
    !matches!(state_dir.join(LATCH).symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

impl LatchFile {
    /// That of this state directory.
    #[must_use]
    pub const fn new(state: Arc<PrivateDirectory>) -> Self {
        Self(state)
    }

    /// What it says.
    #[must_use]
    pub fn read(&self) -> Latch {
        let unreadable = |reason: String| Latch::Unreadable { path: self.0.path().join(LATCH), reason };
        let content = match self.0.read(LATCH, LARGEST) {
            Ok(None) => return Latch::Open,
            Ok(Some(content)) => content,
            Err(error) => return unreadable(error.to_string()),
        };
        match serde_json::from_slice::<Content>(&content) {
            Ok(Content { version: VERSION, since, verifier, failures }) => {
                Latch::Locked(Lock { since, verifier, failures })
            }
            Ok(Content { version, .. }) => unreadable(format!("it is of version {version}")),
            Err(error) => unreadable(error.to_string()),
        }
    }

    fn write(&self, lock: &Lock) -> Result<(), StoreError> {
        let Lock { since, verifier, failures } = lock.clone();
        // Strings and numbers: this cannot fail.
        let content = serde_json::to_vec(&Content { version: VERSION, since, verifier, failures }).unwrap_or_default();
        self.0.replace(LATCH, &content)
    }
}

impl LatchKeeper for LatchFile {
    fn carry_out(&self, order: LatchOrder) -> LatchReport {
        match order {
            LatchOrder::Lock(since, passphrase) => {
                let verifier = match passphrase.map(|passphrase| Verifier::of(&passphrase)) {
                    Some(None) => return LatchReport::NotLocked(StoreError::Crypto),
                    verifier => verifier.flatten(),
                };
                let lock = Lock { since, verifier, failures: 0 };
                let written = self.write(&lock);
                LatchReport::Locked(lock, written)
            }
            LatchOrder::Unlock(lock, guess) => match lock.guessed(guess.as_ref(), |counted| {
                if let Err(error) = self.write(counted) {
                    // Counted in memory all the same: a full disk must not keep anybody out for ever.
                    tracing::warn!(%error, "a try to unlock could not be counted on disk");
                }
            }) {
                Ok(()) => LatchReport::Unlocked(self.0.remove(LATCH)),
                Err(lock) => LatchReport::Wrong(lock),
            },
        }
    }
}

impl Lock {
    /// Whether this opens it. A guess at a passphrase is counted before it is looked at; the lock with one more
    /// failure if it was wrong.
    ///
    /// # Errors
    /// It does not.
    pub fn guessed(mut self, guess: Option<&Secret>, count: impl FnOnce(&Self)) -> Result<(), Self> {
        let Some(verifier) = self.verifier.clone() else { return Ok(()) };
        self.failures = self.failures.saturating_add(1);
        count(&self);
        if guess.is_some_and(|guess| verifier.accepts(guess)) { Ok(()) } else { Err(self) }
    }
}

impl Verifier {
    /// Of this passphrase; none if the system gives no randomness for a salt. Slow on purpose.
    #[must_use]
    pub fn of(passphrase: &Secret) -> Option<Self> {
        let mut salt = [0; SALT_LENGTH];
        random::fill(&mut salt)?;
        let salt = random::hex(&salt);
        let mut hash = [0; HASH_LENGTH];
        pbkdf2::derive(ALGORITHM, ITERATIONS, salt.as_bytes(), passphrase.expose().as_bytes(), &mut hash);
        Some(Self { salt, iterations: ITERATIONS, hash: random::hex(&hash) })
    }

    /// Whether it is of this passphrase; says nothing by how long that takes.
    fn accepts(&self, passphrase: &Secret) -> bool {
        let hash: Option<Vec<u8>> = (self.hash.len() == 2 * HASH_LENGTH && self.hash.is_ascii()).then(|| {
            let digits = (0..HASH_LENGTH).map(|place| &self.hash[2 * place..2 * place + 2]);
            digits.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
        });
        let secret = passphrase.expose().as_bytes();
        hash.is_some_and(|hash| pbkdf2::verify(ALGORITHM, self.iterations, self.salt.as_bytes(), secret, &hash).is_ok())
    }
}

/// Beside `lock`, which says who holds the directory.
const LATCH: &str = "locked";
const VERSION: u32 = 1;
const LARGEST: u64 = 4096;
const ALGORITHM: pbkdf2::Algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
/// As for the key that is derived from a passphrase. Recorded with each, so that it may grow.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).expect("it is not zero");
const SALT_LENGTH: usize = 16;
const HASH_LENGTH: usize = 32;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::file::Step;
    use super::super::sandbox::Sandbox;
    use super::*;

    fn latch(sandbox: &Sandbox) -> LatchFile {
        LatchFile::new(Arc::new(PrivateDirectory::prepare(sandbox.path()).unwrap()))
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn locked(latch: &LatchFile, passphrase: Option<&str>) -> Lock {
        let order = LatchOrder::Lock(Timestamp::from_secs(7), passphrase.map(secret));
        match latch.carry_out(order) {
            LatchReport::Locked(lock, Ok(())) => lock,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_lock_outlives_its_agent_and_holds_no_passphrase() {
        let sandbox = Sandbox::new();
        let latch = latch(&sandbox);
        assert_eq!(latch.read(), Latch::Open);
        let lock = locked(&latch, Some("correct horse"));
        let text = std::fs::read_to_string(sandbox.path().join(LATCH)).unwrap();
        assert!(!text.contains("correct"), "{text}");
        assert_eq!(latch.read(), Latch::Locked(lock.clone()));
        let LatchReport::Wrong(once) = latch.carry_out(LatchOrder::Unlock(lock, Some(secret("battery")))) else {
            panic!("that is not it");
        };
        assert_eq!((once.failures, latch.read()), (1, Latch::Locked(once.clone())), "counted, for the next agent too");
        let LatchReport::Wrong(twice) = latch.carry_out(LatchOrder::Unlock(once, None)) else { panic!("nor is that") };
        let report = latch.carry_out(LatchOrder::Unlock(twice, Some(secret("correct horse"))));
        assert!(matches!(report, LatchReport::Unlocked(Ok(()))));
        assert_eq!(latch.read(), Latch::Open);
    }

    #[test]
    fn without_a_passphrase_everybody_may_unlock() {
        let sandbox = Sandbox::new();
        let latch = latch(&sandbox);
        let lock = locked(&latch, None);
        assert_eq!(latch.read(), Latch::Locked(lock.clone()));
        assert!(matches!(latch.carry_out(LatchOrder::Unlock(lock, None)), LatchReport::Unlocked(Ok(()))));
        assert_eq!(latch.read(), Latch::Open);
    }

    #[test]
    fn what_cannot_be_understood_is_a_lock() {
        let sandbox = Sandbox::new();
        let latch = latch(&sandbox);
        let path = sandbox.path().join(LATCH);
        let good = r#"{"version":1,"since":"2026-11-22T12:00:00Z","verifier":null,"failures":0}"#;
        for content in ["", "{}", "null", &good[..30], &good.replace(":1,", ":2,"), &format!("{good}x")] {
            std::fs::write(&path, content).unwrap();
            assert!(matches!(latch.read(), Latch::Unreadable { .. }), "{content}");
        }
        std::fs::write(&path, good).unwrap();
        assert!(matches!(latch.read(), Latch::Locked(_)));
        std::fs::remove_file(&path).unwrap();
        symlink("/nowhere", &path).unwrap();
        assert!(matches!(latch.read(), Latch::Unreadable { .. }), "a link");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(latch.read(), Latch::Unreadable { .. }), "a directory");
    }

    #[test]
    fn on_a_full_disk_the_lock_says_so_and_a_guess_counts_all_the_same() {
        let sandbox = Sandbox::new();
        let directory = Arc::new(PrivateDirectory::prepare(sandbox.path()).unwrap());
        let latch = LatchFile::new(Arc::clone(&directory));
        directory.fail_at(Some(Step::Write));
        let LatchReport::Locked(lock, Err(_)) =
            latch.carry_out(LatchOrder::Lock(Timestamp::from_secs(7), Some(secret("correct horse"))))
        else {
            panic!("it cannot be on disk");
        };
        let LatchReport::Wrong(lock) = latch.carry_out(LatchOrder::Unlock(lock, Some(secret("x")))) else {
            panic!("that is not it");
        };
        assert_eq!(lock.failures, 1);
        let report = latch.carry_out(LatchOrder::Unlock(lock, Some(secret("correct horse"))));
        assert!(matches!(report, LatchReport::Unlocked(Ok(()))));
    }
}
