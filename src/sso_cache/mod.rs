//! The AWS CLI's cache: `~/.aws/sso/cache`, where tools that know nothing of us look for a sign-in.
//!
//! Owns: the names and the format of its files, reading what any of the SDKs may have left there, and writing so that
//! all of them can read it. Refuses to know when that is wise: the engine does. Invariants: a file is replaced whole or
//! not at all, readable by its owner only; nothing of another user, and nothing others can write, is believed.

mod disk;
mod encode;
mod error;
mod names;
mod parse;

use std::path::PathBuf;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

pub use self::disk::DiskCache;
pub use self::error::{CacheError, Unusable};
pub use self::names::{registration_file, token_file};
use crate::ids::SessionName;
use crate::secret::Secret;
use crate::time::Timestamp;

/// A sign-in as it lies in the cache. Its times are of this machine's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedSet {
    /// `startUrl`, as configured where it was made.
    pub start_url: String,
    /// `region`.
    pub region: String,
    /// `accessToken`.
    pub access_token: Secret,
    /// `expiresAt`.
    pub expires_at: Timestamp,
    /// What the next access token can be asked for with.
    pub renewal: Renewal,
}

/// Whether whoever reads a set can refresh it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    /// There is no refresh token.
    None,
    /// There is one, and the client it was issued to.
    Whole(Box<Material>),
    /// There is one without its client: worth nothing to anybody.
    Incomplete,
}

/// A refresh token with its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Material {
    /// `refreshToken`.
    pub refresh_token: Secret,
    /// `clientId`.
    pub client_id: String,
    /// `clientSecret`.
    pub client_secret: Secret,
    /// `registrationExpiresAt`.
    pub registration_expires_at: Timestamp,
}

/// By which a set is known again: a hash of its access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mark(String);

impl Mark {
    /// Of the set with this access token.
    #[must_use]
    pub fn of(access_token: &Secret) -> Self {
        let hash = digest(&SHA256, access_token.expose().as_bytes());
        Self(names::hex(&hash.as_ref()[..16]))
    }
}

/// What we have written for a session: remembered, so that it is known again whoever leads there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The sets, the latest last. Older ones than the last few have long expired.
    pub marks: Vec<Mark>,
    /// Whether a file of ours should be there.
    pub standing: bool,
}

impl Published {
    /// Remembers a set that is about to be written.
    pub fn remember(&mut self, mark: Mark) {
        self.know(mark);
        self.standing = true;
    }

    /// Remembers a set that somebody else has written and that is held from now on: it is not taken over twice.
    pub fn know(&mut self, mark: Mark) {
        self.marks.retain(|known| *known != mark);
        self.marks.push(mark);
        let surplus = self.marks.len().saturating_sub(MOST_MARKS);
        self.marks.drain(..surplus);
    }
}

const MOST_MARKS: usize = 32;

/// What is to be done about a session's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheOrder {
    /// Read it.
    Look {
        /// As the session is defined, to find the CLI's registration where the file lacks it.
        scopes: Vec<String>,
    },
    /// Replace it, unless a set lies there by now that is none of these.
    Write {
        /// What is to lie there.
        set: Box<CachedSet>,
        /// What may go: what we have written, and what was looked at.
        over: Vec<Mark>,
    },
    /// Remove it, if it is one of these.
    Remove(Vec<Mark>),
}

/// What came of an order.
#[derive(Debug)]
pub struct CacheReport {
    /// The file it was about.
    pub path: PathBuf,
    /// How it ended.
    pub outcome: CacheOutcome,
}

/// How an order ended.
#[derive(Debug)]
pub enum CacheOutcome {
    /// It was read.
    Looked(Found),
    /// It was replaced, or not.
    Written(Result<(), CacheError>),
    /// It stays: somebody has written another set since it was looked at.
    Overtaken,
    /// It is not there any more, or never was, or is not ours (which is not an error); or it may still be there.
    Removed(Result<(), CacheError>),
}

/// What lies where a session's file belongs.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Missing,
    /// Half a file: somebody writes it just now.
    Torn,
    /// Something that must not or cannot be used.
    Unusable(Unusable),
    /// A sign-in.
    Set(Box<CachedSet>),
}

/// The cache. Calls block: they wait for the disk.
pub trait Cache: Send + 'static {
    /// Does what is to be done about this session's file.
    fn carry_out(&mut self, session: &SessionName, order: CacheOrder) -> CacheReport;
}

/// No cache at all: for engines whose sessions do not publish.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCache;

impl Cache for NoCache {
    fn carry_out(&mut self, session: &SessionName, order: CacheOrder) -> CacheReport {
        let outcome = match order {
            CacheOrder::Look { .. } => CacheOutcome::Looked(Found::Missing),
            CacheOrder::Write { .. } => CacheOutcome::Written(Ok(())),
            CacheOrder::Remove(_) => CacheOutcome::Removed(Ok(())),
        };
        CacheReport { path: token_file(session.as_str()).into(), outcome }
    }
}
