//! The state machine: every event goes in here, every effect comes out.
//!
//! Owns all sessions and the configuration. Invariants: [`State::handle`] is the only way in and does not wait; the time
//! is what it is told; every question that came in gets exactly one [`Effect::Answer`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{
    Agent, Configuration, Effect, Event, Flight, PortalKey, Purpose, Ticket, Turn, Waiter, WaiterId, Write,
};
use super::latch::{self, Kind, Latching};
use super::reloading::{Cause, Reloading};
use super::rest::Rest;
use super::select::{is_within, session_of, target_of};
use super::session::{Session, TokenWaiter, Wants};
use super::shelf::Shelved;
use super::status::StatusWatcher;
use super::words;
use crate::api::{Code, Health, Problem, Request, Response, SessionQuery, Status, TokenKind};
use crate::ids::{SessionName, TargetId};
use crate::schedule::Dice;
use crate::store::{Manage, Protection, Record, Report, StoreError};
use crate::time::{Mono, Now, Timestamp};
use crate::upstream::Reply;

/// Everything the agent knows.
#[derive(Debug)]
pub struct State {
    pub(super) agent: Agent,
    pub(super) started_at: Timestamp,
    pub(super) configuration: Configuration,
    pub(super) sessions: BTreeMap<SessionName, Session>,
    dice: Dice,
    pub(super) reports: Vec<Report>,
    /// How what is stored is protected, and whether it can be read.
    pub(super) protection: Protection,
    /// Who waits for something done about the key.
    pub(super) managing: Vec<Waiter>,
    pub(super) reloading: Reloading,
    pub(super) latching: Latching,
    pub(super) watchers: Vec<StatusWatcher>,
    pub(super) revision: u64,
    pub(super) seen: Option<Status>,
    pub(super) previous: Option<Now>,
    planned: Option<Mono>,
    /// Nothing has happened since [`State::next_wait`] was asked that would change its answer.
    plan_holds: bool,
    steps_judged: Option<Mono>,
    pub(super) stopping: bool,
    pub(super) rest: Rest,
    /// The AWS CLI's cache is watched.
    pub(super) watching: bool,
}

impl State {
    /// The state at start, with what was stored and what was configured.
    #[must_use]
    pub fn new(
        agent: Agent,
        configuration: Configuration,
        records: Vec<Record>,
        reports: Vec<Report>,
        now: Now,
    ) -> Self {
        let mut state = Self {
            started_at: now.wall,
            dice: Dice::new(agent.seed),
            protection: agent.protection.clone(),
            agent,
            configuration: Configuration::default(),
            sessions: BTreeMap::new(),
            reports,
            managing: Vec::new(),
            reloading: Reloading::default(),
            latching: Latching::default(),
            watchers: Vec::new(),
            // Not that of an agent before this one: who waits for a change of it sees the restart.
            revision: u64::try_from(now.wall.as_millis()).unwrap_or(1),
            seen: None,
            previous: None,
            planned: None,
            plan_holds: false,
            steps_judged: None,
            stopping: false,
            rest: Rest::new(now),
            watching: false,
        };
        let mut effects = Vec::new();
        state.configure(configuration, Cause::Start, now, &mut effects);
        state.load(records, now, &mut effects);
        state
    }

