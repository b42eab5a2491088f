//! What the portal hands out: role credentials, kept and refreshed ahead; lists of accounts and roles, asked for anew.
//!
//! One slot per thing. Invariants: a slot has at most one call up, which belongs to the engine and not to a caller;
//! what is valid is served even while a fresher set cannot be had; good is replaced only by better; what one place
//! has handed out is never served for another.

use std::time::Duration;

use super::event::{PortalKey, Purpose, Turn, Waiter};
use super::expiry::Expiry;
use super::outage::Outage;
use super::session::{Outlook, Session, leads_to, same_place};
use super::slot::{PortalWaiter, Slot, Slots, Warm};
use super::words;
use crate::api::{AccountEntry, Accounts, Code, Problem, Response, RoleEntry, Roles, TargetStatus};
use crate::identity_center::{Bound, ErrorName, Origin, ServiceError};
use crate::ids::{Grant, TargetId};
use crate::schedule::{self, Backoff};
use crate::secret::Secret;
use crate::time::{Mono, Now};
use crate::upstream::{Answer, Call, Failure, Reply, ServiceTime, Unclear};

/// The slots of one session.
#[derive(Debug, Default)]
pub(super) struct Portal {
    slots: Slots,
    /// Where what is cached came from.
    origin: Option<Origin>,
    era: u64,
    /// Counts the access tokens of the session.
    token: u64,
    flying: usize,
    /// After a failure that concerns every slot: throttled.
    pause: Option<Pause>,
    backoff: Backoff,
    last_failure: Option<Problem>,
    /// Of the way to the portal.
    pub(super) outage: Outage,
    /// How often in a row a token the service had just issued was answered with 401.
    rejections: u32,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    since: Mono,
    until: Mono,
}

impl Portal {
    pub(super) fn someone_waits(&self) -> bool {
        self.slots.values().any(|slot| !slot.waiters.is_empty())
    }

    pub(super) const fn rejections(&self) -> u32 {
        self.rejections
    }

    /// Calls that are up were made with an access token that is not the session's any more.
    pub(super) const fn token_changed(&mut self) {
        self.token += 1;
    }

    /// Calls under way are about something that is no longer true; what is cached stays.
    pub(super) fn new_era(&mut self) {
        self.era += 1;
        self.token += 1;
        self.flying = 0;
        self.rejections = 0;
        self.forget_pauses();
        for slot in self.slots.values_mut() {
            slot.flying = false;
            slot.refusal = None;
            slot.repeated = false;
        }
    }

    /// The user signed out: what was cached goes.
    pub(super) fn forget_credentials(&mut self) {
        self.new_era();
        self.origin = None;
        for slot in self.slots.values_mut() {
            slot.cached = None;
        }
    }

    /// The user signed in there: what another place has handed out goes.
    pub(super) fn signed_in_at(&mut self, origin: &Origin) {
        if self.origin.as_ref().is_some_and(|known| !same_place(known, origin)) {
            self.forget_credentials();
        }
        self.new_era();
    }

    pub(super) fn forget_pauses(&mut self) {
        self.pause = None;
        self.outage.forget_pause();
        for slot in self.slots.values_mut() {
            slot.pause_until = None;
        }
    }

    pub(super) fn bound_patience(&mut self, deadline: Mono) {
        for waiting in self.slots.values_mut().flat_map(|slot| &mut slot.waiters) {
            waiting.waiter.deadline = waiting.waiter.deadline.min(deadline);
        }
    }

    fn pause_left(&self, now: Now) -> Duration {
        self.pause.map_or(Duration::ZERO, |pause| pause.until.since(now.mono))
    }

    /// After a failure that concerned every slot, one call tries whether it is over.
    fn has_a_free_place(&self) -> bool {
        self.flying < if self.backoff.failures() > 0 { 1 } else { MOST_FLIGHTS }
    }
}

