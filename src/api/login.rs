//! How a sign-in is asked for.

use serde::{Deserialize, Serialize};

/// How to sign in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoginRequest {
    /// The flow, or `auto`.
    pub flow: FlowChoice,
    /// Sign out at the portal first, so that the session's clock starts again.
    pub new_session: bool,
    /// Sign in even if the session is signed in.
    pub force: bool,
    /// Whether a browser on the caller's machine is likely; absent means device code.
    pub browser_likely: bool,
    /// Who asks: a person at our command line joins and replaces by other rules than a program.
    pub started_by: StartedBy,
}

/// The flow that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowChoice {
    /// The session's setting, else what suits the caller.
    #[default]
    Auto,
    /// Authorization code with PKCE.
    Browser,
    /// Device code.
    Device,
}

/// Who started a sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartedBy {
    /// A person, with `sso-agent login`.
    Cli,
    /// Anything else.
    #[default]
    Program,
}
