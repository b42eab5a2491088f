//! The steps of a sign-in by device code (RFC 8628): authorize, poll.
//!
//! Owns the device code, which is gone with the attempt. Refuses to know what comes before and after. Invariant: nobody
//! is polled faster than the service allows, and nothing but the service's word or the code's end ends it.

use std::time::Duration;

use super::attempt::{Step, expired, used_up};
use super::event::Turn;
use super::session::Session;
use super::words;
use crate::api::{Code, Problem};
use crate::identity_center::{Bound, ClientRegistration, DeviceAuthorization, ErrorName};
use crate::schedule::Backoff;
use crate::time::{Mono, Now, Timestamp};
use crate::upstream::{Answer, Call, Failure};

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
    /// Asks for a device code and the user code that goes with it.
    pub(super) fn authorize_device(&mut self, registration: ClientRegistration, turn: &mut Turn<'_>) {
        let Ok(definition) = self.usable() else { return };
        let Some(attempt) = &self.sign_in.attempt else { return };
        let start_url = attempt.start_url.clone();
        let bound = Bound::new(definition.endpoints.oidc.clone(), registration.clone());
        let call = Call::StartDeviceAuthorization { registration: bound, start_url };
        self.sign_in_step(Step::Authorizing(registration), call, turn);
    }

    /// There is a code to show, and to poll with.
    pub(super) fn poll_from_now_on(
        &mut self,
        registration: ClientRegistration,
        authorization: DeviceAuthorization,
        started: Now,
        turn: &mut Turn<'_>,
    ) {
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        let lifetime = authorization.expires_in;
        // A service that names no pause is not asked without one.
        let interval = authorization.interval.max(SHORTEST_INTERVAL);
        attempt.step = Step::Polling(Box::new(Polling {
            registration,
            expires: started.mono.after(lifetime),
            expires_at: self.skew.to_service(started.wall.after(lifetime)),
            interval,
            next: turn.now.mono.after(interval),
            backoff: Backoff::default(),
            answer_lost: false,
            authorization,
        }));
        self.answer_starters(turn);
    }

    pub(super) fn polled(&mut self, result: Result<Answer, Failure>, started: Now, turn: &mut Turn<'_>) {
        let Some(attempt) = &mut self.sign_in.attempt else { return };
        let Step::Polling(polling) = &mut attempt.step else { return };
        polling.next = turn.now.mono.after(polling.interval);
        match result {
            Ok(Answer::Token(response)) => {
                let registration = polling.registration.clone();
                self.tokens_came(response, registration, started, turn);
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
                let home = attempt.origin.oidc.clone();
                let call = Call::CreateTokenFromDeviceCode {
                    registration: Bound::new(home.clone(), polling.registration.clone()),
                    device_code: Bound::new(home, polling.authorization.device_code.clone()),
                };
                self.oidc.trying(turn.now, turn.dice);
                self.call_for_sign_in(call, turn);
            }
        }
    }
}

impl Polling {
    fn slow_down(&mut self, now: Now) {
        self.interval += SLOW_DOWN;
        self.next = now.mono.after(self.interval);
    }
}

const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const SLOW_DOWN: Duration = Duration::from_secs(5);
const LONGEST_POLL_PAUSE: Duration = Duration::from_secs(30);
