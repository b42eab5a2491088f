//! The steps of a sign-in in a browser on this machine (authorization code with PKCE, RFC 7636): listen, wait for the
//! browser to come back, exchange the code.
//!
//! Owns the code, which is gone with the attempt. Refuses to know what the browser is shown and what counts as its
//! coming back. Invariant: the page is told how it ended only when it has ended.

use std::time::Duration;

use super::attempt::{Attempt, Step, expired, used_up};
use super::event::{Effect, SignInId, Turn};
use super::session::Session;
use super::state::State;
use super::words;
use crate::api::{Code, Problem};
use crate::callback::{Arrival, AuthorizationCode, ListenError, Listening, Plan, Verdict};
use crate::identity_center::{Bound, ClientRegistration, ErrorName, Flow};
use crate::schedule::Backoff;
use crate::time::{Mono, Now, Timestamp};
use crate::untrusted::Untrusted;
use crate::upstream::{Answer, Call, Failure};

/// The user is in the browser, or about to go there.
#[derive(Debug, Clone)]
pub(super) struct Awaiting {
    pub(super) registration: ClientRegistration,
    /// What the browser opens.
    pub(super) landing: Untrusted,
    pub(super) expires: Mono,
    pub(super) expires_at: Timestamp,
}

/// A code is being exchanged for tokens.
#[derive(Debug)]
pub(super) struct Exchanging {
    pub(super) awaited: Awaiting,
    code: AuthorizationCode,
    pub(super) next: Mono,
    backoff: Backoff,
    /// The answer to an exchange was lost, and the tokens may have been in it.
    answer_lost: bool,
}

impl State {
    pub(super) fn listening(
        &mut self,
        id: &SignInId,
        outcome: Result<Listening, ListenError>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.with_session(&id.session, now, effects, |session, turn| {
            if session.sign_in.awaits(id.number) {
                session.listening(outcome, turn);
            }
        });
    }

    pub(super) fn browser_came_back(&mut self, id: &SignInId, arrival: Arrival, now: Now, effects: &mut Vec<Effect>) {
        self.with_session(&id.session, now, effects, |session, turn| {
            if session.sign_in.awaits(id.number) {
                session.browser_came_back(arrival, turn);
            }
        });
    }
}

impl Session {
    /// Opens the place that the browser comes back to, before anybody is told where to go.
    pub(super) fn listen(&mut self, registration: ClientRegistration, turn: &mut Turn<'_>) {
        if turn.stopping {
            self.sign_in_failed(&words::shutting_down().session(&self.name), turn);
            return;
        }
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        let plan = Plan {
            oidc: attempt.origin.oidc.clone(),
            client_id: registration.client_id.clone(),
            scopes: registration.scopes.clone(),
            port: self.settings.callback_port,
            session: self.name.clone(),
        };
        attempt.step = Step::Listening(registration);
        let id = SignInId { session: self.name.clone(), number: attempt.number };
        turn.effects.push(Effect::Listen(id, Box::new(plan)));
    }

    /// The place is open, or cannot be.
    fn listening(&mut self, outcome: Result<Listening, ListenError>, turn: &mut Turn<'_>) {
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        let Step::Listening(registration) = &attempt.step else { return };
        match outcome {
            Ok(Listening { landing }) => {
                attempt.step = Step::Awaiting(Box::new(Awaiting {
                    registration: registration.clone(),
                    landing: Untrusted::new(landing),
                    expires: turn.now.mono.after(PATIENCE),
                    expires_at: turn.now.wall.after(PATIENCE),
                }));
                self.answer_starters(turn);
            }
            Err(error) => {
                let problem = Problem::new(Code::Unavailable, error.to_string()).session(&self.name);
                let problem = match error {
                    ListenError::PortTaken(_) => {
                        problem.hint("end that program, or change callback_port in config.toml")
                    }
                    _ => problem.hint(format!(
                        "use the other flow: sso-agent login {} --flow device",
                        words::typed(&self.name)
                    )),
                };
                self.sign_in_failed(&problem, turn);
            }
        }
    }

