//! The refresh of one session's access token: when it is due, its steps, and what every end of it means.
//!
//! Owns the rule that matters most here: a refresh token is presented once, and again only when it is known that the
//! service did not act on it, or, where that is unknown, as late as can be. Before it is presented, a mark is saved; what it
//! brought is saved before it is used.

use std::time::Duration;

use super::event::{Effect, Flight, Purpose, Turn, Write};
use super::expiry::Expiry;
use super::session::{Holding, Session, route};
use super::words;
use crate::api::{Code, Problem};
use crate::identity_center::{Bound, ErrorName, ServiceError, TokenResponse, TokenSet};
use crate::ids::SessionName;
use crate::schedule::{self, Backoff};
use crate::store::{Record, Refused, TokenRecord};
use crate::time::{Mono, Now};
use crate::upstream::{Answer, Call, Failure, Reply};

/// Where the refresh stands.
#[derive(Debug, Default)]
pub(super) struct Refreshing {
    step: Step,
    fate: Fate,
    backoff: Backoff,
    pause: Option<Pause>,
    /// When a refresh last reached the service.
    last_sent: Option<Mono>,
    /// The mark could not be saved: refresh only when it gets late.
    unmarkable: bool,
    started: u64,
    finished: u64,
    last: Option<Problem>,
}

#[derive(Debug, Default)]
enum Step {
    #[default]
    Idle,
    /// The mark is being saved.
    Marking(Sending),
    /// The refresh token was presented.
    Flying(Sending),
    /// What came back is being saved.
    Saving(Box<Holding>),
}

/// What must be known again when the outcome is there.
#[derive(Debug, Clone, Copy)]
struct Sending {
    /// The mark as it was before: an earlier refresh of unknown fate, if any.
    mark_before: Option<crate::time::Timestamp>,
    /// How long the access token still lived when the request was made.
    remaining: Duration,
}

/// What is known about the refresh token that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Fate {
    /// It has not been presented, or the service did not act on it.
    #[default]
    Fresh,
    /// It was presented and nobody knows; it is presented again at this time.
    Unknown(Again),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// When a quarter of the margin is left.
    Late,
    /// When the access token has expired.
    Expired,
    /// After a pause.
    Paused,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    since: Mono,
    until: Mono,
    /// Nothing left the machine: somebody who waits makes it shorter.
    not_sent: bool,
}

impl Refreshing {
    /// Takes over what a stored record says about an earlier run.
    pub(super) fn load(&mut self, record: &TokenRecord, margin: Duration) {
        if let Some(sent_at) = record.refresh_sent_at {
            self.fate = Fate::Unknown(again(record.tokens.expires_at.since(sent_at), margin));
        }
    }

    pub(super) const fn is_under_way(&self) -> bool {
        !matches!(self.step, Step::Idle)
    }

    /// The pause until the refresh token may be presented; `None` if it will not be, or is being.
    pub(super) fn wait_for_attempt(&self, session: &Session, wanted: bool, now: Now) -> Option<Duration> {
        let (holding, _) = session.held_here().ok()?;
        if self.is_under_way() || holding.record.refused.is_some() || holding.record.tokens.refresh_token.is_none() {
            return None;
        }
        if session.sign_in_is_saving() {
            // These tokens are about to be replaced, and nothing of theirs may land on disk after the new ones.
            return None;
        }
        if holding.rejected && session.portal.rejections() > 1 && !wanted {
            // A token that was just refreshed was rejected too: more of the same helps nobody.
            return None;
        }
        let lifetime = holding.record.tokens.lifetime();
        let remaining = session.remaining(now);
        let late = schedule::late_margin(session.base_margin(lifetime));
        let gap = schedule::refresh_gap(lifetime);
        let gap_left = self.last_sent.map_or(Duration::ZERO, |sent| sent.after(gap).since(now.mono));
        let by_rule = match self.fate {
            Fate::Unknown(Again::Late) => remaining.saturating_sub(late),
            Fate::Unknown(Again::Expired | Again::Paused) => remaining,
            Fate::Fresh if self.unmarkable => remaining.saturating_sub(late),
            Fate::Fresh if wanted => gap_left,
            Fate::Fresh => remaining.saturating_sub(holding.refresh_at).max(gap_left),
        };
        Some(by_rule.max(self.pause_left(wanted, now)))
    }

    fn pause_left(&self, wanted: bool, now: Now) -> Duration {
        let Some(pause) = self.pause else { return Duration::ZERO };
        let until = if wanted && pause.not_sent {
            pause.until.min(pause.since.after(schedule::LONGEST_PAUSE_WITH_A_CALLER))
        } else {
            pause.until
        };
        until.since(now.mono)
    }

    /// Forgets pauses, not fates: the network or the configuration may be another now.
    pub(super) fn forget_pauses(&mut self) {
        // With a fate unknown the pause is part of it: nothing that happens here says more about the token.
        if !self.is_unknown() {
            self.pause = None;
        }
    }

    /// The disk has room again: the next mark may succeed.
    pub(super) const fn disk_works(&mut self) {
        self.unmarkable = false;
    }

    /// The tokens it was about are no longer held: whoever waits for the end of a refresh has seen it.
    pub(super) fn abandon(&mut self) {
        *self = Self { started: self.started, finished: self.started, ..Self::default() };
    }

    pub(super) const fn is_saving(&self) -> bool {
        matches!(self.step, Step::Saving(_))
    }

