//! The sign-in of one session: who may start, join, replace and cancel it, and who is told how it ended.
//!
//! Owns the attempt under way: one at a time. Refuses to know its steps. Invariant: whoever waits is told how it ended,
//! also when it was cancelled.

use std::time::Duration;

use super::attempt::{Attempt, CALL_TIMEOUT, Starter, Step};
use super::event::{Purpose, Turn, Waiter, WaiterId, Write};
use super::session::{Session, flow_word};
use super::words;
use crate::api::{
    Code, FlowChoice, FlowChosenBy, LoginRequest, LoginState, LoginStatus, Problem, Response, SessionState, StartedBy,
};
use crate::callback::Verdict;
use crate::identity_center::{Flow, start_url};
use crate::time::{Mono, Now, Timestamp};
use crate::upstream::Call;

/// The sign-in of a session: none, one under way, or how the last one ended.
#[derive(Debug, Default)]
pub(super) struct SignIn {
    attempts: u64,
    pub(super) attempt: Option<Box<Attempt>>,
    ended: Option<LoginStatus>,
    /// How many sign-ins in the browser in a row ended without the browser coming back.
    pub(super) fruitless: u32,
    /// Who waits for the sign-in to leave `pending`.
    watchers: Vec<Waiter>,
}

impl SignIn {
    pub(super) const fn is_pending(&self) -> bool {
        self.attempt.is_some()
    }

    pub(super) fn awaits(&self, number: u64) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.number == number)
    }

    pub(super) fn bound_patience(&mut self, deadline: Mono) {
        let starters = self.attempt.iter_mut().flat_map(|attempt| &mut attempt.starters);
        for waiter in starters.map(|starter| &mut starter.waiter).chain(&mut self.watchers) {
            waiter.deadline = waiter.deadline.min(deadline);
        }
    }

    /// The pause until something is to be done.
    pub(super) fn wait(&self, outage: Duration, stopping: bool, now: Now) -> Option<Duration> {
        let poll = self.attempt.as_ref().and_then(|attempt| match &attempt.step {
            Step::Polling(polling) if !attempt.flying && !stopping => {
                Some(polling.next.since(now.mono).max(outage).min(polling.expires.since(now.mono)))
            }
            Step::Waiting { .. } if !stopping => Some(outage),
            Step::Awaiting(awaited) => Some(awaited.expires.since(now.mono)),
            Step::Exchanging(exchanging) if !attempt.flying && !stopping => {
                let end = exchanging.awaited.expires.since(now.mono);
                Some(exchanging.next.since(now.mono).max(outage).min(end))
            }
            _ => None,
        });
        let starters = self.attempt.iter().flat_map(|attempt| &attempt.starters).map(|starter| starter.waiter);
        starters.chain(self.watchers.iter().copied()).map(|waiter| waiter.deadline.since(now.mono)).chain(poll).min()
    }
}

impl Session {
    /// `POST …/login`.
    pub(super) fn login(&mut self, request: &LoginRequest, waiter: Waiter, turn: &mut Turn<'_>) {
        match self.prepare_login(request, turn) {
            Err(problem) => {
                self.decided_against_a_sign_in(request, &problem.to_string(), turn.now);
                turn.answer(waiter.id, Err(*problem));
            }
            Ok(Prepared::AlreadySignedIn) => {
                self.decided_against_a_sign_in(request, "already signed in", turn.now);
                let status = self.signed_in_status();
                turn.answer(waiter.id, Ok(Response::Login { accepted: false, status: Box::new(status) }));
            }
            Ok(Prepared::Join) => {
                self.decided_against_a_sign_in(request, "one is under way", turn.now);
                self.add_starter(Starter { waiter, replaced: false, joined: true }, turn);
            }
            Ok(Prepared::Start(flow, chosen_by)) => {
                let replaced = self.sign_in.is_pending();
                if replaced {
                    let problem = Problem::new(Code::SignInCancelled, "another sign-in has taken its place");
                    self.sign_in_failed(&problem.session(&self.name), turn);
                }
                if let Err(problem) = self.start_sign_in(request, (flow, chosen_by), turn) {
                    turn.answer(waiter.id, Err(*problem));
                    return;
                }
                self.add_starter(Starter { waiter, replaced, joined: false }, turn);
            }
        }
    }

