//! The steps that every sign-in has: end the old session, register the client, save the tokens.
//!
//! Owns what is known while an attempt is under way. Refuses to know who may start one and who waits for it, and what a
//! flow is in between. Invariant: tokens are saved before they are used.

use std::time::Duration;

use super::browser_flow::{Awaiting, Exchanging};
use super::device_flow::Polling;
use super::event::{Effect, Flight, Purpose, Turn, Waiter, Write};
use super::session::{Holding, Session, route};
use super::words;
use crate::api::{Code, FlowChosenBy, Problem, StartedBy};
use crate::identity_center::{ClientRegistration, ErrorName, Flow, Origin, TokenResponse, TokenSet};
use crate::ids::SessionName;
use crate::store::{Record, TokenRecord};
use crate::time::Now;
use crate::upstream::{Answer, Call, Failure, Reply};

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) number: u64,
    pub(super) flow: Flow,
    pub(super) flow_chosen_by: FlowChosenBy,
    pub(super) started_by: StartedBy,
    pub(super) started: Now,
    pub(super) origin: Origin,
    /// What the service is told: the configured start URL, or the one it leads to.
    pub(super) start_url: String,
    pub(super) step: Step,
    /// A call is up.
    pub(super) flying: bool,
    /// Who waits for the verification members.
    pub(super) starters: Vec<Starter>,
    /// A client the service no longer knew was registered again once.
    pub(super) registered_again: bool,
    /// For its sake the session that was there has been ended.
    pub(super) ended_the_old: bool,
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
    /// The start URL is not AWS's own: its host is asked where it leads.
    Resolving {
        new_session: bool,
    },
    /// The old session is being ended at the portal.
    EndingTheOld,
    Registering,
    Authorizing(ClientRegistration),
    Polling(Box<Polling>),
    /// The place that the browser comes back to is being opened.
    Listening(ClientRegistration),
    /// The user is in the browser.
    Awaiting(Box<Awaiting>),
    /// The browser has come back with a code.
    Exchanging(Box<Exchanging>),
    /// The tokens are being saved.
    Saving(Box<Holding>),
}

impl Session {
    /// With a client registration that serves, go on; else register one.
    pub(super) fn register_or_authorize(&mut self, turn: &mut Turn<'_>) {
        let Ok(definition) = self.usable() else { return };
        let Some(attempt) = &self.sign_in.attempt else { return };
        let (flow, scopes, start_url) = (attempt.flow, definition.scopes.clone(), attempt.start_url.clone());
        let known = self.client.as_ref().filter(|client| client.origin == attempt.origin);
        let longest = self.client.as_ref().map_or(Duration::ZERO, |client| client.longest_session);
        // When it expires is a time of the service's clock.
        let now = self.skew.to_service(turn.now.wall);
        // A browser that never comes back may be looking at the service's page about a client that is gone.
        let doubtful = flow == Flow::Browser && self.sign_in.fruitless >= FRUITLESS_MOST;
        let registration = known.filter(|_| !doubtful).and_then(|client| {
            client
                .registrations
                .iter()
                .find(|known| known.flow == flow && known.serves_a_sign_in(now, &scopes, longest))
        });
        match registration.cloned() {
            Some(registration) => self.authorize(registration, turn),
            None => {
                let client_name = turn.agent.client_name.clone();
                self.sign_in_step(
                    Step::Registering,
                    Call::RegisterClient { client_name, scopes, flow, start_url },
                    turn,
                );
            }
        }
    }

    /// What is the flow's own begins.
    fn authorize(&mut self, registration: ClientRegistration, turn: &mut Turn<'_>) {
        match registration.flow {
            Flow::Device => self.authorize_device(registration, turn),
            Flow::Browser => self.listen(registration, turn),
        }
    }

    pub(super) fn sign_in_step(&mut self, step: Step, call: Call, turn: &mut Turn<'_>) {
        if turn.stopping {
            self.sign_in_failed(&words::shutting_down().session(&self.name), turn);
            return;
        }
        if let Some(attempt) = &mut self.sign_in.attempt {
            attempt.step = step;
        }
        self.oidc.trying(turn.now, turn.dice);
        self.call_for_sign_in(call, turn);
    }

    /// Makes a call of the sign-in that is under way.
    pub(super) fn call_for_sign_in(&mut self, call: Call, turn: &mut Turn<'_>) {
        let Ok(definition) = self.usable() else { return };
        let route = route(definition, CALL_TIMEOUT);
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        attempt.flying = true;
        let purpose = Purpose::SignIn(attempt.number);
        turn.effects.push(Effect::Call(Flight { session: self.name.clone(), era: self.era, purpose }, route, call));
    }