impl Session {
    /// Role credentials that are there and good enough, without any further ado.
    pub(super) fn warm_credentials(
        &mut self,
        grant: &Grant,
        min_validity: Option<Duration>,
        keep_warm: Duration,
        now: Now,
    ) -> Option<Warm> {
        self.held_here().ok()?;
        let skew = self.skew;
        let slot = self.portal.slots.of_credentials(grant)?;
        let planned = slot.is_warm(keep_warm, now) && (slot.flying || slot.ahead_wait(keep_warm, now, skew).is_some());
        let cached = slot.cached.as_ref()?;
        let good_for = cached.good_for(min_validity, now, skew)?;
        let document = cached.document(grant);
        slot.last_asked = now.mono;
        Some(Warm { document, good_for, planned })
    }

    pub(super) fn ask_portal(
        &mut self,
        key: PortalKey,
        waiter: Waiter,
        min_validity: Option<Duration>,
        turn: &Turn<'_>,
    ) {
        let slot = self.portal.slots.obtain(key, turn.now);
        slot.last_asked = turn.now.mono;
        slot.waiters.push(PortalWaiter { waiter, min_validity });
    }

    /// Answers whoever can be answered, and starts the calls that are due and allowed.
    pub(super) fn settle_portal(&mut self, turn: &mut Turn<'_>) {
        let (now, keep_warm, skew) = (turn.now, turn.keep_warm, self.skew);
        for cached in self.portal.slots.values_mut().filter_map(|slot| slot.cached.as_mut()) {
            cached.expiry.settle(now, skew);
        }
        let due = |slot: &Slot| !slot.waiters.is_empty() || slot.wants_ahead(keep_warm, now, skew);
        for key in self.portal.slots.keys_of(due) {
            self.answer_slot(&key, turn);
            self.fly_for_slot(&key, turn);
        }
        self.portal.slots.retain(|slot| slot.is_worth_keeping(keep_warm, now, skew));
    }

    fn answer_slot(&mut self, key: &PortalKey, turn: &mut Turn<'_>) {
        let Some(slot) = self.portal.slots.get_mut(key) else { return };
        for waiting in std::mem::take(&mut slot.waiters) {
            let patience = waiting.waiter.deadline.since(turn.now.mono);
            match self.slot_answer(key, waiting, patience, turn) {
                Some(answer) => turn.answer(waiting.waiter.id, answer),
                None if patience.is_zero() => {
                    let answer = self.slot_out_of_patience(key, turn);
                    turn.answer(waiting.waiter.id, answer);
                }
                None => {
                    if let Some(slot) = self.portal.slots.get_mut(key) {
                        slot.waiters.push(waiting);
                    }
                }
            }
        }
    }

    /// What the slot holds and may still be served, as an answer.
    fn valid_answer(&self, key: &PortalKey, slot: &Slot, now: Now) -> Option<Response> {
        let PortalKey::Credentials(grant) = key else { return None };
        let target = || TargetId { session: self.name.clone(), grant: grant.clone() };
        slot.living(now, self.skew).map(|cached| Response::Credentials(cached.document(grant), target()))
    }

    /// Why nothing that the session got before may be handed out: it is configured elsewhere now.
    fn elsewhere(&self) -> Option<Box<Problem>> {
        match (self.held_here(), &self.definition, &self.portal.origin) {
            (Err(problem), _, _) if !matches!(problem.code, Code::SignInRequired | Code::Storage) => Some(problem),
            // Signed out, or it cannot be read whether signed in, but what was handed out before lives on.
            (Err(problem), Some(Ok(definition)), Some(origin)) if !leads_to(definition, origin) => Some(problem),
            _ => None,
        }
    }

