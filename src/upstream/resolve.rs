//! Where a vanity start URL leads: one question to a host that is not AWS's.
//!
//! Owns: the request that asks, and reading the answer. Refuses to know what a portal is. Invariant: the request carries
//! no cookie, no token and no body, and nothing is requested from where it leads.

use http::header::{LOCATION, USER_AGENT};
use http::{Method, Request};

use super::http::{Connection, Outgoing, Response};
use super::{AGENT, Answer, Failure, NotSent, Unclear};
use crate::identity_center::{Endpoint, start_url};

/// Whom to ask, for the connection: the start URL without path and fragment.
pub(super) fn host(start_url: &str) -> Result<Endpoint, NotSent> {
    let end = start_url.find("://").map_or(0, |scheme| scheme + 3);
    let authority = start_url[end..].find(['/', '?', '#']).map_or(start_url.len(), |length| end + length);
    start_url[..authority].parse().map_err(|error| NotSent::Malformed(format!("sso_start_url: {error}")))
}

pub(super) fn request(start_url: &str, method: Method) -> Result<Outgoing, NotSent> {
    let without_fragment = start_url.split('#').next().unwrap_or(start_url);
    let request = Request::builder()
        .method(method)
        .uri(without_fragment)
        .header(USER_AGENT, AGENT)
        .body(http_body_util::Full::default())
        .map_err(|error| NotSent::Malformed(format!("sso_start_url: {error}")))?;
    Ok(Outgoing { request, connection: Connection::Fresh })
}

/// Whether the host answers this question only if it is asked with GET.
pub(super) fn wants_get(response: &Response) -> bool {
    matches!(response.status.as_u16(), 405 | 501)
}

/// What the answer is worth; a host that is in trouble says nothing.
pub(super) fn answer(start_url: &str, response: &Response) -> Result<Answer, Failure> {
    let status = response.status.as_u16();
    if response.status.is_server_error() && !wants_get(response) {
        return Err(Failure::Unknown(Unclear::ServerError(status)));
    }
    let location = response.headers.get(LOCATION).and_then(|location| location.to_str().ok());
    Ok(Answer::StartUrl(start_url::judge(start_url, status, location)))
}
