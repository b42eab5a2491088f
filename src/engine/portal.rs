//! What the portal hands out: role credentials, kept and refreshed ahead; lists of accounts and roles, asked for anew.
//!
//! One slot per thing. Invariants: a slot has at most one call up, which belongs to the engine and not to a caller;
//! what is valid is served even while a fresher set cannot be had; good is replaced only by better.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{PortalKey, Purpose, Turn, Waiter};
use super::expiry::Expiry;
use super::session::{Outlook, Session};
use super::words;
use crate::api::{AccountEntry, Accounts, Code, CredentialDocument, Problem, Response, RoleEntry, Roles, TargetStatus};
use crate::identity_center::{Bound, ErrorName, RoleCredentials, ServiceError};
use crate::ids::Grant;
use crate::schedule::{self, Backoff};
use crate::secret::Secret;
use crate::time::{Mono, Now};
use crate::upstream::{Answer, Call, Failure, Reply, Unclear};

/// The slots of one session.
#[derive(Debug, Default)]
pub(super) struct Portal {
    slots: BTreeMap<PortalKey, Slot>,
    era: u64,
    flying: usize,
    /// After a failure that concerns every slot: throttled, or nothing can be sent.
    pause: Option<Pause>,
    backoff: Backoff,
    /// How often in a row a token the service had just issued was answered with 401.
    rejections: u32,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    since: Mono,
    until: Mono,
    not_sent: bool,
}

#[derive(Debug)]
struct Slot {
    cached: Option<Cached>,
    flying: bool,
    waiters: Vec<PortalWaiter>,
    last_asked: Mono,
    /// After a failure of this slot alone.
    pause_until: Option<Mono>,
    backoff: Backoff,
    /// A definite no, and until when it is remembered.
    refusal: Option<(Mono, Problem)>,
    /// The call was repeated after a 401.
    repeated: bool,
    last_failure: Option<Problem>,
}

#[derive(Debug)]
struct Cached {
    credentials: RoleCredentials,
    expiry: Expiry,
}

#[derive(Debug, Clone, Copy)]
struct PortalWaiter {
    waiter: Waiter,
    min_validity: Option<Duration>,
}

impl Portal {
    pub(super) fn someone_waits(&self) -> bool {
        self.slots.values().any(|slot| !slot.waiters.is_empty())
    }

    pub(super) const fn rejections(&self) -> u32 {
        self.rejections
    }

    /// Calls under way are about something that is no longer true; what is cached stays.
    pub(super) fn new_era(&mut self) {
        self.era += 1;
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
        for slot in self.slots.values_mut() {
            slot.cached = None;
        }
    }

    pub(super) fn forget_pauses(&mut self) {
        self.pause = None;
        for slot in self.slots.values_mut() {
            slot.pause_until = None;
        }
    }

    pub(super) fn bound_patience(&mut self, deadline: Mono) {
        for waiting in self.slots.values_mut().flat_map(|slot| &mut slot.waiters) {
            waiting.waiter.deadline = waiting.waiter.deadline.min(deadline);
        }
    }

    fn make_room(&mut self) {
        while self.slots.len() >= MOST_SLOTS {
            let idle = self.slots.iter().filter(|(_, slot)| !slot.flying && slot.waiters.is_empty());
            let Some(oldest) = idle.min_by_key(|(_, slot)| slot.last_asked).map(|(key, _)| key.clone()) else { return };
            self.slots.remove(&oldest);
        }
    }

    fn pause_left(&self, someone_waits: bool, now: Now) -> Duration {
        let Some(pause) = self.pause else { return Duration::ZERO };
        let until = if someone_waits && pause.not_sent {
            pause.until.min(pause.since.after(schedule::LONGEST_PAUSE_WITH_A_CALLER))
        } else {
            pause.until
        };
        until.since(now.mono)
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
    ) -> Option<Response> {
        self.held_here().ok()?;
        let skew = self.skew;
        // A key by value is needed for the look-up: the map is keyed by what the portal hands out.
        let slot = self.portal.slots.get_mut(&PortalKey::Credentials(grant.clone()))?;
        let cached = slot.cached.as_ref()?;
        let still_warm = now.mono.since(slot.last_asked) < keep_warm;
        if !still_warm || !cached.is_good_for(min_validity, now, skew) {
            return None;
        }
        slot.last_asked = now.mono;
        Some(document(grant, cached))
    }