    fn slot_answer(
        &self,
        key: &PortalKey,
        waiting: PortalWaiter,
        patience: Duration,
        turn: &Turn<'_>,
    ) -> Option<Result<Response, Problem>> {
        let now = turn.now;
        let slot = self.portal.slots.get(key)?;
        if let Some(problem) = self.elsewhere() {
            return Some(Err(*problem));
        }
        let valid = self.valid_answer(key, slot, now);
        if slot.cached.as_ref().is_some_and(|cached| cached.is_good_for(waiting.min_validity, now, self.skew)) {
            return valid.map(Ok);
        }
        let has_none = valid.is_none();
        let or_valid = |problem: Problem| Some(valid.ok_or(problem));
        if let Some(problem) = slot.remembered_refusal(now) {
            return or_valid(problem.clone());
        }
        if slot.flying {
            return None;
        }
        match self.outlook(Duration::ZERO, patience, turn) {
            Outlook::Wait => None,
            Outlook::SignIn(_) if has_none && !patience.is_zero() => None,
            Outlook::SignIn(problem) | Outlook::Never(problem) => or_valid(*problem),
            Outlook::Ready => {
                let (own, shared) = (slot.pause_left(now), self.portal.pause_left(now));
                let outage = self.portal.outage.pause_left(true, now);
                let pause = own.max(shared).max(outage);
                if pause.is_zero() || (has_none && pause < patience) {
                    return None;
                }
                let cause = self.portal.outage.cause().filter(|_| outage == pause);
                let failure = if own < shared { &self.portal.last_failure } else { &slot.last_failure };
                let problem = cause.map(|cause| words::failed(&self.name, doing(key), cause, None));
                let problem = problem.or_else(|| failure.clone());
                let problem = problem.unwrap_or_else(|| words::timed_out(doing(key), &self.name));
                or_valid(problem.retry_after(pause))
            }
        }
    }

    fn slot_out_of_patience(&self, key: &PortalKey, turn: &Turn<'_>) -> Result<Response, Problem> {
        let slot = self.portal.slots.get(key);
        if let Some(valid) = slot.and_then(|slot| self.valid_answer(key, slot, turn.now)) {
            return Ok(valid);
        }
        if turn.stopping {
            return Err(words::shutting_down());
        }
        let own = slot.and_then(|slot| slot.last_failure.as_ref());
        let failure = own.or(self.portal.last_failure.as_ref()).or_else(|| self.refreshing.last_failure());
        Err(failure.cloned().unwrap_or_else(|| words::timed_out(doing(key), &self.name)))
    }

    fn fly_for_slot(&mut self, key: &PortalKey, turn: &mut Turn<'_>) {
        let Some(slot) = self.portal.slots.get(key) else { return };
        let someone_waits = !slot.waiters.is_empty();
        let wanted = someone_waits || slot.wants_ahead(turn.keep_warm, turn.now, self.skew);
        let refused = slot.remembered_refusal(turn.now).is_some();
        let shared = self.portal.pause_left(turn.now).max(self.portal.outage.pause_left(someone_waits, turn.now));
        let pause = slot.pause_left(turn.now).max(shared);
        if !wanted || slot.flying || refused || !pause.is_zero() || turn.stopping || !self.portal.has_a_free_place() {
            return;
        }
        let patience = slot.waiters.iter().map(|waiting| waiting.waiter.deadline.since(turn.now.mono)).max();
        // A connection that died unnoticed must not take all of it: there is time for another attempt.
        let timeout = (patience.unwrap_or_default() / 2).clamp(SHORTEST_TIMEOUT, LONGEST_TIMEOUT);
        let (era, token) = (self.portal.era, self.portal.token);
        if self.call_portal(Purpose::Portal(key.clone()), era, timeout, turn, |token| call(key, token)) {
            self.portal.outage.trying(turn.now, turn.dice);
            self.portal.flying += 1;
            if let Some(slot) = self.portal.slots.get_mut(key) {
                slot.flying = true;
                slot.sent_with = token;
            }
        }
    }

    /// A call for a slot has ended.
    pub(super) fn portal_finished(&mut self, key: &PortalKey, era: u64, reply: Reply, turn: &mut Turn<'_>) {
        if era != self.portal.era {
            return;
        }
        self.portal.flying = self.portal.flying.saturating_sub(1);
        if let Some(slot) = self.portal.slots.get_mut(key) {
            slot.flying = false;
        }
        match reply.result {
            Ok(answer) => self.portal_brought(key, answer, reply.started, reply.service_time, turn),
            Err(Failure::Refused(error)) if error.name == ErrorName::Unauthorized => self.portal_rejected(key, turn),
            Err(Failure::Refused(error)) => self.portal_refused(key, &error, turn),
            Err(failure) => self.portal_failed(key, &failure, reply.started, turn),
        }
    }

