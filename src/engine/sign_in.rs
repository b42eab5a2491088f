//! The sign-in of one session, by device code: register, authorize, poll, save.
//!
//! Owns the attempt under way: one at a time. Invariants: the device code lives here only and is gone with the attempt;
//! tokens are saved before the attempt is over; whoever waits is told how it ended, also when it was cancelled.

use std::time::Duration;

use super::event::{Effect, Flight, Purpose, Turn, Waiter, WaiterId, Write};
use super::session::{Holding, Session, client_name, flow_word, route};
use super::words;
use crate::api::{Code, FlowChoice, LoginRequest, LoginState, LoginStatus, Problem, Response, SessionState, StartedBy};
use crate::identity_center::{Bound, ClientRegistration, DeviceAuthorization, ErrorName, Flow, Origin, TokenSet};
use crate::schedule::Backoff;
use crate::store::{Record, TokenRecord};
use crate::time::{Mono, Now, Timestamp};
use crate::upstream::{Answer, Call, Failure, Reply};

/// The sign-in of a session: none, one under way, or how the last one ended.
#[derive(Debug, Default)]
pub(super) struct SignIn {
    attempts: u64,
    attempt: Option<Box<Attempt>>,
    ended: Option<LoginStatus>,
    /// Who waits for the sign-in to leave `pending`.
    watchers: Vec<Waiter>,
}

#[derive(Debug)]
struct Attempt {
    number: u64,
    flow: Flow,
    started_by: StartedBy,
    started: Now,
    origin: Origin,
    step: Step,
    /// Who waits for the verification members.
    starters: Vec<Starter>,
    /// A client the service no longer knew was registered again once.
    registered_again: bool,
}

#[derive(Debug, Clone, Copy)]
struct Starter {
    waiter: Waiter,
    replaced: bool,
    joined: bool,
}

#[derive(Debug)]
enum Step {
    /// The old session is being ended at the portal.
    EndingTheOld,
    Registering,
    Authorizing(ClientRegistration),
    Polling(Box<Polling>),
    /// The tokens are being saved.
    Saving(Box<Holding>),
}

#[derive(Debug)]
struct Polling {
    registration: ClientRegistration,
    authorization: DeviceAuthorization,
    expires: Mono,
    expires_at: Timestamp,
    interval: Duration,
    next: Mono,
    flying: bool,
    backoff: Backoff,
}

impl SignIn {
    pub(super) const fn is_pending(&self) -> bool {
        self.attempt.is_some()
    }

    pub(super) fn bound_patience(&mut self, deadline: Mono) {
        let starters = self.attempt.iter_mut().flat_map(|attempt| &mut attempt.starters);
        for waiter in starters.map(|starter| &mut starter.waiter).chain(&mut self.watchers) {
            waiter.deadline = waiter.deadline.min(deadline);
        }
    }

