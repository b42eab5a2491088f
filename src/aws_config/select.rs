//! Which session, profile or target a request means.

use crate::ids::{ProfileName, SessionName};

use super::{Catalog, Profile, Rejected, SessionDefinition};

/// Why a name leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelectError {
    /// No such session; the nearest name if one is near.
    UnknownSession {
        /// What was asked for.
        name: String,
        /// The nearest session there is.
        did_you_mean: Option<SessionName>,
    },
    /// No such profile, or one that does not lead to a session.
    UnknownProfile {
        /// What was asked for.
        name: String,
        /// Whether it exists but has nothing to do with IAM Identity Center.
        exists: bool,
        /// The nearest profile there is.
        did_you_mean: Option<ProfileName>,
    },
    /// The profile leads to a session but names no account and role.
    NoTarget(ProfileName),
    /// It is written, but cannot be used.
    Rejected(Rejected),
    /// No session was named and there is not exactly one.
    Ambiguous(Vec<SessionName>),
    /// No session is configured at all.
    NoSessions,
}

impl Catalog {
    /// The session of that name, or the only one there is when none is named.
    ///
    /// # Errors
    /// See [`SelectError`].
    pub fn session(&self, _name: Option<&SessionName>) -> Result<&SessionDefinition, SelectError> {
        Err(SelectError::NoSessions)
    }

    /// The profile of that name.
    ///
    /// # Errors
    /// See [`SelectError`].
    pub fn profile(&self, _name: &ProfileName) -> Result<&Profile, SelectError> {
        Err(SelectError::NoSessions)
    }
}
