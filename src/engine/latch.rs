//! The lock that a person puts on the agent: what a locked one still answers, and how it is unlocked.
//!
//! Owns: whether the agent is locked, and the patience that a wrong passphrase costs. Refuses to know files and how a
//! passphrase is told from another. Invariants: from the moment `lock` is asked for, nothing is handed out, also to whom
//! was waiting already; one guess is looked at at a time, and none before the wait for the one before is over, whoever
//! makes it and however often the agent is started meanwhile; what keeps itself alive by a refresh or a write goes on.

use std::collections::VecDeque;
use std::time::Duration;

use super::event::{Effect, Waiter, WaiterId};
use super::state::State;
use super::words;
use crate::api::{Code, LockDetails, LockStatus, Problem, Request, Response, Status, StorageStatus};
use crate::secret::Secret;
use crate::store::{Latch, LatchOrder, LatchReport, Lock};
use crate::time::{Mono, Now};

/// See the module.
#[derive(Debug)]
pub(super) struct Latching {
    latch: Latch,
    /// The file says the same.
    saved: bool,
    /// What people want done about it, in order.
    wishes: VecDeque<Wish>,
    /// What is under way, and who waits for it.
    under_way: Option<(Kind, Option<Waiter>)>,
    /// The wrong guess that is told to be wrong at this time.
    wrong: Option<(WaiterId, Mono)>,
    /// The next guess is not looked at before.
    not_before: Option<Mono>,
    /// These go out whether it is locked or not.
    answers: Vec<(WaiterId, Result<Response, Problem>)>,
}

#[derive(Debug)]
struct Wish {
    kind: Kind,
    waiter: Option<Waiter>,
    passphrase: Option<Secret>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Lock,
    Unlock,
}

impl Default for Latching {
    fn default() -> Self {
        Self {
            latch: Latch::Open,
            saved: true,
            wishes: VecDeque::new(),
            under_way: None,
            wrong: None,
            not_before: None,
            answers: Vec::new(),
        }
    }
}

impl State {
    /// The state of an agent that comes up with this lock.
    #[must_use]
    pub fn with_latch(mut self, latch: Latch, now: Now) -> Self {
        self.latching.not_before = match &latch {
            Latch::Locked(Lock { failures: failures @ 1.., .. }) => Some(now.mono.after(wait_after(*failures))),
            _ => None,
        };
        self.latching.latch = latch;
        self
    }