    fn portal_brought(
        &mut self,
        key: &PortalKey,
        answer: Answer,
        started: Now,
        time: Option<ServiceTime>,
        turn: &mut Turn<'_>,
    ) {
        let skew = self.skew;
        let Some(slot) = self.portal.slots.get_mut(key) else { return };
        let response = match (key, answer) {
            (PortalKey::Credentials(_), Answer::RoleCredentials(credentials)) => {
                // The answer's own date alone may shorten their life, but not end it.
                let left = time.map(|time| credentials.expires_at.since(time.service)).filter(|left| !left.is_zero());
                let expiry = Expiry::at(credentials.expires_at, turn.now, skew, left.unwrap_or(Duration::MAX));
                if expiry.remaining(turn.now, skew).is_zero() {
                    let cause = Unclear::UnusableBody("the credentials were already over when they came".to_owned());
                    self.portal_failed(key, &Failure::Unknown(cause), started, turn);
                    return;
                }
                let (access_key_id, expires_at) = (credentials.access_key_id.clone(), credentials.expires_at);
                let better = slot.keep_better(credentials, expiry, turn.now, skew);
                tracing::info!(
                    session = %crate::untrusted::shown(self.name.as_str()),
                    access_key_id,
                    %expires_at,
                    better,
                    "role credentials are fresh"
                );
                self.portal.origin = self.holding.as_ref().map(|holding| holding.record.origin.clone());
                None
            }
            (PortalKey::Accounts, Answer::Accounts(accounts)) => Some(Response::Accounts(Accounts {
                accounts: accounts
                    .into_iter()
                    .map(|account| AccountEntry {
                        account_id: account.account_id,
                        account_name: account.account_name,
                        email: account.email,
                    })
                    .collect(),
            })),
            (PortalKey::Roles(_), Answer::Roles(roles)) => Some(Response::Roles(Roles {
                roles: roles
                    .into_iter()
                    .map(|role| RoleEntry { account_id: role.account_id, role_name: role.role_name })
                    .collect(),
            })),
            _ => {
                let cause = Unclear::UnusableBody("the answer of another operation".to_owned());
                self.portal_failed(key, &Failure::Unknown(cause), started, turn);
                return;
            }
        };
        slot.succeeded();
        if let Some(response) = response {
            for waiting in std::mem::take(&mut slot.waiters) {
                turn.answer(waiting.waiter.id, Ok(response.clone()));
            }
        }
        self.portal.backoff.reset();
        self.portal.pause = None;
        self.portal.last_failure = None;
        self.portal.rejections = 0;
        // What is not saved stays a reason to look, and so does a refresh that failed.
        let unsaved = self.last_error.as_ref().is_some_and(|error| error.code == Code::Storage);
        if self.refreshing.last_failure().is_none() && !unsaved {
            self.last_error = None;
        }
    }

    /// 401: a fact about the token, whatever the clock says. Refresh once, ask once more.
    fn portal_rejected(&mut self, key: &PortalKey, turn: &mut Turn<'_>) {
        let current = self.portal.token;
        let Some(slot) = self.portal.slots.get_mut(key) else { return };
        if slot.sent_with != current {
            // A fact about a token that is not held any more: asked again with the one that is.
            return;
        }
        if let Some(holding) = &mut self.holding
            && !holding.rejected
        {
            tracing::warn!(
                session = %crate::untrusted::shown(self.name.as_str()),
                "the portal does not accept the access token"
            );
            holding.rejected = true;
            self.portal.rejections += 1;
        }
        if std::mem::replace(&mut slot.repeated, true) {
            let problem = words::rejected(&self.name);
            slot.repeated = false;
            slot.refuse(problem.clone(), turn.now);
            self.note(&problem, turn.now);
        }
    }

    fn portal_refused(&mut self, key: &PortalKey, error: &ServiceError, turn: &mut Turn<'_>) {
        let problem = match (&error.name, key) {
            (ErrorName::Forbidden | ErrorName::ResourceNotFound, _) => {
                words::no_such_role(&self.name, &what(key), error)
            }
            _ => {
                let failure = Failure::Refused(error.clone());
                words::failed(&self.name, doing(key), &failure, Some(schedule::REFUSAL_REMEMBERED))
            }
        };
        tracing::warn!(code = %problem.code, "{problem}");
        if let Some(slot) = self.portal.slots.get_mut(key) {
            slot.refuse(problem, turn.now);
        }
    }

