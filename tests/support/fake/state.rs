//! The service itself: registrations, device authorizations, portal sessions, sign-ins and their tokens.
//!
//! Pure: it is told the time and owns no connection. Invariants: a device code yields one sign-in, once; a
//! refresh token works for its own client only; a superseded one ends its sign-in; no token outlives its
//! portal session, and signing in again does not restart that session's clock, only logging out does.

use std::collections::HashMap;
use std::time::Duration;

use super::clock::ServiceTime;
use super::config::{FakeConfig, RefreshTokens};
use super::mint::Mint;
use super::refusal::{Exception, Refusal};

/// Everything the service knows.
#[derive(Debug)]
pub struct Service {
    /// How it behaves; may be changed at any time.
    pub config: FakeConfig,
    pub(super) mint: Mint,
    registrations: HashMap<String, Registration>,
    devices: Vec<DeviceAuthorization>,
    portal_sessions: Vec<PortalSession>,
    sign_ins: Vec<SignIn>,
    access_tokens: HashMap<String, AccessToken>,
    refresh_tokens: HashMap<String, RefreshToken>,
    refresh_token_reuses: usize,
    portal_window: (u64, u32),
}

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grants {
    /// The device-code grant.
    pub device_code: bool,
    /// The authorization-code grant.
    pub authorization_code: bool,
    /// The refresh-token grant.
    pub refresh_token: bool,
}

/// A registered client.
#[derive(Debug, Clone)]
pub struct Registration {
    /// `clientId`.
    pub client_id: String,
    /// `clientSecret`.
    pub client_secret: String,
    /// `clientName`.
    pub client_name: String,
    /// `clientIdIssuedAt`.
    pub issued_at: ServiceTime,
    /// `clientSecretExpiresAt`.
    pub expires_at: ServiceTime,
    /// The scopes asked for; none means the legacy behaviour without refresh tokens.
    pub scopes: Vec<String>,
    /// What it may do.
    pub grants: Grants,
}

/// A device authorization under way or over.
#[derive(Debug, Clone)]
pub struct DeviceAuthorization {
    /// `deviceCode`.
    pub device_code: String,
    /// `userCode`.
    pub user_code: String,
    client_id: String,
    start_url: String,
    expires_at: ServiceTime,
    interval: Duration,
    last_poll: Option<ServiceTime>,
    verdict: Verdict,
}

/// What has become of a device authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Pending,
    Approved { user: String },
    Denied,
    Used,
}

/// The tokens that `CreateToken` answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// `accessToken`.
    pub access_token: String,
    /// `expiresIn`.
    pub expires_in: Duration,
    /// `refreshToken`, where there is one.
    pub refresh_token: Option<String>,
}

/// Why a sign-in or a portal session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// `POST /logout`.
    LoggedOut,
    /// A superseded refresh token was presented.
    RefreshTokenReused,
    /// The test ended it, as an administrator would.
    Revoked,
    /// The session cap was reached.
    CapReached,
}

/// One sign-in, for a test to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInSummary {
    /// Who signed in.
    pub user: String,
    /// To what.
    pub start_url: String,
    /// With which client.
    pub client_id: String,
    /// Why it is over, if it is.
    pub ended: Option<Ended>,
    /// How often it was refreshed.
    pub refreshes: usize,
    /// When its portal session ends at the latest.
    pub session_ends_at: ServiceTime,
    /// The newest access token.
    pub access_token: String,
    /// The refresh token that works, if any.
    pub refresh_token: Option<String>,
}

#[derive(Debug)]
struct PortalSession {
    user: String,
    start_url: String,
    ends_at: ServiceTime,
    ended: Option<Ended>,
}

#[derive(Debug)]
struct SignIn {
    portal_session: usize,
    client_id: String,
    ended: Option<Ended>,
    refreshes: usize,
    access_token: String,
    refresh_token: Option<String>,
}

#[derive(Debug)]
struct AccessToken {
    sign_in: usize,
    expires_at: ServiceTime,
}

#[derive(Debug)]
struct RefreshToken {
    sign_in: usize,
    superseded: bool,
}

impl Service {
    /// A service that nobody has registered with.
    pub fn new(config: FakeConfig, seed: [u8; 32]) -> Self {
        Self {
            config,
            mint: Mint::new(seed),
            registrations: HashMap::new(),
            devices: Vec::new(),
            portal_sessions: Vec::new(),
            sign_ins: Vec::new(),
            access_tokens: HashMap::new(),
            refresh_tokens: HashMap::new(),
            refresh_token_reuses: 0,
            portal_window: (0, 0),
        }
    }

