//! sso-oidc: each operation's request beside the parser of its answer.
//!
//! Owns: paths, members and the checks on what comes back. Refuses to know how requests travel. Invariant: a secret is
//! taken out of its [`Bound`] here, for the endpoint the request is addressed to, before anything else happens.

use std::time::Duration;

use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request};
use serde::{Deserialize, Serialize};

use super::body::{Unusable, decode, encode, legal_token, no_legal};
use super::http::{Connection, Outgoing};
use super::{AGENT, NotSent};
use crate::callback::AuthorizationCode;
use crate::identity_center::link::is_presentable;
use crate::identity_center::{Bound, ClientRegistration, DeviceAuthorization, Endpoint, Flow, TokenResponse};
use crate::secret::Secret;
use crate::time::{Now, Timestamp};
use crate::untrusted::Untrusted;

pub(super) fn register_client(
    endpoint: &Endpoint,
    client_name: &str,
    scopes: &[String],
    flow: Flow,
    start_url: &str,
) -> Result<Outgoing, NotSent> {
    let browser = flow == Flow::Browser;
    let request = Register {
        client_name,
        client_type: "public",
        scopes,
        // Without `grantTypes` the service allows the device flow, and refresh where scopes are asked for.
        grant_types: browser.then_some(["authorization_code", "refresh_token"]),
        redirect_uris: browser.then_some([REGISTERED_REDIRECT_URI]),
        issuer_url: browser.then_some(start_url),
    };
    post(endpoint, "/client/register", &request)
}

pub(super) fn registered(
    body: &[u8],
    scopes: &[String],
    flow: Flow,
    started: Now,
) -> Result<ClientRegistration, Unusable> {
    let body: Registered = decode(body)?;
    Ok(ClientRegistration {
        client_id: body.client_id.filter(|id| is_graphic(id)).ok_or_else(|| no_legal("clientId"))?,
        client_secret: body.client_secret.filter(|it| !it.is_empty()).ok_or_else(|| no_legal("clientSecret"))?,
        issued_at: body.client_id_issued_at.map_or(started.wall, Timestamp::from_secs),
        expires_at: body
            .client_secret_expires_at
            .filter(|seconds| *seconds > 0)
            .map(Timestamp::from_secs)
            .ok_or_else(|| no_legal("clientSecretExpiresAt"))?,
        scopes: scopes.to_vec(),
        flow,
    })
}

pub(super) fn start_device_authorization(
    endpoint: &Endpoint,
    registration: &Bound<ClientRegistration>,
    start_url: &str,
) -> Result<Outgoing, NotSent> {
    let client = registration.for_sending_to(endpoint).map_err(NotSent::WrongOrigin)?;
    let request =
        StartDeviceAuthorization { client_id: &client.client_id, client_secret: &client.client_secret, start_url };
    post(endpoint, "/device_authorization", &request)
}

pub(super) fn device_authorization(
    body: &[u8],
    endpoint: &Endpoint,
    start_url: &str,
) -> Result<DeviceAuthorization, Unusable> {
    let body: DeviceAuthorizationBody = decode(body)?;
    let presentable = |url: &String| is_presentable(url, endpoint, start_url);
    let verification_uri = body.verification_uri.filter(presentable).ok_or_else(|| no_legal("verificationUri"))?;
    // Optional in RFC 8628; without it the user types the code.
    let complete = body.verification_uri_complete.unwrap_or_else(|| verification_uri.clone());
    if !presentable(&complete) {
        return Err(no_legal("verificationUriComplete"));
    }
    Ok(DeviceAuthorization {
        device_code: body.device_code.filter(|it| !it.is_empty()).ok_or_else(|| no_legal("deviceCode"))?,
        user_code: body
            .user_code
            .filter(|code| !code.is_empty())
            .map(Untrusted::new)
            .ok_or_else(|| no_legal("userCode"))?,
        verification_uri: Untrusted::new(verification_uri),
        verification_uri_complete: Untrusted::new(complete),
        expires_in: seconds(body.expires_in).ok_or_else(|| no_legal("expiresIn"))?,
        interval: seconds(body.interval).unwrap_or(DEFAULT_INTERVAL),
    })
}

