//! What the engine decides, in the log: one line for each decision, with everything it was decided by.
//!
//! Owns: the words. Refuses to decide. `decision` names the kind, `session` and `target` what it is about; names that end
//! in `_s` and `_ms` are durations. What happens seldom is told at `info`, what every request brings at `debug`.
//! Invariant: no line holds a secret, and foreign text is only ever shown.

use std::time::Duration;

use super::event::{PortalKey, Turn};
use super::lane::Lane;
use super::refreshing::{Again, Fate};
use super::session::Session;
use super::slot::Slot;
use crate::api::{LoginRequest, Problem};
use crate::schedule;
use crate::time::Now;
use crate::untrusted::shown;
use crate::upstream::Failure;

impl Session {
    /// The refresh token is about to be presented.
    pub(super) fn decided_to_refresh(&self, wanted: bool, now: Now) {
        let Some(holding) = &self.holding else { return };
        let lifetime = holding.record.tokens.lifetime();
        let margin = self.base_margin(lifetime);
        tracing::info!(
            decision = "refresh",
            session = %shown(self.name.as_str()),
            wanted,
            remaining_s = self.remaining(now).as_secs(),
            lifetime_s = lifetime.as_secs(),
            margin_s = margin.as_secs(),
            jitter_s = margin.saturating_sub(holding.refresh_at).as_secs(),
            late_margin_s = schedule::late_margin(margin).as_secs(),
            fate = fate_word(self.refreshing.fate),
            marked = holding.record.refresh_sent_at.is_some(),
            rejected = holding.rejected,
            failures = self.refreshing.backoff.failures(),
            outage_failures = self.oidc.failures(),
            "refreshing the access token"
        );
    }

