//! The tokens that have been handed out for the standing endpoints.
//!
//! Owns: the file, its format, who may change it when. Refuses to know what a target is: it keeps the words. Invariants:
//! the file holds no token, only [`Mark`]s; a change is whole or not at all and is made by one at a time; who reads it
//! sees every change at once, so that what was revoked is over; a file that others could have written admits nobody.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};

use super::token::{Mark, Token};
use crate::api::TargetQuery;
use crate::ids::{AccountId, DoorName, ProfileName, RoleName, SessionName};
use crate::paths::{make_private_directory, our_uid};
use crate::time::Timestamp;
use crate::whole_file;

/// One token, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What people call it.
    pub name: DoorName,
    /// Its hash.
    #[serde(with = "in_hex")]
    mark: Mark,
    /// What it is good for.
    pub target: Words,
    /// When it was handed out.
    pub created_at: Timestamp,
    /// When it is over by itself.
    pub expires_at: Option<Timestamp>,
}

/// A target as somebody named it: what it means is the configuration's to say, whenever it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Words {
    /// A profile.
    Profile {
        /// Its name.
        profile: ProfileName,
    },
    /// A role.
    Role {
        /// Of the session of that name, or of the only one there is.
        session: Option<SessionName>,
        /// In that account.
        account: AccountId,
        /// Of that name.
        role: RoleName,
    },
}

impl From<TargetQuery> for Words {
    fn from(query: TargetQuery) -> Self {
        match query {
            TargetQuery::Profile(profile) => Self::Profile { profile },
            TargetQuery::Role { session, account, role } => Self::Role { session, account, role },
        }
    }
}

impl From<Words> for TargetQuery {
    fn from(words: Words) -> Self {
        match words {
            Words::Profile { profile } => Self::Profile(profile),
            Words::Role { session, account, role } => Self::Role { session, account, role },
        }
    }
}