    /// Whether the agent is locked, or about to be.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.latching.is_locked()
    }

    /// `POST /v1/lock` and `POST /v1/unlock`.
    pub(super) fn asked_to_latch(
        &mut self,
        kind: Kind,
        id: WaiterId,
        passphrase: Option<Secret>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Result<Response, Problem>> {
        let guesses = self.latching.wishes.iter().filter(|wish| wish.kind == Kind::Unlock).count();
        if kind == Kind::Unlock && guesses >= MOST_GUESSES {
            let problem = Problem::new(Code::Busy, "others are trying to unlock the agent");
            self.latching.answers.push((id, Err(problem.retry_after(LONGEST_WAIT))));
            return None;
        }
        let was_locked = self.is_locked();
        let waiter = Some(Waiter { id, deadline: now.mono.after(PATIENCE) });
        self.latching.wishes.push_back(Wish { kind, waiter, passphrase });
        if self.is_locked() && !was_locked {
            tracing::info!("the agent is being locked");
            self.shut(now, effects);
        }
        None
    }

    /// Nobody who waits gets anything any more, and nobody is left waiting.
    fn shut(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let (sessions, mut turn) = self.parts(now, effects);
        for session in sessions.values_mut() {
            session.lock(&mut turn);
            session.bound_patience(now.mono);
        }
        for waiter in self.reloading.waiters_mut() {
            waiter.deadline = waiter.deadline.min(now.mono);
        }
    }

    /// What was to be done about the lock is done, or was not.
    pub(super) fn latched(&mut self, report: LatchReport, now: Now) {
        let latching = &mut self.latching;
        let waiter = latching.under_way.take().and_then(|(_, waiter)| waiter);
        let answer = match report {
            LatchReport::Locked(lock, written) => {
                tracing::info!(passphrase = lock.verifier.is_some(), saved = written.is_ok(), "the agent is locked");
                latching.latch = Latch::Locked(lock);
                latching.saved = written.is_ok();
                written.map_err(|error| words::lock_not_saved(&error))
            }
            LatchReport::Unlocked(removed) => {
                tracing::info!(saved = removed.is_ok(), "the agent is unlocked");
                (latching.latch, latching.saved, latching.not_before) = (Latch::Open, true, None);
                removed.map_err(|error| words::lock_not_removed(&error))
            }
            LatchReport::Wrong(lock) => {
                let wait = wait_after(lock.failures);
                tracing::warn!(failures = lock.failures, ?wait, "a wrong passphrase");
                latching.latch = Latch::Locked(lock);
                let over = now.mono.after(wait);
                latching.not_before = Some(over);
                latching.wrong = waiter.map(|waiter| (waiter.id, over.min(waiter.deadline)));
                return;
            }
            LatchReport::NotLocked(error) => Err(words::not_locked(&error)),
        };
        let answer = answer.map(|()| Response::Locked(latching.status()));
        latching.answers.extend(waiter.map(|waiter| (waiter.id, answer)));
    }

    /// Does what is due, and answers whose patience is over.
    pub(super) fn settle_latch(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let stopping = self.stopping;
        let latching = &mut self.latching;
        latching.answer_the_impatient(stopping, now);
        while latching.under_way.is_none()
            && let Some(wish) = latching.next_wish(now)
        {
            match latching.order_of(wish.kind, wish.passphrase, now) {
                Ok(order) => {
                    latching.under_way = Some((wish.kind, wish.waiter));
                    effects.push(Effect::Latch(order));
                }
                Err(answer) => latching.answers.extend(wish.waiter.map(|waiter| (waiter.id, *answer))),
            }
        }
    }

    /// The last word on what goes out: nothing leaves a locked agent but what a locked one says.
    pub(super) fn keep_shut(&mut self, effects: &mut Vec<Effect>) {
        if self.is_locked() {
            effects.retain(|effect| !matches!(effect, Effect::Shelve(_)));
            for effect in effects.iter_mut() {
                if let Effect::Answer(_, answer) = effect
                    && !answer.as_ref().is_ok_and(may_leave)
                {
                    *answer = Err(words::locked());
                }
            }
        }
        let answers = self.latching.answers.drain(..);
        effects.extend(answers.map(|(waiter, answer)| Effect::Answer(waiter, answer)));
    }

    pub(super) fn latch_wait(&self, now: Now) -> Option<Duration> {
        let Latching { wishes, under_way, wrong, not_before, .. } = &self.latching;
        let waiting = wishes.iter().filter_map(|wish| wish.waiter.map(|waiter| waiter.deadline));
        let waiting = waiting.chain(under_way.iter().filter_map(|(_, waiter)| waiter.map(|waiter| waiter.deadline)));
        let next = not_before.filter(|_| !wishes.is_empty() && under_way.is_none());
        waiting.chain(wrong.map(|(_, at)| at)).chain(next).map(|at| at.since(now.mono)).min()
    }

    /// The agent stops: nobody waits longer than this.
    pub(super) fn bound_latch_patience(&mut self, deadline: Mono) {
        let Latching { wishes, under_way, wrong, .. } = &mut self.latching;
        let waiting = wishes.iter_mut().filter_map(|wish| wish.waiter.as_mut().map(|waiter| &mut waiter.deadline));
        let of_order =
            under_way.iter_mut().filter_map(|(_, waiter)| waiter.as_mut().map(|waiter| &mut waiter.deadline));
        for at in waiting.chain(of_order).chain(wrong.iter_mut().map(|(_, at)| at)) {
            *at = (*at).min(deadline);
        }
    }

    /// What a locked agent says of itself: no name of a session, an account or a file of the configuration.
    pub(super) fn without_names(&self, status: Status) -> Status {
        let LockStatus { locked, lock } = self.latching.status();
        if !locked {
            return status;
        }
        Status {
            locked,
            lock,
            storage: StorageStatus { message: None, hint: None, ..status.storage },
            sessions: Vec::new(),
            targets: Vec::new(),
            warnings: Vec::new(),
            ..status
        }
    }
}

impl Latching {
    fn is_locked(&self) -> bool {
        let locks = |kind: Kind| kind == Kind::Lock;
        self.latch != Latch::Open
            || self.under_way.as_ref().is_some_and(|(kind, _)| locks(*kind))
            || self.wishes.iter().any(|wish| locks(wish.kind))
    }