    /// Takes one event at one moment, and says what is to be done.
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.judge_clocks(now);
        match event {
            Event::AskedWithin(waiter, request, targets)
                if !is_within(&self.configuration.catalog, &request, &targets) =>
            {
                // Nothing has happened, as far as everybody else is concerned.
                effects.push(Effect::Answer(waiter, Err(words::not_at_this_door())));
                return effects;
            }
            Event::Asked(waiter, request) | Event::AskedWithin(waiter, request, _) => {
                self.rest.note(&request, now);
                let planned = self.plan_holds;
                match self.warm_answer(&request, now, &mut effects) {
                    Some((answer, is_planned)) => {
                        effects.push(Effect::Answer(waiter, Ok(answer)));
                        if is_planned && planned {
                            return effects;
                        }
                    }
                    None => self.asked(waiter, request, now, &mut effects),
                }
            }
            Event::Finished(flight, reply) => self.finished(flight, reply, now, &mut effects),
            Event::Stored(ticket, outcome) => self.stored(ticket, outcome, now, &mut effects),
            Event::Protected(protection, loaded) => self.protected(protection, loaded, now, &mut effects),
            Event::Managed(waiter, outcome) => self.managed(waiter, outcome, &mut effects),
            Event::Latched(report) => self.latched(report, now),
            Event::Listening(id, outcome) => self.listening(&id, outcome, now, &mut effects),
            Event::BrowserCameBack(id, arrival) => self.browser_came_back(&id, arrival, now, &mut effects),
            Event::Cached(ticket, report) => {
                self.with_session(&ticket.session, now, &mut effects, |session, turn| {
                    session.cached(&ticket, report, turn)
                });
            }
            Event::CacheTouched => self.cache_touched(),
            Event::ConfigurationRead(read) => self.configuration_read(read, now, &mut effects),
            Event::ReloadWanted => self.read_configuration(&mut effects),
            Event::ConfigurationTouched => self.look_at_configuration(&mut effects),
            Event::ConfigurationLookedAt { changed } => self.configuration_looked_at(changed, &mut effects),
            Event::Tick => {}
            Event::Stop => self.stop(now),
        }
        self.plan_holds = false;
        self.settle(now, &mut effects);
        self.keep_shut(&mut effects);
        effects
    }

    /// Whether what [`State::next_wait`] last said still holds; so it does after an answer from the warm cache.
    #[must_use]
    pub const fn plan_holds(&self) -> bool {
        self.plan_holds
    }

    /// How long nothing is to be done, unless something happens.
    pub fn next_wait(&mut self, now: Now) -> Option<Duration> {
        let keep_warm = self.configuration.settings.keep_warm;
        let sessions = self.sessions.values().filter_map(|session| session.next_wait(keep_warm, self.stopping, now));
        let others = self.reloading.waiters().chain(&self.managing);
        let waiters = others.map(|waiter| waiter.deadline.since(now.mono));
        let own = [self.watchers_wait(now), self.rest_wait(now), self.latch_wait(now)].into_iter().flatten();
        let wait = sessions.chain(waiters).chain(own).min();
        self.planned = wait.map(|wait| now.mono.after(wait));
        self.plan_holds = true;
        wait
    }

    /// Whether the agent may end: it is stopping, and no refresh or write is under way that must not be cut off.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.stopping
            && !self.latching.is_under_way()
            && self.sessions.values().all(|session| {
                !session.refreshing.is_under_way() && !session.sign_in_is_saving() && session.sign_out.is_empty()
            })
    }

    /// How what is stored is protected, as far as the engine was told.
    pub(super) const fn protection(&self) -> &Protection {
        &self.protection
    }

    /// Whether everything that should survive the agent is on disk.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.sessions.values().all(Session::is_saved)
    }

    /// The sessions, and a turn to work on them with.
    pub(super) fn parts<'a>(
        &'a mut self,
        now: Now,
        effects: &'a mut Vec<Effect>,
    ) -> (&'a mut BTreeMap<SessionName, Session>, Turn<'a>) {
        let turn = Turn {
            now,
            effects,
            dice: &mut self.dice,
            agent: &self.agent,
            keep_warm: self.configuration.settings.keep_warm,
            stopping: self.stopping,
            notifications: self.configuration.settings.notifications,
        };
        (&mut self.sessions, turn)
    }

    /// Does something with a session and a turn at once.
    pub(super) fn with_session<R>(
        &mut self,
        name: &SessionName,
        now: Now,
        effects: &mut Vec<Effect>,
        work: impl FnOnce(&mut Session, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        let (sessions, mut turn) = self.parts(now, effects);
        Some(work(sessions.get_mut(name)?, &mut turn))
    }

    /// After a suspend or a step of the wall clock, pauses mean nothing any more.
    fn judge_clocks(&mut self, now: Now) {
        if let Some(previous) = self.previous {
            let wall = now.wall.as_millis().saturating_sub(previous.wall.as_millis());
            let mono = i64::try_from(now.mono.since(previous.mono).as_millis()).unwrap_or(i64::MAX);
            let stepped = wall.abs_diff(mono) > CLOCKS_DISAGREE_MS;
            let overslept = self.planned.is_some_and(|planned| now.mono.since(planned) > OVERSLEPT);
            let lately = self.steps_judged.is_some_and(|judged| now.mono.since(judged) < Duration::from_secs(60));
            if (stepped || overslept) && !lately {
                tracing::info!(wall_ms = wall, mono_ms = mono, overslept, "time has jumped: judging everything afresh");
                self.steps_judged = Some(now.mono);
                self.plan_holds = false;
                self.forget_pauses();
            }
        }
        self.previous = Some(now);
    }

    fn forget_pauses(&mut self) {
        for session in self.sessions.values_mut() {
            session.forget_pauses();
        }
    }

    fn settle(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let (sessions, mut turn) = self.parts(now, effects);
        for session in sessions.values_mut() {
            session.settle(&mut turn);
        }
        if self.planned.is_some_and(|planned| planned <= now.mono) {
            self.planned = None;
        }
        self.settle_watching(effects);
        self.settle_reloads(now, effects);
        self.settle_managing(now, effects);
        self.settle_latch(now, effects);
        self.settle_watchers(now, effects);
    }

    /// The path of almost every request: role credentials that are there.
    ///
    /// Says also whether the plan still holds although they were asked for.
    fn warm_answer(&mut self, request: &Request, now: Now, effects: &mut Vec<Effect>) -> Option<(Response, bool)> {
        let Request::Credentials { target, min_validity, .. } = request else { return None };
        if self.stopping || self.is_locked() {
            return None;
        }
        let named = target_of(&self.configuration.catalog, target).ok()?;
        let keep_warm = self.configuration.settings.keep_warm;
        let session = self.sessions.get_mut(&named.session)?;
        let warm = session.warm_credentials(&named.grant, *min_validity, keep_warm, now)?;
        let answer = Response::encoded(&warm.document, named.into_owned()).ok()?;
        // Not for long: the engine must hear now and then that they are still asked for.
        let good_for = warm.good_for.min(keep_warm / 4).min(LONGEST_ON_THE_SHELF);
        let question = request.encode().path_and_query;
        effects.push(Effect::Shelve(Shelved { question, answer: answer.clone(), good_for }));
        Some((answer, warm.planned))
    }

    fn asked(&mut self, waiter: WaiterId, request: Request, now: Now, effects: &mut Vec<Effect>) {
        let immediate = match request {
            Request::Health => Some(Ok(Response::Health(Health { version: self.agent.version.to_owned() }))),
            _ if self.stopping => Some(Err(words::shutting_down())),
            request if self.is_locked() && !latch::may_be_asked(&request) => Some(Err(words::locked())),
            Request::Lock { passphrase } => self.asked_to_latch(Kind::Lock, waiter, passphrase, now, effects),
            Request::Unlock { passphrase } => self.asked_to_latch(Kind::Unlock, waiter, passphrase, now, effects),
            Request::Status { wait, after } => self.asked_status(waiter, wait, after, now),
            // The door makes its text of it.
            Request::Metrics => self.asked_status(waiter, Duration::ZERO, None, now),
            Request::Reload => {
                self.reloading.wait(Waiter { id: waiter, deadline: now.mono.after(PATIENCE) });
                self.read_configuration(effects);
                None
            }
            Request::Storage => self.asked_to_manage(waiter, None, now, effects),
            Request::UnlockStorage { passphrase } => {
                self.asked_to_manage(waiter, Some(Manage::Unlock { passphrase }), now, effects)
            }
            Request::MigrateStorage { to, passphrase } => match to.parse() {
                Ok(to) => self.asked_to_manage(waiter, Some(Manage::Migrate { to, passphrase }), now, effects),
                Err(unknown) => Some(Err(Problem::new(Code::InvalidRequest, format!("to: {unknown}")))),
            },
            Request::Credentials { target, min_validity, timeout } => {
                match target_of(&self.configuration.catalog, &target).map(Cow::into_owned) {
                    Ok(TargetId { session, grant }) => {
                        let key = PortalKey::Credentials(grant);
                        self.ask_portal(waiter, &session, key, min_validity, timeout.unwrap_or(PATIENCE), now, effects)
                    }
                    Err(problem) => Some(Err(*problem)),
                }
            }
            Request::Console { target, destination } => {
                self.asked_for_the_console(waiter, &target, destination.as_deref(), now, effects)
            }
            Request::Accounts { session } => self.with_query(&session, |state, name| {
                state.ask_portal(waiter, &name, PortalKey::Accounts, None, LIST_PATIENCE, now, effects)
            }),
            Request::Roles { session, account } => self.with_query(&session, |state, name| {
                state.ask_portal(waiter, &name, PortalKey::Roles(account), None, LIST_PATIENCE, now, effects)
            }),
            Request::Token { kind: TokenKind::Id, .. } => {
                Some(Err(Problem::new(Code::InvalidRequest, "an Identity Center session has no ID token")))
            }
            Request::Token { session, min_validity, kind: TokenKind::Access } => {
                self.with_query(&session, |state, name| {
                    let waiter = Waiter { id: waiter, deadline: now.mono.after(PATIENCE) };
                    let wants = Wants::Token(min_validity);
                    state.with_session(&name, now, effects, |session, _| {
                        session.token_waiters.push(TokenWaiter { waiter, wants });
                    });
                    None
                })
            }
            Request::Refresh { session, force } => self.with_query(&session, |state, name| {
                state
                    .with_session(&name, now, effects, |session, turn| session.asked_to_refresh(waiter, force, turn))?
            }),
            Request::Adopt { session } => self.with_query(&session, |state, name| {
                let waiter = Waiter { id: waiter, deadline: now.mono.after(PATIENCE) };
                state.with_session(&name, now, effects, |session, turn| session.asked_to_adopt(waiter, turn))?
            }),
            Request::Login { session, login } => self.with_query(&session, |state, name| {
                let waiter = Waiter { id: waiter, deadline: now.mono.after(SIGN_IN_PATIENCE) };
                state.with_session(&name, now, effects, |session, turn| session.login(&login, waiter, turn));
                None
            }),
            Request::LoginState { session, wait } => self.with_query(&session, |state, name| {
                let waiter = Waiter { id: waiter, deadline: now.mono.after(wait) };
                state.with_session(&name, now, effects, |session, turn| session.watch_sign_in(waiter, turn));
                None
            }),
            Request::CancelLogin { session, attempt } => self.with_query(&session, |state, name| {
                state.with_session(&name, now, effects, |session, turn| session.cancel_sign_in(attempt, turn));
                Some(Ok(Response::NoContent))
            }),
            Request::Logout { session } => {
                let waiter = Waiter { id: waiter, deadline: now.mono.after(PATIENCE) };
                let mut logout = |state: &mut Self, name: SessionName| {
                    if let Some(awaited) = &mut state.protection.awaited {
                        awaited.sealed.remove(&name);
                    }
                    state.with_session(&name, now, effects, |session, turn| session.logout(waiter, turn));
                    None
                };
                match session {
                    // What is held can be let go, whatever the configuration says now.
                    SessionQuery::Named(name) if self.holds_tokens_of(&name) => logout(self, name),
                    other => self.with_query(&other, logout),
                }
            }
        };
        if let Some(answer) = immediate {
            effects.push(Effect::Answer(waiter, answer));
        }
    }

    fn holds_tokens_of(&self, name: &SessionName) -> bool {
        self.sessions.get(name).is_some_and(|session| session.holding.is_some() || session.sealed.is_some())
    }

    /// Finds out which session is meant, and goes on with that.
    fn with_query(
        &mut self,
        query: &SessionQuery,
        work: impl FnOnce(&mut Self, SessionName) -> Option<Result<Response, Problem>>,
    ) -> Option<Result<Response, Problem>> {
        match session_of(&self.configuration.catalog, query) {
            Ok(name) => work(self, name),
            Err(problem) => Some(Err(*problem)),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one call site per kind of question, nothing to bundle")]
    fn ask_portal(
        &mut self,
        waiter: WaiterId,
        session: &SessionName,
        key: PortalKey,
        min_validity: Option<Duration>,
        patience: Duration,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Result<Response, Problem>> {
        let waiter = Waiter { id: waiter, deadline: now.mono.after(patience) };
        self.with_session(session, now, effects, |session, turn| {
            session.ask_portal(key, waiter, min_validity, turn);
        });
        None
    }

    fn finished(&mut self, flight: Flight, reply: Reply, now: Now, effects: &mut Vec<Effect>) {
        let name = flight.session.clone();
        self.with_session(&name, now, effects, |session, turn| {
            let era = flight.era;
            if let Some(time) = reply.service_time.filter(|_| flight.purpose.has_a_clock_to_believe()) {
                session.observe_clock(time, now);
            }
            session.observe(&flight.purpose, &reply, turn);
            match &flight.purpose {
                Purpose::Refresh if era == session.era => session.refresh_finished(reply, turn),
                Purpose::SignIn(number) if session.sign_in.awaits(*number) => session.sign_in_finished(reply, turn),
                Purpose::Portal(key) => session.portal_finished(key, era, reply, turn),
                Purpose::Console(id) => session.console_finished(*id, era, reply, turn),
                Purpose::Probe => session.probed(era, reply, turn),
                Purpose::Logout => session.portal_signed_out(era, reply.result.is_ok()),
                Purpose::Refresh | Purpose::SignIn(_) => session.late_answer(&flight, reply, turn),
                Purpose::Revoke(_) => tracing::info!(revoked = reply.result.is_ok(), "tokens nobody wants"),
            }
        });
    }

    fn stored(&mut self, ticket: Ticket, outcome: Result<(), StoreError>, now: Now, effects: &mut Vec<Effect>) {
        let Ticket { session, era, write } = ticket;
        let outcome = outcome.map_err(|error| {
            let detail = format!("the record of session {} was not saved", crate::untrusted::shown(session.as_str()));
            Problem::new(Code::Storage, detail).session(&session).caused_by(&error)
        });
        self.with_session(&session, now, effects, |session, turn| {
            let current = era == session.era;
            match write {
                Write::Client => session.stored(write, outcome, now),
                Write::SignedOut => session.tokens_deleted(era, outcome, now),
                Write::Mark if current => session.refresh_marked(outcome, turn),
                Write::Refreshed if current => session.refresh_saved(outcome, turn),
                Write::SignedIn if current => session.sign_in_saved(outcome, turn),
                Write::Adopted if current => session.adoption_saved(outcome, turn),
                Write::Tokens if current => session.stored(write, outcome, now),
                _ => {}
            }
        });
    }

    fn stop(&mut self, now: Now) {
        self.stopping = true;
        let drained = now.mono.after(DRAIN);
        for session in self.sessions.values_mut() {
            session.bound_patience(drained);
            session.save_at_the_end(now);
        }
        self.bound_latch_patience(drained);
        // What is done about the key is a write: it is waited for.
        let others = self.watchers.iter_mut().map(|watcher| &mut watcher.waiter);
        for waiter in others.chain(self.reloading.waiters_mut()) {
            waiter.deadline = waiter.deadline.min(drained);
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(25);
const LIST_PATIENCE: Duration = Duration::from_secs(60);
const SIGN_IN_PATIENCE: Duration = Duration::from_secs(45);
const LONGEST_ON_THE_SHELF: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(2);
const CLOCKS_DISAGREE_MS: u64 = 5_000;
const OVERSLEPT: Duration = Duration::from_secs(10);
