//! `sign_in = "on-demand"`: a request that only a sign-in helps starts one, and waits for it.
//!
//! Owns: when that may happen, and for how long it may not after one that nobody wanted. Refuses to know the steps of a
//! sign-in. Invariants: without the setting a request starts none; one is under way at most; after a cancelled, denied or
//! expired one there is silence, also after a restart of the agent, until it has passed or a person signs in.

use std::time::Duration;

use super::attempt::{Attempt, Step};
use super::event::Turn;
use super::session::{Outlook, Session};
use super::words;
use crate::api::{Code, FlowChoice, LoginRequest, Problem, StartedBy};
use crate::settings::SignInMode;
use crate::store::Quiet;
use crate::time::{Now, Timestamp};
use crate::untrusted::Untrusted;

/// The sign-in that a request has started.
#[derive(Debug, Default)]
pub(super) struct OnDemand {
    /// Its number.
    attempt: Option<u64>,
    /// One that failed by itself: not again before. Not remembered over a restart: the user has seen nothing of it.
    failed: Option<Timestamp>,
}

impl Session {
    /// Whether a token with `min_validity` left can be had. `patience` is how long the asker would wait.
    pub(super) fn outlook(&self, min_validity: Duration, patience: Duration, turn: &Turn<'_>) -> Outlook {
        match self.outlook_of_tokens(min_validity, patience, turn) {
            Outlook::Never(problem) if problem.code == Code::SignInRequired && self.is_on_demand() => {
                self.outlook_of_a_sign_in(problem, turn)
            }
            outlook => outlook,
        }
    }

    fn is_on_demand(&self) -> bool {
        self.settings.sign_in == SignInMode::OnDemand
    }

    fn outlook_of_a_sign_in(&self, problem: Box<Problem>, turn: &Turn<'_>) -> Outlook {
        let (now, zone) = (turn.now.wall, &turn.agent.time_zone);
        match (&self.sign_in.attempt, self.quiet_until(turn.now)) {
            (Some(attempt), _) if link(attempt).is_some() => {
                Outlook::SignIn(Box::new(words::sign_in_awaited(&self.name)))
            }
            (Some(_), _) | (None, None) => Outlook::SignIn(problem),
            (None, Some(until)) => Outlook::Never(Box::new(words::quiet(*problem, until, now, zone))),
        }
    }

    /// Starts a sign-in if somebody waits for one.
    pub(super) fn sign_in_on_demand(&mut self, turn: &mut Turn<'_>) {
        let waited_for = || self.someone_waits_for_a_token() || self.portal.someone_waits();
        if !self.is_on_demand() || self.sign_in.is_pending() || turn.stopping || !waited_for() {
            return;
        }
        if !matches!(self.outlook(Duration::ZERO, Duration::MAX, turn), Outlook::SignIn(_)) {
            return;
        }
        let request =
            LoginRequest { flow: FlowChoice::Auto, started_by: StartedBy::Program, ..LoginRequest::default() };
        if self.start_by_request(&request, turn).is_err() {
            return;
        }
        self.on_demand.attempt = self.sign_in.attempt.as_ref().map(|attempt| attempt.number);
        // Should this agent not live to see its end, the next one must not ask at once: it counts as unwanted until it
        // has succeeded.
        self.keep_quiet(turn);
    }

    /// The sign-in that a request has started and that is under way: its number, and where the user is to go, as soon as
    /// that is known.
    pub(super) fn offered(&self) -> Option<(u64, &Untrusted, Timestamp)> {
        let attempt =
            self.sign_in.attempt.as_deref().filter(|attempt| self.on_demand.attempt == Some(attempt.number))?;
        let (link, until) = link(attempt)?;
        Some((attempt.number, link, until))
    }

