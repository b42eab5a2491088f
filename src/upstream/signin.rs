//! The sign-in service of the console: role credentials in, a sign-in token out.
//!
//! Owns: the request and the parser of its answer. Refuses to know what the token is for. Invariants: the credentials
//! are taken out of their [`Bound`] for the endpoint the request is addressed to; they travel in a body, never in a
//! URL, which others write down.

use std::time::Duration;

use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::Full;
use hyper::body::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::{Deserialize, Serialize};

use super::body::{Unusable, decode, legal_token, no_legal};
use super::http::{Connection, Outgoing};
use super::{AGENT, NotSent};
use crate::identity_center::{Bound, Endpoint, RoleCredentials};
use crate::secret::{Secret, SecretBytes};

pub(super) fn get_signin_token(
    endpoint: &Endpoint,
    credentials: &Bound<RoleCredentials>,
    duration: Option<Duration>,
) -> Result<Outgoing, NotSent> {
    let credentials = credentials.for_sending_to(endpoint).map_err(NotSent::WrongOrigin)?;
    let session = Session {
        session_id: &credentials.access_key_id,
        session_key: &credentials.secret_access_key,
        session_token: &credentials.session_token,
    };
    // Neither grows: an outgrown buffer would be a copy that nobody wipes.
    let mut json = Vec::with_capacity(CAPACITY);
    serde_json::to_writer(&mut json, &session).map_err(|error| NotSent::Malformed(error.to_string()))?;
    let json = SecretBytes::new(json);
    let mut form = String::with_capacity(3 * json.expose().len() + 128);
    form.push_str("Action=getSigninToken");
    if let Some(duration) = duration {
        form.push_str("&SessionDuration=");
        form.push_str(&duration.as_secs().to_string());
    }
    form.push_str("&Session=");
    form.extend(percent_encode(json.expose(), RESERVED));
    let body = Full::new(Bytes::from_owner(SecretBytes::new(form.into_bytes())));
    let request = Request::post(format!("{endpoint}/federation"))
        .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
        .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
        .header(USER_AGENT, HeaderValue::from_static(AGENT))
        .body(body)
        .map_err(|error| NotSent::Malformed(error.to_string()))?;
    Ok(Outgoing { request, connection: Connection::Fresh })
}

pub(super) fn signin_token(body: &[u8]) -> Result<Secret, Unusable> {
    let body: SigninTokenBody = decode(body)?;
    legal_token(body.signin_token).ok_or_else(|| no_legal("SigninToken"))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Session<'a> {
    session_id: &'a str,
    session_key: &'a Secret,
    session_token: &'a Secret,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SigninTokenBody {
    signin_token: Option<Secret>,
}

const CAPACITY: usize = 32 * 1024;
/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