    /// What a request of another kind cannot be answered without; nobody waits for where it goes on.
    pub(super) fn start_by_request(&mut self, request: &LoginRequest, turn: &mut Turn<'_>) -> Result<(), Box<Problem>> {
        let prepared = self.prepare_login(request, turn);
        if let Err(problem) = &prepared {
            self.decided_against_a_sign_in(request, &problem.to_string(), turn.now);
        }
        match prepared? {
            Prepared::Start(flow, chosen_by) => self.start_sign_in(request, (flow, chosen_by), turn),
            Prepared::AlreadySignedIn | Prepared::Join => Ok(()),
        }
    }

    fn prepare_login(&self, request: &LoginRequest, turn: &Turn<'_>) -> Result<Prepared, Box<Problem>> {
        if turn.stopping {
            return Err(Box::new(words::shutting_down()));
        }
        self.usable()?;
        let (flow, chosen_by) = match (request.flow, self.settings.flow) {
            (FlowChoice::Browser, _) => (Flow::Browser, FlowChosenBy::Request),
            (FlowChoice::Device, _) => (Flow::Device, FlowChosenBy::Request),
            (FlowChoice::Auto, Some(flow)) => (flow, FlowChosenBy::Settings),
            (FlowChoice::Auto, None) if request.browser_likely => (Flow::Browser, FlowChosenBy::Environment),
            (FlowChoice::Auto, None) => (Flow::Device, FlowChosenBy::Environment),
        };
        if self.attempt_is_saving() {
            // Approved already: nobody throws that away.
            return Ok(Prepared::Join);
        }
        if self.publishing.adoption.is_some() {
            return Err(Box::new(words::being_replaced(&self.name)));
        }
        let renewable = self.held_here().is_ok_and(|(holding, _)| {
            holding.record.tokens.refresh_token.is_some() && holding.record.refused.is_none() && !holding.rejected
        });
        // The token is over and another sign-in is the only thing a person can do about why there is no fresh one.
        let refused = self.refreshing.last_failure().is_some_and(|problem| problem.code == Code::Refused);
        let stuck = self.remaining(turn.now).is_zero() && (refused || self.refreshing.is_unknown());
        if renewable && !stuck && !request.force && !request.new_session {
            return Ok(Prepared::AlreadySignedIn);
        }
        if let Some(attempt) = &self.sign_in.attempt {
            let young = turn.now.mono.since(attempt.started.mono) < JOINED_BY_PEOPLE;
            let by_a_person = attempt.started_by == StartedBy::Cli && attempt.flow == flow && young;
            if request.started_by == StartedBy::Program || by_a_person {
                return Ok(Prepared::Join);
            }
        }
        if request.started_by == StartedBy::Program {
            self.may_a_program_start(turn.now)?;
        }
        Ok(Prepared::Start(flow, chosen_by))
    }

    /// When programs have started too many sign-ins: the time they may start another.
    pub(super) fn programs_may_start_at(&self, now: Now) -> Option<Timestamp> {
        let starts = self.client.iter().flat_map(|client| &client.program_sign_ins);
        let lately: Vec<Timestamp> = starts.copied().filter(|at| is_lately(*at, now.wall)).collect();
        (lately.len() >= PROGRAMS_MOST).then(|| lately[lately.len() - PROGRAMS_MOST].after(PROGRAMS_PERIOD))
    }

    fn may_a_program_start(&self, now: Now) -> Result<(), Box<Problem>> {
        let Some(at) = self.programs_may_start_at(now) else { return Ok(()) };
        let wait = at.since(now.wall);
        let detail = format!("programs have started {PROGRAMS_MOST} sign-ins of this session in ten minutes");
        let hint = format!("a person may: sso-agent login {}", words::typed(&self.name));
        Err(Box::new(Problem::new(Code::Busy, detail).session(&self.name).hint(hint).retry_after(wait)))
    }

