//! Portal sessions, the sign-ins that hang on them, and their tokens.
//!
//! Invariants: a refresh token works for its own client only, and a superseded one ends its sign-in; no token
//! outlives its portal session; signing in again does not restart that session's clock, only logging out does.

use std::collections::HashMap;
use std::time::Duration;

use super::clock::ServiceTime;
use super::config::{FakeConfig, RefreshTokens};
use super::mint::Mint;
use super::refusal::{Exception, Refusal};
use super::state::Registration;

/// Every session there ever was.
#[derive(Debug, Default)]
pub struct Sessions {
    portal_sessions: Vec<PortalSession>,
    sign_ins: Vec<SignIn>,
    access_tokens: HashMap<String, AccessToken>,
    refresh_tokens: HashMap<String, RefreshToken>,
    refresh_token_reuses: usize,
}

/// What tokens are issued with.
pub struct Issuer<'a> {
    /// When.
    pub now: ServiceTime,
    /// For how long.
    pub config: &'a FakeConfig,
    /// Made by.
    pub mint: &'a mut Mint,
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

impl Sessions {
    /// Signs a user in and issues the first tokens, whatever the flow was.
    pub fn sign_in(&mut self, issuer: &mut Issuer<'_>, client: &Registration, user: &str, start_url: &str) -> Tokens {
        let config = issuer.config;
        let sign_in = self.begin(issuer, client, user, start_url);
        let renewable = !client.scopes.is_empty() && client.grants.refresh_token;
        let wanted = if renewable { config.access_token_lifetime } else { config.session_cap };
        let (access_token, expires_in) = self.issue_access_token(issuer, sign_in, wanted);
        let refresh_token = renewable.then(|| self.issue_refresh_token(issuer, sign_in));
        Tokens { access_token, expires_in, refresh_token }
    }

    /// Knows tokens that were issued elsewhere, as if it had been here.
    pub fn know(
        &mut self,
        issuer: &mut Issuer<'_>,
        client: &Registration,
        user: &str,
        start_url: &str,
        tokens: &Tokens,
    ) {
        let sign_in = self.begin(issuer, client, user, start_url);
        let expires_at = issuer.now.plus(tokens.expires_in);
        self.access_tokens.insert(tokens.access_token.clone(), AccessToken { sign_in, expires_at });
        self.sign_ins[sign_in].access_token.clone_from(&tokens.access_token);
        if let Some(text) = &tokens.refresh_token {
            self.refresh_tokens.insert(text.clone(), RefreshToken { sign_in, superseded: false });
            self.sign_ins[sign_in].refresh_token = Some(text.clone());
        }
    }

    fn begin(&mut self, issuer: &Issuer<'_>, client: &Registration, user: &str, start_url: &str) -> usize {
        let Issuer { now, config, .. } = *issuer;
        let alive = |session: &PortalSession| {
            session.user == user && session.start_url == start_url && session.over(now).is_none()
        };
        let portal_session = self.portal_sessions.iter().position(alive).unwrap_or_else(|| {
            let ends_at = now.plus(config.session_cap);
            let (user, start_url) = (user.to_owned(), start_url.to_owned());
            self.portal_sessions.push(PortalSession { user, start_url, ends_at, ended: None });
            self.portal_sessions.len() - 1
        });
        let sign_in = self.sign_ins.len();
        self.sign_ins.push(SignIn {
            portal_session,
            client_id: client.client_id.clone(),
            ended: None,
            refreshes: 0,
            access_token: String::new(),
            refresh_token: None,
        });
        sign_in
    }

    /// The refresh-token grant.
    pub fn refresh(
        &mut self,
        issuer: &mut Issuer<'_>,
        client: &Registration,
        refresh_token: &str,
    ) -> Result<Tokens, Refusal> {
        let Issuer { now, config, .. } = *issuer;
        let invalid = |text: &str| Refusal::new(Exception::InvalidGrant, text);
        let token = self.refresh_tokens.get(refresh_token).ok_or_else(|| invalid("no such refresh token"))?;
        let (sign_in, superseded) = (token.sign_in, token.superseded);
        if self.sign_ins[sign_in].client_id != client.client_id {
            return Err(invalid("the refresh token belongs to another client"));
        }
        if superseded {
            self.refresh_token_reuses += 1;
            if self.over(now, sign_in).is_none() {
                self.sign_ins[sign_in].ended = Some(Ended::RefreshTokenReused);
            }
            return Err(invalid("the refresh token has been used before"));
        }
        if self.over(now, sign_in).is_some() {
            return Err(invalid("the session is over"));
        }
        self.sign_ins[sign_in].refreshes += 1;
        let (access_token, expires_in) = self.issue_access_token(issuer, sign_in, config.access_token_lifetime);
        let refresh_token = match config.refresh_tokens {
            RefreshTokens::OneTime => Some(self.issue_refresh_token(issuer, sign_in)),
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

    fn over(&self, now: ServiceTime, sign_in: usize) -> Option<Ended> {
        let sign_in = &self.sign_ins[sign_in];
        sign_in.ended.or_else(|| self.portal_sessions[sign_in.portal_session].over(now))
    }

    fn issue_access_token(&mut self, issuer: &mut Issuer<'_>, sign_in: usize, wanted: Duration) -> (String, Duration) {
        let session_ends_at = self.portal_sessions[self.sign_ins[sign_in].portal_session].ends_at;
        let lifetime = wanted.min(session_ends_at.since(issuer.now));
        let text = issuer.mint.access_token();
        self.access_tokens.insert(text.clone(), AccessToken { sign_in, expires_at: issuer.now.plus(lifetime) });
        self.sign_ins[sign_in].access_token.clone_from(&text);
        (text, lifetime)
    }

    fn issue_refresh_token(&mut self, issuer: &mut Issuer<'_>, sign_in: usize) -> String {
        let text = issuer.mint.refresh_token();
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
