//! The steps of a sign-in by device code: end the old session, register, authorize, poll, save.
//!
//! Owns what is known while an attempt is under way. Refuses to know who may start one and who waits for it. Invariants:
//! the device code lives here only and is gone with the attempt; tokens are saved before they are used.

use std::time::Duration;

use super::event::{Effect, Flight, Purpose, Turn, Waiter, Write};
use super::session::{Holding, Session, route};
use super::words;
use crate::api::{Code, Problem, StartedBy};
use crate::identity_center::{Bound, ClientRegistration, DeviceAuthorization, ErrorName, Flow, Origin, TokenSet};
use crate::ids::SessionName;
use crate::schedule::Backoff;
use crate::store::{Record, TokenRecord};
use crate::time::{Mono, Now, Timestamp};
use crate::upstream::{Answer, Call, Failure, Reply};

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) number: u64,
    pub(super) flow: Flow,
    pub(super) started_by: StartedBy,
    pub(super) started: Now,
    pub(super) origin: Origin,
    pub(super) step: Step,
    /// A call is up.
    pub(super) flying: bool,
    /// Who waits for the verification members.
    pub(super) starters: Vec<Starter>,
    /// A client the service no longer knew was registered again once.
    pub(super) registered_again: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Starter {
    pub(super) waiter: Waiter,
    pub(super) replaced: bool,
    pub(super) joined: bool,
}

#[derive(Debug)]
pub(super) enum Step {
    /// Nothing is sent yet: nothing can leave the machine.
    Waiting {
        new_session: bool,
    },
    /// The old session is being ended at the portal.
    EndingTheOld,
    Registering,
    Authorizing(ClientRegistration),
    Polling(Box<Polling>),
    /// The tokens are being saved.
    Saving(Box<Holding>),
}

#[derive(Debug)]
pub(super) struct Polling {
    pub(super) registration: ClientRegistration,
    pub(super) authorization: DeviceAuthorization,
    pub(super) expires: Mono,
    pub(super) expires_at: Timestamp,
    pub(super) interval: Duration,
    pub(super) next: Mono,
    pub(super) backoff: Backoff,
    /// The answer to a poll was lost, and the tokens may have been in it.
    pub(super) answer_lost: bool,
}

