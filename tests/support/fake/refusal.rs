//! The errors of both services: name, status, and how each is written on the wire.

use serde_json::json;

use super::answer::Answer;

/// Every modelled exception, and the few unmodelled ones that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exception {
    /// Not approved yet.
    AuthorizationPending,
    /// Polled faster than the interval.
    SlowDown,
    /// The device code is used up or too old.
    ExpiredToken,
    /// The user said no.
    AccessDenied,
    /// A member is missing or malformed; both services have it.
    InvalidRequest,
    /// No such client, or its secret is wrong or expired.
    InvalidClient,
    /// The refresh token or device code is worth nothing.
    InvalidGrant,
    /// The client is not registered for this.
    UnauthorizedClient,
    /// No such grant.
    UnsupportedGrantType,
    /// No such scope.
    InvalidScope,
    /// The registration makes no sense.
    InvalidClientMetadata,
    /// The registration's redirect URI is not allowed.
    InvalidRedirectUri,
    /// 500.
    InternalServer,
    /// The portal does not know the bearer token.
    Unauthorized,
    /// The role is not assigned to the user; not in the model.
    Forbidden,
    /// No such account.
    ResourceNotFound,
    /// Throttled by the portal.
    TooManyRequests,
    /// No such route, or not with this method.
    UnknownOperation,
    /// Not JSON.
    UnsupportedMediaType,
}

impl Exception {
    /// The name in `x-amzn-ErrorType`.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        self.row().1
    }

    /// The answer, with the body that the service in question writes.
    pub fn answer(self, text: &str, portal: bool) -> Answer {
        let (name, status, oauth) = self.row();
        let (package, body) = if portal {
            let package = "com.amazonaws.switchboard.portal";
            (package, json!({ "message": text, "__type": format!("{package}#{name}") }))
        } else {
            ("com.amazonaws.sso.oidc", json!({ "error": oauth, "error_description": text }))
        };
        let mut answer = Answer::json(status, &body);
        answer.error = Some(name);
        answer
            .headers
            .push(("x-amzn-ErrorType".to_owned(), format!("{name}:http://internal.amazon.com/coral/{package}/")));
        answer
    }

    fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::AuthorizationPending => ("AuthorizationPendingException", 400, "authorization_pending"),
            Self::SlowDown => ("SlowDownException", 400, "slow_down"),
            Self::ExpiredToken => ("ExpiredTokenException", 400, "expired_token"),
            Self::AccessDenied => ("AccessDeniedException", 400, "access_denied"),
            Self::InvalidRequest => ("InvalidRequestException", 400, "invalid_request"),
            Self::InvalidClient => ("InvalidClientException", 401, "invalid_client"),
            Self::InvalidGrant => ("InvalidGrantException", 400, "invalid_grant"),
            Self::UnauthorizedClient => ("UnauthorizedClientException", 400, "unauthorized_client"),
            Self::UnsupportedGrantType => ("UnsupportedGrantTypeException", 400, "unsupported_grant_type"),
            Self::InvalidScope => ("InvalidScopeException", 400, "invalid_scope"),
            Self::InvalidClientMetadata => ("InvalidClientMetadataException", 400, "invalid_client_metadata"),
            Self::InvalidRedirectUri => ("InvalidRedirectUriException", 400, "invalid_redirect_uri"),
            Self::InternalServer => ("InternalServerException", 500, "server_error"),
            Self::Unauthorized => ("UnauthorizedException", 401, "unauthorized"),
            Self::Forbidden => ("ForbiddenException", 403, "forbidden"),
            Self::ResourceNotFound => ("ResourceNotFoundException", 404, "not_found"),
            Self::TooManyRequests => ("TooManyRequestsException", 429, "too_many_requests"),
            Self::UnknownOperation => ("UnknownOperationException", 404, "unknown_operation"),
            Self::UnsupportedMediaType => ("UnsupportedMediaTypeException", 415, "unsupported_media_type"),
        }
    }
}

/// The service says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which exception.
    pub exception: Exception,
    /// Its text, for the person who reads the test's output.
    pub text: String,
}

impl Refusal {
    /// A refusal with its reason.
    pub fn new(exception: Exception, text: impl Into<String>) -> Self {
        Self { exception, text: text.into() }
    }
}