    pub(super) fn ask_portal(
        &mut self,
        key: PortalKey,
        waiter: Waiter,
        min_validity: Option<Duration>,
        turn: &Turn<'_>,
    ) {
        if !self.portal.slots.contains_key(&key) {
            self.portal.make_room();
        }
        let slot = self.portal.slots.entry(key).or_insert_with(|| Slot::new(turn.now.mono));
        slot.last_asked = turn.now.mono;
        slot.waiters.push(PortalWaiter { waiter, min_validity });
    }

    /// Answers whoever can be answered, and starts the calls that are due and allowed.
    pub(super) fn settle_portal(&mut self, turn: &mut Turn<'_>) {
        let keys: Vec<PortalKey> = self
            .portal
            .slots
            .iter()
            .filter(|(key, slot)| {
                !slot.waiters.is_empty() || slot.wants_ahead(key, turn.keep_warm, turn.now, self.skew)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            self.answer_slot(&key, turn);
            self.fly_for_slot(&key, turn);
        }
        let (now, keep_warm, skew) = (turn.now, turn.keep_warm, self.skew);
        self.portal.slots.retain(|_, slot| slot.is_worth_keeping(keep_warm, now, skew));
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

    fn slot_answer(
        &self,
        key: &PortalKey,
        waiting: PortalWaiter,
        patience: Duration,
        turn: &Turn<'_>,
    ) -> Option<Result<Response, Problem>> {
        let now = turn.now;
        let slot = self.portal.slots.get(key)?;
        // A session that is configured elsewhere now hands out nothing that it got before.
        if let Err(problem) = self.held_here()
            && problem.code != Code::SignInRequired
        {
            return Some(Err(*problem));
        }
        let valid = slot.cached.as_ref().filter(|cached| !cached.expiry.remaining(now, self.skew).is_zero());
        if let Some(cached) = valid
            && cached.is_good_for(waiting.min_validity, now, self.skew)
        {
            return Some(Ok(self.cached_answer(key, cached)));
        }
        let or_valid = |problem: Problem| match valid {
            Some(cached) => Some(Ok(self.cached_answer(key, cached))),
            None => Some(Err(problem)),
        };
        if let Some((until, problem)) = &slot.refusal
            && *until > now.mono
        {
            return or_valid(problem.clone());
        }
        if slot.flying {
            return None;
        }
        match self.outlook(Duration::ZERO, patience, turn) {
            Outlook::Never(problem) => or_valid(*problem),
            Outlook::Wait => None,
            Outlook::Ready => {
                let pause = slot.pause_left(now).max(self.portal.pause_left(true, now));
                if pause.is_zero() || (valid.is_none() && pause < patience) {
                    return None;
                }
                let problem = slot.last_failure.clone().unwrap_or_else(|| words::timed_out(doing(key), &self.name));
                or_valid(problem.retry_after(pause))
            }
        }
    }

    fn slot_out_of_patience(&self, key: &PortalKey, turn: &Turn<'_>) -> Result<Response, Problem> {
        let slot = self.portal.slots.get(key);
        let valid = slot
            .and_then(|slot| slot.cached.as_ref())
            .filter(|cached| !cached.expiry.remaining(turn.now, self.skew).is_zero());
        if let Some(cached) = valid {
            return Ok(self.cached_answer(key, cached));
        }
        if turn.stopping {
            return Err(words::shutting_down());
        }
        let failure = slot.and_then(|slot| slot.last_failure.as_ref()).or_else(|| self.refreshing.last_failure());
        Err(failure.cloned().unwrap_or_else(|| words::timed_out(doing(key), &self.name)))
    }

    fn cached_answer(&self, key: &PortalKey, cached: &Cached) -> Response {
        match key {
            PortalKey::Credentials(grant) => document(grant, cached),
            // Lists are never cached.
            PortalKey::Accounts | PortalKey::Roles(_) => Response::NoContent,
        }
    }

    fn fly_for_slot(&mut self, key: &PortalKey, turn: &mut Turn<'_>) {
        let Some(slot) = self.portal.slots.get(key) else { return };
        let someone_waits = !slot.waiters.is_empty();
        let wanted = someone_waits || slot.wants_ahead(key, turn.keep_warm, turn.now, self.skew);
        let refused = slot.refusal.as_ref().is_some_and(|(until, _)| *until > turn.now.mono);
        let pause = slot.pause_left(turn.now).max(self.portal.pause_left(someone_waits, turn.now));
        if !wanted || slot.flying || refused || !pause.is_zero() || turn.stopping || !self.portal.has_a_free_place() {
            return;
        }
        let patience = slot.waiters.iter().map(|waiting| waiting.waiter.deadline.since(turn.now.mono)).max();
        let timeout = patience.unwrap_or_default().clamp(SHORTEST_TIMEOUT, LONGEST_TIMEOUT);
        let era = self.portal.era;
        if self.call_portal(Purpose::Portal(key.clone()), era, timeout, turn, |token| call(key, token)) {
            self.portal.flying += 1;
            if let Some(slot) = self.portal.slots.get_mut(key) {
                slot.flying = true;
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
            Ok(answer) => self.portal_brought(key, answer, turn),
            Err(Failure::Refused(error)) if error.name == ErrorName::Unauthorized => self.portal_rejected(key, turn),
            Err(Failure::Refused(error)) => self.portal_refused(key, &error, turn),
            Err(failure) => self.portal_failed(key, &failure, turn),
        }
    }

    fn portal_brought(&mut self, key: &PortalKey, answer: Answer, turn: &mut Turn<'_>) {
        let skew = self.skew;
        let Some(slot) = self.portal.slots.get_mut(key) else { return };
        let response = match (key, answer) {
            (PortalKey::Credentials(_), Answer::RoleCredentials(credentials)) => {
                let expiry = Expiry::at(credentials.expires_at, turn.now, skew, Duration::MAX);
                if expiry.remaining(turn.now, skew).is_zero() {
                    let cause = Unclear::UnusableBody("the credentials were already over when they came".to_owned());
                    self.portal_failed(key, &Failure::Unknown(cause), turn);
                    return;
                }
                let better = slot.cached.as_ref().is_none_or(|old| old.expiry.service <= credentials.expires_at);
                tracing::info!(
                    session = %crate::untrusted::shown(self.name.as_str()),
                    access_key_id = credentials.access_key_id,
                    expires_at = %credentials.expires_at,
                    better,
                    "role credentials are fresh"
                );
                if better {
                    slot.cached = Some(Cached { credentials, expiry });
                } else if let Some(old) = &mut slot.cached {
                    // Counting from now, so that it is not asked for again at once.
                    old.expiry =
                        Expiry::at(old.credentials.expires_at, turn.now, skew, old.expiry.remaining(turn.now, skew));
                }
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
                self.portal_failed(key, &Failure::Unknown(cause), turn);
                return;
            }
        };
        slot.backoff.reset();
        slot.pause_until = None;
        slot.refusal = None;
        slot.repeated = false;
        slot.last_failure = None;
        if let Some(response) = response {
            for waiting in std::mem::take(&mut slot.waiters) {
                turn.answer(waiting.waiter.id, Ok(response.clone()));
            }
        }
        self.portal.backoff.reset();
        self.portal.pause = None;
        self.portal.rejections = 0;
        if self.refreshing.last_failure().is_none() {
            self.last_error = None;
        }
    }

    /// 401: a fact about the token, whatever the clock says. Refresh once, ask once more.
    fn portal_rejected(&mut self, key: &PortalKey, turn: &mut Turn<'_>) {
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
        let problem = words::rejected(&self.name);
        let Some(slot) = self.portal.slots.get_mut(key) else { return };
        if std::mem::replace(&mut slot.repeated, true) {
            slot.repeated = false;
            slot.refusal = Some((turn.now.mono.after(schedule::REFUSAL_REMEMBERED), problem.clone()));
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
            slot.refusal = Some((turn.now.mono.after(schedule::REFUSAL_REMEMBERED), problem));
        }
    }

    fn portal_failed(&mut self, key: &PortalKey, failure: &Failure, turn: &mut Turn<'_>) {
        let Some(slot) = self.portal.slots.get_mut(key) else { return };
        let everybody = matches!(failure, Failure::NotSent(_) | Failure::NotProcessed { .. });
        let backoff = if everybody { &mut self.portal.backoff } else { &mut slot.backoff };
        let mut pause = backoff.next(turn.dice);
        if let Failure::NotProcessed { retry_after: Some(asked), .. } = failure {
            pause = pause.max((*asked).min(schedule::LONGEST_PAUSE));
        }
        let until = turn.now.mono.after(pause);
        let problem = words::failed(&self.name, doing(key), failure, Some(pause));
        if everybody {
            let not_sent = matches!(failure, Failure::NotSent(_));
            self.portal.pause = Some(Pause { since: turn.now.mono, until, not_sent });
        } else {
            slot.pause_until = Some(until);
        }
        slot.last_failure = Some(problem.clone());
        tracing::warn!(code = %problem.code, pause_ms = pause.as_millis(), "{problem}");
        self.note(&problem, turn.now);
    }

    /// The pause until something is to be done for a slot that no event announces.
    pub(super) fn portal_wait(&self, keep_warm: Duration, stopping: bool, now: Now) -> Option<Duration> {
        let can_fly = !stopping && self.token(now).is_some() && self.portal.has_a_free_place();
        self.portal
            .slots
            .iter()
            .filter_map(|(key, slot)| {
                let patience = slot.waiters.iter().map(|waiting| waiting.waiter.deadline.since(now.mono)).min();
                let call = slot.ahead_wait(key, keep_warm, now, self.skew);
                let call = if slot.waiters.is_empty() { call } else { Some(Duration::ZERO) };
                let refusal = slot.refusal.as_ref().map_or(Duration::ZERO, |(until, _)| until.since(now.mono));
                let pause =
                    slot.pause_left(now).max(self.portal.pause_left(!slot.waiters.is_empty(), now)).max(refusal);
                let call = call.filter(|_| can_fly && !slot.flying).map(|wait| wait.max(pause));
                patience.into_iter().chain(call).min()
            })
            .min()
    }

    pub(super) fn target_statuses(&self, now: Now) -> impl Iterator<Item = (Grant, TargetStatus)> {
        self.portal.slots.iter().filter_map(move |(key, slot)| match (key, &slot.cached) {
            (PortalKey::Credentials(grant @ Grant::Role { account, role }), Some(cached))
                if !cached.expiry.remaining(now, self.skew).is_zero() =>
            {
                let status = TargetStatus {
                    session: self.name.to_string(),
                    account: Some(account.clone()),
                    role: Some(role.clone()),
                    profile: None,
                    expires_at: Some(cached.expiry.service),
                };
                Some((grant.clone(), status))
            }
            _ => None,
        })
    }
}

impl Slot {
    fn new(now: Mono) -> Self {
        Self {
            cached: None,
            flying: false,
            waiters: Vec::new(),
            last_asked: now,
            pause_until: None,
            backoff: Backoff::default(),
            refusal: None,
            repeated: false,
            last_failure: None,
        }
    }

    fn pause_left(&self, now: Now) -> Duration {
        self.pause_until.map_or(Duration::ZERO, |until| until.since(now.mono))
    }

    fn is_warm(&self, keep_warm: Duration, now: Now) -> bool {
        now.mono.since(self.last_asked) < keep_warm
    }

    fn wants_ahead(&self, key: &PortalKey, keep_warm: Duration, now: Now, skew: super::expiry::Skew) -> bool {
        self.ahead_wait(key, keep_warm, now, skew) == Some(Duration::ZERO)
    }

    /// The pause until credentials in use are refreshed ahead; `None` if they are not in use.
    fn ahead_wait(
        &self,
        key: &PortalKey,
        keep_warm: Duration,
        now: Now,
        skew: super::expiry::Skew,
    ) -> Option<Duration> {
        let cached = self.cached.as_ref().filter(|_| matches!(key, PortalKey::Credentials(_)))?;
        let wait = cached.expiry.remaining(now, skew).saturating_sub(schedule::role_margin(cached.expiry.lifetime()));
        // It must still be warm when it is due, not only now.
        (now.mono.since(self.last_asked) + wait < keep_warm && !self.flying).then_some(wait)
    }

    fn is_worth_keeping(&self, keep_warm: Duration, now: Now, skew: super::expiry::Skew) -> bool {
        let valid = self.cached.as_ref().is_some_and(|cached| !cached.expiry.remaining(now, skew).is_zero());
        let remembered = self.refusal.as_ref().is_some_and(|(until, _)| *until > now.mono);
        let paused = !self.pause_left(now).is_zero();
        let in_use = self.cached.is_some() && self.is_warm(keep_warm, now);
        self.flying || !self.waiters.is_empty() || valid || remembered || paused || in_use
    }
}

impl Cached {
    fn is_good_for(&self, min_validity: Option<Duration>, now: Now, skew: super::expiry::Skew) -> bool {
        let remaining = self.expiry.remaining(now, skew);
        let lifetime = self.expiry.lifetime();
        let wanted = min_validity.unwrap_or_else(|| schedule::default_min_validity(lifetime)).min(lifetime * 2 / 3);
        !remaining.is_zero() && (remaining > wanted || self.expiry.age(now) < lifetime / 3)
    }
}

fn document(grant: &Grant, cached: &Cached) -> Response {
    let Grant::Role { account, .. } = grant;
    Response::Credentials(CredentialDocument {
        version: 1,
        access_key_id: cached.credentials.access_key_id.clone(),
        secret_access_key: cached.credentials.secret_access_key.clone(),
        session_token: cached.credentials.session_token.clone(),
        expiration: cached.expiry.service,
        account_id: Some(account.clone()),
    })
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
const MOST_SLOTS: usize = 1000;
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
