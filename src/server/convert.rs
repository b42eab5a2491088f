//! Between hyper's types and the socket API's.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;

use crate::api::{Code, EncodedCredentials, Problem, Request, Response};
use crate::secret::SecretBytes;

/// What hyper writes.
pub(super) type Answer = hyper::Response<Full<Bytes>>;

/// What a request costs while it is open.
pub(super) enum Burden {
    /// Nothing worth counting: answered at once, also when everything else is full.
    Light,
    /// It waits for a change.
    Waiting,
    /// It may wait for the service.
    Working,
}

/// What this request costs.
pub(super) fn burden(request: &Request) -> Burden {
    match request {
        Request::Status { wait, .. } | Request::LoginState { wait, .. } if !wait.is_zero() => Burden::Waiting,
        Request::Status { .. }
        | Request::LoginState { .. }
        | Request::CancelLogin { .. }
        | Request::Logout { .. }
        | Request::Storage
        | Request::Metrics
        | Request::UnlockStorage { .. }
        | Request::MigrateStorage { .. }
        | Request::Reload
        | Request::Lock { .. }
        | Request::Unlock { .. }
        | Request::Health => Burden::Light,
        Request::Credentials { .. }
        | Request::Token { .. }
        | Request::Console { .. }
        | Request::Login { .. }
        | Request::Refresh { .. }
        | Request::Adopt { .. }
        | Request::Accounts { .. }
        | Request::Roles { .. } => Burden::Working,
    }
}

/// The route's name for the log: never the path, which names sessions and accounts.
pub(super) const fn route(request: &Request) -> &'static str {
    match request {
        Request::Credentials { .. } => "credentials",
        Request::Token { .. } => "token",
        Request::Console { .. } => "console",
        Request::Status { .. } => "status",
        Request::Login { .. } | Request::LoginState { .. } | Request::CancelLogin { .. } => "login",
        Request::Refresh { .. } => "refresh",
        Request::Adopt { .. } => "adopt",
        Request::Logout { .. } => "session",
        Request::Accounts { .. } => "accounts",
        Request::Roles { .. } => "roles",
        Request::Storage | Request::UnlockStorage { .. } | Request::MigrateStorage { .. } => "storage",
        Request::Reload => "reload",
        Request::Lock { .. } | Request::Unlock { .. } => "lock",
        Request::Metrics => METRICS,
        Request::Health => "health",
    }
}

/// The answer on the wire; `last` closes the connection after it.
pub(super) fn answer(outcome: Result<Response, Problem>, last: bool) -> Answer {
    let encoded = outcome.and_then(|response| {
        let status = response.status();
        let kind = if matches!(response, Response::Metrics(_)) { OPEN_METRICS } else { JSON };
        match response {
            Response::EncodedCredentials(encoded) => Ok((status, JSON, Bytes::from_owner(Shared(encoded)))),
            response => match response.encode() {
                Ok(body) => Ok((status, kind, wiped(body))),
                Err(error) => Err(Problem::new(Code::Internal, "the answer cannot be encoded").caused_by(error)),
            },
        }
    });
    let (status, kind, body) = encoded.unwrap_or_else(|problem| {
        // Strings and numbers: this cannot fail, and if it did, the status would still be told.
        (problem.status, PROBLEM_JSON, wiped(serde_json::to_vec(&problem).unwrap_or_default()))
    });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = Answer::new(Full::new(body));
    *answer.status_mut() = status;
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(AGENT_VERSION, VERSION);
    if status != StatusCode::NO_CONTENT {
        headers.insert(CONTENT_TYPE, kind);
    }
    if last {
        headers.insert(CONNECTION, CLOSE);
    }
    *answer.headers_mut() = headers;
    answer
}

/// A body that is wiped when hyper has written it.
fn wiped(body: Vec<u8>) -> Bytes {
    Bytes::from_owner(SecretBytes::new(body))
}

/// A body that others are being sent too; wiped when the last of them has it and the engine has a fresher one.
struct Shared(Arc<EncodedCredentials>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.body().expose()
    }
}

const AGENT_VERSION: HeaderName = HeaderName::from_static("sso-agent-version");
const VERSION: HeaderValue = HeaderValue::from_static(env!("CARGO_PKG_VERSION"));
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const CLOSE: HeaderValue = HeaderValue::from_static("close");
/// The route whose answer is made of the status.
pub(super) const METRICS: &str = "metrics";
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
