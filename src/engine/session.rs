//! One session: what is held for it, and what can be had with that.
//!
//! Owns the tokens. Invariant: a token is readable only through [`Session::token`], which asks for its expiry, for
//! the service's refusal and for its origin first.

use std::time::Duration;

use super::abandoned::Abandoned;
use super::console::Visits;
use super::event::{Effect, Flight, Purpose, Ticket, Turn, Waiter, Write};
use super::expiry::{Expiry, Skew};
use super::notices::Notices;
use super::on_demand::OnDemand;
use super::outage::Outage;
use super::portal::Portal;
use super::publish::Publishing;
use super::refreshing::Refreshing;
use super::sign_in::SignIn;
use super::words;
use crate::api::{Code, LastError, Problem, Response, Token};
use crate::aws_config::{Rejected, SelectError, SessionDefinition};
use crate::identity_center::{Bound, Flow, Origin};
use crate::ids::SessionName;
use crate::schedule;
use crate::secret::Secret;
use crate::settings::SessionSettings;
use crate::store::{ClientRecord, Record, TokenRecord};
use crate::time::{Mono, Now};
use crate::upstream::{Call, Route};

/// Everything about one session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) name: SessionName,
    /// As configured now; `None` for a session that is no longer there but whose tokens are kept.
    pub(super) definition: Option<Result<SessionDefinition, Rejected>>,
    pub(super) settings: SessionSettings,
    pub(super) skew: Skew,
    pub(super) client: Option<ClientRecord>,
    pub(super) client_saved: bool,
    pub(super) holding: Option<Holding>,
    /// Bumped by sign-in and sign-out: a refresh of an older era is about tokens that are no longer held.
    pub(super) era: u64,
    pub(super) refreshing: Refreshing,
    pub(super) sign_in: SignIn,
    pub(super) on_demand: OnDemand,
    pub(super) notices: Notices,
    pub(super) abandoned: Vec<Abandoned>,
    pub(super) portal: Portal,
    pub(super) visits: Visits,
    /// Of the way to sso-oidc.
    pub(super) oidc: Outage,
    pub(super) token_waiters: Vec<TokenWaiter>,
    pub(super) sign_out: Vec<SignOut>,
    pub(super) last_error: Option<LastError>,
    /// When a write failed: the next attempt.
    pub(super) save_again: Option<Mono>,
    /// Tokens that were let go may still be on disk: their record is being deleted, or could not be.
    pub(super) undeleted: bool,
    pub(super) publishing: Publishing,
    /// A sign-in is stored and cannot be read, for this reason.
    pub(super) sealed: Option<Box<Problem>>,
    /// When an edit of the configuration last ended its pauses.
    pub(super) edited: Option<Mono>,
}

/// Tokens, and what is known about them in this run.
#[derive(Debug, Clone)]
pub(super) struct Holding {
    pub(super) record: TokenRecord,
    pub(super) access: Expiry,
    /// The portal answered 401 to it.
    pub(super) rejected: bool,
    pub(super) saved: bool,
    /// Refresh when this much is left.
    pub(super) refresh_at: Duration,
}

/// Somebody who waits for a token or for the end of a refresh.
#[derive(Debug)]
pub(super) struct TokenWaiter {
    pub(super) waiter: Waiter,
    pub(super) wants: Wants,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// The access token with so much left.
    Token(Duration),
    /// The end of the refresh with this number.
    Refresh(u64),
}

/// A sign-out under way.
#[derive(Debug)]
pub(super) struct SignOut {
    pub(super) waiter: Waiter,
    pub(super) era: u64,
    pub(super) was_signed_in: bool,
    pub(super) revoked: Option<bool>,
    pub(super) deleted: Option<Result<(), Problem>>,
}

/// What can be had.
#[derive(Debug)]
pub(super) enum Outlook {
    Ready,
    /// It will be there, or the reason why not.
    Wait,
    /// Only with a sign-in, which is under way or will be; until then this is the problem.
    SignIn(Box<Problem>),
    Never(Box<Problem>),
}