    /// A call of the sign-in has ended.
    pub(super) fn sign_in_finished(&mut self, reply: Reply, turn: &mut Turn<'_>) {
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        attempt.flying = false;
        match (&mut attempt.step, reply.result) {
            (Step::Resolving { new_session }, result) => {
                let new_session = *new_session;
                self.start_url_resolved(result, new_session, turn);
            }
            (Step::EndingTheOld, result) => self.old_session_ended(result, turn),
            (Step::Registering, Ok(Answer::Registered(registration))) => {
                let origin = attempt.origin.clone();
                self.sign_in.fruitless = 0;
                self.keep_registration(origin, registration.clone(), turn);
                self.authorize(registration, turn);
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
                let registration = registration.clone();
                self.poll_from_now_on(registration, authorization, reply.started, turn);
            }
            (Step::Polling(_), result) => self.polled(result, reply.started, turn),
            (Step::Exchanging(_), result) => self.exchanged(result, reply.started, turn),
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
            _ => {}
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
    pub(super) fn forget_registration(&mut self, client_id: &str, turn: &mut Turn<'_>) {
        self.update_client(turn, |client| {
            client.registrations.retain(|registration| registration.client_id != client_id);
        });
    }

    /// Asks a host that is not AWS's: whether it can be reached says nothing about AWS.
    pub(super) fn resolve_start_url(&mut self, new_session: bool, turn: &mut Turn<'_>) {
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        attempt.step = Step::Resolving { new_session };
        let call = Call::ResolveStartUrl { start_url: attempt.start_url.clone() };
        self.call_for_sign_in(call, turn);
    }

    /// The host of the start URL has said where it leads.
    fn start_url_resolved(&mut self, result: Result<Answer, Failure>, new_session: bool, turn: &mut Turn<'_>) {
        let Ok(definition) = self.usable() else { return };
        let problem = match result {
            Ok(Answer::StartUrl(Ok(resolved))) => match resolved.region {
                Some(region) if region != definition.region => words::other_region(definition, &region),
                _ => {
                    if let Some(attempt) = &mut self.sign_in.attempt {
                        // What is registered is so at this issuer.
                        attempt.origin.resolved_start_url.clone_from(&resolved.url);
                        attempt.start_url = resolved.url;
                    }
                    self.end_the_old_or_register(new_session, turn);
                    return;
                }
            },
            Ok(Answer::StartUrl(Err(misled))) => words::misled(definition, &misled),
            Ok(_) => return,
            Err(failure) => words::start_url_not_asked(definition, &failure),
        };
        self.sign_in_failed(&problem.session(&self.name), turn);
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
        if let Some(attempt) = &mut self.sign_in.attempt {
            attempt.ended_the_old = true;
        }
        self.register_or_authorize(turn);
    }

    /// The tokens are there: they are saved, then used.
    pub(super) fn tokens_came(
        &mut self,
        response: TokenResponse,
        registration: ClientRegistration,
        started: Now,
        turn: &mut Turn<'_>,
    ) {
        let Some(attempt) = &self.sign_in.attempt else { return };
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
                registration,
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
        if self.publishing.adoption.take().is_some() {
            self.answer_adopters(&Err(words::being_replaced(&self.name)), turn);
        }
        // From here on no result about the old tokens may land on disk after the new ones.
        self.era += 1;
        self.refreshing.abandon();
        self.save(Write::SignedIn, Record::Tokens(record), turn);
    }

    /// Whether other tokens are on their way to disk, of our own sign-in or of one that is taken over.
    pub(super) fn sign_in_is_saving(&self) -> bool {
        self.publishing.adoption.is_some() || self.attempt_is_saving()
    }

    /// Whether the sign-in under way has its tokens: nobody throws them away.
    pub(super) fn attempt_is_saving(&self) -> bool {
        self.sign_in.attempt.as_ref().is_some_and(|attempt| matches!(attempt.step, Step::Saving(_)))
    }
}

/// Somebody approved, but what came of it was lost on the way.
pub(super) fn used_up(name: &SessionName) -> Problem {
    let detail =
        "the service does not accept the code any more, and an earlier answer of it was lost, perhaps with the tokens";
    Problem::new(Code::SignInExpired, detail).session(name).hint("start the sign-in again")
}

pub(super) fn expired() -> Problem {
    Problem::new(Code::SignInExpired, "nobody approved the sign-in in time").hint("start it again")
}

/// The most a step may take.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// So often in a row, and the client is registered anew.
const FRUITLESS_MOST: u32 = 2;
