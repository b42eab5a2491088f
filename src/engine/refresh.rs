//! The refresh of one session's access token: when it is due, its steps, and what every end of it means.
//!
//! Owns the rule that matters most here: a refresh token is presented once, and again only when it is known that the
//! service did not act on it, or, where that is unknown, as late as can be. Before it is presented, a mark is saved; what it
//! brought is saved before it is used.

use std::time::Duration;

use super::event::{Effect, Flight, Purpose, Turn, Write};
use super::expiry::Expiry;
use super::publish::Job;
use super::refreshing::{Again, Fate, Sending, Step, again, fate_unknown};
use super::session::{Holding, Session, route};
use super::words;
use crate::api::{Code, Problem};
use crate::identity_center::{Bound, ErrorName, ServiceError, TokenResponse, TokenSet};
use crate::schedule;
use crate::settings::Publish;
use crate::store::{Record, Refused, TokenRecord};
use crate::time::Now;
use crate::upstream::{Answer, Call, Failure, Reply};

impl Session {
    /// Starts the refresh if it is due, or wanted and allowed.
    pub(super) fn settle_refresh(&mut self, turn: &mut Turn<'_>) {
        let wanted = self.someone_needs_a_token(turn.now);
        let wait = self.refreshing.wait_for_attempt(self, wanted, turn.now);
        if !turn.stopping && wait == Some(Duration::ZERO) {
            self.begin_refresh(wanted, turn);
        } else {
            self.decided_when_to_refresh(wanted, wait, turn.now);
        }
    }

    /// A person or program asks for a refresh now. The number of the attempt to wait for, or the answer.
    pub(super) fn refresh_now(&mut self, force: bool, turn: &mut Turn<'_>) -> Result<Option<u64>, Box<Problem>> {
        let (holding, _) = self.held_here()?;
        if self.refreshing.is_under_way() {
            return Ok(Some(self.refreshing.started));
        }
        let zone = &turn.agent.time_zone;
        if let Some(refused) = &holding.record.refused {
            return Err(Box::new(words::ended(&holding.record, refused, turn.now.wall, zone)));
        }
        if holding.record.tokens.refresh_token.is_none() {
            let detail = "this session has no refresh token: it was registered without scopes";
            return Err(Box::new(Problem::new(Code::SignInRequired, detail).session(&self.name)));
        }
        if self.refreshing.is_unknown() && !force {
            let wait = self.refreshing.wait_for_attempt(self, true, turn.now);
            let problem = fate_unknown(&self.name)
                .hint("it is tried again in time; --force tries now, at the risk of the session");
            return Err(Box::new(match wait {
                Some(wait) => problem.retry_after(wait),
                None => problem,
            }));
        }
        let alive = !self.remaining(turn.now).is_zero();
        let gap = schedule::refresh_gap(holding.record.tokens.lifetime());
        let gap_left = self.refreshing.last_sent.map_or(Duration::ZERO, |sent| sent.after(gap).since(turn.now.mono));
        if !gap_left.is_zero() && (!alive || self.refreshing.last.is_some()) {
            // Nobody makes the service answer more often than once a minute: what it said lately is the answer.
            return Err(Box::new(self.refreshing.problem(&self.name, Some(gap_left))));
        }
        if alive && (!gap_left.is_zero() || holding.access.age(turn.now) < gap) {
            return Ok(None);
        }
        if self.sign_in_is_saving() {
            return Ok(None);
        }
        if turn.stopping {
            return Err(Box::new(words::shutting_down()));
        }
        self.refreshing.forget_pauses();
        self.oidc.forget_pause();
        self.begin_refresh(true, turn);
        Ok(Some(self.refreshing.started))
    }

    /// Where others can refresh it too, first a look whether they have.
    fn begin_refresh(&mut self, wanted: bool, turn: &mut Turn<'_>) {
        self.refreshing.started += 1;
        if self.is_watched() {
            self.refreshing.step = Step::Looking { wanted };
            self.look(Job::BeforeRefresh, turn);
        } else {
            self.start_refresh(wanted, turn);
        }
    }