impl Session {
    pub(super) fn new(name: SessionName) -> Self {
        Self {
            name,
            definition: None,
            settings: SessionSettings::default(),
            skew: Skew::default(),
            client: None,
            client_saved: true,
            holding: None,
            era: 0,
            refreshing: Refreshing::default(),
            sign_in: SignIn::default(),
            on_demand: OnDemand::default(),
            notices: Notices::default(),
            abandoned: Vec::new(),
            portal: Portal::default(),
            visits: Visits::default(),
            oidc: Outage::default(),
            token_waiters: Vec::new(),
            sign_out: Vec::new(),
            last_error: None,
            save_again: None,
            undeleted: false,
            publishing: Publishing::default(),
            sealed: None,
            edited: None,
        }
    }

    /// Takes a record found at start.
    pub(super) fn load(&mut self, record: Record, turn: &mut Turn<'_>) {
        match record {
            Record::Client(client) => self.merge_client(client),
            Record::Tokens(record) if self.wants_stored_tokens() => {
                self.skew = Skew::of_record(&record, turn.now.wall);
                let margin = self.base_margin(record.tokens.lifetime());
                self.refreshing.load(&record, margin, self.skew, turn.now);
                let refresh_at = schedule::with_jitter(margin, turn.dice);
                let access = Expiry::of_record(&record, turn.now, self.skew);
                self.holding = Some(Holding { record, access, rejected: false, saved: true, refresh_at });
            }
            Record::Tokens(_) => {}
        }
    }

    /// The definition, if there is one to work with.
    pub(super) fn usable(&self) -> Result<&SessionDefinition, Box<Problem>> {
        match &self.definition {
            Some(Ok(definition)) => Ok(definition),
            Some(Err(rejected)) => Err(Box::new(words::unselected(SelectError::Rejected(rejected.clone())))),
            None => Err(Box::new(words::unselected(SelectError::UnknownSession {
                name: self.name.to_string(),
                did_you_mean: None,
            }))),
        }
    }

    /// The tokens, if configuration still leads to where they came from.
    pub(super) fn held_here(&self) -> Result<(&Holding, &SessionDefinition), Box<Problem>> {
        let definition = self.usable()?;
        let Some(holding) = &self.holding else {
            let pending = self.sign_in.is_pending();
            let sealed = self.sealed.clone().filter(|_| !pending);
            return Err(sealed.unwrap_or_else(|| Box::new(words::signed_out(&self.name, pending))));
        };
        if leads_to(definition, &holding.record.origin) {
            Ok((holding, definition))
        } else {
            Err(Box::new(words::moved(&self.name, &holding.record.origin, definition)))
        }
    }

    pub(super) fn base_margin(&self, lifetime: Duration) -> Duration {
        match self.settings.refresh_margin {
            // A margin that eats the whole lifetime would refresh without end.
            Some(wanted) => wanted.min(lifetime / 2),
            None => schedule::refresh_margin(lifetime),
        }
    }

    /// How long the access token can still be used: nothing once the portal has rejected it.
    pub(super) fn remaining(&self, now: Now) -> Duration {
        match &self.holding {
            Some(holding) if !holding.rejected => holding.access.remaining(now, self.skew),
            _ => Duration::ZERO,
        }
    }

