//! The errors sso-oidc and the portal name.
//!
//! Owns: the names, and where in a response a name is found: the `x-amzn-ErrorType` header, then the body's
//! `__type`, then `code`, then the OAuth `error`. Invariant: nothing is ever decided by a message's text.

use std::fmt;

use crate::untrusted::Untrusted;

/// An error the service gave a name to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceError {
    /// Which error.
    pub name: ErrorName,
    /// The HTTP status it came with.
    pub status: u16,
    /// `error_description` or `message`, in the service's words.
    pub message: Untrusted,
}

impl fmt::Display for ServiceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (HTTP {})", self.name, self.status)?;
        if self.message.is_empty() { Ok(()) } else { write!(formatter, ": {}", self.message.shown()) }
    }
}

impl std::error::Error for ServiceError {}

/// The modelled errors of both services, and what is outside the models.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the service's own, without `Exception`")]
pub enum ErrorName {
    AuthorizationPending,
    SlowDown,
    ExpiredToken,
    AccessDenied,
    InvalidRequest,
    InvalidRequestRegion,
    InvalidClient,
    InvalidGrant,
    UnauthorizedClient,
    UnsupportedGrantType,
    InvalidScope,
    InvalidClientMetadata,
    InvalidRedirectUri,
    InternalServer,
    Unauthorized,
    ResourceNotFound,
    TooManyRequests,
    /// Not in the portal's model: what it says when the user has no such role.
    Forbidden,
    /// STS: the signer is not known, or not any more.
    InvalidClientTokenId,
    /// A name outside the models.
    Other(Untrusted),
    /// No name at all, only a status.
    Unnamed,
}

impl ErrorName {
    /// From an exception's name, with or without namespace and suffix: `a.b#InvalidGrantException:http://…`.
    #[must_use]
    pub fn from_type(text: &str) -> Self {
        let text = text.split(':').next().unwrap_or_default();
        let text = text.rsplit('#').next().unwrap_or_default().trim();
        TYPES
            .iter()
            .find(|(name, _, _)| *name == text)
            .map_or_else(|| Self::Other(Untrusted::new(text)), |(_, _, error)| error.clone())
    }

    /// From the code of an STS error: `AccessDenied`.
    #[must_use]
    pub fn from_sts(code: &str) -> Self {
        match code {
            "AccessDenied" => Self::AccessDenied,
            "ExpiredToken" => Self::ExpiredToken,
            "Throttling" | "ThrottlingException" | "RequestLimitExceeded" => Self::TooManyRequests,
            "InternalFailure" => Self::InternalServer,
            other => Self::from_type(other),
        }
    }

    /// From the OAuth `error` member: `invalid_grant`.
    #[must_use]
    pub fn from_oauth(text: &str) -> Self {
        TYPES
            .iter()
            .find(|(_, oauth, _)| !oauth.is_empty() && *oauth == text)
            .map_or_else(|| Self::Other(Untrusted::new(text)), |(_, _, error)| error.clone())
    }
}

impl fmt::Display for ErrorName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(name) => write!(formatter, "{}", name.shown()),
            Self::Unnamed => formatter.write_str("an error without a name"),
            named => match TYPES.iter().find(|(_, _, error)| error == named) {
                Some((name, _, _)) => formatter.write_str(name),
                None => write!(formatter, "{named:?}"),
            },
        }
    }
}

/// Exception name, OAuth `error`, meaning.
const TYPES: [(&str, &str, ErrorName); 19] = [
    ("AuthorizationPendingException", "authorization_pending", ErrorName::AuthorizationPending),
    ("SlowDownException", "slow_down", ErrorName::SlowDown),
    ("ExpiredTokenException", "expired_token", ErrorName::ExpiredToken),
    ("AccessDeniedException", "access_denied", ErrorName::AccessDenied),
    ("InvalidRequestException", "invalid_request", ErrorName::InvalidRequest),
    ("InvalidRequestRegionException", "", ErrorName::InvalidRequestRegion),
    ("InvalidClientException", "invalid_client", ErrorName::InvalidClient),
    ("InvalidGrantException", "invalid_grant", ErrorName::InvalidGrant),
    ("UnauthorizedClientException", "unauthorized_client", ErrorName::UnauthorizedClient),
    ("UnsupportedGrantTypeException", "unsupported_grant_type", ErrorName::UnsupportedGrantType),
    ("InvalidScopeException", "invalid_scope", ErrorName::InvalidScope),
    ("InvalidClientMetadataException", "invalid_client_metadata", ErrorName::InvalidClientMetadata),
    ("InvalidRedirectUriException", "invalid_redirect_uri", ErrorName::InvalidRedirectUri),
    ("InternalServerException", "server_error", ErrorName::InternalServer),
    ("UnauthorizedException", "", ErrorName::Unauthorized),
    ("ResourceNotFoundException", "", ErrorName::ResourceNotFound),
    ("TooManyRequestsException", "", ErrorName::TooManyRequests),
    ("ForbiddenException", "", ErrorName::Forbidden),
    ("InvalidClientTokenId", "", ErrorName::InvalidClientTokenId),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_found_by_its_name_in_every_dress() {
        for text in
            ["InvalidGrantException", "com.amazonaws.sso.oidc#InvalidGrantException", "InvalidGrantException:http://x/"]
        {
            assert_eq!(ErrorName::from_type(text), ErrorName::InvalidGrant, "{text}");
        }
        assert_eq!(ErrorName::from_oauth("invalid_grant"), ErrorName::InvalidGrant);
        assert_eq!(ErrorName::from_oauth(""), ErrorName::Other(Untrusted::new("")));
        assert_eq!(ErrorName::InvalidGrant.to_string(), "InvalidGrantException");
    }
}
