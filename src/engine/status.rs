//! What `status` shows: everything but secrets.
//!
//! Invariant: the revision grows when, and only when, somebody looked and found something changed.

use std::time::Duration;

use super::event::{Effect, Waiter, WaiterId};
use super::session::{Session, flow_word};
use super::state::State;
use crate::api::{
    Code, LastError, Problem, RegistrationStatus, Response, SessionState, SessionStatus, Status, TargetStatus,
    WarningEntry,
};
use crate::ids::{Grant, ProfileName, SessionName};
use crate::time::{Now, Timestamp};

/// Somebody who waits for a change.
#[derive(Debug)]
pub(super) struct StatusWatcher {
    pub(super) waiter: Waiter,
    after: u64,
}

impl State {
    pub(super) fn asked_status(
        &mut self,
        waiter: WaiterId,
        wait: Duration,
        after: Option<u64>,
        now: Now,
    ) -> Option<Result<Response, Problem>> {
        let status = self.status(now);
        match after {
            Some(after) if after == status.revision && !wait.is_zero() => {
                let waiter = Waiter { id: waiter, deadline: now.mono.after(wait) };
                self.watchers.push(StatusWatcher { waiter, after });
                None
            }
            _ => Some(Ok(Response::Status(Box::new(status)))),
        }
    }

    pub(super) fn settle_watchers(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.watchers.is_empty() {
            return;
        }
        let status = self.status(now);
        let changed =
            |watcher: &mut StatusWatcher| watcher.after != status.revision || watcher.waiter.deadline <= now.mono;
        for watcher in self.watchers.extract_if(.., changed) {
            effects.push(Effect::Answer(watcher.waiter.id, Ok(Response::Status(Box::new(status.clone())))));
        }
    }

    /// When somebody who waits for a change is to be answered, or has something to see that comes with time alone.
    pub(super) fn watchers_wait(&self, now: Now) -> Option<Duration> {
        let patience = self.watchers.iter().map(|watcher| watcher.waiter.deadline.since(now.mono)).min()?;
        let words = self.sessions.values().filter_map(|session| session.wait_for_words(now));
        words.chain([patience]).min()
    }

    fn status(&mut self, now: Now) -> Status {
        let mut status = Status {
            version: self.agent.version.to_owned(),
            pid: self.agent.pid,
            started_at: self.started_at,
            revision: 0,
            socket: self.agent.socket.clone(),
            locked: false,
            lock: None,
            storage: self.storage_status(),
            // The door that hands things out keeps the log.
            audit: None,
            // The door that opens others knows them.
            serve: Vec::new(),
            sessions: self
                .sessions
                .values()
                .filter(|session| session.is_worth_showing())
                .map(|session| session.status(now))
                .collect(),
            targets: self.targets(now),
            warnings: self.warnings(),
        };
        status = self.without_names(status);
        // Compared without what moves by itself.
        let comparable = comparable(&status);
        if self.seen.as_ref() != Some(&comparable) {
            if self.seen.is_some() {
                self.revision += 1;
            }
            self.seen = Some(comparable);
        }
        status.revision = self.revision;
        status
    }

    fn targets(&self, now: Now) -> Vec<TargetStatus> {
        let profile_of = |session: &SessionName, grant: &Grant| -> Option<ProfileName> {
            self.configuration.catalog.profiles.values().filter_map(|profile| profile.as_ref().ok()).find_map(
                |profile| {
                    let target = profile.target.as_ref()?;
                    (target.session == *session && target.grant == *grant).then(|| profile.name.clone())
                },
            )
        };
        self.sessions
            .values()
            .filter(|session| session.definition.is_some())
            .flat_map(|session| session.target_statuses(now).map(move |(grant, status)| (&session.name, grant, status)))
            .map(|(session, grant, status)| TargetStatus { profile: profile_of(session, &grant), ..status })
            .collect()
    }

    pub(super) fn warnings(&self) -> Vec<WarningEntry> {
        let configured = self.configuration.catalog.warnings.iter().map(|warning| WarningEntry {
            file: warning.place.file.display().to_string(),
            line: warning.place.line,
            message: crate::untrusted::shown(&warning.message).to_string(),
        });
        let stored = self.reports.iter().map(|report| WarningEntry {
            file: report.file.display().to_string(),
            line: 0,
            message: report.message.clone(),
        });
        self.reloading.warning().into_iter().chain(configured).chain(self.storage_warning()).chain(stored).collect()
    }
}