    /// The settings name another margin: it counts for the tokens at hand too.
    pub(super) fn plan_by_settings(&mut self, turn: &mut Turn<'_>) {
        let Some(holding) = &self.holding else { return };
        let margin = self.base_margin(holding.record.tokens.lifetime());
        if let Some(holding) = &mut self.holding {
            holding.refresh_at = schedule::with_jitter(margin, turn.dice);
        }
    }

    pub(super) fn start_refresh(&mut self, wanted: bool, turn: &mut Turn<'_>) {
        let remaining = self.remaining(turn.now);
        let sent_at = self.skew.to_service(turn.now.wall);
        self.decided_to_refresh(wanted, turn.now);
        let Some(holding) = &mut self.holding else { return };
        let sending = Sending { mark_before: holding.record.refresh_sent_at, remaining };
        holding.record.refresh_sent_at = Some(sent_at);
        let record = Record::Tokens(holding.record.clone());
        self.refreshing.step = Step::Marking(sending);
        self.oidc.trying(turn.now, turn.dice);
        self.save(Write::Mark, record, turn);
    }

    /// The mark is on disk, or cannot be.
    pub(super) fn refresh_marked(&mut self, outcome: Result<(), Problem>, turn: &mut Turn<'_>) {
        let Step::Marking(sending) = self.refreshing.step else { return };
        let remaining = self.remaining(turn.now);
        match outcome {
            Ok(()) => self.refreshing.unmarkable = false,
            Err(problem) => {
                let late = self.holding.as_ref().map_or(Duration::ZERO, |holding| {
                    schedule::late_margin(self.base_margin(holding.record.tokens.lifetime()))
                });
                self.stored(Write::Tokens, Err(problem.clone()), turn.now);
                self.refreshing.unmarkable = true;
                if remaining > late || turn.stopping {
                    self.unmark(sending);
                    let until_late = remaining.saturating_sub(late);
                    self.refreshing.pause_for(until_late.min(MARK_AGAIN), turn.now);
                    self.refresh_failed(problem, turn.now);
                    return;
                }
            }
        }
        let (holding, definition) = match self.held_here() {
            Ok(held) if !turn.stopping => held,
            // The agent stops, or the configuration changed meanwhile. Nothing was sent.
            other => {
                let problem = other.err().map_or_else(words::shutting_down, |problem| *problem);
                self.unmark_on_disk(sending, turn);
                self.refresh_failed(problem, turn.now);
                return;
            }
        };
        let Some(refresh_token) = &holding.record.tokens.refresh_token else { return };
        let home = &holding.record.origin.oidc;
        let call = Call::CreateTokenFromRefreshToken {
            registration: Bound::new(home.clone(), holding.record.tokens.registration.clone()),
            refresh_token: Bound::new(home.clone(), refresh_token.clone()),
        };
        let flight = Flight { session: self.name.clone(), era: self.era, purpose: Purpose::Refresh };
        turn.effects.push(Effect::Call(flight, route(definition, REFRESH_TIMEOUT), call));
        self.refreshing.step = Step::Flying(Sending { remaining, ..sending });
    }

    /// The service has answered, or not.
    pub(super) fn refresh_finished(&mut self, reply: Reply, turn: &mut Turn<'_>) {
        let Step::Flying(sending) = self.refreshing.step else { return };
        match reply.result {
            Ok(Answer::Token(response)) => {
                self.refreshing.last_sent = Some(turn.now.mono);
                self.refresh_brought(response, reply.started, turn);
            }
            Ok(_) => self.fate_is_unknown(
                sending,
                &Failure::Unknown(crate::upstream::Unclear::UnusableBody("the answer of another operation".to_owned())),
                turn,
            ),
            Err(Failure::Refused(error)) => self.refresh_refused(sending, &error, turn),
            Err(failure @ Failure::Unknown(_)) => self.fate_is_unknown(sending, &failure, turn),
            Err(failure @ (Failure::NotSent(_) | Failure::NotProcessed { .. })) => {
                let pause = match &failure {
                    Failure::NotProcessed { retry_after, .. } => {
                        let asked = retry_after.unwrap_or_default().min(schedule::LONGEST_PAUSE);
                        let pause = self.refreshing.backoff.next(turn.dice).max(asked);
                        self.refreshing.pause_for(pause, turn.now);
                        pause
                    }
                    // Whoever asks again waits no longer than this.
                    _ => self.oidc.pause_left(true, turn.now),
                };
                let problem = words::failed(&self.name, "the refresh of the access token", &failure, Some(pause));
                self.unmark_on_disk(sending, turn);
                self.refresh_failed(problem, turn.now);
            }
        }
    }