    /// Until when no request starts a sign-in.
    pub(super) fn quiet_until(&self, now: Now) -> Option<Timestamp> {
        if !self.is_on_demand() || self.sign_in.is_pending() {
            return None;
        }
        let client = self.client.as_ref();
        // A time that a clock which was set back has left in the future means nothing.
        let unwanted = client.and_then(|client| client.quiet).map(|quiet| quiet.until);
        let unwanted = unwanted.filter(|until| until.since(now.wall) <= LONGEST_QUIET);
        let failed = self.on_demand.failed.filter(|until| until.since(now.wall) <= FAILED);
        let limit = self.programs_may_start_at(now);
        [unwanted, failed, limit].into_iter().flatten().filter(|until| *until > now.wall).max()
    }

    /// A sign-in is over without tokens.
    pub(super) fn sign_in_came_to_nothing(&mut self, attempt: &Attempt, problem: &Problem, turn: &mut Turn<'_>) {
        let (now, by_request) = (turn.now, self.on_demand.attempt == Some(attempt.number));
        match problem.code {
            _ if !self.is_on_demand() => {}
            Code::SignInCancelled | Code::SignInDenied | Code::SignInExpired if by_request => {
                // Counted when it was started; from now on.
                self.update_quiet(|quiet| quiet.map(|quiet| lasting(quiet.times, now)), turn);
            }
            Code::SignInCancelled | Code::SignInDenied | Code::SignInExpired => self.keep_quiet(turn),
            Code::ShuttingDown => {}
            _ if by_request => {
                self.on_demand.failed = Some(now.wall.after(FAILED));
                let uncounted = |quiet: Quiet| Quiet { until: now.wall, times: quiet.times - 1 };
                self.update_quiet(|quiet| quiet.filter(|quiet| quiet.times > 1).map(uncounted), turn);
            }
            _ => {}
        }
    }

    /// The user has signed out: that is no wish to be asked to sign in.
    pub(super) fn signed_out_on_purpose(&mut self, turn: &mut Turn<'_>) {
        // Not twice, where that has ended a sign-in as well.
        if self.is_on_demand() && self.quiet_until(turn.now).is_none() {
            self.keep_quiet(turn);
        }
    }

    /// A person signs in, or there is another place to sign in to: what was unwanted before is forgotten.
    pub(super) fn may_be_asked_again(&mut self, turn: &mut Turn<'_>) {
        self.on_demand.failed = None;
        self.update_quiet(|_| None, turn);
    }

    /// A person has signed in elsewhere: what a request had started is not to be approved any more.
    pub(super) fn needs_no_sign_in(&mut self, turn: &mut Turn<'_>) {
        if self.sign_in.attempt.as_ref().is_some_and(|attempt| self.on_demand.attempt == Some(attempt.number)) {
            let problem = Problem::new(Code::SignInCancelled, "another sign-in was taken over").session(&self.name);
            self.sign_in_failed(&problem, turn);
        }
        self.may_be_asked_again(turn);
    }

    fn keep_quiet(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        self.update_quiet(|quiet| Some(lasting(quiet.map_or(0, |quiet| quiet.times).saturating_add(1), now)), turn);
    }

    fn update_quiet(&mut self, change: impl FnOnce(Option<Quiet>) -> Option<Quiet>, turn: &mut Turn<'_>) {
        let before = self.client.as_ref().and_then(|client| client.quiet);
        let after = change(before);
        if after != before {
            self.update_client(turn, |client| client.quiet = after);
        }
    }
}

/// Where the user is to go, and until when.
fn link(attempt: &Attempt) -> Option<(&Untrusted, Timestamp)> {
    match &attempt.step {
        Step::Polling(polling) => Some((&polling.authorization.verification_uri_complete, polling.expires_at)),
        Step::Awaiting(awaited) => Some((&awaited.landing, awaited.expires_at)),
        _ => None,
    }
}

/// The silence after so many in a row: ten minutes, doubled each time.
fn lasting(times: u32, now: Now) -> Quiet {
    let pause = SHORTEST_QUIET.saturating_mul(1 << times.saturating_sub(1).min(16)).min(LONGEST_QUIET);
    Quiet { until: now.wall.after(pause), times }
}

const SHORTEST_QUIET: Duration = Duration::from_secs(10 * 60);
const LONGEST_QUIET: Duration = Duration::from_secs(4 * 3600);
/// After one that failed before the user saw anything of it.
const FAILED: Duration = Duration::from_secs(60);
