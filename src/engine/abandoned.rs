//! Calls whose purpose is gone while they are up: a sign-in that was cancelled, a refresh the user signed out during.
//!
//! Owns what becomes of their answers. Invariants: tokens that nobody wants any more are revoked at the portal they came
//! from, as far as it can be reached; a client registration is kept, because another one is something the user sees.

use super::attempt::CALL_TIMEOUT;
use super::event::{Effect, Flight, Purpose, Turn};
use super::session::{Session, leads_to, route};
use crate::identity_center::{Bound, Origin};
use crate::untrusted::shown;
use crate::upstream::{Answer, Call, Reply};

/// A call that is up and that nobody waits for.
#[derive(Debug)]
pub(super) struct Abandoned {
    purpose: Purpose,
    era: u64,
    /// Where it went.
    origin: Origin,
}

impl Session {
    /// The call that is up for this brings nothing that is wanted.
    pub(super) fn abandon_call(&mut self, purpose: Purpose, origin: Origin) {
        self.abandoned.push(Abandoned { purpose, era: self.era, origin });
    }

    /// The answer to a call whose purpose is gone.
    pub(super) fn late_answer(&mut self, flight: &Flight, reply: Reply, turn: &mut Turn<'_>) {
        // A sign-in has a number of its own, and the era may have changed while its call was up.
        let is_sign_in = matches!(flight.purpose, Purpose::SignIn(_));
        let is_it = |call: &Abandoned| call.purpose == flight.purpose && (is_sign_in || call.era == flight.era);
        let Some(index) = self.abandoned.iter().position(is_it) else { return };
        let Abandoned { origin, .. } = self.abandoned.swap_remove(index);
        let here = self.usable().is_ok_and(|definition| leads_to(definition, &origin));
        match reply.result {
            // `--new-session`, given up too late: what is held is dead.
            Ok(Answer::LoggedOut) if flight.era == self.era && self.holding.is_some() => self.forget_tokens(turn),
            Ok(Answer::Registered(registration)) if here => {
                let known = self.client.as_ref().filter(|client| client.origin == origin);
                // The sign-in that took its place may have registered too.
                if known.is_none_or(|client| client.registrations.iter().all(|known| known.flow != registration.flow)) {
                    self.keep_registration(origin, registration, turn);
                }
            }
            // With another sign-in under way or complete, these may be of the same portal session.
            Ok(Answer::Token(response)) if here && self.holding.is_none() && !self.sign_in.is_pending() => {
                let (Ok(definition), false) = (self.usable(), turn.stopping) else { return };
                tracing::info!(session = %shown(self.name.as_str()), "revoking tokens that came after they were given up");
                let number = if let Purpose::SignIn(number) = flight.purpose { number } else { 0 };
                let flight = Flight { purpose: Purpose::Revoke(number), ..flight.clone() };
                let access_token = Bound::new(origin.portal, response.access_token);
                let route = route(definition, CALL_TIMEOUT);
                turn.effects.push(Effect::Call(flight, route, Call::Logout { access_token }));
            }
            _ => tracing::info!(purpose = ?flight.purpose, "an answer that nobody waits for is dropped"),
        }
    }
}