    fn refresh_brought(&mut self, response: TokenResponse, started: Now, turn: &mut Turn<'_>) {
        let Some(old) = &self.holding else { return };
        let issued_at = self.skew.to_service(started.wall);
        let tokens = TokenSet {
            access_token: response.access_token,
            token_type: response.token_type,
            issued_at,
            expires_at: issued_at.after(response.expires_in),
            refresh_token: response.refresh_token.or_else(|| old.record.tokens.refresh_token.clone()),
            registration: old.record.tokens.registration.clone(),
        };
        let clock_ahead = self.skew.ahead_millis();
        let record = TokenRecord { tokens, clock_ahead, refresh_sent_at: None, refused: None, ..old.record.clone() };
        let holding = Box::new(self.new_holding(record.clone(), started, response.expires_in, turn));
        self.refreshing.step = Step::Saving(holding);
        self.save(Write::Refreshed, Record::Tokens(record), turn);
    }

    /// Fresh tokens as they are held.
    pub(super) fn new_holding(
        &self,
        record: TokenRecord,
        started: Now,
        lifetime: Duration,
        turn: &mut Turn<'_>,
    ) -> Holding {
        Holding {
            access: Expiry::of_lifetime(started, lifetime, self.skew),
            rejected: false,
            saved: true,
            refresh_at: schedule::with_jitter(self.base_margin(lifetime), turn.dice),
            record,
        }
    }

    /// What the refresh brought is on disk, or cannot be: now it is used.
    pub(super) fn refresh_saved(&mut self, outcome: Result<(), Problem>, turn: &mut Turn<'_>) {
        let holding = match std::mem::take(&mut self.refreshing.step) {
            Step::Saving(holding) => holding,
            // Nobody waits for this word: what is under way goes on, for its answer must not be dropped.
            other => {
                self.refreshing.step = other;
                return;
            }
        };
        tracing::info!(
            session = %crate::untrusted::shown(self.name.as_str()),
            expires_at = %holding.access.service,
            lifetime_s = holding.record.tokens.lifetime().as_secs(),
            refresh_at_s = holding.refresh_at.as_secs(),
            saved = outcome.is_ok(),
            "the access token is fresh"
        );
        self.holding = Some(*holding);
        self.publishing.session_lives();
        // The settings may have changed while it was being saved.
        self.plan_by_settings(turn);
        self.portal.token_changed();
        self.refreshing.fate = Fate::Fresh;
        self.refreshing.backoff.reset();
        self.refreshing.pause = None;
        self.refreshing.last = None;
        self.refreshing.finished = self.refreshing.started;
        self.last_error = None;
        self.stored(Write::Tokens, outcome, turn.now);
    }

    fn refresh_refused(&mut self, sending: Sending, error: &ServiceError, turn: &mut Turn<'_>) {
        self.refreshing.last_sent = Some(turn.now.mono);
        let registration = error.name == ErrorName::InvalidClient;
        if !registration && !matches!(error.name, ErrorName::InvalidGrant | ErrorName::ExpiredToken) {
            self.refreshing.pause_for(schedule::LONGEST_PAUSE, turn.now);
            let failure = Failure::Refused(error.clone());
            let doing = "the refresh of the access token";
            let problem = words::failed(&self.name, doing, &failure, Some(schedule::LONGEST_PAUSE));
            self.unmark_on_disk(sending, turn);
            self.refresh_failed(problem, turn.now);
            return;
        }
        if self.settings.publish == Publish::Full {
            // Somebody else may have refreshed it: then this one is used up, and theirs is good.
            self.refreshing.step = Step::Doubting(Box::new((sending, error.clone())));
            self.look(Job::AfterRefusal, turn);
        } else {
            self.refused_for_good(sending, error, turn);
        }
    }