    /// Registers a client whose metadata has been judged already.
    pub fn register(
        &mut self,
        now: ServiceTime,
        client_name: &str,
        scopes: Vec<String>,
        grants: Grants,
    ) -> Registration {
        let registration = Registration {
            client_id: self.mint.client_id(),
            client_secret: self.mint.client_secret(),
            client_name: client_name.to_owned(),
            issued_at: now,
            expires_at: now.plus(self.config.registration_lifetime),
            scopes,
            grants,
        };
        self.registrations.insert(registration.client_id.clone(), registration.clone());
        registration
    }

    /// The client, if its secret is right and still valid.
    pub fn client(&self, now: ServiceTime, id: &str, secret: &str) -> Result<Registration, Refusal> {
        let invalid = |text: &str| Refusal::new(Exception::InvalidClient, text);
        let client = self.registrations.get(id).ok_or_else(|| invalid("no such client"))?;
        if client.client_secret != secret {
            return Err(invalid("wrong client secret"));
        }
        if client.expires_at <= now {
            return Err(invalid("the client secret has expired"));
        }
        Ok(client.clone())
    }

    /// Starts a device authorization.
    pub fn start_device_authorization(
        &mut self,
        now: ServiceTime,
        client: &Registration,
        start_url: &str,
    ) -> Result<DeviceAuthorization, Refusal> {
        if !client.grants.device_code {
            return Err(Refusal::new(Exception::UnauthorizedClient, "not registered for the device-code grant"));
        }
        let known = &self.config.start_urls;
        if !known.is_empty() && !known.iter().any(|url| url == start_url) {
            return Err(Refusal::new(Exception::InvalidRequest, "no such start URL"));
        }
        let verdict = match self.config.auto_approve {
            true => Verdict::Approved { user: DEFAULT_USER.to_owned() },
            false => Verdict::Pending,
        };
        let device = DeviceAuthorization {
            device_code: self.mint.device_code(),
            user_code: self.mint.user_code(),
            client_id: client.client_id.clone(),
            start_url: start_url.to_owned(),
            expires_at: now.plus(self.config.device_code_lifetime),
            interval: Duration::from_secs(self.config.interval.unwrap_or(INTERVAL_IF_UNSAID)),
            last_poll: None,
            verdict,
        };
        self.devices.push(device.clone());
        Ok(device)
    }

    /// The user codes that wait for the user, oldest first.
    pub fn pending_user_codes(&self, now: ServiceTime) -> Vec<String> {
        let pending =
            self.devices.iter().filter(|device| device.verdict == Verdict::Pending && device.expires_at > now);
        pending.map(|device| device.user_code.clone()).collect()
    }

    /// The user approves (`Some` name) or denies a code; false if it does not wait for that.
    pub fn decide(&mut self, now: ServiceTime, user_code: &str, user: Option<&str>) -> bool {
        let device = self.devices.iter_mut().find(|device| device.user_code.eq_ignore_ascii_case(user_code));
        let Some(device) = device.filter(|device| device.verdict == Verdict::Pending && device.expires_at > now) else {
            return false;
        };
        device.verdict = user.map_or(Verdict::Denied, |user| Verdict::Approved { user: user.to_owned() });
        true
    }