    /// When the next refresh comes, as things are; told when that changes.
    pub(super) fn decided_when_to_refresh(&mut self, wanted: bool, wait: Option<Duration>, now: Now) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let at = wait.map(|wait| now.mono.after(wait));
        let told = match (self.refreshing.told, at) {
            (None, None) => true,
            // Two clocks and whole milliseconds: the same time comes out a little different.
            (Some(told), Some(at)) => told.since(at).max(at.since(told)) < Duration::from_secs(1),
            _ => false,
        };
        if told {
            return;
        }
        self.refreshing.told = at;
        let Some(holding) = &self.holding else { return };
        let gap = schedule::refresh_gap(holding.record.tokens.lifetime());
        let gap_left = self.refreshing.last_sent.map_or(Duration::ZERO, |sent| sent.after(gap).since(now.mono));
        tracing::debug!(
            decision = "refresh later",
            session = %shown(self.name.as_str()),
            wanted,
            wait_s = wait.map(|wait| wait.as_secs()),
            remaining_s = self.remaining(now).as_secs(),
            refresh_at_s = holding.refresh_at.as_secs(),
            gap_s = gap_left.as_secs(),
            pause_s = self.refreshing.pause_left(now).as_secs(),
            outage_s = self.oidc.pause_left(wanted, now).as_secs(),
            fate = fate_word(self.refreshing.fate),
            under_way = self.refreshing.is_under_way(),
            renewable = holding.record.tokens.refresh_token.is_some() && holding.record.refused.is_none(),
            unmarkable = self.refreshing.unmarkable,
            "when the access token is refreshed"
        );
    }

    /// Nobody knows whether the service has replaced the refresh token.
    pub(super) fn decided_by_the_late_rule(&self, sent_with: Duration, wait: Option<Duration>) {
        let Some(holding) = &self.holding else { return };
        let margin = self.base_margin(holding.record.tokens.lifetime());
        tracing::info!(
            decision = "late rule",
            session = %shown(self.name.as_str()),
            remaining_when_sent_s = sent_with.as_secs(),
            margin_s = margin.as_secs(),
            late_margin_s = schedule::late_margin(margin).as_secs(),
            fate = fate_word(self.refreshing.fate),
            failures = self.refreshing.backoff.failures(),
            wait_s = wait.map(|wait| wait.as_secs()),
            "the refresh token may be used up: it is presented once more, and late"
        );
    }

    /// A refresh has failed: what is known for the next one.
    pub(super) fn refresh_has_failed(&self, problem: &Problem, now: Now) {
        tracing::warn!(
            decision = "refresh failed",
            session = %shown(self.name.as_str()),
            code = %problem.code,
            remaining_s = self.remaining(now).as_secs(),
            fate = fate_word(self.refreshing.fate),
            failures = self.refreshing.backoff.failures(),
            pause_s = self.refreshing.pause_left(now).as_secs(),
            outage_s = self.oidc.pause_left(false, now).as_secs(),
            "the access token was not refreshed: {problem}"
        );
    }

    /// A call is about to be made for a slot.
    pub(super) fn decided_to_fetch(&self, key: &PortalKey, slot: &Slot, timeout: Duration, turn: &Turn<'_>) {
        let cached = slot.cached.as_ref();
        let cause = match (slot.waiters.is_empty(), slot.errand.is_some()) {
            (false, _) => "asked",
            (true, true) => "needed for another role",
            (true, false) => "ahead",
        };
        tracing::info!(
            decision = "fetch",
            session = %shown(self.name.as_str()),
            target = %shown(&key.what()),
            cause,
            waiters = slot.waiters.len(),
            remaining_s = cached.map(|cached| cached.expiry.remaining(turn.now, self.skew).as_secs()),
            margin_s = cached.map(|cached| schedule::role_margin(cached.expiry.lifetime()).as_secs()),
            min_validity_s = slot.waiters.iter().filter_map(|waiting| waiting.min_validity).max().map(|wanted| wanted.as_secs()),
            last_asked_s = turn.now.mono.since(slot.last_asked).as_secs(),
            keep_warm_s = turn.keep_warm.as_secs(),
            failures = slot.backoff.failures(),
            timeout_s = timeout.as_secs(),
            "asking the service"
        );
    }

    /// Somebody is told what a slot holds, or why it holds nothing.
    pub(super) fn decided_to_answer(
        &self,
        key: &PortalKey,
        wanted: Option<Duration>,
        refused: Option<&Problem>,
        now: Now,
    ) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let slot = self.portal.slots.get(key);
        let cached = slot.and_then(|slot| slot.cached.as_ref());
        tracing::debug!(
            decision = "answer",
            session = %shown(self.name.as_str()),
            target = %shown(&key.what()),
            code = refused.map(|problem| tracing::field::display(problem.code)),
            min_validity_s = wanted.map(|wanted| wanted.as_secs()),
            remaining_s = cached.map(|cached| cached.expiry.remaining(now, self.skew).as_secs()),
            age_s = cached.map(|cached| cached.expiry.age(now).as_secs()),
            lifetime_s = cached.map(|cached| cached.expiry.lifetime().as_secs()),
            flying = slot.is_some_and(|slot| slot.flying),
            pause_s = slot.map(|slot| slot.pause_left(now).as_secs()),
            refusal_s = slot.map(|slot| slot.refusal_left(now).as_secs()),
            "answered"
        );
    }

    /// Somebody is handed the access token, or told why not.
    pub(super) fn decided_about_the_token(&self, wanted: Duration, refused: Option<&Problem>, now: Now) {
        tracing::debug!(
            decision = "answer",
            session = %shown(self.name.as_str()),
            target = "the access token",
            code = refused.map(|problem| tracing::field::display(problem.code)),
            min_validity_s = wanted.as_secs(),
            remaining_s = self.remaining(now).as_secs(),
            fate = fate_word(self.refreshing.fate),
            refreshing = self.refreshing.is_under_way(),
            "answered"
        );
    }

    /// A call for a slot has failed, and for how long nothing more is asked.
    pub(super) fn decided_to_pause(
        &self,
        key: &PortalKey,
        failure: &Failure,
        everybody: bool,
        pause: Duration,
        problem: &Problem,
    ) {
        let slot = self.portal.slots.get(key);
        let retry_after = match failure {
            Failure::NotProcessed { retry_after, .. } => *retry_after,
            _ => None,
        };
        tracing::warn!(
            decision = "pause",
            session = %shown(self.name.as_str()),
            target = %shown(&key.what()),
            code = %problem.code,
            pause_ms = pause.as_millis(),
            everybody,
            retry_after_s = retry_after.map(|asked| asked.as_secs()),
            failures = slot.map(|slot| slot.backoff.failures()),
            lane_failures = self.portal.known_lane_of(key).map(Lane::failures),
            "{problem}"
        );
    }

    /// Somebody wanted a sign-in and none is started for them.
    pub(super) fn decided_against_a_sign_in(&self, request: &LoginRequest, why: &str, now: Now) {
        let programs = self.client.as_ref().map_or(0, |client| client.program_sign_ins.len());
        tracing::info!(
            decision = "no sign-in",
            session = %shown(self.name.as_str()),
            started_by = ?request.started_by,
            new_session = request.new_session,
            force = request.force,
            pending = self.sign_in.is_pending(),
            remaining_s = self.remaining(now).as_secs(),
            program_sign_ins = programs,
            programs_may_start_at = self.programs_may_start_at(now).map(tracing::field::display),
            "{why}"
        );
    }

    /// Nothing has left the machine: for how long nothing is tried.
    pub(super) fn decided_to_sit_out(&self, way: &str, failure: &Failure, failures: u32, pause: Duration) {
        tracing::info!(
            decision = "outage",
            session = %shown(self.name.as_str()),
            way,
            failures,
            pause_ms = pause.as_millis(),
            longest_with_a_caller_ms = schedule::LONGEST_PAUSE_WITH_A_CALLER.as_millis(),
            "nothing left the machine: {failure}"
        );
    }
}

const fn fate_word(fate: Fate) -> &'static str {
    match fate {
        Fate::Fresh => "fresh",
        Fate::Unknown(Again::Late) => "unknown, once more when late",
        Fate::Unknown(Again::Expired) => "unknown, once more when expired",
        Fate::Unknown(Again::Paused) => "unknown, with pauses",
    }
}