    /// The pause until something is to be done.
    pub(super) fn wait(&self, stopping: bool, now: Now) -> Option<Duration> {
        let poll = self.attempt.as_ref().and_then(|attempt| match &attempt.step {
            Step::Polling(polling) if !polling.flying && !stopping => {
                Some(polling.next.min(polling.expires).since(now.mono))
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
            Err(problem) => turn.answer(waiter.id, Err(*problem)),
            Ok(Prepared::AlreadySignedIn) => {
                let status = self.signed_in_status();
                turn.answer(waiter.id, Ok(Response::Login { accepted: false, status: Box::new(status) }));
            }
            Ok(Prepared::Join) => self.add_starter(Starter { waiter, replaced: false, joined: true }, turn),
            Ok(Prepared::Start(flow)) => {
                let replaced = self.sign_in.is_pending();
                if replaced {
                    let problem = Problem::new(Code::SignInCancelled, "another sign-in has taken its place");
                    self.sign_in_failed(&problem.session(&self.name), turn);
                }
                if let Err(problem) = self.start_sign_in(request, flow, turn) {
                    turn.answer(waiter.id, Err(*problem));
                    return;
                }
                self.add_starter(Starter { waiter, replaced, joined: false }, turn);
            }
        }
    }

    fn prepare_login(&self, request: &LoginRequest, turn: &Turn<'_>) -> Result<Prepared, Box<Problem>> {
        if turn.stopping {
            return Err(Box::new(words::shutting_down()));
        }
        self.usable()?;
        let flow = match (request.flow, self.settings.flow) {
            (FlowChoice::Browser, _) | (FlowChoice::Auto, Some(Flow::Browser)) => {
                let detail = "this version signs in by device code only";
                return Err(Box::new(Problem::new(Code::InvalidRequest, detail).hint("use the device flow")));
            }
            (FlowChoice::Device | FlowChoice::Auto, _) => Flow::Device,
        };
        let renewable = self.held_here().is_ok_and(|(holding, _)| {
            holding.record.tokens.refresh_token.is_some() && holding.record.refused.is_none() && !holding.rejected
        });
        if renewable && !request.force && !request.new_session {
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
        Ok(Prepared::Start(flow))
    }

    fn may_a_program_start(&self, now: Now) -> Result<(), Box<Problem>> {
        let Some(client) = &self.client else { return Ok(()) };
        let lately = client.program_sign_ins.iter().filter(|at| is_lately(**at, now.wall));
        if lately.clone().count() < PROGRAMS_MOST {
            return Ok(());
        }
        let wait = lately.min().map_or(PROGRAMS_PERIOD, |first| first.after(PROGRAMS_PERIOD).since(now.wall));
        let detail = format!("programs have started {PROGRAMS_MOST} sign-ins of this session in ten minutes");
        let hint = format!("a person may: sso-agent login {}", words::typed(&self.name));
        Err(Box::new(Problem::new(Code::Busy, detail).session(&self.name).hint(hint).retry_after(wait)))
    }

    fn start_sign_in(&mut self, request: &LoginRequest, flow: Flow, turn: &mut Turn<'_>) -> Result<(), Box<Problem>> {
        let origin = self.usable()?.origin();
        if request.started_by == StartedBy::Program {
            let now = turn.now.wall;
            self.update_client(turn, |client| {
                client.program_sign_ins.retain(|at| is_lately(*at, now));
                client.program_sign_ins.push(now);
            });
        }
        self.sign_in.attempts += 1;
        self.sign_in.ended = None;
        self.sign_in.attempt = Some(Box::new(Attempt {
            number: self.sign_in.attempts,
            flow,
            started_by: request.started_by,
            started: turn.now,
            origin,
            step: Step::EndingTheOld,
            starters: Vec::new(),
            registered_again: false,
        }));
        tracing::info!(
            session = %crate::untrusted::shown(self.name.as_str()),
            flow = flow_word(flow),
            started_by = ?request.started_by,
            new_session = request.new_session,
            "signing in"
        );
        let purpose = Purpose::SignIn(self.sign_in.attempts);
        let era = self.era;
        let ends_the_old = request.new_session
            && self.call_portal(purpose, era, CALL_TIMEOUT, turn, |access_token| Call::Logout { access_token });
        if !ends_the_old {
            self.register_or_authorize(turn);
        }
        Ok(())
    }

    /// With a client registration that serves, go on; else register one.
    fn register_or_authorize(&mut self, turn: &mut Turn<'_>) {
        let Ok(definition) = self.usable() else { return };
        let Some(attempt) = &self.sign_in.attempt else { return };
        let (flow, scopes, start_url) = (attempt.flow, definition.scopes.clone(), definition.start_url.clone());
        let known = self.client.as_ref().filter(|client| super::session::same_place(&client.origin, &attempt.origin));
        let longest = self.client.as_ref().map_or(Duration::ZERO, |client| client.longest_session);
        let registration = known.and_then(|client| {
            client
                .registrations
                .iter()
                .find(|known| known.flow == flow && known.serves_a_sign_in(turn.now.wall, &scopes, longest))
        });
        match registration.cloned() {
            Some(registration) => {
                let bound = Bound::new(attempt.origin.oidc.clone(), registration.clone());
                let call = Call::StartDeviceAuthorization { registration: bound, start_url };
                self.sign_in_step(Step::Authorizing(registration), call, turn);
            }
            None => {
                let call = Call::RegisterClient { client_name: client_name(turn.agent), scopes, flow };
                self.sign_in_step(Step::Registering, call, turn);
            }
        }
    }

    fn sign_in_step(&mut self, step: Step, call: Call, turn: &mut Turn<'_>) {
        if turn.stopping {
            self.sign_in_failed(&words::shutting_down().session(&self.name), turn);
            return;
        }
        let Ok(definition) = self.usable() else { return };
        let route = route(definition, CALL_TIMEOUT);
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        attempt.step = step;
        let purpose = Purpose::SignIn(attempt.number);
        turn.effects.push(Effect::Call(Flight { session: self.name.clone(), era: self.era, purpose }, route, call));
    }

    /// A call of the sign-in has ended.
    pub(super) fn sign_in_finished(&mut self, number: u64, reply: Reply, turn: &mut Turn<'_>) {
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        if attempt.number != number {
            return;
        }
        match (&mut attempt.step, reply.result) {
            (Step::EndingTheOld, result) => self.old_session_ended(result, turn),
            (Step::Registering, Ok(Answer::Registered(registration))) => {
                let origin = attempt.origin.clone();
                self.update_client(turn, |client| {
                    if client.origin != origin {
                        client.registrations.clear();
                        client.origin = origin;
                    }
                    client.registrations.retain(|known| known.flow != registration.flow);
                    client.registrations.push(registration.clone());
                });
                let Ok(definition) = self.usable() else { return };
                let bound = Bound::new(definition.endpoints.oidc.clone(), registration.clone());
                let start_url = definition.start_url.clone();
                let call = Call::StartDeviceAuthorization { registration: bound, start_url };
                self.sign_in_step(Step::Authorizing(registration), call, turn);
            }
            (Step::Authorizing(registration), Err(Failure::Refused(error)))
                if error.name == ErrorName::InvalidClient && !attempt.registered_again =>
            {
                attempt.registered_again = true;
                let client_id = registration.client_id.clone();
                tracing::warn!("the service does not know our client registration any more, registering again");
                self.forget_registration(&client_id, turn);
                self.register_or_authorize(turn);
            }
            (Step::Authorizing(registration), Ok(Answer::DeviceAuthorization(authorization))) => {
                let lifetime = authorization.expires_in;
                // A service that names no pause is not asked without one.
                let interval = authorization.interval.max(SHORTEST_INTERVAL);
                attempt.step = Step::Polling(Box::new(Polling {
                    registration: registration.clone(),
                    expires: reply.started.mono.after(lifetime),
                    expires_at: self.skew.to_service(reply.started.wall.after(lifetime)),
                    interval,
                    next: turn.now.mono.after(interval),
                    flying: false,
                    backoff: Backoff::default(),
                    authorization,
                }));
                self.answer_starters(turn);
            }
            (Step::Polling(polling), result) => {
                polling.flying = false;
                polling.next = turn.now.mono.after(polling.interval);
                self.polled(result, reply.started, turn);
            }
            (Step::Registering | Step::Authorizing(_), Err(failure)) => {
                let problem = words::failed(&self.name, "the sign-in", &failure, None);
                self.sign_in_failed(&problem, turn);
            }
            (Step::Registering | Step::Authorizing(_) | Step::Saving(_), _) => {}
        }
    }

    /// The next sign-in registers anew.
    fn forget_registration(&mut self, client_id: &str, turn: &mut Turn<'_>) {
        self.update_client(turn, |client| {
            client.registrations.retain(|registration| registration.client_id != client_id);
        });
    }

    /// `--new-session`: the service has ended the old session, or could not be asked to.
    fn old_session_ended(&mut self, result: Result<Answer, Failure>, turn: &mut Turn<'_>) {
        match result {
            Ok(_) => self.forget_tokens(turn),
            // Already over: that is what was wanted.
            Err(Failure::Refused(error)) if error.name == ErrorName::Unauthorized => self.forget_tokens(turn),
            Err(failure) => {
                let problem = words::failed(&self.name, "ending the old session", &failure, None);
                self.sign_in_failed(&problem, turn);
                return;
            }
        }
        self.register_or_authorize(turn);
    }

    fn polled(&mut self, result: Result<Answer, Failure>, started: Now, turn: &mut Turn<'_>) {
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        let Step::Polling(polling) = &mut attempt.step else { return };
        match result {
            Ok(Answer::Token(response)) => {
                let issued_at = self.skew.to_service(started.wall);
                let record = TokenRecord {
                    session: self.name.clone(),
                    origin: attempt.origin.clone(),
                    tokens: TokenSet {
                        access_token: response.access_token,
                        token_type: response.token_type,
                        issued_at,
                        expires_at: issued_at.after(response.expires_in),
                        refresh_token: response.refresh_token,
                        registration: polling.registration.clone(),
                    },
                    signed_in_at: turn.now.wall,
                    refresh_sent_at: None,
                    refused: None,
                };
                let holding = Box::new(self.new_holding(record.clone(), started, response.expires_in, turn));
                if let Some(attempt) = &mut self.sign_in.attempt {
                    attempt.step = Step::Saving(holding);
                }
                // From here on no result about the old tokens may land on disk after the new ones.
                self.era += 1;
                self.refreshing.abandon();
                self.save(Write::SignedIn, Record::Tokens(record), turn);
            }
            Err(Failure::Refused(error)) => match error.name {
                ErrorName::AuthorizationPending => polling.backoff.reset(),
                // The service asks for five seconds more, for good.
                ErrorName::SlowDown => polling.slow_down(turn.now),
                ErrorName::ExpiredToken => self.sign_in_failed(&expired(), turn),
                ErrorName::AccessDenied => {
                    let problem = Problem::new(Code::SignInDenied, "the sign-in was denied").caused_by(error);
                    self.sign_in_failed(&problem, turn);
                }
                _ => {
                    let client_id = polling.registration.client_id.clone();
                    if matches!(error.name, ErrorName::InvalidClient | ErrorName::UnauthorizedClient) {
                        self.forget_registration(&client_id, turn);
                    }
                    let failure = Failure::Refused(error);
                    let problem = words::failed(&self.name, "the sign-in", &failure, None);
                    self.sign_in_failed(&problem, turn);
                }
            },
            Err(Failure::NotProcessed { throttled: true, .. }) => polling.slow_down(turn.now),
            // Whatever else goes wrong, the code is good until it expires.
            Ok(_) | Err(_) => {
                let pause = polling.backoff.next(turn.dice).min(LONGEST_POLL_PAUSE);
                polling.next = turn.now.mono.after(pause.max(polling.interval));
            }
        }
    }

    /// The tokens of the sign-in are on disk, or cannot be: the user is signed in.
    pub(super) fn sign_in_saved(&mut self, outcome: Result<(), Problem>, turn: &mut Turn<'_>) {
        let Some(attempt) = self.sign_in.attempt.take() else { return };
        let Step::Saving(holding) = attempt.step else {
            self.sign_in.attempt = Some(attempt);
            return;
        };
        self.portal.signed_in_at(&attempt.origin);
        self.holding = Some(*holding);
        self.last_error = None;
        self.stored(Write::SignedIn, outcome, turn.now);
        tracing::info!(session = %crate::untrusted::shown(self.name.as_str()), "signed in");
        let mut status = self.signed_in_status();
        status.flow = Some(flow_word(attempt.flow).to_owned());
        status.started_by = Some(attempt.started_by);
        status.started_at = Some(attempt.started.wall);
        status.attempt = Some(attempt.number);
        self.sign_in_over(status, attempt.starters, turn);
    }

    /// The attempt is over without tokens.
    fn sign_in_failed(&mut self, problem: &Problem, turn: &mut Turn<'_>) {
        let Some(attempt) = self.sign_in.attempt.take() else { return };
        tracing::warn!(session = %crate::untrusted::shown(self.name.as_str()), code = %problem.code, "sign-in failed: {problem}");
        let status = LoginStatus {
            state: LoginState::Failed,
            code: Some(problem.code),
            message: Some(problem.to_string()),
            ..attempt_status(self.name.to_string(), &attempt)
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

    fn answer_starters(&mut self, turn: &mut Turn<'_>) {
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        if !matches!(attempt.step, Step::Polling(_) | Step::Saving(_)) {
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
        self.poll_when_due(turn);
        self.answer_the_impatient(turn);
    }

    fn poll_when_due(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.mono;
        if let Some(attempt) = &mut self.sign_in.attempt
            && let Step::Polling(polling) = &mut attempt.step
            && !polling.flying
        {
            if now >= polling.expires {
                self.sign_in_failed(&expired(), turn);
            } else if now >= polling.next && !turn.stopping {
                polling.flying = true;
                let home = attempt.origin.oidc.clone();
                let call = Call::CreateTokenFromDeviceCode {
                    registration: Bound::new(home.clone(), polling.registration.clone()),
                    device_code: Bound::new(home, polling.authorization.device_code.clone()),
                };
                let purpose = Purpose::SignIn(attempt.number);
                if let Ok(definition) = self.usable() {
                    let route = route(definition, CALL_TIMEOUT);
                    let flight = Flight { session: self.name.clone(), era: self.era, purpose };
                    turn.effects.push(Effect::Call(flight, route, call));
                }
            }
        }
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

    /// `DELETE …/login`. Tokens that are there already are not thrown away for it.
    /// The user signs out: whatever the sign-in has come to, it is over, and so is what an earlier one came to.
    pub(super) fn sign_in_ends_with_the_session(&mut self, turn: &mut Turn<'_>) {
        self.sign_in.ended = None;
        let problem = Problem::new(Code::SignInCancelled, "the user has signed out").session(&self.name);
        self.sign_in_failed(&problem, turn);
    }

    pub(super) fn cancel_sign_in(&mut self, number: Option<u64>, turn: &mut Turn<'_>) {
        let Some(attempt) = &self.sign_in.attempt else { return };
        if number.is_none_or(|number| number == attempt.number) && !matches!(attempt.step, Step::Saving(_)) {
            let problem = Problem::new(Code::SignInCancelled, "the sign-in was cancelled").session(&self.name);
            self.sign_in_failed(&problem, turn);
        }
    }

    /// The configuration of the session changed: an attempt for what it was before is pointless.
    pub(super) fn abandon_sign_in(&mut self, turn: &mut Turn<'_>) {
        let saving = self.sign_in.attempt.as_ref().is_some_and(|attempt| matches!(attempt.step, Step::Saving(_)));
        if !saving {
            let detail = "the configuration of the session has changed during the sign-in";
            self.sign_in_failed(&Problem::new(Code::SignInCancelled, detail).session(&self.name), turn);
        }
    }

    pub(super) fn sign_in_is_saving(&self) -> bool {
        self.sign_in.attempt.as_ref().is_some_and(|attempt| matches!(attempt.step, Step::Saving(_)))
    }

    fn login_status(&self, now: Now) -> LoginStatus {
        match (&self.sign_in.attempt, &self.sign_in.ended) {
            (Some(attempt), _) => attempt_status(self.name.to_string(), attempt),
            // Signed in once is not signed in for good.
            (None, Some(ended)) if ended.state != LoginState::SignedIn || self.state(now) == SessionState::SignedIn => {
                ended.clone()
            }
            (None, Some(_)) => LoginStatus { state: LoginState::Idle, ..blank_status(self.name.to_string()) },
            (None, None) if !self.remaining(now).is_zero() => self.signed_in_status(),
            (None, None) => LoginStatus { state: LoginState::Idle, ..blank_status(self.name.to_string()) },
        }
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
    Start(Flow),
}

impl Polling {
    fn slow_down(&mut self, now: Now) {
        self.interval += SLOW_DOWN;
        self.next = now.mono.after(self.interval);
    }
}

fn attempt_status(session: String, attempt: &Attempt) -> LoginStatus {
    let mut status = LoginStatus {
        state: LoginState::Pending,
        flow: Some(flow_word(attempt.flow).to_owned()),
        started_by: Some(attempt.started_by),
        started_at: Some(attempt.started.wall),
        attempt: Some(attempt.number),
        ..blank_status(session)
    };
    if let Step::Polling(polling) = &attempt.step {
        status.verification_uri = Some(polling.authorization.verification_uri.clone());
        status.verification_uri_complete = Some(polling.authorization.verification_uri_complete.clone());
        status.user_code = Some(polling.authorization.user_code.clone());
        status.expires_at = Some(polling.expires_at);
    }
    status
}

fn blank_status(session: String) -> LoginStatus {
    LoginStatus {
        state: LoginState::Idle,
        session,
        flow: None,
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

fn expired() -> Problem {
    Problem::new(Code::SignInExpired, "nobody approved the sign-in in time").hint("start it again")
}

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const SLOW_DOWN: Duration = Duration::from_secs(5);
const LONGEST_POLL_PAUSE: Duration = Duration::from_secs(30);
const JOINED_BY_PEOPLE: Duration = Duration::from_secs(120);
const PROGRAMS_PERIOD: Duration = Duration::from_secs(600);
const PROGRAMS_MOST: usize = 3;