    /// The name of the user who approves where the test names none.
    pub fn default_user() -> &'static str {
        DEFAULT_USER
    }

    /// A poll with a device code.
    pub fn redeem_device_code(
        &mut self,
        now: ServiceTime,
        client: &Registration,
        device_code: &str,
    ) -> Result<Tokens, Refusal> {
        let device = self.devices.iter_mut().find(|device| device.device_code == device_code);
        let Some(device) = device.filter(|device| device.client_id == client.client_id) else {
            return Err(Refusal::new(Exception::InvalidGrant, "no such device code for this client"));
        };
        let paused = device.last_poll.map(|last| now.since(last));
        device.last_poll = Some(now);
        if device.expires_at <= now {
            return Err(Refusal::new(Exception::ExpiredToken, "the device code has expired"));
        }
        if device.verdict == Verdict::Used {
            return Err(Refusal::new(Exception::ExpiredToken, "the device code has been used"));
        }
        if paused.is_some_and(|paused| paused + POLL_TOLERANCE < device.interval) {
            device.interval += SLOW_DOWN_PENALTY;
            return Err(Refusal::new(Exception::SlowDown, "polled faster than the interval"));
        }
        match std::mem::replace(&mut device.verdict, Verdict::Used) {
            Verdict::Approved { user } => {
                let start_url = device.start_url.clone();
                Ok(self.sign_in(now, client, &user, &start_url))
            }
            Verdict::Denied => {
                device.verdict = Verdict::Denied;
                Err(Refusal::new(Exception::AccessDenied, "the user denied the request"))
            }
            Verdict::Pending | Verdict::Used => {
                device.verdict = Verdict::Pending;
                Err(Refusal::new(Exception::AuthorizationPending, "the user has not answered yet"))
            }
        }
    }

    /// Signs a user in and issues the first tokens, whatever the flow was.
    pub fn sign_in(&mut self, now: ServiceTime, client: &Registration, user: &str, start_url: &str) -> Tokens {
        let alive = |session: &PortalSession| {
            session.user == user && session.start_url == start_url && session.over(now).is_none()
        };
        let portal_session = self.portal_sessions.iter().position(alive).unwrap_or_else(|| {
            let ends_at = now.plus(self.config.session_cap);
            let (user, start_url) = (user.to_owned(), start_url.to_owned());
            self.portal_sessions.push(PortalSession { user, start_url, ends_at, ended: None });
            self.portal_sessions.len() - 1
        });
        let renewable = !client.scopes.is_empty() && client.grants.refresh_token;
        let sign_in = self.sign_ins.len();
        self.sign_ins.push(SignIn {
            portal_session,
            client_id: client.client_id.clone(),
            ended: None,
            refreshes: 0,
            access_token: String::new(),
            refresh_token: None,
        });
        let wanted = if renewable { self.config.access_token_lifetime } else { self.config.session_cap };
        let (access_token, expires_in) = self.issue_access_token(now, sign_in, wanted);
        let refresh_token = renewable.then(|| self.issue_refresh_token(sign_in));
        Tokens { access_token, expires_in, refresh_token }
    }

    /// The refresh-token grant.
    pub fn refresh(&mut self, now: ServiceTime, client: &Registration, refresh_token: &str) -> Result<Tokens, Refusal> {
        let invalid = |text: &str| Refusal::new(Exception::InvalidGrant, text);
        if !client.grants.refresh_token {
            return Err(Refusal::new(Exception::UnauthorizedClient, "not registered for the refresh-token grant"));
        }
        let token = self.refresh_tokens.get(refresh_token).ok_or_else(|| invalid("no such refresh token"))?;
        let (sign_in, superseded) = (token.sign_in, token.superseded);
        if self.sign_ins[sign_in].client_id != client.client_id {
            return Err(invalid("the refresh token belongs to another client"));
        }
        if superseded {
            self.refresh_token_reuses += 1;
            self.sign_ins[sign_in].ended.get_or_insert(Ended::RefreshTokenReused);
            return Err(invalid("the refresh token has been used before"));
        }
        if self.over(now, sign_in).is_some() {
            return Err(invalid("the session is over"));
        }
        self.sign_ins[sign_in].refreshes += 1;
        let (access_token, expires_in) = self.issue_access_token(now, sign_in, self.config.access_token_lifetime);
        let refresh_token = match self.config.refresh_tokens {
            RefreshTokens::OneTime => Some(self.issue_refresh_token(sign_in)),
            RefreshTokens::Reusable => Some(refresh_token.to_owned()),
            RefreshTokens::Unmentioned => None,
        };
        Ok(Tokens { access_token, expires_in, refresh_token })
    }

    /// Whether the portal knows this bearer token.
    pub fn authenticate(&self, now: ServiceTime, bearer: &str) -> Result<(), Refusal> {
        let known = self.access_tokens.get(bearer);
        let valid = known.is_some_and(|token| token.expires_at > now && self.over(now, token.sign_in).is_none());
        valid.then_some(()).ok_or_else(|| Refusal::new(Exception::Unauthorized, "Session token not found or invalid"))
    }

    /// Ends the portal session of this bearer token, and with it every sign-in of that session.
    pub fn log_out(&mut self, now: ServiceTime, bearer: &str) -> Result<(), Refusal> {
        self.authenticate(now, bearer)?;
        if let Some(token) = self.access_tokens.get(bearer) {
            let portal_session = self.sign_ins[token.sign_in].portal_session;
            self.portal_sessions[portal_session].ended.get_or_insert(Ended::LoggedOut);
        }
        Ok(())
    }

    /// Counts a portal call against the quota.
    pub fn admit_portal_call(&mut self, now: ServiceTime) -> Result<(), Refusal> {
        if self.portal_window.0 != now.seconds() {
            self.portal_window = (now.seconds(), 0);
        }
        self.portal_window.1 += 1;
        match self.config.portal_calls_per_second {
            Some(quota) if self.portal_window.1 > quota => {
                Err(Refusal::new(Exception::TooManyRequests, "HTTP 429 Unknown Code"))
            }
            _ => Ok(()),
        }
    }

    /// Every access token issued so far stops working; refresh tokens do not.
    pub fn expire_access_tokens(&mut self, now: ServiceTime) {
        for token in self.access_tokens.values_mut() {
            token.expires_at = token.expires_at.min(now);
        }
    }

    /// Every portal session is over.
    pub fn end_sessions(&mut self) {
        for session in &mut self.portal_sessions {
            session.ended.get_or_insert(Ended::Revoked);
        }
    }

    /// Every registration is forgotten.
    pub fn revoke_registrations(&mut self) {
        self.registrations.clear();
    }

    /// How often a superseded refresh token was presented.
    pub fn refresh_token_reuses(&self) -> usize {
        self.refresh_token_reuses
    }

    /// Every sign-in so far, oldest first.
    pub fn summaries(&self, now: ServiceTime) -> Vec<SignInSummary> {
        let summary = |(index, sign_in): (usize, &SignIn)| {
            let session = &self.portal_sessions[sign_in.portal_session];
            SignInSummary {
                user: session.user.clone(),
                start_url: session.start_url.clone(),
                client_id: sign_in.client_id.clone(),
                ended: self.over(now, index),
                refreshes: sign_in.refreshes,
                session_ends_at: session.ends_at,
                access_token: sign_in.access_token.clone(),
                refresh_token: sign_in.refresh_token.clone(),
            }
        };
        self.sign_ins.iter().enumerate().map(summary).collect()
    }

    /// The registrations that exist.
    pub fn registrations(&self) -> Vec<Registration> {
        let mut all: Vec<_> = self.registrations.values().cloned().collect();
        all.sort_by_key(|registration| registration.issued_at);
        all
    }

    fn over(&self, now: ServiceTime, sign_in: usize) -> Option<Ended> {
        let sign_in = &self.sign_ins[sign_in];
        sign_in.ended.or_else(|| self.portal_sessions[sign_in.portal_session].over(now))
    }

    fn issue_access_token(&mut self, now: ServiceTime, sign_in: usize, wanted: Duration) -> (String, Duration) {
        let session_ends_at = self.portal_sessions[self.sign_ins[sign_in].portal_session].ends_at;
        let lifetime = wanted.min(session_ends_at.since(now));
        let text = self.mint.access_token();
        self.access_tokens.insert(text.clone(), AccessToken { sign_in, expires_at: now.plus(lifetime) });
        self.sign_ins[sign_in].access_token.clone_from(&text);
        (text, lifetime)
    }

    fn issue_refresh_token(&mut self, sign_in: usize) -> String {
        let text = self.mint.refresh_token();
        let before = self.sign_ins[sign_in].refresh_token.replace(text.clone());
        if let Some(before) = before.and_then(|before| self.refresh_tokens.get_mut(&before)) {
            before.superseded = true;
        }
        self.refresh_tokens.insert(text.clone(), RefreshToken { sign_in, superseded: false });
        text
    }
}

impl PortalSession {
    fn over(&self, now: ServiceTime) -> Option<Ended> {
        self.ended.or_else(|| (self.ends_at <= now).then_some(Ended::CapReached))
    }
}

const DEFAULT_USER: &str = "user";
const INTERVAL_IF_UNSAID: u64 = 5;
const SLOW_DOWN_PENALTY: Duration = Duration::from_secs(5);
/// A timer that fires on time may still be measured a little early at the other end of the wire.
const POLL_TOLERANCE: Duration = Duration::from_millis(100);
