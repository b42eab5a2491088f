//! The shapes of `GET /v1/status`, and of the parts of it that other answers show too.

use serde::{Deserialize, Serialize};

use super::lock::LockDetails;
use super::problem::Code;
use crate::ids::{AccountId, ProfileName, RoleName};
use crate::time::Timestamp;

/// `GET /v1/status`. No secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Status {
    /// The agent's version.
    pub version: String,
    pub pid: u32,
    pub started_at: Timestamp,
    /// Grows with every change of anything below.
    pub revision: u64,
    pub socket: String,
    pub locked: bool,
    /// How it is locked; null where it is not, absent in agents before it.
    #[serde(default)]
    pub lock: Option<LockDetails>,
    pub storage: StorageStatus,
    /// Filled in by whoever keeps the log; absent in agents before it.
    #[serde(default)]
    pub audit: Option<AuditStatus>,
    /// The restricted sockets, filled in by whoever opens them; absent in agents before them.
    #[serde(default)]
    pub serve: Vec<DoorStatus>,
    pub sessions: Vec<SessionStatus>,
    pub targets: Vec<TargetStatus>,
    pub warnings: Vec<WarningEntry>,
}

/// How secrets are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageStatus {
    /// Where the key is: `keyring`, `systemd-credential`, `passphrase`, `file`; `none` if nothing is kept.
    pub key: String,
    /// Whether everything that should be on disk is.
    pub saved: bool,
    /// Whether the key is there; until then what is stored can be neither read nor written.
    #[serde(default = "yes")]
    pub available: bool,
    /// What is the matter with the key.
    #[serde(default)]
    pub message: Option<String>,
    /// What helps.
    #[serde(default)]
    pub hint: Option<String>,
}

/// `GET /v1/storage`, and the same after something was done about the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageReport {
    /// As in [`Status`].
    #[serde(flatten)]
    pub status: StorageStatus,
    /// Whether the place for the key is decided; it is with the first key.
    pub decided: bool,
    /// The state directory; null if nothing is kept.
    pub directory: Option<String>,
    /// How many records are stored.
    pub records: usize,
    /// How many were set aside because they did not open.
    pub set_aside: usize,
}

/// Whether what is handed out is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditStatus {
    /// `best-effort`, `required`, `off`.
    pub mode: String,
    /// How often, since the agent started, something was handed out or withheld because its line could not be written.
    pub failed: u64,
}

/// A restricted socket: `[serve.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoorStatus {
    /// NAME.
    pub name: String,
    /// Where it is.
    pub socket: String,
    /// What it hands out, each as session, account and role.
    pub targets: Vec<String>,
    /// Whether it can be connected to now. If not, its time is over or a warning says why.
    pub open: bool,
    /// When it closes by itself.
    pub until: Option<Timestamp>,
    /// Whether root is served too.
    pub allow_root: bool,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SessionState {
    /// Nobody has signed in.
    SignedOut,
    /// A sign-in is stored, but the key to it is not available.
    Sealed,
    /// A sign-in waits for the user, and there is no usable token meanwhile.
    Pending,
    /// There is a token, or a refresh token to get one with.
    SignedIn,
    /// A refresh was refused for good, the access token still lives.
    Ending,
    /// The session is over: sign in again.
    Ended,
    /// A state this version does not know.
    #[serde(other)]
    Unknown,
}

/// One session in [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct SessionStatus {
    pub session: String,
    pub kind: String,
    /// Whether it is in the configuration; one that is not is shown for as long as something of it is held.
    #[serde(default = "yes")]
    pub configured: bool,
    pub state: SessionState,
    pub start_url: String,
    pub region: String,
    pub signed_in_at: Option<Timestamp>,
    pub access_token_expires_at: Option<Timestamp>,
    pub next_refresh_at: Option<Timestamp>,
    /// Whether there is a refresh token.
    pub renewable: bool,
    /// When the client registration expires that the refresh token depends on: no refresh after that.
    pub renewable_until: Option<Timestamp>,
    /// Whether what is in memory is on disk.
    pub saved: bool,
    /// What other programs find of it in the AWS CLI's cache; null where nothing is published.
    #[serde(default)]
    pub publish: Option<PublishStatus>,
    pub last_error: Option<LastError>,
    pub registrations: Vec<RegistrationStatus>,
    /// `manual` or `on-demand`: who may start a sign-in.
    #[serde(default)]
    pub sign_in: String,
    /// After a sign-in that nobody wanted: until when no request starts another.
    #[serde(default)]
    pub sign_in_quiet_until: Option<Timestamp>,
}

/// A session's file in the AWS CLI's cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishStatus {
    /// `token`, `full`; `off` for a file that should go and could not be removed.
    pub mode: String,
    /// The file, once it was looked for.
    pub path: Option<String>,
    /// When it was last written by this run of the agent.
    pub at: Option<Timestamp>,
    /// Why it is not as it should be, and what helps.
    pub error: Option<String>,
}

/// What last went wrong with a session, gone with the next success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct LastError {
    pub code: Code,
    pub message: String,
    pub at: Timestamp,
    pub retry_at: Option<Timestamp>,
}

/// A client registration in [`SessionStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationStatus {
    /// `device` or `browser`.
    pub flow: String,
    /// When its client secret expires.
    pub expires_at: Timestamp,
}

/// A warm target in [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct TargetStatus {
    pub session: String,
    pub account: Option<AccountId>,
    pub role: Option<RoleName>,
    pub profile: Option<ProfileName>,
    pub expires_at: Option<Timestamp>,
}

/// Something in the configuration that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct WarningEntry {
    pub file: String,
    pub line: usize,
    pub message: String,
}

pub(super) const fn yes() -> bool {
    true
}
