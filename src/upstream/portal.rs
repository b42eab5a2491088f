//! The portal: each operation's request beside the parser of its answer.
//!
//! Owns: paths, query members, the bearer header and the checks on what comes back. Refuses to know how requests
//! travel. Invariants: the token is taken out of its [`Bound`] for the endpoint the request is addressed to; role
//! credentials consist of characters that mean nothing to a shell.

use http::header::{ACCEPT_ENCODING, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::Full;
use hyper::body::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::body::{Unusable, decode, no_legal};
use super::http::{Connection, Outgoing};
use super::{AGENT, NotSent};
use crate::identity_center::{Account, Bound, Endpoint, Role, RoleCredentials};
use crate::ids::{AccountId, RoleName};
use crate::secret::{Secret, SecretBytes};
use crate::time::Timestamp;
use crate::untrusted::Untrusted;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
}

pub(super) fn get_role_credentials(
    endpoint: &Endpoint,
    token: &Bound<Secret>,
    account: &AccountId,
    role: &RoleName,
) -> Result<Outgoing, NotSent> {
    let query = [("role_name", role.as_str()), ("account_id", account.as_str())];
    outgoing(Method::GET, Connection::Pooled, endpoint, "/federation/credentials", &query, token)
}

pub(super) fn role_credentials(body: &[u8]) -> Result<RoleCredentials, Unusable> {
    let body: RoleCredentialsBody = decode(body)?;
    let set = body.role_credentials.ok_or_else(|| no_legal("roleCredentials"))?;
    Ok(RoleCredentials {
        access_key_id: set.access_key_id.filter(|id| is_key_id(id)).ok_or_else(|| no_legal("accessKeyId"))?,
        secret_access_key: set.secret_access_key.filter(is_key).ok_or_else(|| no_legal("secretAccessKey"))?,
        session_token: set.session_token.filter(is_key).ok_or_else(|| no_legal("sessionToken"))?,
        expires_at: set
            .expiration
            .filter(|millis| *millis > 0)
            .map(Timestamp::from_millis)
            .ok_or_else(|| no_legal("expiration"))?,
    })
}

pub(super) fn list_accounts(
    endpoint: &Endpoint,
    token: &Bound<Secret>,
    next: Option<&str>,
) -> Result<Outgoing, NotSent> {
    list(endpoint, "/assignment/accounts", None, token, next)
}

/// The shortest question whose answer depends on the token.
pub(super) fn probe_accounts(endpoint: &Endpoint, token: &Bound<Secret>) -> Result<Outgoing, NotSent> {
    outgoing(Method::GET, Connection::Pooled, endpoint, "/assignment/accounts", &[("max_result", "1")], token)
}

pub(super) fn accounts(body: &[u8]) -> Result<Page<Account>, Unusable> {
    let body: AccountsBody = decode(body)?;
    let items = body.account_list.ok_or_else(|| no_legal("accountList"))?;
    Ok(page(items, body.next_token, "account", |item| {
        let item: AccountItem = serde_json::from_value(item).ok()?;
        Some(Account {
            account_id: item.account_id?.parse().ok()?,
            account_name: item.account_name.filter(|name| !name.is_empty()).map(Untrusted::new),
            email: item.email_address.filter(|address| !address.is_empty()).map(Untrusted::new),
        })
    }))
}

pub(super) fn list_account_roles(
    endpoint: &Endpoint,
    token: &Bound<Secret>,
    account: &AccountId,
    next: Option<&str>,
) -> Result<Outgoing, NotSent> {
    list(endpoint, "/assignment/roles", Some(("account_id", account.as_str())), token, next)
}

pub(super) fn roles(body: &[u8], account: &AccountId) -> Result<Page<Role>, Unusable> {
    let body: RolesBody = decode(body)?;
    let items = body.role_list.ok_or_else(|| no_legal("roleList"))?;
    Ok(page(items, body.next_token, "role", |item| {
        let item: RoleItem = serde_json::from_value(item).ok()?;
        // A role of an account nobody asked for is not legal either.
        if item.account_id.is_some_and(|id| id != account.as_str()) {
            return None;
        }
        Some(Role { account_id: account.clone(), role_name: item.role_name?.parse().ok()? })
    }))
}

