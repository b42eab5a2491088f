//! `config.toml`: what AWS's configuration has no key for.
//!
//! Owns: the file's shape, defaults and checks. Refuses to know where the file lies. Invariant: an unknown key is an
//! error with a "did you mean"; a value that was accepted needs no second look.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::identity_center::Flow;
use crate::ids::SessionName;

/// The settings, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `[storage]`.
    pub storage: Storage,
    /// How long after its last use a role is still refreshed ahead; 1 h unless set (`keep_warm`).
    pub keep_warm: Duration,
    /// `[session.NAME]`.
    pub sessions: BTreeMap<SessionName, SessionSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { storage: Storage::default(), keep_warm: Duration::from_secs(3600), sessions: BTreeMap::new() }
    }
}

/// `[storage]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storage {
    /// `key`.
    pub key: KeyKind,
}

/// Where the key to the sealed records is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// The best this machine has, decided once; a key file until other kinds arrive.
    #[default]
    Auto,
    /// A file only its owner can read.
    File,
    /// No key: everything stays in memory.
    None,
}

/// `[session.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionSettings {
    /// `flow`: how to sign in; chosen by the caller's environment where not set.
    pub flow: Option<Flow>,
    /// `refresh_margin`: refresh when this much is left, instead of min(20 min, a third of the lifetime).
    pub refresh_margin: Option<Duration>,
}
