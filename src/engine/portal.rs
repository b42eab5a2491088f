//! What the portal hands out, and what STS hands out for that: role credentials, kept and refreshed ahead; lists of
//! accounts and roles, asked for anew.
//!
//! One slot per thing. Invariants: a slot has at most one call up, which belongs to the engine and not to a caller;
//! what is valid is served even while a fresher set cannot be had; what one place has handed out is never served for
//! another.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{PortalKey, Turn, Waiter};
use super::expiry::Skew;
use super::lane::Lane;
use super::request::role;
use super::session::{Outlook, Session, leads_to, same_place};
use super::slot::{PortalWaiter, Slot, Slots, Warm};
use super::words;
use crate::api::{Code, Problem, Response, TargetStatus};
use crate::identity_center::Origin;
use crate::ids::{Grant, StsAddress, TargetId};
use crate::time::{Mono, Now};

/// The slots of one session.
#[derive(Debug, Default)]
pub(super) struct Portal {
    pub(super) slots: Slots,
    /// Where what is cached came from.
    pub(super) origin: Option<Origin>,
    era: u64,
    /// Counts the access tokens of the session.
    pub(super) token: u64,
    /// The way to the portal.
    pub(super) lane: Lane,
    /// The ways to those who are asked to let roles be assumed.
    sts: BTreeMap<StsAddress, Lane>,
    /// How often in a row a token the service had just issued was answered with 401.
    pub(super) rejections: u32,
}

impl Portal {
    /// Whether somebody waits for something that takes an access token.
    pub(super) fn someone_waits(&self) -> bool {
        self.slots.someone_waits_for_the_portal()
    }

    /// When the next of what is kept is over.
    pub(super) fn wait_for_an_expiry(&self, skew: Skew, now: Now) -> Option<Duration> {
        self.slots.living(now, skew).map(|(_, cached)| cached.expiry.remaining(now, skew)).min()
    }

    pub(super) const fn rejections(&self) -> u32 {
        self.rejections
    }

    pub(super) const fn is_of(&self, era: u64) -> bool {
        self.era == era
    }

    /// The way that calls for this go.
    pub(super) fn lane_of(&mut self, key: &PortalKey) -> &mut Lane {
        match key.assumption() {
            Some(assumption) => self.sts.entry(assumption.sts.address.clone()).or_default(),
            None => &mut self.lane,
        }
    }

    /// How the way is that calls for this go; `None` where nothing went yet.
    pub(super) fn known_lane_of(&self, key: &PortalKey) -> Option<&Lane> {
        match key.assumption() {
            Some(assumption) => self.sts.get(&assumption.sts.address),
            None => Some(&self.lane),
        }
    }

    /// Calls that are up were made with an access token that is not the session's any more.
    pub(super) const fn token_changed(&mut self) {
        self.token += 1;
    }

