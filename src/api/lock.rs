//! How the agent is locked, as it is told over the socket. No names, no secrets.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// `POST /v1/lock` and `POST /v1/unlock`: what is so now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockStatus {
    /// As in [`super::Status`].
    pub locked: bool,
    /// As in [`super::Status`].
    pub lock: Option<LockDetails>,
}

/// How the agent is locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockDetails {
    /// Since when; unknown where what is written down about it cannot be read.
    pub since: Option<Timestamp>,
    /// Whether it takes a passphrase to unlock it.
    pub passphrase: bool,
    /// Whether a restart finds it locked.
    pub saved: bool,
    /// What is the matter with the lock.
    pub message: Option<String>,
    /// What helps.
    pub hint: Option<String>,
}
