//! The service itself: registrations and authorizations; what comes of them are the [`Sessions`].
//!
//! Pure: it is told the time and owns no connection. Invariant: a device code yields one sign-in, once, to the
//! client it was made for.

use std::collections::HashMap;
use std::time::Duration;

use super::authorize::Authorizations;
use super::clock::ServiceTime;
use super::config::FakeConfig;
use super::mint::Mint;
use super::refusal::{Exception, Refusal};
use super::sessions::{Issuer, Sessions, Tokens};
use super::signin::SigninTokens;
use super::sts::Signer;

/// Everything the service knows.
#[derive(Debug)]
pub struct Service {
    /// How it behaves; may be changed at any time.
    pub config: FakeConfig,
    pub(super) mint: Mint,
    registrations: HashMap<String, Registration>,
    devices: Vec<DeviceAuthorization>,
    pub(super) authorizations: Authorizations,
    pub(super) signin_tokens: SigninTokens,
    pub(super) sessions: Sessions,
    portal_window: (u64, u32),
    /// Who may sign, by access key id.
    pub(super) signers: HashMap<String, Signer>,
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
    /// Where a browser may be sent back to, without port; only for the authorization-code grant.
    pub redirect_uris: Vec<String>,
    /// `issuerUrl`: the start URL of the authorization-code grant.
    pub issuer_url: Option<String>,
}

/// A sign-in that was made at another time, for a service that is to go on with it.
#[derive(Debug, Clone)]
pub struct Known {
    /// The start URL.
    pub start_url: String,
    /// `clientId`.
    pub client_id: String,
    /// `clientSecret`.
    pub client_secret: String,
    /// `accessToken`; it begins to live when the service is told.
    pub access_token: String,
    /// `refreshToken`.
    pub refresh_token: String,
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

impl Service {
    /// A service that nobody has registered with.
    pub fn new(config: FakeConfig, seed: [u8; 32]) -> Self {
        Self {
            config,
            mint: Mint::new(seed),
            registrations: HashMap::new(),
            devices: Vec::new(),
            authorizations: Authorizations::default(),
            signin_tokens: SigninTokens::default(),
            sessions: Sessions::default(),
            portal_window: (0, 0),
            signers: HashMap::new(),
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
            redirect_uris: Vec::new(),
            issuer_url: None,
        };
        self.registrations.insert(registration.client_id.clone(), registration.clone());
        registration
    }

    /// Registers a client whose user comes by browser.
    pub fn register_for_browser(&mut self, client: &Registration, redirect_uris: Vec<String>, issuer_url: &str) {
        let client = Registration { redirect_uris, issuer_url: Some(issuer_url.to_owned()), ..client.clone() };
        self.registrations.insert(client.client_id.clone(), client);
    }

    /// The client of this id, whoever asks.
    pub fn client_of_id(&self, now: ServiceTime, id: &str) -> Option<&Registration> {
        self.registrations.get(id).filter(|client| client.expires_at > now)
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
        let mut issuer = Issuer { now, config: &self.config, mint: &mut self.mint };
        self.sessions.sign_in(&mut issuer, client, user, start_url)
    }

    /// Knows a client and its tokens that were issued elsewhere, as if it had been here.
    pub fn know(&mut self, now: ServiceTime, known: &Known) {
        let client = Registration {
            client_id: known.client_id.clone(),
            client_secret: known.client_secret.clone(),
            client_name: "made-elsewhere".to_owned(),
            issued_at: now,
            expires_at: now.plus(self.config.registration_lifetime),
            scopes: vec!["sso:account:access".to_owned()],
            grants: Grants { device_code: true, authorization_code: false, refresh_token: true },
            redirect_uris: Vec::new(),
            issuer_url: None,
        };
        self.registrations.insert(client.client_id.clone(), client.clone());
        let tokens = Tokens {
            access_token: known.access_token.clone(),
            expires_in: self.config.access_token_lifetime,
            refresh_token: Some(known.refresh_token.clone()),
        };
        let mut issuer = Issuer { now, config: &self.config, mint: &mut self.mint };
        self.sessions.know(&mut issuer, &client, DEFAULT_USER, &known.start_url, &tokens);
    }

    /// The refresh-token grant.
    pub fn refresh(&mut self, now: ServiceTime, client: &Registration, refresh_token: &str) -> Result<Tokens, Refusal> {
        if !client.grants.refresh_token {
            return Err(Refusal::new(Exception::UnauthorizedClient, "not registered for the refresh-token grant"));
        }
        let mut issuer = Issuer { now, config: &self.config, mint: &mut self.mint };
        self.sessions.refresh(&mut issuer, client, refresh_token)
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

    /// Every registration is forgotten.
    pub fn revoke_registrations(&mut self) {
        self.registrations.clear();
    }

    /// The registrations that exist.
    pub fn registrations(&self) -> Vec<Registration> {
        let mut all: Vec<_> = self.registrations.values().cloned().collect();
        all.sort_by_key(|registration| registration.issued_at);
        all
    }
}

const DEFAULT_USER: &str = "user";
const INTERVAL_IF_UNSAID: u64 = 5;
const SLOW_DOWN_PENALTY: Duration = Duration::from_secs(5);
/// A timer that fires on time may still be measured a little early at the other end of the wire.
const POLL_TOLERANCE: Duration = Duration::from_millis(100);