    /// Why there is no token, for somebody who does not wait for the next attempt.
    pub(super) fn problem(&self, name: &SessionName, wait: Option<Duration>) -> Problem {
        let problem = self.last.clone().unwrap_or_else(|| match self.fate {
            Fate::Unknown(_) => fate_unknown(name),
            Fate::Fresh => words::refreshed_lately(name),
        });
        match wait {
            Some(wait) => problem.retry_after(wait),
            None => problem,
        }
    }

    pub(super) const fn last_failure(&self) -> Option<&Problem> {
        self.last.as_ref()
    }

    /// How the attempt with this number ended, if it has.
    pub(super) fn outcome_of(&self, number: u64) -> Option<Result<(), Problem>> {
        (self.finished >= number).then(|| self.last.clone().map_or(Ok(()), Err))
    }

    const fn is_unknown(&self) -> bool {
        matches!(self.fate, Fate::Unknown(_))
    }
}

impl Session {
    /// Starts the refresh if it is due, or wanted and allowed.
    pub(super) fn settle_refresh(&mut self, turn: &mut Turn<'_>) {
        let wanted = self.someone_needs_a_token(turn.now);
        if !turn.stopping && self.refreshing.wait_for_attempt(self, wanted, turn.now) == Some(Duration::ZERO) {
            self.start_refresh(wanted, turn);
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
        self.start_refresh(true, turn);
        Ok(Some(self.refreshing.started))
    }

    fn start_refresh(&mut self, wanted: bool, turn: &mut Turn<'_>) {
        let remaining = self.remaining(turn.now);
        let sent_at = self.skew.to_service(turn.now.wall);
        let Some(holding) = &mut self.holding else { return };
        tracing::info!(
            session = %crate::untrusted::shown(self.name.as_str()),
            remaining_s = remaining.as_secs(),
            refresh_at_s = holding.refresh_at.as_secs(),
            wanted,
            fate = ?self.refreshing.fate,
            failures = self.refreshing.backoff.failures(),
            "refreshing the access token"
        );
        let sending = Sending { mark_before: holding.record.refresh_sent_at, remaining };
        holding.record.refresh_sent_at = Some(sent_at);
        let record = Record::Tokens(holding.record.clone());
        self.refreshing.step = Step::Marking(sending);
        self.refreshing.started += 1;
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
                    self.refreshing.pause_for(Duration::from_secs(30), false, turn.now);
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
                let asked = match &failure {
                    Failure::NotProcessed { retry_after, .. } => *retry_after,
                    _ => None,
                };
                let pause = self.refreshing.backoff.next(turn.dice);
                let pause = asked.map_or(pause, |asked| asked.min(schedule::LONGEST_PAUSE).max(pause));
                let not_sent = matches!(failure, Failure::NotSent(_));
                self.refreshing.pause_for(pause, not_sent, turn.now);
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
        let record = TokenRecord { tokens, refresh_sent_at: None, refused: None, ..old.record.clone() };
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
        let Step::Saving(holding) = std::mem::take(&mut self.refreshing.step) else { return };
        tracing::info!(
            session = %crate::untrusted::shown(self.name.as_str()),
            expires_at = %holding.access.service,
            saved = outcome.is_ok(),
            "the access token is fresh"
        );
        self.holding = Some(*holding);
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
            self.refreshing.pause_for(schedule::LONGEST_PAUSE, false, turn.now);
            let failure = Failure::Refused(error.clone());
            let doing = "the refresh of the access token";
            let problem = words::failed(&self.name, doing, &failure, Some(schedule::LONGEST_PAUSE));
            self.unmark_on_disk(sending, turn);
            self.refresh_failed(problem, turn.now);
            return;
        }
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
        let client_id = record.tokens.registration.client_id.clone();
        self.save(Write::Tokens, Record::Tokens(record), turn);
        self.update_client(turn, |client| {
            if registration {
                client.registrations.retain(|registration| registration.client_id != client_id);
            } else {
                client.longest_session = client.longest_session.max(lasted);
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
            self.refreshing.pause_for(pause, false, turn.now);
        }
        let wait = self.refreshing.wait_after_unknown(self, turn.now);
        let problem = words::failed(&self.name, "the refresh of the access token", failure, wait);
        self.refresh_failed(problem, turn.now);
    }

    fn refresh_failed(&mut self, problem: Problem, now: Now) {
        tracing::warn!(
            session = %crate::untrusted::shown(self.name.as_str()),
            code = %problem.code,
            fate = ?self.refreshing.fate,
            "the access token was not refreshed: {problem}"
        );
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

impl Refreshing {
    fn pause_for(&mut self, pause: Duration, not_sent: bool, now: Now) {
        self.pause = Some(Pause { since: now.mono, until: now.mono.after(pause), not_sent });
    }

    fn wait_after_unknown(&self, session: &Session, now: Now) -> Option<Duration> {
        let idle = Self { step: Step::Idle, fate: self.fate, pause: self.pause, ..Self::default() };
        idle.wait_for_attempt(session, false, now)
    }
}

/// When a refresh token of unknown fate is presented again, given how long the access token lived when it was sent.
fn again(remaining_when_sent: Duration, margin: Duration) -> Again {
    if remaining_when_sent > schedule::late_margin(margin) {
        Again::Late
    } else if remaining_when_sent.is_zero() {
        Again::Paused
    } else {
        Again::Expired
    }
}

fn fate_unknown(name: &SessionName) -> Problem {
    let detail = format!(
        "the answer to a refresh of session {} was lost, and the service may have replaced the refresh token",
        crate::untrusted::shown(name.as_str())
    );
    Problem::new(Code::Unavailable, detail).session(name)
}

/// A refresh may take longer than any other call: giving up early would only make its fate unknown.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(60);