impl Entry {
    /// One for this token.
    #[must_use]
    pub fn new(
        name: DoorName,
        token: &Token,
        target: TargetQuery,
        created_at: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Self {
        Self { name, mark: token.mark(), target: target.into(), created_at, expires_at }
    }

    /// Whether it is over by itself.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// The file of one state directory.
#[derive(Debug)]
pub struct Ledger {
    state_dir: PathBuf,
    seen: Mutex<Seen>,
}

/// What was read last, and of which file.
#[derive(Debug, Default)]
struct Seen {
    stamp: Option<Stamp>,
    entries: Arc<Vec<Entry>>,
}

type Stamp = (u64, u64, i64, i64, u64);

impl Ledger {
    /// The one in this state directory. Nothing is read or made yet.
    #[must_use]
    pub fn new(state_dir: PathBuf) -> Self {
        Self { state_dir, seen: Mutex::default() }
    }

    /// All of them, in the order in which they were handed out.
    ///
    /// # Errors
    /// The file is there and is not ours, or not one of ours.
    pub fn entries(&self) -> Result<Arc<Vec<Entry>>, LedgerError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path();
        let stamp = std::fs::symlink_metadata(&path).ok().map(|metadata| stamp(&metadata));
        if seen.stamp.is_none() || stamp != seen.stamp {
            // What was known counts no more, whatever is there now.
            *seen = Seen::default();
            let (stamp, entries) = read(&path)?;
            *seen = Seen { stamp, entries: Arc::new(entries) };
        }
        Ok(Arc::clone(&seen.entries))
    }

    /// What the token of this mark is good for; none where it is not known, or over.
    pub(super) fn admit(&self, shown: &Mark, now: Timestamp) -> Option<Entry> {
        let entries = self.entries().inspect_err(|error| tracing::warn!(%error, "no token is let in")).ok()?;
        // All of them, so that it does not take longer where the right one is further down.
        let found = entries.iter().fold(None, |found, entry| if entry.mark == *shown { Some(entry) } else { found });
        found.filter(|entry| !entry.is_over(now)).cloned()
    }

    /// Adds one.
    ///
    /// # Errors
    /// There is one of that name that is not over, there are too many, or it cannot be written.
    pub fn add(&self, entry: Entry, now: Timestamp) -> Result<(), LedgerError> {
        self.change(|entries| {
            entries.retain(|known| !known.is_over(now));
            if entries.iter().any(|known| known.name == entry.name) {
                return Err(LedgerError::Known(entry.name.clone()));
            }
            if entries.len() >= MOST_ENTRIES {
                return Err(LedgerError::TooMany);
            }
            entries.push(entry);
            Ok(())
        })
    }

    /// Removes those of these names, or all; says how many.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn revoke(&self, which: impl Fn(&Entry) -> bool) -> Result<usize, LedgerError> {
        self.change(|entries| {
            let before = entries.len();
            entries.retain(|entry| !which(entry));
            Ok(before - entries.len())
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Entry>) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let path = self.path();
        let failed = |source| LedgerError::Io { path: path.clone(), source };
        make_private_directory(&self.state_dir).map_err(|error| failed(io::Error::other(error)))?;
        // One at a time. The file stays: it is whose turn it is, and not what it was about.
        let turn =
            File::options().create(true).truncate(false).write(true).mode(0o600).open(path.with_extension("lock"));
        let turn = turn.map_err(failed)?;
        flock(&turn, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        let (_, mut entries) = read(&path)?;
        let before = entries.clone();
        let outcome = change(&mut entries)?;
        if entries != before {
            let file = Content { version: VERSION, tokens: entries };
            let text = serde_json::to_vec_pretty(&file).map_err(|error| failed(error.into()))?;
            whole_file::replace(&path, &text, 0o600).map_err(failed)?;
        }
        Ok(outcome)
    }

    fn path(&self) -> PathBuf {
        self.state_dir.join(FILE)
    }
}

#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    tokens: Vec<Entry>,
}

fn read(path: &Path) -> Result<(Option<Stamp>, Vec<Entry>), LedgerError> {
    let failed = |source| LedgerError::Io { path: path.to_owned(), source };
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, Vec::new())),
        opened => opened.map_err(failed)?,
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.uid() != our_uid() || metadata.mode() & 0o077 != 0 {
        return Err(LedgerError::Exposed { path: path.to_owned() });
    }
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text).map_err(failed)?;
    let content: Content =
        serde_json::from_slice(&text).map_err(|source| LedgerError::Damaged { path: path.to_owned(), source })?;
    if content.version != VERSION {
        return Err(LedgerError::Newer { path: path.to_owned() });
    }
    Ok((Some(stamp(&metadata)), content.tokens))
}

fn stamp(metadata: &std::fs::Metadata) -> Stamp {
    (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec(), metadata.len())
}

mod in_hex {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Mark;

    pub(super) fn serialize<S: Serializer>(mark: &Mark, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(mark)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mark, D::Error> {
        let text = String::deserialize(deserializer)?;
        Mark::from_hex(&text).ok_or_else(|| serde::de::Error::custom("not a hash"))
    }
}

/// Why the list of tokens cannot be used.
#[derive(Debug)]
pub enum LedgerError {
    /// There is a token of that name.
    Known(DoorName),
    /// There are as many as there may be.
    TooMany,
    /// Others may have written it.
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It is of a newer version.
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// It is no list of tokens.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// A system call failed.
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl LedgerError {
    /// What helps.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Known(name) => Some(format!("revoke it first: sso-agent container token revoke {name}")),
            Self::TooMany => Some("revoke some: sso-agent container token list".to_owned()),
            Self::Exposed { path } => Some(format!("chmod 600 {}", crate::paths::shell_word(path))),
            Self::Damaged { path, .. } => {
                Some(format!("remove it and hand out new tokens: rm {}", crate::paths::shell_word(path)))
            }
            Self::Newer { .. } => Some("use the version that has written it".to_owned()),
            Self::Io { .. } => None,
        }
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(name) => write!(formatter, "there is a token named {name}"),
            Self::TooMany => write!(formatter, "there are {MOST_ENTRIES} tokens, and no more are kept"),
            Self::Exposed { path } => {
                write!(formatter, "{} is not a file that only we can read and write", path.display())
            }
            Self::Newer { path } => write!(formatter, "{} is of a newer version", path.display()),
            Self::Damaged { path, .. } => write!(formatter, "{} is no list of tokens", path.display()),
            Self::Io { path, .. } => write!(formatter, "the tokens in {} cannot be read or written", path.display()),
        }
    }
}

