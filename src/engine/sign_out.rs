//! The sign-out of one session: its tokens go from memory and disk, and the portal is told.
//!
//! Invariant: whatever the portal says, nothing is left here when the answer is given; client registrations stay.

use super::attempt::{Attempt, Step};
use super::event::{Effect, Purpose, Ticket, Turn, Waiter, WaiterId, Write};
use super::session::{Session, SignOut, TokenWaiter, Wants};
use super::words;
use crate::api::{LoggedOut, Problem, Response};
use crate::store::RecordKind;
use crate::time::{Mono, Now};
use crate::upstream::Call;

impl Session {
    /// `DELETE /v1/sessions/{s}`.
    pub(super) fn logout(&mut self, waiter: Waiter, turn: &mut Turn<'_>) {
        if let Some(Attempt { step: Step::Saving(holding), .. }) = self.sign_in.attempt.as_deref() {
            // Approved and on its way to disk: the portal is told of that one.
            self.holding = Some((**holding).clone());
        } else if let Some(holding) = &self.publishing.adoption {
            self.holding = Some((**holding).clone());
        }
        self.sign_in_ends_with_the_session(turn);
        self.signed_out_on_purpose(turn);
        let era = self.era + 1;
        let asked =
            self.call_portal(Purpose::Logout, era, LOGOUT_TIMEOUT, turn, |access_token| Call::Logout { access_token });
        let was_signed_in = self.holding.is_some() || self.sealed.is_some();
        self.forget_tokens(turn);
        self.portal.forget_credentials();
        let revoked = if asked { None } else { Some(false) };
        self.sign_out.push(SignOut { waiter, era, was_signed_in, revoked, deleted: None });
        tracing::info!(session = %crate::untrusted::shown(self.name.as_str()), portal_asked = asked, "signing out");
    }

    /// Tokens go from memory and disk.
    pub(super) fn forget_tokens(&mut self, turn: &mut Turn<'_>) {
        if let (true, Some(holding)) = (self.refreshing.is_flying(), &self.holding) {
            self.abandon_call(Purpose::Refresh, holding.record.origin.clone());
        }
        self.era += 1;
        self.refreshing.abandon();
        if self.publishing.adoption.take().is_some() {
            self.answer_adopters(&Err(words::signed_out(&self.name, false)), turn);
        }
        self.holding = None;
        self.sealed = None;
        self.last_error = None;
        self.portal.new_era();
        self.withdraw(turn);
        self.delete_tokens(turn);
    }

    pub(super) fn delete_tokens(&mut self, turn: &mut Turn<'_>) {
        self.undeleted = true;
        let ticket = Ticket { session: self.name.clone(), era: self.era, write: Write::SignedOut };
        turn.effects.push(Effect::Delete(ticket, self.name.clone(), RecordKind::Tokens));
    }

    /// The portal has answered to the sign-out.
    pub(super) fn portal_signed_out(&mut self, era: u64, revoked: bool) {
        for sign_out in self.sign_out.iter_mut().filter(|sign_out| sign_out.era == era) {
            sign_out.revoked = Some(revoked);
        }
    }

    /// The token record is gone from disk, or cannot be deleted.
    pub(super) fn tokens_deleted(&mut self, era: u64, outcome: Result<(), Problem>, now: Now) {
        match &outcome {
            Ok(()) => {
                self.undeleted = false;
                self.disk_took_it();
            }
            Err(problem) => {
                self.save_later(now);
                self.note(problem, now);
            }
        }
        for sign_out in self.sign_out.iter_mut().filter(|sign_out| sign_out.era == era) {
            sign_out.deleted = Some(outcome.clone());
        }
    }

    /// Answers sign-outs that are complete, or whose caller has waited long enough.
    pub(super) fn settle_sign_out(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.mono;
        let complete = |sign_out: &mut SignOut| {
            (sign_out.revoked.is_some() && sign_out.deleted.is_some()) || sign_out.waiter.deadline <= now
        };
        let done: Vec<SignOut> = self.sign_out.extract_if(.., complete).collect();
        for SignOut { waiter, was_signed_in, revoked, deleted, .. } in done {
            let answer = match deleted {
                Some(Ok(())) => {
                    let revoked = revoked.unwrap_or(false);
                    Ok(Response::LoggedOut(LoggedOut { was_signed_in, revoked }))
                }
                Some(Err(problem)) => Err(problem),
                None => Err(words::timed_out("the sign-out", &self.name)),
            };
            turn.answer(waiter.id, answer);
        }
    }

    /// `POST …/refresh`.
    pub(super) fn asked_to_refresh(
        &mut self,
        waiter: WaiterId,
        force: bool,
        turn: &mut Turn<'_>,
    ) -> Option<Result<Response, Problem>> {
        match self.refresh_now(force, turn) {
            Ok(Some(number)) => {
                let waiter = Waiter { id: waiter, deadline: turn.now.mono.after(REFRESH_PATIENCE) };
                self.token_waiters.push(TokenWaiter { waiter, wants: Wants::Refresh(number) });
                None
            }
            Ok(None) => Some(Ok(Response::Session(Box::new(self.status(turn.now))))),
            Err(problem) => Some(Err(*problem)),
        }
    }

    /// Everything that is due for this session.
    pub(super) fn settle(&mut self, turn: &mut Turn<'_>) {
        if let Some(holding) = &mut self.holding {
            holding.access.settle(turn.now, self.skew);
        }
        self.settle_sign_in(turn);
        self.settle_sign_out(turn);
        self.settle_saves(turn);
        self.settle_token_waiters(turn);
        self.settle_portal(turn);
        self.settle_visits(turn);
        self.sign_in_on_demand(turn);
        // After the questions of this turn, so that what they need is known.
        self.settle_refresh(turn);
        self.announce(turn);
        self.settle_publishing(turn);
    }

    /// The agent stops: nobody waits longer than this.
    pub(super) fn bound_patience(&mut self, deadline: Mono) {
        let waiters = self.token_waiters.iter_mut().map(|waiting| &mut waiting.waiter);
        let waiters = waiters.chain(&mut self.publishing.adopters);
        for waiter in waiters.chain(self.sign_out.iter_mut().map(|sign_out| &mut sign_out.waiter)) {
            waiter.deadline = waiter.deadline.min(deadline);
        }
        self.portal.bound_patience(deadline);
        self.visits.bound_patience(deadline);
        self.sign_in.bound_patience(deadline);
    }
}

const LOGOUT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
const REFRESH_PATIENCE: std::time::Duration = std::time::Duration::from_secs(75);
