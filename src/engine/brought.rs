//! What the calls for the slots bring: credentials and lists, a refusal that is remembered, a failure that makes a pause.
//!
//! Invariant: good is replaced only by better.

use std::time::Duration;

use super::event::{PortalKey, Turn};
use super::expiry::Expiry;
use super::session::Session;
use super::words;
use crate::api::{AccountEntry, Accounts, Code, Response, RoleEntry, Roles};
use crate::identity_center::{ErrorName, ServiceError};
use crate::ids::Grant;
use crate::schedule;
use crate::time::Now;
use crate::upstream::{Answer, Failure, Reply, ServiceTime, Unclear};

impl Session {
    /// A call for a slot has ended.
    pub(super) fn portal_finished(&mut self, key: &PortalKey, era: u64, reply: Reply, turn: &mut Turn<'_>) {
        if !self.portal.is_of(era) {
            return;
        }
        self.portal.lane_of(key).landed();
        if let Some(slot) = self.portal.slots.get_mut(key) {
            slot.flying = false;
        }
        match reply.result {
            Ok(answer) => self.portal_brought(key, answer, reply.started, reply.service_time, turn),
            Err(Failure::Refused(error)) if key.assumption().is_some() => self.role_refused(key, &error, turn),
            Err(Failure::Refused(error)) if error.name == ErrorName::Unauthorized => self.portal_rejected(key, turn),
            Err(Failure::Refused(error)) => self.portal_refused(key, &error, turn),
            Err(failure) => self.portal_failed(key, &failure, reply.started, turn),
        }
    }

    fn portal_brought(
        &mut self,
        key: &PortalKey,
        answer: Answer,
        started: Now,
        time: Option<ServiceTime>,
        turn: &mut Turn<'_>,
    ) {
        let skew = self.skew;
        let Some(slot) = self.portal.slots.get_mut(key) else { return };
        let response = match (key, answer) {
            (PortalKey::Credentials(_), Answer::RoleCredentials(credentials)) => {
                // The answer's own date alone may shorten their life, but not end it.
                let left = time.map(|time| credentials.expires_at.since(time.service)).filter(|left| !left.is_zero());
                let expiry = Expiry::at(credentials.expires_at, turn.now, skew, left.unwrap_or(Duration::MAX));
                if expiry.remaining(turn.now, skew).is_zero() {
                    let cause = Unclear::UnusableBody("the credentials were already over when they came".to_owned());
                    self.portal_failed(key, &Failure::Unknown(cause), started, turn);
                    return;
                }
                let (access_key_id, expires_at) = (credentials.access_key_id.clone(), credentials.expires_at);
                let better = slot.keep_better(credentials, expiry, turn.now, skew);
                tracing::info!(
                    session = %crate::untrusted::shown(self.name.as_str()),
                    access_key_id,
                    %expires_at,
                    better,
                    "role credentials are fresh"
                );
                None
            }
            (PortalKey::Accounts, Answer::Accounts(accounts)) => Some(Response::Accounts(Accounts {
                accounts: accounts
                    .into_iter()
                    .map(|account| AccountEntry {
                        account_id: account.account_id,
                        account_name: account.account_name,
                        email: account.email,
                    })
                    .collect(),
            })),
            (PortalKey::Roles(_), Answer::Roles(roles)) => Some(Response::Roles(Roles {
                roles: roles
                    .into_iter()
                    .map(|role| RoleEntry { account_id: role.account_id, role_name: role.role_name })
                    .collect(),
            })),
            _ => {
                let cause = Unclear::UnusableBody("the answer of another operation".to_owned());
                self.portal_failed(key, &Failure::Unknown(cause), started, turn);
                return;
            }
        };
        slot.succeeded();
        if let Some(response) = response {
            for waiting in std::mem::take(&mut slot.waiters) {
                turn.answer(waiting.waiter.id, Ok(response.clone()));
            }
        }
        self.portal.lane_of(key).succeeded();
        if key.assumption().is_none() {
            self.portal.rejections = 0;
        }
        if matches!(key, PortalKey::Credentials(Grant::Role { .. })) {
            self.portal.origin = self.holding.as_ref().map(|holding| holding.record.origin.clone());
        }
        self.source_is_fresh(key);
        // What is not saved stays a reason to look, and so does a refresh that failed.
        let unsaved = self.last_error.as_ref().is_some_and(|error| error.code == Code::Storage);
        if self.refreshing.last_failure().is_none() && !unsaved {
            self.last_error = None;
        }
    }

    /// 401: a fact about the token, whatever the clock says. Refresh once, ask once more.
    fn portal_rejected(&mut self, key: &PortalKey, turn: &mut Turn<'_>) {
        let current = self.portal.token;
        let Some(slot) = self.portal.slots.get_mut(key) else { return };
        if slot.sent_with != current {
            // A fact about a token that is not held any more: asked again with the one that is.
            return;
        }
        if let Some(holding) = &mut self.holding
            && !holding.rejected
        {
            tracing::warn!(
                session = %crate::untrusted::shown(self.name.as_str()),
                "the portal does not accept the access token"
            );
            holding.rejected = true;
            self.portal.rejections += 1;
        }
        if std::mem::replace(&mut slot.repeated, true) {
            let problem = words::rejected(&self.name);
            slot.repeated = false;
            slot.refuse(problem.clone(), turn.now);
            self.note(&problem, turn.now);
        }
    }

    fn portal_refused(&mut self, key: &PortalKey, error: &ServiceError, turn: &mut Turn<'_>) {
        let problem = match (&error.name, key) {
            (ErrorName::Forbidden | ErrorName::ResourceNotFound, _) => {
                words::no_such_role(&self.name, &key.what(), error)
            }
            _ => {
                let failure = Failure::Refused(error.clone());
                words::failed(&self.name, &key.doing(), &failure, Some(schedule::REFUSAL_REMEMBERED))
            }
        };
        tracing::warn!(
            decision = "refused",
            session = %crate::untrusted::shown(self.name.as_str()),
            target = %crate::untrusted::shown(&key.what()),
            code = %problem.code,
            remembered_s = schedule::REFUSAL_REMEMBERED.as_secs(),
            "{problem}"
        );
        if let Some(slot) = self.portal.slots.get_mut(key) {
            slot.refuse(problem, turn.now);
        }
    }

    fn portal_failed(&mut self, key: &PortalKey, failure: &Failure, started: Now, turn: &mut Turn<'_>) {
        let Some(slot) = self.portal.slots.get_mut(key) else { return };
        let mut backoff = std::mem::take(&mut slot.backoff);
        let lane = self.portal.lane_of(key);
        let (pause, everybody) = lane.failed(failure, &mut backoff, started, turn.now, turn.dice);
        let problem = words::failed(&self.name, &key.doing(), failure, Some(pause));
        if everybody {
            lane.last_failure = Some(problem.clone());
        }
        if let Some(slot) = self.portal.slots.get_mut(key) {
            slot.backoff = backoff;
            slot.last_failure = Some(problem.clone());
            if !everybody && !matches!(failure, Failure::NotSent(_)) {
                slot.pause_until = Some(turn.now.mono.after(pause));
            }
        }
        self.decided_to_pause(key, failure, everybody, pause, &problem);
        self.note(&problem, turn.now);
    }
}