    pub(super) fn refused_for_good(&mut self, sending: Sending, error: &ServiceError, turn: &mut Turn<'_>) {
        let registration = error.name == ErrorName::InvalidClient;
        let was_unknown = sending.mark_before.is_some();
        let skew = self.skew;
        let Some(holding) = &mut self.holding else { return };
        let mut message = words::refusal(error);
        if was_unknown {
            message.push_str("; the answer to an earlier refresh was lost, the session may have ended with it");
        }
        let refused = Refused {
            at: turn.now.wall,
            last_alive: skew.to_ours(holding.record.tokens.issued_at),
            registration,
            message,
        };
        holding.record.refresh_sent_at = None;
        holding.record.refused = Some(refused.clone());
        let record = holding.record.clone();
        let problem = words::ended(&record, &refused, turn.now.wall, &turn.agent.time_zone);
        let lasted = refused.at.since(record.signed_in_at);
        // After a night of sleep nobody knows when it was.
        let watched = refused.at.since(refused.last_alive) <= record.tokens.lifetime() * 2;
        let seen = Some(refused.last_alive.since(record.signed_in_at)).filter(|long| watched && !long.is_zero());
        let client_id = record.tokens.registration.client_id.clone();
        self.save(Write::Tokens, Record::Tokens(record), turn);
        self.update_client(turn, |client| {
            if registration {
                client.registrations.retain(|registration| registration.client_id != client_id);
            } else {
                client.longest_session = client.longest_session.max(lasted);
                client.last_session = seen.or(client.last_session);
            }
        });
        self.refreshing.fate = Fate::Fresh;
        self.refresh_failed(problem, turn.now);
    }

    fn fate_is_unknown(&mut self, sending: Sending, failure: &Failure, turn: &mut Turn<'_>) {
        self.refreshing.last_sent = Some(turn.now.mono);
        let margin = self.holding.as_ref().map_or(Duration::ZERO, |h| self.base_margin(h.record.tokens.lifetime()));
        let stage = again(sending.remaining, margin);
        self.refreshing.fate = Fate::Unknown(stage);
        if stage == Again::Paused {
            let pause = self.refreshing.backoff.next(turn.dice);
            self.refreshing.pause_for(pause, turn.now);
        }
        let wait = self.refreshing.wait_after_unknown(self, turn.now);
        self.decided_by_the_late_rule(sending.remaining, wait);
        let problem = words::failed(&self.name, "the refresh of the access token", failure, wait);
        self.refresh_failed(problem, turn.now);
    }

    fn refresh_failed(&mut self, problem: Problem, now: Now) {
        self.refresh_has_failed(&problem, now);
        self.note(&problem, now);
        self.refreshing.step = Step::Idle;
        self.refreshing.finished = self.refreshing.started;
        self.refreshing.last = Some(problem);
    }

    fn unmark(&mut self, sending: Sending) {
        if let Some(holding) = &mut self.holding {
            holding.record.refresh_sent_at = sending.mark_before;
        }
    }

    fn unmark_on_disk(&mut self, sending: Sending, turn: &mut Turn<'_>) {
        self.unmark(sending);
        if let Some(holding) = &self.holding {
            let record = Record::Tokens(holding.record.clone());
            self.save(Write::Tokens, record, turn);
        }
    }
}

/// A refresh may take longer than any other call: giving up early would only make its fate unknown.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(60);
/// After a mark that could not be saved, unless it gets late before.
const MARK_AGAIN: Duration = Duration::from_secs(30);