pub(super) fn logout(endpoint: &Endpoint, token: &Bound<Secret>) -> Result<Outgoing, NotSent> {
    outgoing(Method::POST, Connection::Fresh, endpoint, "/logout", &[], token)
}

/// Nothing or an object; a captive portal's page does not sign anybody out.
pub(super) fn logged_out(body: &[u8]) -> Result<(), Unusable> {
    if body.trim_ascii().is_empty() { Ok(()) } else { decode::<serde_json::Map<String, Value>>(body).map(|_| ()) }
}

fn list(
    endpoint: &Endpoint,
    path: &str,
    member: Option<(&str, &str)>,
    token: &Bound<Secret>,
    next: Option<&str>,
) -> Result<Outgoing, NotSent> {
    let query: Vec<_> =
        member.into_iter().chain([("max_result", "100")]).chain(next.map(|next| ("next_token", next))).collect();
    outgoing(Method::GET, Connection::Pooled, endpoint, path, &query, token)
}

fn outgoing(
    method: Method,
    connection: Connection,
    endpoint: &Endpoint,
    path: &str,
    query: &[(&str, &str)],
    token: &Bound<Secret>,
) -> Result<Outgoing, NotSent> {
    let token = token.for_sending_to(endpoint).map_err(NotSent::WrongOrigin)?;
    let mut target = format!("{endpoint}{path}");
    for (index, (name, value)) in query.iter().enumerate() {
        target.push(if index == 0 { '?' } else { '&' });
        target.push_str(name);
        target.push('=');
        target.extend(utf8_percent_encode(value, RESERVED));
    }
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header(BEARER_TOKEN, bearer(token)?)
        .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
        .header(USER_AGENT, HeaderValue::from_static(AGENT))
        .body(Full::new(Bytes::new()))
        .map_err(|error| NotSent::Malformed(error.to_string()))?;
    Ok(Outgoing { request, connection })
}

/// A header value that no log prints and that is wiped when dropped.
fn bearer(token: &Secret) -> Result<HeaderValue, NotSent> {
    let bytes = Bytes::from_owner(SecretBytes::new(token.expose().as_bytes().to_vec()));
    let mut value = HeaderValue::from_maybe_shared(bytes)
        .map_err(|_| NotSent::Malformed("the access token does not fit into a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Keeps what is legal, item by item: one strange account must not hide the others.
fn page<T>(items: Vec<Value>, next: Option<String>, kind: &'static str, read: impl Fn(Value) -> Option<T>) -> Page<T> {
    let offered = items.len();
    let items: Vec<T> = items.into_iter().filter_map(read).collect();
    if items.len() < offered {
        tracing::warn!(kind, left_out = offered - items.len(), "items of a list are not legal and were left out");
    }
    Page { items, next: next.filter(|token| !token.is_empty()) }
}

pub(super) fn is_key_id(text: &str) -> bool {
    (16..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

pub(super) fn is_key(secret: &Secret) -> bool {
    !secret.is_empty() && secret.expose().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoleCredentialsBody {
    role_credentials: Option<RoleCredentialsItem>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoleCredentialsItem {
    access_key_id: Option<String>,
    secret_access_key: Option<Secret>,
    session_token: Option<Secret>,
    expiration: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccountsBody {
    next_token: Option<String>,
    account_list: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccountItem {
    account_id: Option<String>,
    account_name: Option<String>,
    email_address: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RolesBody {
    next_token: Option<String>,
    role_list: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoleItem {
    account_id: Option<String>,
    role_name: Option<String>,
}

const BEARER_TOKEN: HeaderName = HeaderName::from_static("x-amz-sso_bearer_token");
/// All but the unreserved characters of RFC 3986.
pub(super) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