    /// Calls under way are about something that is no longer true; what is cached stays.
    pub(super) fn new_era(&mut self) {
        self.era += 1;
        self.token += 1;
        self.rejections = 0;
        self.lane.let_go();
        self.sts.values_mut().for_each(Lane::let_go);
        for slot in self.slots.values_mut() {
            slot.flying = false;
            slot.refusal = None;
            slot.repeated = false;
            slot.pause_until = None;
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
        self.lane.forget_pauses();
        self.sts.values_mut().for_each(Lane::forget_pauses);
        for slot in self.slots.values_mut() {
            slot.pause_until = None;
        }
    }

    pub(super) fn bound_patience(&mut self, deadline: Mono) {
        for waiting in self.slots.values_mut().flat_map(|slot| &mut slot.waiters) {
            waiting.waiter.deadline = waiting.waiter.deadline.min(deadline);
        }
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
        tracing::debug!(
            decision = "answer",
            session = %crate::untrusted::shown(self.name.as_str()),
            target = %crate::untrusted::shown(&role(grant)),
            min_validity_s = min_validity.map(|wanted| wanted.as_secs()),
            remaining_s = cached.expiry.remaining(now, skew).as_secs(),
            age_s = cached.expiry.age(now).as_secs(),
            lifetime_s = cached.expiry.lifetime().as_secs(),
            good_for_s = good_for.as_secs(),
            "answered from what is there"
        );
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
        self.send_errands(turn);
        // Sources come before what is assumed with them.
        for key in self.portal.slots.keys_of(|slot| slot.is_due(keep_warm, now, skew)) {
            self.answer_slot(&key, turn);
            self.fly_for_slot(&key, turn);
        }
        self.portal.slots.retain(|slot| slot.is_worth_keeping(keep_warm, now, skew));
        let Portal { slots, sts, .. } = &mut self.portal;
        sts.retain(|address, lane| lane.is_in_use() || slots.have_one_of(address));
    }

    fn answer_slot(&mut self, key: &PortalKey, turn: &mut Turn<'_>) {
        let Some(slot) = self.portal.slots.get_mut(key) else { return };
        for waiting in std::mem::take(&mut slot.waiters) {
            let patience = waiting.waiter.deadline.since(turn.now.mono);
            match self.slot_answer(key, waiting.min_validity, patience, turn) {
                Some(answer) => {
                    self.decided_to_answer(key, waiting.min_validity, answer.as_ref().err(), turn.now);
                    self.slot_answered(waiting.waiter.id, answer, turn);
                }
                None if patience.is_zero() => {
                    let answer = self.slot_out_of_patience(key, turn);
                    self.decided_to_answer(key, waiting.min_validity, answer.as_ref().err(), turn.now);
                    self.slot_answered(waiting.waiter.id, answer, turn);
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

    /// What somebody is told who asks for this; `None` to wait.
    pub(super) fn slot_answer(
        &self,
        key: &PortalKey,
        min_validity: Option<Duration>,
        patience: Duration,
        turn: &Turn<'_>,
    ) -> Option<Result<Response, Problem>> {
        let now = turn.now;
        let slot = self.portal.slots.get(key)?;
        if let Some(problem) = self.elsewhere() {
            return Some(Err(*problem));
        }
        let valid = self.valid_answer(key, slot, now);
        if slot.cached.as_ref().is_some_and(|cached| cached.is_good_for(min_validity, now, self.skew)) {
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
        match self.means(key, patience, turn) {
            Outlook::Wait => None,
            Outlook::SignIn(_) if has_none && !patience.is_zero() => None,
            Outlook::SignIn(problem) | Outlook::Never(problem) => or_valid(*problem),
            Outlook::Ready => {
                let lane = self.portal.known_lane_of(key)?;
                let (own, shared) = (slot.pause_left(now), lane.pause_left(now));
                let outage = lane.outage.pause_left(true, now);
                let pause = own.max(shared).max(outage);
                if pause.is_zero() || (has_none && pause < patience) {
                    return None;
                }
                let cause = lane.outage.cause().filter(|_| outage == pause);
                let failure = if own < shared { &lane.last_failure } else { &slot.last_failure };
                let problem = cause.map(|cause| words::failed(&self.name, &key.doing(), cause, None));
                let problem = problem.or_else(|| failure.clone());
                let problem = problem.unwrap_or_else(|| words::timed_out(&key.doing(), &self.name));
                or_valid(problem.retry_after(pause))
            }
        }
    }

    /// Whether what a call for this takes is there: an access token, or the credentials of another slot.
    pub(super) fn means(&self, key: &PortalKey, patience: Duration, turn: &Turn<'_>) -> Outlook {
        match key.assumption() {
            Some(assumption) => self.source_outlook(key, assumption, patience, turn),
            None => self.outlook(Duration::ZERO, patience, turn),
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
        let shared = self.portal.known_lane_of(key).and_then(|lane| lane.last_failure.as_ref());
        let failure = own.or(shared).or_else(|| self.failure_of_source(key)).or_else(|| self.refreshing.last_failure());
        Err(failure.cloned().unwrap_or_else(|| words::timed_out(&key.doing(), &self.name)))
    }

    fn fly_for_slot(&mut self, key: &PortalKey, turn: &mut Turn<'_>) {
        let Some(slot) = self.portal.slots.get(key) else { return };
        let someone_waits = slot.someone_waits();
        let wanted = slot.is_due(turn.keep_warm, turn.now, self.skew);
        let refused = slot.remembered_refusal(turn.now).is_some();
        let patience = slot.longest_patience(turn.now);
        let paused = !slot.pause_left(turn.now).is_zero();
        if !wanted || slot.flying || refused || paused || turn.stopping {
            return;
        }
        let lane = self.portal.lane_of(key);
        if !lane.closed_for(someone_waits, turn.now).is_zero() || !lane.has_a_free_place() {
            return;
        }
        // A connection that died unnoticed must not take all of it: there is time for another attempt.
        let timeout = (patience / 2).clamp(SHORTEST_TIMEOUT, LONGEST_TIMEOUT);
        let (era, token) = (self.portal.era, self.portal.token);
        if self.request(key, era, timeout, turn) {
            if let Some(slot) = self.portal.slots.get(key) {
                self.decided_to_fetch(key, slot, timeout, turn);
            }
            self.portal.lane_of(key).took_off(turn.now, turn.dice);
            if let Some(slot) = self.portal.slots.get_mut(key) {
                slot.flying = true;
                slot.sent_with = token;
            }
        }
    }

    /// The pause until something is to be done for a slot that no event announces.
    pub(super) fn portal_wait(&self, keep_warm: Duration, stopping: bool, now: Now) -> Option<Duration> {
        let has_token = self.token(now).is_some();
        let waits = self.portal.slots.iter().filter_map(|(key, slot)| {
            let patience = slot.waiters.iter().map(|waiting| waiting.waiter.deadline.since(now.mono)).min();
            let wanted = !slot.waiters.is_empty() || slot.errand.is_some();
            let call = if wanted { Some(Duration::ZERO) } else { slot.ahead_wait(keep_warm, now, self.skew) };
            let lane = self.portal.known_lane_of(&key);
            let closed = lane.map_or(Duration::ZERO, |lane| lane.closed_for(slot.someone_waits(), now));
            let has_place = lane.is_none_or(Lane::has_a_free_place);
            let pause = slot.pause_left(now).max(closed).max(slot.refusal_left(now));
            let has_means = |wait: Duration| match key.assumption() {
                // What brings its source is waited for.
                Some(_) => slot.source_ready || !wait.is_zero(),
                None => has_token,
            };
            let call = call.map(|wait| wait.max(pause));
            let call = call.filter(|wait| !stopping && has_place && !slot.flying && has_means(*wait));
            patience.into_iter().chain(call).min()
        });
        waits.min()
    }

    pub(super) fn target_statuses(&self, now: Now) -> impl Iterator<Item = (Grant, TargetStatus)> {
        self.portal.slots.living(now, self.skew).map(|(grant, cached)| {
            let status = TargetStatus {
                session: self.name.to_string(),
                account: Some(grant.account().clone()),
                role: Some(grant.role().clone()),
                profile: None,
                expires_at: Some(cached.expiry.service),
            };
            (grant.clone(), status)
        })
    }
}

const SHORTEST_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