impl std::error::Error for LedgerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Damaged { source, .. } => Some(source),
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The name of the file in the state directory.
const FILE: &str = "container-tokens.json";
const VERSION: u32 = 1;
const LARGEST: u64 = 256 * 1024;
const MOST_ENTRIES: usize = 256;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::scratch::Scratch;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn entry(name: &str, token: &Token, end: Option<i64>) -> Entry {
        let target = TargetQuery::Profile("dev".parse().unwrap());
        Entry::new(name.parse().unwrap(), token, target, at(1), end.map(at))
    }

    #[test]
    fn a_token_is_let_in_from_its_handing_out_to_its_revocation_and_nothing_of_it_is_kept() {
        let dir = Scratch::new();
        let (here, there) = (Ledger::new(dir.path().into()), Ledger::new(dir.path().into()));
        let (token, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert!(here.admit(&token.mark(), at(10)).is_none());
        there.add(entry("build", &token, None), at(10)).unwrap();
        let known = here.admit(&token.mark(), at(10)).unwrap();
        assert_eq!((known.name.as_str(), TargetQuery::from(known.target).to_string()), ("build", "dev".to_owned()));
        assert!(here.admit(&other.mark(), at(10)).is_none());
        let path = dir.path().join(FILE);
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(token.text().expose()) && text.contains(&token.mark().to_string()));
        assert_eq!(there.revoke(|entry| entry.name.as_str() == "build").unwrap(), 1);
        assert!(here.admit(&token.mark(), at(10)).is_none(), "at once");
        assert_eq!(there.revoke(|_| true).unwrap(), 0);
    }

    #[test]
    fn a_token_is_over_when_its_time_is_and_its_name_is_free_again() {
        let dir = Scratch::new();
        let ledger = Ledger::new(dir.path().into());
        let token = Token::random().unwrap();
        ledger.add(entry("build", &token, Some(100)), at(10)).unwrap();
        assert!(ledger.admit(&token.mark(), at(99)).is_some());
        assert!(ledger.admit(&token.mark(), at(100)).is_none());
        let again = entry("build", &Token::random().unwrap(), None);
        assert!(matches!(ledger.add(again.clone(), at(99)), Err(LedgerError::Known(_))));
        ledger.add(again, at(100)).unwrap();
        assert_eq!(ledger.entries().unwrap().len(), 1);
    }

    #[test]
    fn a_file_that_others_could_have_written_admits_nobody_and_is_not_written_over() {
        let dir = Scratch::new();
        let ledger = Ledger::new(dir.path().into());
        let token = Token::random().unwrap();
        ledger.add(entry("build", &token, None), at(10)).unwrap();
        let path = dir.path().join(FILE);
        for mode in [0o640, 0o602] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(ledger.admit(&token.mark(), at(10)).is_none());
            assert!(matches!(ledger.add(entry("x", &token, None), at(10)), Err(LedgerError::Exposed { .. })));
        }
        for wrong in ["", "{}", r#"{"version":2,"tokens":[]}"#, "nonsense"] {
            std::fs::remove_file(&path).unwrap();
            whole_file::replace(&path, wrong.as_bytes(), 0o600).unwrap();
            assert!(ledger.admit(&token.mark(), at(10)).is_none());
            assert!(ledger.add(entry("x", &token, None), at(10)).is_err(), "{wrong}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), wrong);
        }
    }
}