    /// The browser has come back, as the service sent it.
    fn browser_came_back(&mut self, arrival: Arrival, turn: &mut Turn<'_>) {
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        let Step::Awaiting(awaited) = &attempt.step else { return };
        self.sign_in.fruitless = 0;
        match arrival {
            Arrival::Code(code) => {
                attempt.step = Step::Exchanging(Box::new(Exchanging {
                    awaited: (**awaited).clone(),
                    code,
                    next: turn.now.mono,
                    backoff: Backoff::default(),
                    answer_lost: false,
                }));
                self.exchange_when_due(turn);
            }
            Arrival::Refused { error, description } => {
                let problem = match error.raw() {
                    "access_denied" => Problem::new(Code::SignInDenied, "the sign-in was denied"),
                    _ => Problem::new(Code::Refused, "the service ended the sign-in").caused_by(error.shown()),
                };
                let problem = if description.is_empty() { problem } else { problem.caused_by(description.shown()) };
                self.sign_in_failed(&problem.session(&self.name), turn);
            }
        }
    }

    /// Exchanges the code when it is time, and gives up when nobody came back in time.
    pub(super) fn exchange_when_due(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.mono;
        let outage = self.sign_in_pause(turn.now);
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        let due = match &attempt.step {
            Step::Awaiting(awaited) if now >= awaited.expires => None,
            Step::Exchanging(exchanging) if !attempt.flying && now >= exchanging.awaited.expires => None,
            Step::Exchanging(exchanging) if !attempt.flying && now >= exchanging.next => Some(exchanging),
            _ => return,
        };
        let Some(exchanging) = due else {
            self.sign_in_failed(&expired(), turn);
            return;
        };
        if turn.stopping || !outage.is_zero() {
            return;
        }
        let home = attempt.origin.oidc.clone();
        let call = Call::CreateTokenFromAuthorizationCode {
            registration: Bound::new(home.clone(), exchanging.awaited.registration.clone()),
            code: Bound::new(home, exchanging.code.clone()),
        };
        self.oidc.trying(turn.now, turn.dice);
        self.call_for_sign_in(call, turn);
    }

    /// The service has answered the exchange, or not.
    pub(super) fn exchanged(&mut self, result: Result<Answer, Failure>, started: Now, turn: &mut Turn<'_>) {
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        let Step::Exchanging(exchanging) = &mut attempt.step else { return };
        match result {
            Ok(Answer::Token(response)) => {
                let registration = exchanging.awaited.registration.clone();
                self.tokens_came(response, registration, started, turn);
            }
            Err(Failure::Refused(error)) => {
                let problem = match error.name {
                    // The code is presented again only where the service may not have seen it.
                    ErrorName::InvalidGrant | ErrorName::ExpiredToken if exchanging.answer_lost => {
                        used_up(&self.name).caused_by(&error)
                    }
                    ErrorName::AccessDenied => {
                        Problem::new(Code::SignInDenied, "the sign-in was denied").session(&self.name).caused_by(&error)
                    }
                    _ => {
                        if matches!(error.name, ErrorName::InvalidClient | ErrorName::UnauthorizedClient) {
                            let client_id = exchanging.awaited.registration.client_id.clone();
                            self.forget_registration(&client_id, turn);
                        }
                        words::failed(&self.name, "the sign-in", &Failure::Refused(error), None)
                    }
                };
                self.sign_in_failed(&problem, turn);
            }
            other => {
                // A code that was lost on its way is good for another try; one that was taken is good for nothing.
                exchanging.answer_lost |= !matches!(other, Err(Failure::NotSent(_) | Failure::NotProcessed { .. }));
                let pause = exchanging.backoff.next(turn.dice).min(LONGEST_PAUSE);
                exchanging.next = turn.now.mono.after(pause);
            }
        }
    }

    /// Tells the page how it ended, where there is one.
    pub(super) fn tell_the_browser(&self, attempt: &Attempt, verdict: Verdict, turn: &mut Turn<'_>) {
        let opened =
            matches!(attempt.step, Step::Listening(_) | Step::Awaiting(_) | Step::Exchanging(_) | Step::Saving(_));
        if opened && attempt.flow == Flow::Browser {
            let id = SignInId { session: self.name.clone(), number: attempt.number };
            turn.effects.push(Effect::Conclude(id, verdict));
        }
    }
}

/// As long as the AWS CLI waits.
const PATIENCE: Duration = Duration::from_secs(600);
/// The service's codes do not live long.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