    /// [`Session::outlook`] without regard to what a sign-in may bring.
    pub(super) fn outlook_of_tokens(&self, min_validity: Duration, patience: Duration, turn: &Turn<'_>) -> Outlook {
        let (holding, _) = match self.held_here() {
            Ok(held) => held,
            Err(problem) => return Outlook::Never(problem),
        };
        let now = turn.now;
        let remaining = self.remaining(now);
        let lifetime = holding.record.tokens.lifetime();
        let wanted = min_validity.min(lifetime.saturating_sub(Duration::from_secs(60)));
        let young = holding.access.age(now) < schedule::refresh_gap(lifetime);
        if remaining > wanted || (young && !remaining.is_zero()) {
            return Outlook::Ready;
        }
        if self.refreshing.is_under_way() {
            return Outlook::Wait;
        }
        let still_valid = !remaining.is_zero();
        if holding.record.tokens.refresh_token.is_none() || holding.record.refused.is_some() {
            return if still_valid { Outlook::Ready } else { Outlook::Never(Box::new(self.over(holding, turn))) };
        }
        match self.refreshing.wait_for_attempt(self, true, now) {
            Some(wait) if wait.is_zero() => Outlook::Wait,
            _ if still_valid => Outlook::Ready,
            Some(wait) if wait < patience => Outlook::Wait,
            wait => Outlook::Never(Box::new(self.refreshing.problem(&self.name, wait))),
        }
    }

    fn over(&self, holding: &Holding, turn: &Turn<'_>) -> Problem {
        let (now, zone) = (turn.now.wall, &turn.agent.time_zone);
        match &holding.record.refused {
            Some(refused) => words::ended(&holding.record, refused, now, zone),
            None if holding.rejected => words::rejected(&self.name),
            None => words::expired(&holding.record, self.skew.to_ours(holding.access.service), now, zone),
        }
    }

    /// The access token, for a call or an answer.
    pub(super) fn token(&self, now: Now) -> Option<(&Secret, &Holding, &SessionDefinition)> {
        let (holding, definition) = self.held_here().ok()?;
        (!self.remaining(now).is_zero()).then_some((&holding.record.tokens.access_token, holding, definition))
    }

    /// Makes a call to the portal with the access token.
    pub(super) fn call_portal(
        &self,
        purpose: Purpose,
        era: u64,
        timeout: Duration,
        turn: &mut Turn<'_>,
        call: impl FnOnce(Bound<Secret>) -> Call,
    ) -> bool {
        let Some((token, holding, definition)) = self.token(turn.now) else { return false };
        let bound = Bound::new(holding.record.origin.portal.clone(), token.clone());
        let flight = Flight { session: self.name.clone(), era, purpose };
        turn.effects.push(Effect::Call(flight, route(definition, timeout), call(bound)));
        true
    }

    pub(super) fn save(&self, write: Write, record: Record, turn: &mut Turn<'_>) {
        let ticket = Ticket { session: self.name.clone(), era: self.era, write };
        turn.effects.push(Effect::Save(ticket, Box::new(record)));
    }

    /// Saves the client record, creating it where there is none yet.
    pub(super) fn update_client(&mut self, turn: &mut Turn<'_>, change: impl FnOnce(&mut ClientRecord)) {
        if self.client.is_none()
            && let Some(Ok(definition)) = &self.definition
        {
            self.client = Some(ClientRecord {
                session: self.name.clone(),
                origin: definition.origin(),
                registrations: Vec::new(),
                longest_session: Duration::ZERO,
                program_sign_ins: Vec::new(),
                quiet: None,
                last_session: None,
                end_announced: None,
                published: crate::sso_cache::Published::default(),
            });
        }
        if let Some(client) = &mut self.client {
            change(client);
            self.client_saved = false;
            let record = Record::Client(client.clone());
            self.save(Write::Client, record, turn);
        }
    }

    /// Answers whoever can be answered about tokens.
    pub(super) fn settle_token_waiters(&mut self, turn: &mut Turn<'_>) {
        let waiting = std::mem::take(&mut self.token_waiters);
        for waiting in waiting {
            let patience = waiting.waiter.deadline.since(turn.now.mono);
            match self.token_answer(&waiting.wants, patience, turn) {
                Some(answer) => {
                    if let Wants::Token(wanted) = waiting.wants {
                        self.decided_about_the_token(wanted, answer.as_ref().err(), turn.now);
                    }
                    turn.answer(waiting.waiter.id, answer);
                }
                None if patience.is_zero() => {
                    let answer = self.out_of_patience(&waiting.wants, turn);
                    turn.answer(waiting.waiter.id, answer);
                }
                None => self.token_waiters.push(waiting),
            }
        }
    }