impl Session {
    /// With a client registration that serves, go on; else register one.
    pub(super) fn register_or_authorize(&mut self, turn: &mut Turn<'_>) {
        let Ok(definition) = self.usable() else { return };
        let Some(attempt) = &self.sign_in.attempt else { return };
        let (flow, scopes, start_url) = (attempt.flow, definition.scopes.clone(), definition.start_url.clone());
        let known = self.client.as_ref().filter(|client| super::session::same_place(&client.origin, &attempt.origin));
        let longest = self.client.as_ref().map_or(Duration::ZERO, |client| client.longest_session);
        // When it expires is a time of the service's clock.
        let now = self.skew.to_service(turn.now.wall);
        let registration = known.and_then(|client| {
            client
                .registrations
                .iter()
                .find(|known| known.flow == flow && known.serves_a_sign_in(now, &scopes, longest))
        });
        match registration.cloned() {
            Some(registration) => {
                let bound = Bound::new(attempt.origin.oidc.clone(), registration.clone());
                let call = Call::StartDeviceAuthorization { registration: bound, start_url };
                self.sign_in_step(Step::Authorizing(registration), call, turn);
            }
            None => {
                let call = Call::RegisterClient { client_name: turn.agent.client_name.clone(), scopes, flow };
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
        attempt.flying = true;
        let purpose = Purpose::SignIn(attempt.number);
        self.oidc.trying(turn.now, turn.dice);
        turn.effects.push(Effect::Call(Flight { session: self.name.clone(), era: self.era, purpose }, route, call));
    }

    /// A call of the sign-in has ended.
    pub(super) fn sign_in_finished(&mut self, reply: Reply, turn: &mut Turn<'_>) {
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        attempt.flying = false;
        match (&mut attempt.step, reply.result) {
            (Step::EndingTheOld, result) => self.old_session_ended(result, turn),
            (Step::Registering, Ok(Answer::Registered(registration))) => {
                let origin = attempt.origin.clone();
                self.keep_registration(origin, registration.clone(), turn);
                let Ok(definition) = self.usable() else { return };
                let bound = Bound::new(definition.endpoints.oidc.clone(), registration.clone());
                let start_url = definition.start_url.clone();
                let call = Call::StartDeviceAuthorization { registration: bound, start_url };
                self.sign_in_step(Step::Authorizing(registration), call, turn);
            }
            (Step::Authorizing(registration), Err(Failure::Refused(error)))
                if matches!(error.name, ErrorName::InvalidClient | ErrorName::UnauthorizedClient)
                    && !attempt.registered_again =>
            {
                attempt.registered_again = true;
                let client_id = registration.client_id.clone();
                tracing::warn!("the service does not accept our client registration any more, registering again");
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
                    backoff: Backoff::default(),
                    answer_lost: false,
                    authorization,
                }));
                self.answer_starters(turn);
            }
            (Step::Polling(polling), result) => {
                polling.next = turn.now.mono.after(polling.interval);
                self.polled(result, reply.started, turn);
            }
            (Step::Registering | Step::Authorizing(_), Err(failure)) => {
                if matches!(failure, Failure::NotSent(_)) && attempt.started_by == StartedBy::Program {
                    // The user has seen nothing of it: it does not count as one that a program has started.
                    self.update_client(turn, |client| {
                        client.program_sign_ins.pop();
                    });
                }
                let problem = words::failed(&self.name, "the sign-in", &failure, None);
                self.sign_in_failed(&problem, turn);
            }
            (Step::Waiting { .. } | Step::Registering | Step::Authorizing(_) | Step::Saving(_), _) => {}
        }
    }

    /// Later sign-ins use this client.
    pub(super) fn keep_registration(&mut self, origin: Origin, registration: ClientRegistration, turn: &mut Turn<'_>) {
        self.update_client(turn, |client| {
            if client.origin != origin {
                client.registrations.clear();
                client.origin = origin;
            }
            client.registrations.retain(|known| known.flow != registration.flow);
            client.registrations.push(registration);
        });
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
                    clock_ahead: self.skew.ahead_millis(),
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
                ErrorName::AuthorizationPending => {
                    polling.backoff.reset();
                    polling.answer_lost = false;
                }
                // The service asks for five seconds more, for good.
                ErrorName::SlowDown => polling.slow_down(turn.now),
                ErrorName::ExpiredToken | ErrorName::InvalidGrant if polling.answer_lost => {
                    let problem = used_up(&self.name).caused_by(&error);
                    self.sign_in_failed(&problem, turn);
                }
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
            // As soon as anything leaves the machine.
            Err(Failure::NotSent(_)) => {}
            // Whatever else goes wrong, the code is good until it expires.
            other => {
                polling.answer_lost |= !matches!(other, Err(Failure::NotProcessed { .. }));
                let pause = polling.backoff.next(turn.dice).min(LONGEST_POLL_PAUSE);
                polling.next = turn.now.mono.after(pause.max(polling.interval));
            }
        }
    }

    pub(super) fn poll_when_due(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.mono;
        let outage = self.sign_in_pause(turn.now);
        if let Some(attempt) = &mut self.sign_in.attempt
            && let Step::Polling(polling) = &mut attempt.step
            && !attempt.flying
        {
            if now >= polling.expires {
                self.sign_in_failed(&expired(), turn);
            } else if now >= polling.next && outage.is_zero() && !turn.stopping {
                attempt.flying = true;
                let home = attempt.origin.oidc.clone();
                let call = Call::CreateTokenFromDeviceCode {
                    registration: Bound::new(home.clone(), polling.registration.clone()),
                    device_code: Bound::new(home, polling.authorization.device_code.clone()),
                };
                let purpose = Purpose::SignIn(attempt.number);
                if let Ok(definition) = self.usable() {
                    let route = route(definition, CALL_TIMEOUT);
                    let flight = Flight { session: self.name.clone(), era: self.era, purpose };
                    self.oidc.trying(turn.now, turn.dice);
                    turn.effects.push(Effect::Call(flight, route, call));
                }
            }
        }
    }

    pub(super) fn sign_in_is_saving(&self) -> bool {
        self.publishing.adoption.is_some()
            || self.sign_in.attempt.as_ref().is_some_and(|attempt| matches!(attempt.step, Step::Saving(_)))
    }
}

impl Polling {
    fn slow_down(&mut self, now: Now) {
        self.interval += SLOW_DOWN;
        self.next = now.mono.after(self.interval);
    }
}

/// Somebody approved, but what came of it was lost on the way.
fn used_up(name: &SessionName) -> Problem {
    let detail =
        "the service does not accept the code any more, and an earlier answer of it was lost, perhaps with the tokens";
    Problem::new(Code::SignInExpired, detail).session(name).hint("start the sign-in again")
}

fn expired() -> Problem {
    Problem::new(Code::SignInExpired, "nobody approved the sign-in in time").hint("start it again")
}

/// The most a step may take.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const SLOW_DOWN: Duration = Duration::from_secs(5);
const LONGEST_POLL_PAUSE: Duration = Duration::from_secs(30);
