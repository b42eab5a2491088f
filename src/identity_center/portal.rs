//! What the portal hands out: role credentials, accounts, roles.

use crate::ids::{AccountId, RoleName};
use crate::secret::Secret;
use crate::time::Timestamp;
use crate::untrusted::Untrusted;

/// Role credentials (portal `GetRoleCredentials`). Their texts are checked when parsed: they consist of
/// characters that mean nothing to a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleCredentials {
    /// `accessKeyId`, `[A-Z0-9]{16,128}`: names the set, is no secret.
    pub access_key_id: String,
    /// `secretAccessKey`.
    pub secret_access_key: Secret,
    /// `sessionToken`.
    pub session_token: Secret,
    /// `expiration`, on the service's clock.
    pub expires_at: Timestamp,
}

/// An account the user may use (portal `ListAccounts`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// `accountId`.
    pub account_id: AccountId,
    /// `accountName`, which can be missing.
    pub account_name: Option<Untrusted>,
    /// `emailAddress`, which can be missing.
    pub email: Option<Untrusted>,
}

/// A role the user may take in an account (portal `ListAccountRoles`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// `accountId`.
    pub account_id: AccountId,
    /// `roleName`.
    pub role_name: RoleName,
}