    fn token_answer(&self, wants: &Wants, patience: Duration, turn: &Turn<'_>) -> Option<Result<Response, Problem>> {
        match wants {
            Wants::Token(min_validity) => match self.outlook(*min_validity, patience, turn) {
                Outlook::Ready => Some(self.token_response(turn.now)),
                Outlook::Wait => None,
                Outlook::SignIn(_) if !patience.is_zero() => None,
                Outlook::SignIn(problem) | Outlook::Never(problem) => Some(Err(*problem)),
            },
            Wants::Refresh(number) => self
                .refreshing
                .outcome_of(*number)
                .map(|outcome| outcome.and_then(|()| self.held_here().map(drop).map_err(|problem| *problem)))
                .map(|outcome| outcome.map(|()| Response::Session(Box::new(self.status(turn.now))))),
        }
    }

    fn out_of_patience(&self, wants: &Wants, turn: &Turn<'_>) -> Result<Response, Problem> {
        // What is valid is better than nothing, and what keeps the caller waiting than that it waited.
        match (wants, self.refreshing.last_failure()) {
            (Wants::Token(_), _) if self.token(turn.now).is_some() => self.token_response(turn.now),
            _ if turn.stopping => Err(words::shutting_down()),
            (Wants::Token(_), Some(problem)) => Err(problem.clone()),
            _ => Err(words::timed_out("the refresh of the access token", &self.name)),
        }
    }

    fn token_response(&self, now: Now) -> Result<Response, Problem> {
        let (token, holding, definition) =
            self.token(now).ok_or_else(|| words::signed_out(&self.name, self.sign_in.is_pending()))?;
        Ok(Response::Token(Token {
            access_token: token.clone(),
            token_type: holding.record.tokens.token_type.clone(),
            expires_at: holding.access.service,
            session: self.name.to_string(),
            start_url: definition.start_url.clone(),
            region: definition.region.to_string(),
        }))
    }

    /// Whether what is in memory is on disk.
    pub(super) fn is_saved(&self) -> bool {
        self.holding.as_ref().is_none_or(|holding| holding.saved) && self.client_saved
    }

    /// Remembers a failure for `status`.
    pub(super) fn note(&mut self, problem: &Problem, now: Now) {
        let retry_at = problem.retry_after.map(|pause| now.wall.after(Duration::from_secs(pause)));
        self.last_error = Some(LastError { code: problem.code, message: problem.to_string(), at: now.wall, retry_at });
    }

    /// Writes once more what could not be saved.
    pub(super) fn settle_saves(&mut self, turn: &mut Turn<'_>) {
        if self.save_again.is_none_or(|at| at > turn.now.mono) {
            return;
        }
        self.save_again = None;
        if let Some(client) = self.client.clone().filter(|_| !self.client_saved) {
            self.save(Write::Client, Record::Client(client), turn);
        }
        if self.undeleted && self.holding.is_none() && !self.sign_in_is_saving() {
            self.delete_tokens(turn);
        }
        // Newer tokens may be on their way to disk: these must not come after them.
        let outdated = self.refreshing.is_saving() || self.sign_in_is_saving();
        let unsaved = self.holding.as_ref().filter(|holding| !holding.saved && !outdated);
        if let Some(record) = unsaved.map(|holding| &holding.record) {
            self.save(Write::Tokens, Record::Tokens(record.clone()), turn);
        }
    }