    fn portal_failed(&mut self, key: &PortalKey, failure: &Failure, started: Now, turn: &mut Turn<'_>) {
        let Some(slot) = self.portal.slots.get_mut(key) else { return };
        let everybody = matches!(failure, Failure::NotProcessed { .. });
        // Calls that were up together fail together: that is one failure, not eight.
        let same_wave = self.portal.pause.filter(|pause| everybody && started.mono <= pause.since);
        let backoff = if everybody { &mut self.portal.backoff } else { &mut slot.backoff };
        let mut pause = match (failure, same_wave) {
            // Whoever asks again waits no longer than this.
            (Failure::NotSent(_), _) => self.portal.outage.pause_left(true, turn.now),
            (_, Some(known)) => known.until.since(turn.now.mono),
            (_, None) => backoff.next(turn.dice),
        };
        if let Failure::NotProcessed { retry_after: Some(asked), .. } = failure {
            pause = pause.max((*asked).min(schedule::LONGEST_PAUSE));
        }
        let until = turn.now.mono.after(pause);
        let problem = words::failed(&self.name, doing(key), failure, Some(pause));
        slot.last_failure = Some(problem.clone());
        if everybody {
            let since = same_wave.map_or(turn.now.mono, |known| known.since);
            self.portal.pause = Some(Pause { since, until });
            self.portal.last_failure = Some(problem.clone());
        } else if !matches!(failure, Failure::NotSent(_)) {
            slot.pause_until = Some(until);
        }
        tracing::warn!(code = %problem.code, pause_ms = pause.as_millis(), "{problem}");
        self.note(&problem, turn.now);
    }

    /// The pause until something is to be done for a slot that no event announces.
    pub(super) fn portal_wait(&self, keep_warm: Duration, stopping: bool, now: Now) -> Option<Duration> {
        let can_fly = !stopping && self.token(now).is_some() && self.portal.has_a_free_place();
        let waits = self.portal.slots.values().filter_map(|slot| {
            let someone_waits = !slot.waiters.is_empty();
            let patience = slot.waiters.iter().map(|waiting| waiting.waiter.deadline.since(now.mono)).min();
            let call = if someone_waits { Some(Duration::ZERO) } else { slot.ahead_wait(keep_warm, now, self.skew) };
            let shared = self.portal.pause_left(now).max(self.portal.outage.pause_left(someone_waits, now));
            let pause = slot.pause_left(now).max(shared).max(slot.refusal_left(now));
            let call = call.filter(|_| can_fly && !slot.flying).map(|wait| wait.max(pause));
            patience.into_iter().chain(call).min()
        });
        waits.min()
    }

    pub(super) fn target_statuses(&self, now: Now) -> impl Iterator<Item = (Grant, TargetStatus)> {
        self.portal.slots.living(now, self.skew).map(|(grant, cached)| {
            let Grant::Role { account, role } = grant;
            let status = TargetStatus {
                session: self.name.to_string(),
                account: Some(account.clone()),
                role: Some(role.clone()),
                profile: None,
                expires_at: Some(cached.expiry.service),
            };
            (grant.clone(), status)
        })
    }
}

/// What is special about Identity Center's portal.
fn call(key: &PortalKey, access_token: Bound<Secret>) -> Call {
    match key {
        PortalKey::Credentials(Grant::Role { account, role }) => {
            Call::GetRoleCredentials { access_token, account: account.clone(), role: role.clone() }
        }
        PortalKey::Accounts => Call::ListAccounts { access_token },
        PortalKey::Roles(account) => Call::ListAccountRoles { access_token, account: account.clone() },
    }
}

const fn doing(key: &PortalKey) -> &'static str {
    match key {
        PortalKey::Credentials(_) => "getting role credentials",
        PortalKey::Accounts => "listing accounts",
        PortalKey::Roles(_) => "listing roles",
    }
}

fn what(key: &PortalKey) -> String {
    match key {
        PortalKey::Credentials(Grant::Role { account, role }) => format!("role {role} in account {account}"),
        PortalKey::Accounts => "the list of accounts".to_owned(),
        PortalKey::Roles(account) => format!("account {account}"),
    }
}

const MOST_FLIGHTS: usize = 8;
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