impl Session {
    pub(super) fn state(&self, now: Now) -> SessionState {
        let alive = !self.remaining(now).is_zero();
        let Some(holding) = &self.holding else {
            return match (self.sign_in.is_pending(), &self.sealed) {
                (true, _) => SessionState::Pending,
                (false, Some(_)) => SessionState::Sealed,
                (false, None) => SessionState::SignedOut,
            };
        };
        let renewable = holding.record.tokens.refresh_token.is_some() && holding.record.refused.is_none();
        match (alive, renewable, holding.record.refused.is_some()) {
            (_, true, _) | (true, false, false) => SessionState::SignedIn,
            (true, false, true) => SessionState::Ending,
            (false, false, _) if self.sign_in.is_pending() => SessionState::Pending,
            (false, false, _) => SessionState::Ended,
        }
    }

    /// One that is gone from the configuration is, for as long as something of it is held: nobody else would say so.
    fn is_worth_showing(&self) -> bool {
        self.definition.is_some() || self.holding.is_some() || self.sealed.is_some()
    }

    /// When what `status` shows of it changes although nothing happens, as a pause from now.
    fn wait_for_words(&self, now: Now) -> Option<Duration> {
        let silence = self.quiet_until(now).map(|until| until.since(now.wall));
        silence.into_iter().chain(self.portal.wait_for_an_expiry(self.skew, now)).min()
    }

    pub(super) fn status(&self, now: Now) -> SessionStatus {
        let definition = self.definition.as_ref().and_then(|definition| definition.as_ref().ok());
        let origin = self.holding.as_ref().map(|holding| &holding.record.origin);
        let holding = self.holding.as_ref();
        let last_error = match (&self.definition, self.held_here()) {
            (Some(_), Err(problem)) if problem.code == Code::InvalidConfig => {
                Some(LastError { code: problem.code, message: problem.to_string(), at: now.wall, retry_at: None })
            }
            _ => self.last_error.clone(),
        };
        SessionStatus {
            session: self.name.to_string(),
            kind: "identity_center".to_owned(),
            configured: self.definition.is_some(),
            state: self.state(now),
            start_url: definition
                .map(|definition| definition.start_url.clone())
                .or_else(|| origin.map(|origin| origin.start_url.clone()))
                .unwrap_or_default(),
            region: definition
                .map(|definition| definition.region.to_string())
                .or_else(|| origin.map(|origin| origin.region.to_string()))
                .unwrap_or_default(),
            signed_in_at: holding.map(|holding| holding.record.signed_in_at),
            access_token_expires_at: holding.map(|holding| holding.access.service),
            next_refresh_at: self
                .refreshing
                .wait_for_attempt(self, false, now)
                .map(|wait| self.skew.to_service(now.wall.after(wait))),
            renewable_until: holding
                .filter(|holding| holding.record.tokens.refresh_token.is_some() && holding.record.refused.is_none())
                .map(|holding| holding.record.tokens.registration.expires_at),
            renewable: holding.is_some_and(|holding| {
                holding.record.tokens.refresh_token.is_some() && holding.record.refused.is_none()
            }),
            saved: self.is_saved(),
            sign_in: self.settings.sign_in.as_str().to_owned(),
            sign_in_quiet_until: self.quiet_until(now),
            publish: self.publish_status(),
            last_error,
            registrations: self
                .client
                .iter()
                .flat_map(|client| &client.registrations)
                .map(|registration| RegistrationStatus {
                    flow: flow_word(registration.flow).to_owned(),
                    expires_at: registration.expires_at,
                })
                .collect(),
        }
    }
}

fn comparable(status: &Status) -> Status {
    let mut status = status.clone();
    for session in &mut status.sessions {
        session.next_refresh_at = None;
        if let Some(error) = &mut session.last_error
            && error.code == Code::InvalidConfig
        {
            error.at = Timestamp::from_millis(0);
        }
    }
    status
}