    /// The service's answer to a write that is nobody's step.
    pub(super) fn stored(&mut self, write: Write, outcome: Result<(), Problem>, now: Now) {
        let saved = outcome.is_ok();
        match write {
            Write::Client => self.client_saved = saved,
            _ => {
                if let Some(holding) = &mut self.holding {
                    holding.saved = saved;
                }
                if saved {
                    self.refreshing.disk_works();
                }
            }
        }
        match outcome {
            Ok(()) => self.disk_took_it(),
            Err(problem) => {
                self.note(&problem, now);
                self.save_later(now);
            }
        }
    }

    /// What was said about the disk is true no more.
    pub(super) fn disk_took_it(&mut self) {
        if self.last_error.as_ref().is_some_and(|error| error.code == Code::Storage) {
            self.last_error = None;
        }
    }

    pub(super) fn save_later(&mut self, now: Now) {
        self.save_again = Some(now.mono.after(SAVE_AGAIN));
    }

    /// What could not be saved has no later time to be tried again.
    pub(super) fn save_at_the_end(&mut self, now: Now) {
        self.save_again = self.save_again.map(|_| now.mono);
    }

    /// When something is to be done next for this session, as a pause from now.
    pub(super) fn next_wait(&self, keep_warm: Duration, stopping: bool, now: Now) -> Option<Duration> {
        let wanted = self.someone_needs_a_token(now);
        // An agent that stops starts nothing: what it would start must not wake it.
        let refresh = self.refreshing.wait_for_attempt(self, wanted, now).filter(|_| !stopping);
        let expiry = Some(self.remaining(now)).filter(|left| !left.is_zero());
        let waiters = self.token_waiters.iter().map(|waiting| waiting.waiter.deadline.since(now.mono));
        let sign_outs = self.sign_out.iter().map(|sign_out| sign_out.waiter.deadline.since(now.mono));
        let save = self.save_again.map(|at| at.since(now.mono));
        let portal = self.portal_wait(keep_warm, stopping, now);
        let sign_in = self.sign_in.wait(self.sign_in_pause(now), stopping, now);
        let visits = self.visits.wait(now);
        let announcement = self.announcement_wait(now);
        let publishing = self.publishing.wait(stopping || self.refreshing.is_under_way(), now);
        [refresh, expiry, save, portal, sign_in, visits, announcement, publishing]
            .into_iter()
            .flatten()
            .chain(waiters)
            .chain(sign_outs)
            .min()
    }

    pub(super) fn someone_waits_for_a_token(&self) -> bool {
        self.token_waiters.iter().any(|waiting| matches!(waiting.wants, Wants::Token(_)))
    }

    /// Whether somebody waits for a token that is not there, so that a refresh may come before its time.
    pub(super) fn someone_needs_a_token(&self, now: Now) -> bool {
        let remaining = self.remaining(now);
        self.someone_waits_for_a_token() || (remaining.is_zero() && self.portal.someone_waits())
    }
}

/// Whether two origins are the same place for every secret.
pub(super) fn same_place(bound: &Origin, configured: &Origin) -> bool {
    bound.start_url == configured.start_url
        && bound.region == configured.region
        && bound.oidc == configured.oidc
        && bound.portal == configured.portal
}

/// Whether the configuration leads to where a secret came from. [`same_place`] without a copy: every request asks.
pub(super) fn leads_to(definition: &SessionDefinition, bound: &Origin) -> bool {
    bound.start_url == definition.start_url
        && bound.region == definition.region
        && bound.oidc == definition.endpoints.oidc
        && bound.portal == definition.endpoints.portal
}

pub(super) fn route(definition: &SessionDefinition, timeout: Duration) -> Route {
    Route { endpoints: definition.endpoints.clone(), ca_bundle: definition.ca_bundle.clone(), timeout }
}

pub(super) const fn flow_word(flow: Flow) -> &'static str {
    match flow {
        Flow::Device => "device",
        Flow::Browser => "browser",
    }
}

const SAVE_AGAIN: Duration = Duration::from_secs(30);
