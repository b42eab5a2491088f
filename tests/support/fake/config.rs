//! How a fake Identity Center is set up: lifetimes, limits, accounts, transport.
//!
//! Plain values; they can be changed while the fake runs through `FakeIdentityCenter::configure`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::operation::Operation;

/// What a refresh does with the refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshTokens {
    /// Every refresh answers with a successor; presenting a superseded token ends the sign-in.
    OneTime,
    /// Every refresh answers with the same token again.
    Reusable,
    /// A refresh answers without a `refreshToken`; the old one goes on working.
    Unmentioned,
}

/// What the fake's connections speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `http://127.0.0.1:PORT`.
    Plain,
    /// `https://localhost:PORT`, with a certificate of a private CA made for this fake.
    Tls,
    /// The same for these host names, which somebody has to lead to the fake; its URL is the first.
    TlsAs(&'static [&'static str]),
}

/// An account with the roles assigned to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeAccount {
    /// `accountId`.
    pub id: String,
    /// `accountName`, left out of the answer when `None`.
    pub name: Option<String>,
    /// `emailAddress`, left out of the answer when `None`.
    pub email: Option<String>,
    /// The roles this user may take.
    pub roles: Vec<String>,
}

impl FakeAccount {
    /// An account with a name, an address and these roles.
    pub fn new(id: &str, name: &str, roles: &[&str]) -> Self {
        Self {
            id: id.to_owned(),
            name: Some(name.to_owned()),
            email: Some(format!("{id}@example.com")),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        }
    }
}

/// A role that may be assumed with any credentials of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeRole {
    /// Its ARN.
    pub arn: String,
    /// What it asks for.
    pub external_id: Option<String>,
    /// How long its credentials live where nobody says how long.
    pub lifetime: Duration,
}

impl FakeRole {
    /// A role that asks for nothing.
    pub fn new(arn: &str) -> Self {
        Self { arn: arn.to_owned(), external_id: None, lifetime: HOUR }
    }
}

/// The whole set-up. The default is the service as the captures show it.
#[derive(Debug, Clone)]
pub struct FakeConfig {
    /// How long an access token with a refresh token lives. Without scopes it lives as long as the session.
    pub access_token_lifetime: Duration,
    /// How long role credentials live.
    pub role_credentials_lifetime: Duration,
    /// How long a client registration lives.
    pub registration_lifetime: Duration,
    /// How long a device code lives.
    pub device_code_lifetime: Duration,
    /// How long an authorization code lives.
    pub authorization_code_lifetime: Duration,
    /// The polling interval in whole seconds; `None` leaves it out of the answer and enforces 5 s.
    pub interval: Option<u64>,
    /// How long a portal session lives, however often it is refreshed or signed in to again.
    pub session_cap: Duration,
    /// What a refresh does with the refresh token.
    pub refresh_tokens: RefreshTokens,
    /// The start URLs that exist; empty means any.
    pub start_urls: Vec<String>,
    /// What the user may use.
    pub accounts: Vec<FakeAccount>,
    /// What may be assumed with that.
    pub roles: Vec<FakeRole>,
    /// The longest page of accounts or roles, whatever the caller asks for.
    pub page_size: usize,
    /// How many portal calls a second are answered before 429; `None` is no limit.
    pub portal_calls_per_second: Option<u32>,
    /// Whether a device authorization is approved the moment it starts, and `/authorize` without asking.
    pub auto_approve: bool,
    /// Whether a length may be asked for a console session.
    pub console_sessions: bool,
    /// `error` and `error_description` with which `/authorize` sends the browser back without asking.
    pub authorize_error: Option<(String, String)>,
    /// How far the service's clock is ahead of the machine's at the start, in seconds.
    pub clock_ahead_seconds: i64,
    /// How long an operation takes before it has its effect.
    pub latency: BTreeMap<Operation, Duration>,
    /// Plain or TLS; fixed at the start.
    pub transport: Transport,
}

impl FakeConfig {
    /// The usual service, whose access tokens live this long.
    pub fn with_tokens_of(access_token_lifetime: Duration) -> Self {
        Self { access_token_lifetime, ..Self::default() }
    }
}

impl Default for FakeConfig {
    fn default() -> Self {
        Self {
            access_token_lifetime: HOUR,
            role_credentials_lifetime: HOUR,
            registration_lifetime: 90 * 24 * HOUR,
            device_code_lifetime: Duration::from_secs(600),
            authorization_code_lifetime: Duration::from_secs(300),
            interval: Some(1),
            session_cap: 8 * HOUR,
            refresh_tokens: RefreshTokens::OneTime,
            start_urls: Vec::new(),
            accounts: vec![
                FakeAccount::new("111122223333", "Production", &["Administrator", "ReadOnly"]),
                FakeAccount::new("444455556666", "Sandbox", &["Developer"]),
            ],
            roles: Vec::new(),
            page_size: 100,
            portal_calls_per_second: None,
            auto_approve: false,
            console_sessions: true,
            authorize_error: None,
            clock_ahead_seconds: 0,
            latency: BTreeMap::new(),
            transport: Transport::Plain,
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);
