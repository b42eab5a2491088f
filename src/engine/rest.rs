//! When nobody needs the agent: nothing was asked for a while, and there is nothing that only it could keep
//! (`exit_after_idle`).
//!
//! Refuses to know whether anybody is still connected: the house asks that before it ends. Invariant: what would be lost
//! with the agent, or done by it later, keeps it.

use std::time::Duration;

use super::session::Session;
use super::state::State;
use crate::api::Request;
use crate::time::{Mono, Now};

/// Since when nobody has asked, and whether the agent may end for that.
#[derive(Debug)]
pub(super) struct Rest {
    allowed: bool,
    asked: Mono,
    /// Somebody was still connected when it wanted to.
    not_before: Mono,
}

impl Rest {
    pub(super) const fn new(now: Now) -> Self {
        Self { allowed: false, asked: now.mono, not_before: now.mono }
    }

    /// Whoever only watches the agent does not use it.
    pub(super) const fn note(&mut self, request: &Request, now: Now) {
        if !matches!(request, Request::Health | Request::Metrics) {
            self.asked = now.mono;
        }
    }
}

impl State {
    /// The agent will be started again by the next caller: it may end when nobody needs it.
    pub const fn allow_rest(&mut self) {
        self.rest.allowed = true;
    }

    /// Whether nobody needs the agent now. Says so at most once a minute: somebody may still be connected.
    pub(super) fn wants_rest(&mut self, now: Now) -> bool {
        let wants = self.rest_wait(now).is_some_and(|wait| wait.is_zero());
        if wants {
            self.rest.not_before = now.mono.after(AGAIN);
        }
        wants
    }

    /// How long until nobody will have needed the agent for long enough; `None` while it is needed in any case.
    pub(super) fn rest_wait(&self, now: Now) -> Option<Duration> {
        let settings = &self.configuration.settings;
        let idle = settings.exit_after_idle.filter(|_| self.rest.allowed && !self.stopping)?;
        // Those would not start the agent again.
        let other_doors = !settings.serve.is_empty()
            || !settings.container.listen.is_empty()
            || !settings.container.exposed.is_empty()
            || settings.imds.is_some();
        let kept = other_doors
            || self.protection.awaited.is_some()
            || self.latching.keeps_the_agent()
            || self.sessions.values().any(|session| session.keeps_the_agent(settings.keep_warm, now));
        (!kept).then(|| self.rest.asked.after(idle).max(self.rest.not_before).since(now.mono))
    }
}

impl Session {
    /// Whether something would be lost with the agent, or is to be done by it.
    fn keeps_the_agent(&self, keep_warm: Duration, now: Now) -> bool {
        self.next_wait(keep_warm, false, now).is_some()
            || self.sealed.is_some()
            || self.refreshing.is_under_way()
            || self.sign_in.is_pending()
            || self.sign_in_is_saving()
            || self.undeleted
            || !self.is_saved()
            || !self.abandoned.is_empty()
            || self.target_statuses(now).next().is_some()
    }
}

/// Whoever is still connected and asks nothing is not connected for long.
const AGAIN: Duration = Duration::from_secs(60);