    fn start_sign_in(
        &mut self,
        request: &LoginRequest,
        (flow, flow_chosen_by): (Flow, FlowChosenBy),
        turn: &mut Turn<'_>,
    ) -> Result<(), Box<Problem>> {
        let definition = self.usable()?;
        let (origin, start_url) = (definition.origin(), definition.start_url.clone());
        if request.started_by == StartedBy::Program {
            let now = turn.now.wall;
            self.update_client(turn, |client| {
                client.program_sign_ins.retain(|at| is_lately(*at, now));
                client.program_sign_ins.push(now);
            });
        } else {
            self.may_be_asked_again(turn);
        }
        self.sign_in.attempts += 1;
        self.sign_in.ended = None;
        self.sign_in.attempt = Some(Box::new(Attempt {
            number: self.sign_in.attempts,
            flow,
            flow_chosen_by,
            started_by: request.started_by,
            started: turn.now,
            origin,
            start_url,
            step: Step::Waiting { new_session: request.new_session },
            flying: false,
            starters: Vec::new(),
            registered_again: false,
            ended_the_old: false,
        }));
        tracing::info!(
            session = %crate::untrusted::shown(self.name.as_str()),
            decision = "sign-in",
            flow = flow_word(flow),
            ?flow_chosen_by,
            started_by = ?request.started_by,
            new_session = request.new_session,
            "signing in"
        );
        self.begin_sign_in(turn);
        Ok(())
    }

    /// Makes the first call, as soon as one may leave the machine.
    fn begin_sign_in(&mut self, turn: &mut Turn<'_>) {
        let paused = !self.sign_in_pause(turn.now).is_zero();
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        let Step::Waiting { new_session } = attempt.step else { return };
        if turn.stopping || paused {
            return;
        }
        if start_url::needs_resolution(&attempt.start_url, &attempt.origin.oidc) {
            self.resolve_start_url(new_session, turn);
        } else {
            self.end_the_old_or_register(new_session, turn);
        }
    }

    pub(super) fn end_the_old_or_register(&mut self, new_session: bool, turn: &mut Turn<'_>) {
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        attempt.step = Step::EndingTheOld;
        let (purpose, era) = (Purpose::SignIn(attempt.number), self.era);
        let ends_the_old = new_session
            && self.call_portal(purpose, era, CALL_TIMEOUT, turn, |access_token| Call::Logout { access_token });
        if ends_the_old {
            self.portal.lane.outage.trying(turn.now, turn.dice);
            if let Some(attempt) = &mut self.sign_in.attempt {
                attempt.flying = true;
            }
        } else {
            self.register_or_authorize(turn);
        }
    }

    /// The tokens of the sign-in are on disk, or cannot be: the user is signed in.
    pub(super) fn sign_in_saved(&mut self, outcome: Result<(), Problem>, turn: &mut Turn<'_>) {
        let Some(attempt) = self.sign_in.attempt.take() else { return };
        if !matches!(attempt.step, Step::Saving(_)) {
            self.sign_in.attempt = Some(attempt);
            return;
        }
        self.tell_the_browser(&attempt, Verdict::SignedIn, turn);
        let Step::Saving(holding) = attempt.step else { return };
        self.portal.signed_in_at(&attempt.origin);
        self.holding = Some(*holding);
        self.publishing.session_lives();
        self.undeleted = false;
        self.plan_by_settings(turn);
        self.last_error = None;
        self.stored(Write::SignedIn, outcome, turn.now);
        self.may_be_asked_again(turn);
        tracing::info!(session = %crate::untrusted::shown(self.name.as_str()), "signed in");
        let mut status = self.signed_in_status();
        status.flow = Some(flow_word(attempt.flow).to_owned());
        status.started_by = Some(attempt.started_by);
        status.started_at = Some(attempt.started.wall);
        status.attempt = Some(attempt.number);
        self.sign_in_over(status, attempt.starters, turn);
    }

    /// The attempt is over without tokens.
    pub(super) fn sign_in_failed(&mut self, problem: &Problem, turn: &mut Turn<'_>) {
        let Some(attempt) = self.sign_in.attempt.take() else { return };
        let told = attempt.ended_the_old.then(|| problem.clone().caused_by(OLD_SESSION_ENDED));
        let problem = told.as_ref().unwrap_or(problem);
        tracing::warn!(session = %crate::untrusted::shown(self.name.as_str()), code = %problem.code, "sign-in failed: {problem}");
        self.sign_in_came_to_nothing(&attempt, problem, turn);
        if attempt.flying {
            self.abandon_call(Purpose::SignIn(attempt.number), attempt.origin.clone());
        }
        if matches!(attempt.step, Step::Awaiting(_)) {
            self.sign_in.fruitless += 1;
        }
        let verdict = match problem.code {
            Code::SignInCancelled => Verdict::Closed,
            // Without the causes: the page has no word that is not ours (A§7).
            _ => Verdict::Failed(problem.detail.clone()),
        };
        self.tell_the_browser(&attempt, verdict, turn);
        let status = LoginStatus {
            state: LoginState::Failed,
            code: Some(problem.code),
            message: Some(problem.to_string()),
            ..self.attempt_status(&attempt)
        };
        for starter in &attempt.starters {
            // Before the verification members are known, a failure is the answer to the request itself.
            let answer = match problem.code.status() {
                200 => Ok(Response::Login { accepted: false, status: Box::new(status.clone()) }),
                _ => Err(problem.clone()),
            };
            turn.answer(starter.waiter.id, answer);
        }
        self.sign_in_over(status, Vec::new(), turn);
    }