pub(super) fn create_token_from_device_code(
    endpoint: &Endpoint,
    registration: &Bound<ClientRegistration>,
    device_code: &Bound<Secret>,
) -> Result<Outgoing, NotSent> {
    let client = registration.for_sending_to(endpoint).map_err(NotSent::WrongOrigin)?;
    let request = CreateToken {
        grant_type: "urn:ietf:params:oauth:grant-type:device_code",
        device_code: Some(device_code.for_sending_to(endpoint).map_err(NotSent::WrongOrigin)?),
        ..CreateToken::of(client)
    };
    post(endpoint, "/token", &request)
}

pub(super) fn create_token_from_authorization_code(
    endpoint: &Endpoint,
    registration: &Bound<ClientRegistration>,
    code: &Bound<AuthorizationCode>,
) -> Result<Outgoing, NotSent> {
    let client = registration.for_sending_to(endpoint).map_err(NotSent::WrongOrigin)?;
    let code = code.for_sending_to(endpoint).map_err(NotSent::WrongOrigin)?;
    let request = CreateToken {
        grant_type: "authorization_code",
        code: Some(&code.code),
        code_verifier: Some(&code.verifier),
        redirect_uri: Some(&code.redirect_uri),
        ..CreateToken::of(client)
    };
    post(endpoint, "/token", &request)
}

pub(super) fn create_token_from_refresh_token(
    endpoint: &Endpoint,
    registration: &Bound<ClientRegistration>,
    refresh_token: &Bound<Secret>,
) -> Result<Outgoing, NotSent> {
    let client = registration.for_sending_to(endpoint).map_err(NotSent::WrongOrigin)?;
    let request = CreateToken {
        grant_type: "refresh_token",
        refresh_token: Some(refresh_token.for_sending_to(endpoint).map_err(NotSent::WrongOrigin)?),
        ..CreateToken::of(client)
    };
    post(endpoint, "/token", &request)
}

pub(super) fn token(body: &[u8]) -> Result<TokenResponse, Unusable> {
    let body: TokenBody = decode(body)?;
    Ok(TokenResponse {
        access_token: legal_token(body.access_token).ok_or_else(|| no_legal("accessToken"))?,
        // Decoration: a strange one must not cost the tokens beside it.
        token_type: body.token_type.filter(|kind| is_graphic(kind)).unwrap_or_else(|| "Bearer".to_owned()),
        expires_in: seconds(body.expires_in).ok_or_else(|| no_legal("expiresIn"))?,
        refresh_token: body.refresh_token.filter(|token| !token.is_empty()),
    })
}

fn post(endpoint: &Endpoint, path: &str, body: &impl Serialize) -> Result<Outgoing, NotSent> {
    let request = Request::post(format!("{endpoint}{path}"))
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
        .header(USER_AGENT, HeaderValue::from_static(AGENT))
        .body(encode(body)?)
        .map_err(|error| NotSent::Malformed(error.to_string()))?;
    Ok(Outgoing { request, connection: Connection::Fresh })
}

fn is_graphic(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn seconds(number: Option<i64>) -> Option<Duration> {
    u64::try_from(number?).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Register<'a> {
    client_name: &'a str,
    client_type: &'static str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    scopes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    grant_types: Option<[&'static str; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_uris: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer_url: Option<&'a str>,
}

/// Without the port, which is another one every time (RFC 8252 section 7.3).
const REGISTERED_REDIRECT_URI: &str = "http://127.0.0.1/oauth/callback";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StartDeviceAuthorization<'a> {
    client_id: &'a str,
    client_secret: &'a Secret,
    start_url: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateToken<'a> {
    client_id: &'a str,
    client_secret: &'a Secret,
    grant_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_code: Option<&'a Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code_verifier: Option<&'a Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a Secret>,
}

impl<'a> CreateToken<'a> {
    const fn of(client: &'a ClientRegistration) -> Self {
        Self {
            client_id: client.client_id.as_str(),
            client_secret: &client.client_secret,
            grant_type: "",
            device_code: None,
            code: None,
            code_verifier: None,
            redirect_uri: None,
            refresh_token: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registered {
    client_id: Option<String>,
    client_secret: Option<Secret>,
    client_id_issued_at: Option<i64>,
    client_secret_expires_at: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceAuthorizationBody {
    device_code: Option<Secret>,
    user_code: Option<String>,
    verification_uri: Option<String>,
    verification_uri_complete: Option<String>,
    expires_in: Option<i64>,
    interval: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenBody {
    access_token: Option<Secret>,
    token_type: Option<String>,
    expires_in: Option<i64>,
    refresh_token: Option<Secret>,
}

/// RFC 8628, where the service does not say.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
