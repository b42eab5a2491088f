//! What `status` says of the ways to the agent besides the main socket.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

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