    /// Whether something about the lock is being written.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some() || self.wishes.iter().any(|wish| wish.kind == Kind::Lock)
    }

    /// Whether the lock would be off, or a guess would be cheaper, after a restart.
    pub(super) fn keeps_the_agent(&self) -> bool {
        !self.saved || self.under_way.is_some() || !self.wishes.is_empty() || self.wrong.is_some()
    }

    fn status(&self) -> LockStatus {
        let lock = match &self.latch {
            Latch::Open if !self.is_locked() => None,
            Latch::Open => {
                Some(LockDetails { since: None, passphrase: false, saved: false, message: None, hint: None })
            }
            Latch::Locked(lock) => Some(LockDetails {
                since: Some(lock.since),
                passphrase: lock.verifier.is_some(),
                saved: self.saved,
                message: (!self.saved).then(|| "the lock could not be saved: a restart would open it".to_owned()),
                hint: None,
            }),
            Latch::Unreadable { path, reason } => Some(LockDetails {
                since: None,
                passphrase: true,
                saved: true,
                message: Some(words::lock_is_damaged(path, reason)),
                hint: Some(words::remove_the_lock(path)),
            }),
        };
        LockStatus { locked: lock.is_some(), lock }
    }

    /// The first that may be looked at now: a lock before any guess.
    fn next_wish(&mut self, now: Now) -> Option<Wish> {
        let lock = self.wishes.iter().position(|wish| wish.kind == Kind::Lock);
        let patient = self.wrong.is_none() && self.not_before.is_none_or(|at| at <= now.mono);
        let asks_nothing = |wish: &Wish| wish.passphrase.is_none();
        let index = lock.or_else(|| {
            // What is no guess has nothing to wait for.
            if patient { (!self.wishes.is_empty()).then_some(0) } else { self.wishes.iter().position(asks_nothing) }
        });
        self.wishes.remove(index?)
    }

    /// What is to be done, or the answer at once.
    fn order_of(
        &self,
        kind: Kind,
        passphrase: Option<Secret>,
        now: Now,
    ) -> Result<LatchOrder, Box<Result<Response, Problem>>> {
        let as_it_is = || Box::new(Ok(Response::Locked(self.status())));
        match (kind, &self.latch) {
            (Kind::Lock, Latch::Open) => Ok(LatchOrder::Lock(now.wall, passphrase)),
            // A safety catch that becomes a lock.
            (Kind::Lock, Latch::Locked(Lock { verifier: None, .. })) if passphrase.is_some() || !self.saved => {
                Ok(LatchOrder::Lock(now.wall, passphrase))
            }
            (Kind::Lock, Latch::Locked(_) | Latch::Unreadable { .. }) if passphrase.is_some() => {
                Err(Box::new(Err(words::locked_with_another_passphrase())))
            }
            (Kind::Lock, _) | (Kind::Unlock, Latch::Open) => Err(as_it_is()),
            (Kind::Unlock, Latch::Locked(Lock { verifier: Some(_), .. })) if passphrase.is_none() => {
                Err(Box::new(Err(words::passphrase_needed())))
            }
            (Kind::Unlock, Latch::Locked(lock)) => Ok(LatchOrder::Unlock(lock.clone(), passphrase)),
            (Kind::Unlock, Latch::Unreadable { path, reason }) => {
                let problem = Problem::new(Code::Locked, words::lock_is_damaged(path, reason));
                Err(Box::new(Err(problem.hint(words::remove_the_lock(path)))))
            }
        }
    }

    fn answer_the_impatient(&mut self, stopping: bool, now: Now) {
        let is_over = |at: Mono| at <= now.mono;
        if let Some((waiter, _)) = self.wrong.take_if(|(_, at)| is_over(*at)) {
            self.answers.push((waiter, Err(words::wrong_passphrase())));
        }
        let mut impatient = Vec::new();
        self.wishes.retain_mut(|wish| {
            let over = wish.waiter.take_if(|waiter| is_over(waiter.deadline));
            impatient.extend(over.map(|waiter| waiter.id));
            // What nobody waits for is not done; but a lock is: it is what keeps the agent shut.
            over.is_none() || wish.kind == Kind::Lock
        });
        if let Some((_, waiter)) = &mut self.under_way {
            impatient.extend(waiter.take_if(|waiter| is_over(waiter.deadline)).map(|waiter| waiter.id));
        }
        let problem = || if stopping { words::shutting_down() } else { words::lock_took_too_long() };
        self.answers.extend(impatient.into_iter().map(|waiter| (waiter, Err(problem()))));
    }
}

/// What may be asked of a locked agent.
pub(super) const fn may_be_asked(request: &Request) -> bool {
    match request {
        Request::Health | Request::Metrics | Request::Status { .. } | Request::Lock { .. } | Request::Unlock { .. } => {
            true
        }
        // Whatever else there is, and whatever else there will be.
        _ => false,
    }
}

/// What may leave a locked agent, be it an answer to what was asked before.
const fn may_leave(response: &Response) -> bool {
    match response {
        Response::Health(_)
        | Response::Status(_)
        | Response::Metrics(_)
        | Response::Locked(_)
        | Response::LoggedOut(_)
        | Response::Storage(_)
        | Response::NoContent => true,
        Response::Credentials(..)
        | Response::EncodedCredentials(_)
        | Response::Token(_)
        | Response::Console(..)
        | Response::Login { .. }
        | Response::Session(_)
        | Response::Adopted(_)
        | Response::Accounts(_)
        | Response::Roles(_)
        | Response::Reloaded(_) => false,
    }
}

/// After so many wrong passphrases: 1, 2, 4, 8, 10, 10 … seconds.
fn wait_after(failures: u32) -> Duration {
    Duration::from_secs(1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX).max(1)).min(LONGEST_WAIT)
}

const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// For whoever wants it locked or unlocked: longer than all that may be before it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Together they wait no longer than one of them has patience.
const MOST_GUESSES: usize = 4;