    fn sign_in_over(&mut self, status: LoginStatus, starters: Vec<Starter>, turn: &mut Turn<'_>) {
        let waiting = starters.iter().map(|starter| starter.waiter).chain(std::mem::take(&mut self.sign_in.watchers));
        for waiter in waiting {
            turn.answer(waiter.id, Ok(Response::Login { accepted: false, status: Box::new(status.clone()) }));
        }
        self.sign_in.ended = Some(status);
    }

    fn add_starter(&mut self, starter: Starter, turn: &mut Turn<'_>) {
        if let Some(attempt) = &mut self.sign_in.attempt {
            attempt.starters.push(starter);
        }
        self.answer_starters(turn);
    }

    pub(super) fn answer_starters(&mut self, turn: &mut Turn<'_>) {
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        if !matches!(attempt.step, Step::Polling(_) | Step::Awaiting(_) | Step::Exchanging(_) | Step::Saving(_)) {
            return;
        }
        let starters = std::mem::take(&mut attempt.starters);
        for Starter { waiter, replaced, joined } in starters {
            let status = Box::new(LoginStatus { replaced, joined, ..self.login_status(turn.now) });
            turn.answer(waiter.id, Ok(Response::Login { accepted: true, status }));
        }
    }

    /// Polls when it is time, gives up when the code has expired, and answers whose patience is over.
    pub(super) fn settle_sign_in(&mut self, turn: &mut Turn<'_>) {
        self.begin_sign_in(turn);
        self.poll_when_due(turn);
        self.exchange_when_due(turn);
        self.answer_the_impatient(turn);
    }

    fn answer_the_impatient(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.mono;
        let impatient = |waiter: &Waiter| waiter.deadline <= now;
        let watchers: Vec<WaiterId> =
            self.sign_in.watchers.extract_if(.., |waiter| impatient(waiter)).map(|w| w.id).collect();
        let starters: Vec<WaiterId> = match &mut self.sign_in.attempt {
            Some(attempt) => {
                attempt.starters.extract_if(.., |starter| impatient(&starter.waiter)).map(|s| s.waiter.id).collect()
            }
            None => Vec::new(),
        };
        for waiter in watchers {
            let status = Box::new(self.login_status(turn.now));
            turn.answer(waiter, Ok(Response::Login { accepted: false, status }));
        }
        for waiter in starters {
            let problem =
                if turn.stopping { words::shutting_down() } else { words::timed_out("the sign-in", &self.name) };
            turn.answer(waiter, Err(problem));
        }
    }

    /// `GET …/login`.
    pub(super) fn watch_sign_in(&mut self, waiter: Waiter, turn: &mut Turn<'_>) {
        if self.sign_in.is_pending() && waiter.deadline > turn.now.mono {
            self.sign_in.watchers.push(waiter);
        } else {
            let status = Box::new(self.login_status(turn.now));
            turn.answer(waiter.id, Ok(Response::Login { accepted: false, status }));
        }
    }

    /// The user signs out: whatever the sign-in has come to, it is over, and so is what an earlier one came to.
    pub(super) fn sign_in_ends_with_the_session(&mut self, turn: &mut Turn<'_>) {
        self.sign_in.ended = None;
        let problem = Problem::new(Code::SignInCancelled, "the user has signed out").session(&self.name);
        self.sign_in_failed(&problem, turn);
    }

