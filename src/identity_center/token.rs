//! Access and refresh tokens (sso-oidc `CreateToken`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ClientRegistration;
use crate::secret::Secret;
use crate::time::Timestamp;

/// What `CreateToken` answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenResponse {
    /// `accessToken`.
    pub access_token: Secret,
    /// `tokenType`, `Bearer` where the service did not say.
    pub token_type: String,
    /// `expiresIn`.
    pub expires_in: Duration,
    /// `refreshToken`; where a refresh brings none, the old one is kept.
    pub refresh_token: Option<Secret>,
}

/// A signed-in session's tokens, with the registration they depend on: a refresh token is worth nothing
/// without the client it was issued to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSet {
    /// The bearer token of the portal.
    pub access_token: Secret,
    /// `Bearer`.
    pub token_type: String,
    /// When the request that brought it was sent, on the service's clock.
    pub issued_at: Timestamp,
    /// When it expires, on the service's clock: `issued_at` + `expiresIn`.
    pub expires_at: Timestamp,
    /// What the next access token is asked for with; absent for a registration without scopes.
    pub refresh_token: Option<Secret>,
    /// The client registration both were issued to.
    pub registration: ClientRegistration,
}

impl TokenSet {
    /// How long the access token lives in all.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.expires_at.since(self.issued_at)
    }
}