    /// `DELETE …/login`. Tokens that are there already are not thrown away for it.
    pub(super) fn cancel_sign_in(&mut self, number: Option<u64>, turn: &mut Turn<'_>) {
        let Some(attempt) = &self.sign_in.attempt else { return };
        if number.is_none_or(|number| number == attempt.number) && !self.attempt_is_saving() {
            let problem = Problem::new(Code::SignInCancelled, "the sign-in was cancelled").session(&self.name);
            self.sign_in_failed(&problem, turn);
        }
    }

    /// The agent is locked: a sign-in goes no further than to tokens that are there already.
    pub(super) fn lock(&mut self, turn: &mut Turn<'_>) {
        if self.sign_in.attempt.is_some() && !self.attempt_is_saving() {
            let problem = Problem::new(Code::SignInCancelled, "the agent was locked during the sign-in");
            self.sign_in_failed(&problem.session(&self.name), turn);
            self.may_be_asked_again(turn);
        }
    }

    /// The configuration of the session changed: an attempt for what it was before is pointless.
    pub(super) fn abandon_sign_in(&mut self, turn: &mut Turn<'_>) {
        if !self.attempt_is_saving() {
            let detail = "the configuration of the session has changed during the sign-in";
            self.sign_in_failed(&Problem::new(Code::SignInCancelled, detail).session(&self.name), turn);
            self.may_be_asked_again(turn);
        }
    }

    fn login_status(&self, now: Now) -> LoginStatus {
        match (&self.sign_in.attempt, &self.sign_in.ended) {
            (Some(attempt), _) => self.attempt_status(attempt),
            // Signed in once is not signed in for good.
            (None, Some(ended)) if ended.state != LoginState::SignedIn || self.state(now) == SessionState::SignedIn => {
                ended.clone()
            }
            (None, Some(_)) => LoginStatus { state: LoginState::Idle, ..blank_status(self.name.to_string()) },
            (None, None) if !self.remaining(now).is_zero() => self.signed_in_status(),
            (None, None) => LoginStatus { state: LoginState::Idle, ..blank_status(self.name.to_string()) },
        }
    }

    fn attempt_status(&self, attempt: &Attempt) -> LoginStatus {
        let mut status = LoginStatus {
            state: LoginState::Pending,
            flow: Some(flow_word(attempt.flow).to_owned()),
            flow_chosen_by: Some(attempt.flow_chosen_by),
            started_by: Some(attempt.started_by),
            started_at: Some(attempt.started.wall),
            attempt: Some(attempt.number),
            browser: self.settings.browser.as_ref().map(|browser| browser.words().to_vec()),
            ..blank_status(self.name.to_string())
        };
        match &attempt.step {
            Step::Polling(polling) => {
                status.verification_uri = Some(polling.authorization.verification_uri.clone());
                status.verification_uri_complete = Some(polling.authorization.verification_uri_complete.clone());
                status.user_code = Some(polling.authorization.user_code.clone());
                status.expires_at = Some(polling.expires_at);
            }
            Step::Awaiting(awaited) => {
                status.authorization_url = Some(awaited.landing.clone());
                status.expires_at = Some(awaited.expires_at);
            }
            _ => {}
        }
        status
    }

    fn signed_in_status(&self) -> LoginStatus {
        LoginStatus {
            state: LoginState::SignedIn,
            expires_at: self.holding.as_ref().map(|holding| holding.access.service),
            ..blank_status(self.name.to_string())
        }
    }
}

enum Prepared {
    AlreadySignedIn,
    Join,
    Start(Flow, FlowChosenBy),
}

fn blank_status(session: String) -> LoginStatus {
    LoginStatus {
        state: LoginState::Idle,
        session,
        flow: None,
        flow_chosen_by: None,
        browser: None,
        verification_uri: None,
        verification_uri_complete: None,
        user_code: None,
        authorization_url: None,
        expires_at: None,
        started_by: None,
        started_at: None,
        replaced: false,
        joined: false,
        attempt: None,
        code: None,
        message: None,
    }
}

/// A time that a clock which was set back has left in the future is as meaningless as one long ago.
fn is_lately(at: Timestamp, now: Timestamp) -> bool {
    now.since(at) < PROGRAMS_PERIOD && at.since(now) < PROGRAMS_PERIOD
}

const OLD_SESSION_ENDED: &str = "the old session was ended before, nobody is signed in any more";
const JOINED_BY_PEOPLE: Duration = Duration::from_secs(120);
const PROGRAMS_PERIOD: Duration = Duration::from_secs(600);
const PROGRAMS_MOST: usize = 3;
