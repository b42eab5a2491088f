//! The state machine: every event goes in here, every effect comes out.
//!
//! Owns all sessions and the configuration. Invariants: [`State::handle`] is the only way in and does not wait; the time
//! is what it is told; every question that came in gets exactly one [`Effect::Answer`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{
    Agent, Configuration, Effect, Event, Flight, PortalKey, Purpose, Ticket, Turn, Waiter, WaiterId, Write,
};
use super::session::{Session, TokenWaiter, Wants, same_place};
use super::words;
use crate::api::{
    Code, Health, Problem, Reloaded, Request, Response, SessionQuery, Status, StorageStatus, TargetQuery, TargetStatus,
    TokenKind, WarningEntry,
};
use crate::aws_config::Catalog;
use crate::ids::{Grant, ProfileName, SessionName, TargetId};
use crate::schedule::Dice;
use crate::store::{Record, Report, StoreError};
use crate::time::{Mono, Now, Timestamp};
use crate::upstream::Reply;

/// Everything the agent knows.
#[derive(Debug)]
pub struct State {
    agent: Agent,
    started_at: Timestamp,
    configuration: Configuration,
    sessions: BTreeMap<SessionName, Session>,
    dice: Dice,
    reports: Vec<Report>,
    reloads: Vec<Waiter>,
    reading: bool,
    watchers: Vec<StatusWatcher>,
    revision: u64,
    seen: Option<Status>,
    previous: Option<Now>,
    planned: Option<Mono>,
    steps_judged: Option<Mono>,
    stopping: bool,
}

#[derive(Debug)]
struct StatusWatcher {
    waiter: Waiter,
    after: u64,
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
            agent,
            configuration: Configuration::default(),
            sessions: BTreeMap::new(),
            reports,
            reloads: Vec::new(),
            reading: false,
            watchers: Vec::new(),
            revision: 1,
            seen: None,
            previous: None,
            planned: None,
            steps_judged: None,
            stopping: false,
        };
        let mut effects = Vec::new();
        state.configure(configuration, now, &mut effects);
        for record in records {
            let name = record.session().clone();
            let mut session = state.sessions.remove(&name).unwrap_or_else(|| Session::new(name.clone()));
            session.load(record, &mut state.turn(now, &mut effects));
            state.sessions.insert(name, session);
        }
        state
    }

    /// Takes one event at one moment, and says what is to be done.
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.judge_clocks(now);
        match event {
            Event::Asked(waiter, request) => {
                if let Some(answer) = self.warm_answer(&request, now) {
                    effects.push(Effect::Answer(waiter, Ok(answer)));
                    return effects;
                }
                self.asked(waiter, request, now, &mut effects);
            }
            Event::Finished(flight, reply) => self.finished(flight, reply, now, &mut effects),
            Event::Stored(ticket, outcome) => self.stored(ticket, outcome, now, &mut effects),
            Event::ConfigurationRead(read) => self.configuration_read(read, now, &mut effects),
            Event::ReloadWanted => self.read_configuration(&mut effects),
            Event::Tick => {}
            Event::Stop => self.stop(now),
        }
        self.settle(now, &mut effects);
        effects
    }

    /// How long nothing is to be done, unless something happens.
    pub fn next_wait(&mut self, now: Now) -> Option<Duration> {
        let keep_warm = self.configuration.settings.keep_warm;
        let sessions = self.sessions.values().filter_map(|session| session.next_wait(keep_warm, self.stopping, now));
        let watchers = self.watchers.iter().map(|watcher| watcher.waiter);
        let waiters = watchers.chain(self.reloads.iter().copied()).map(|waiter| waiter.deadline.since(now.mono));
        let wait = sessions.chain(waiters).min();
        self.planned = wait.map(|wait| now.mono.after(wait));
        wait
    }

    /// Whether the agent may end: it is stopping, and no refresh or write is under way that must not be cut off.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.stopping
            && self.sessions.values().all(|session| {
                !session.refreshing.is_under_way() && !session.sign_in_is_saving() && session.sign_out.is_empty()
            })
    }

    fn turn<'a>(&'a mut self, now: Now, effects: &'a mut Vec<Effect>) -> Turn<'a> {
        Turn {
            now,
            effects,
            dice: &mut self.dice,
            agent: &self.agent,
            keep_warm: self.configuration.settings.keep_warm,
            stopping: self.stopping,
        }
    }

    /// Does something with a session and a turn at once.
    fn with_session<R>(
        &mut self,
        name: &SessionName,
        now: Now,
        effects: &mut Vec<Effect>,
        work: impl FnOnce(&mut Session, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        let session = self.sessions.get_mut(name)?;
        let mut turn = Turn {
            now,
            effects,
            dice: &mut self.dice,
            agent: &self.agent,
            keep_warm: self.configuration.settings.keep_warm,
            stopping: self.stopping,
        };
        Some(work(session, &mut turn))
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
                self.forget_pauses();
            }
        }
        self.previous = Some(now);
    }

    fn forget_pauses(&mut self) {
        for session in self.sessions.values_mut() {
            session.refreshing.forget_pauses();
            session.portal.forget_pauses();
        }
    }

    fn settle(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut turn = Turn {
            now,
            effects,
            dice: &mut self.dice,
            agent: &self.agent,
            keep_warm: self.configuration.settings.keep_warm,
            stopping: self.stopping,
        };
        for session in self.sessions.values_mut() {
            session.settle(&mut turn);
        }
        if self.planned.is_some_and(|planned| planned <= now.mono) {
            self.planned = None;
        }
        self.settle_reloads(now, effects);
        self.settle_watchers(now, effects);
    }

    /// The path of almost every request: role credentials that are there.
    fn warm_answer(&mut self, request: &Request, now: Now) -> Option<Response> {
        let Request::Credentials { target, min_validity, .. } = request else { return None };
        if self.stopping {
            return None;
        }
        let target = self.configuration.catalog.target(target).ok()?;
        let keep_warm = self.configuration.settings.keep_warm;
        self.sessions.get_mut(&target.session)?.warm_credentials(&target.grant, *min_validity, keep_warm, now)
    }

    fn asked(&mut self, waiter: WaiterId, request: Request, now: Now, effects: &mut Vec<Effect>) {
        let immediate = match request {
            Request::Health => Some(Ok(Response::Health(Health { version: self.agent.version.to_owned() }))),
            _ if self.stopping => Some(Err(words::shutting_down())),
            Request::Status { wait, after } => self.asked_status(waiter, wait, after, now),
            Request::Reload => {
                self.reloads.push(Waiter { id: waiter, deadline: now.mono.after(PATIENCE) });
                self.read_configuration(effects);
                None
            }
            Request::Credentials { target, min_validity, timeout } => {
                match self.configuration.catalog.target(&target) {
                    Ok(TargetId { session, grant }) => {
                        let key = PortalKey::Credentials(grant);
                        self.ask_portal(waiter, &session, key, min_validity, timeout.unwrap_or(PATIENCE), now, effects)
                    }
                    Err(problem) => Some(Err(*problem)),
                }
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
            Request::Logout { session } => self.with_query(&session, |state, name| {
                let waiter = Waiter { id: waiter, deadline: now.mono.after(PATIENCE) };
                state.with_session(&name, now, effects, |session, turn| session.logout(waiter, turn));
                None
            }),
        };
        if let Some(answer) = immediate {
            effects.push(Effect::Answer(waiter, answer));
        }
    }

    /// Finds out which session is meant, and goes on with that.
    fn with_query(
        &mut self,
        query: &SessionQuery,
        work: impl FnOnce(&mut Self, SessionName) -> Option<Result<Response, Problem>>,
    ) -> Option<Result<Response, Problem>> {
        match self.configuration.catalog.session_name(query) {
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
        let Flight { session, era, purpose } = flight;
        self.with_session(&session, now, effects, |session, turn| {
            if let Some(time) = reply.service_time {
                session.skew.observe(time);
            }
            match purpose {
                Purpose::Refresh if era == session.era => session.refresh_finished(reply, turn),
                Purpose::SignIn(number) => session.sign_in_finished(number, reply, turn),
                Purpose::Portal(key) => session.portal_finished(&key, era, reply, turn),
                Purpose::Logout => session.portal_signed_out(era, reply.result.is_ok()),
                Purpose::Refresh => {
                    tracing::info!("the result of a refresh from before the last sign-in or sign-out is dropped")
                }
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
                Write::SignedOut => session.tokens_deleted(era, outcome),
                Write::Mark if current => session.refresh_marked(outcome, turn),
                Write::Refreshed if current => session.refresh_saved(outcome, turn),
                Write::SignedIn if current => session.sign_in_saved(outcome, turn),
                Write::Tokens if current => session.stored(write, outcome, now),
                _ => {}
            }
        });
    }

    fn read_configuration(&mut self, effects: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.reading, true) {
            effects.push(Effect::ReadConfiguration);
        }
    }

    fn configuration_read(&mut self, read: Result<Configuration, Problem>, now: Now, effects: &mut Vec<Effect>) {
        self.reading = false;
        let answer = match read {
            Ok(configuration) => {
                let changed = self.configure(configuration, now, effects);
                tracing::info!(
                    changed = changed.len(),
                    warnings = self.configuration.catalog.warnings.len(),
                    "configuration read"
                );
                Ok(Response::Reloaded(Reloaded { changed, warnings: self.warnings() }))
            }
            Err(problem) => {
                tracing::warn!("the configuration was not read, the old one stays: {problem}");
                Err(problem)
            }
        };
        for waiter in std::mem::take(&mut self.reloads) {
            effects.push(Effect::Answer(waiter.id, answer.clone()));
        }
    }

    /// Takes a configuration. Only what really changed is touched.
    fn configure(&mut self, configuration: Configuration, now: Now, effects: &mut Vec<Effect>) -> Vec<String> {
        let diff = self.configuration.catalog.diff(&configuration.catalog);
        if configuration.settings.storage != self.configuration.settings.storage && self.previous.is_some() {
            tracing::warn!("a change of [storage] takes effect when the agent is started again");
        }
        self.configuration = configuration;
        let names: Vec<SessionName> =
            self.configuration.catalog.sessions.keys().chain(self.sessions.keys()).cloned().collect();
        for name in names {
            let definition = self.configuration.catalog.sessions.get(&name).cloned();
            let settings = self.configuration.settings.sessions.get(&name).cloned().unwrap_or_default();
            self.sessions.entry(name.clone()).or_insert_with(|| Session::new(name.clone()));
            self.with_session(&name, now, effects, |session, turn| {
                session.settings = settings;
                let origin = |definition: &Option<Result<crate::aws_config::SessionDefinition, _>>| {
                    definition.as_ref().and_then(|d| d.as_ref().ok().map(crate::aws_config::SessionDefinition::origin))
                };
                let moved = match (origin(&session.definition), origin(&definition)) {
                    (Some(old), Some(new)) => !same_place(&old, &new),
                    (None, None) => false,
                    _ => true,
                };
                session.definition = definition;
                if moved {
                    session.portal.new_era();
                    session.abandon_sign_in(turn);
                }
                session.refreshing.forget_pauses();
                session.portal.forget_pauses();
            });
        }
        let sessions = diff.sessions.iter().map(|name| format!("session {name}"));
        sessions.chain(diff.profiles.iter().map(|name| format!("profile {name}"))).collect()
    }

    fn settle_reloads(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for waiter in self.reloads.extract_if(.., |waiter| waiter.deadline <= now.mono) {
            let problem = Problem::new(Code::Timeout, "reading the configuration took too long");
            effects.push(Effect::Answer(waiter.id, Err(problem)));
        }
    }

    fn stop(&mut self, now: Now) {
        self.stopping = true;
        let drained = now.mono.after(DRAIN);
        for session in self.sessions.values_mut() {
            session.bound_patience(drained);
        }
        for waiter in self.watchers.iter_mut().map(|watcher| &mut watcher.waiter).chain(&mut self.reloads) {
            waiter.deadline = waiter.deadline.min(drained);
        }
    }

    fn asked_status(
        &mut self,
        waiter: WaiterId,
        wait: Duration,
        after: Option<u64>,
        now: Now,
    ) -> Option<Result<Response, Problem>> {
        let status = self.status(now);
        match after {
            Some(after) if after == status.revision && !wait.is_zero() => {
                let waiter = Waiter { id: waiter, deadline: now.mono.after(wait) };
                self.watchers.push(StatusWatcher { waiter, after });
                None
            }
            _ => Some(Ok(Response::Status(Box::new(status)))),
        }
    }

    fn settle_watchers(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.watchers.is_empty() {
            return;
        }
        let status = self.status(now);
        let changed =
            |watcher: &mut StatusWatcher| watcher.after != status.revision || watcher.waiter.deadline <= now.mono;
        for watcher in self.watchers.extract_if(.., changed) {
            effects.push(Effect::Answer(watcher.waiter.id, Ok(Response::Status(Box::new(status.clone())))));
        }
    }

    fn status(&mut self, now: Now) -> Status {
        let mut status = Status {
            version: self.agent.version.to_owned(),
            pid: self.agent.pid,
            started_at: self.started_at,
            revision: 0,
            socket: self.agent.socket.clone(),
            locked: false,
            storage: StorageStatus {
                key: self.agent.key_kind.to_owned(),
                saved: self.sessions.values().all(|session| session.status(now).saved),
            },
            sessions: self
                .sessions
                .values()
                .filter(|session| session.definition.is_some())
                .map(|session| session.status(now))
                .collect(),
            targets: self.targets(now),
            warnings: self.warnings(),
        };
        // Compared without what moves by itself.
        let comparable = comparable(&status);
        if self.seen.as_ref() != Some(&comparable) {
            if self.seen.is_some() {
                self.revision += 1;
            }
            self.seen = Some(comparable);
        }
        status.revision = self.revision;
        status
    }

    fn targets(&self, now: Now) -> Vec<TargetStatus> {
        let profile_of = |session: &SessionName, grant: &Grant| -> Option<ProfileName> {
            self.configuration.catalog.profiles.values().filter_map(|profile| profile.as_ref().ok()).find_map(
                |profile| {
                    let target = profile.target.as_ref()?;
                    (target.session == *session && target.grant == *grant).then(|| profile.name.clone())
                },
            )
        };
        self.sessions
            .values()
            .flat_map(|session| session.target_statuses(now).map(move |(grant, status)| (&session.name, grant, status)))
            .map(|(session, grant, status)| TargetStatus { profile: profile_of(session, &grant), ..status })
            .collect()
    }

    fn warnings(&self) -> Vec<WarningEntry> {
        let configured = self.configuration.catalog.warnings.iter().map(|warning| WarningEntry {
            file: warning.place.file.display().to_string(),
            line: warning.place.line,
            message: crate::untrusted::shown(&warning.message).to_string(),
        });
        let stored = self.reports.iter().map(|report| WarningEntry {
            file: report.file.display().to_string(),
            line: 0,
            message: report.message.clone(),
        });
        configured.chain(stored).collect()
    }
}

fn comparable(status: &Status) -> Status {
    let mut status = status.clone();
    for session in &mut status.sessions {
        session.next_refresh_at = None;
        if let Some(error) = &mut session.last_error
            && error.code == Code::InvalidConfig
        {
            error.at = Timestamp::from_millis(0);
        }
    }
    status
}

impl Catalog {
    /// What a request means by its target.
    fn target(&self, query: &TargetQuery) -> Result<TargetId, Box<Problem>> {
        match query {
            TargetQuery::Profile(name) => {
                let profile = self.profile(name).map_err(|error| Box::new(words::unselected(error)))?;
                let target = profile.target.clone().ok_or_else(|| {
                    Box::new(words::unselected(crate::aws_config::SelectError::NoTarget(name.clone())))
                })?;
                self.session(Some(&target.session)).map_err(|error| Box::new(words::unselected(error)))?;
                Ok(target)
            }
            TargetQuery::Role { session, account, role } => {
                let definition = self.session(session.as_ref()).map_err(|error| Box::new(words::unselected(error)))?;
                let grant = Grant::Role { account: account.clone(), role: role.clone() };
                Ok(TargetId { session: definition.name.clone(), grant })
            }
        }
    }

    /// Which session a request means.
    fn session_name(&self, query: &SessionQuery) -> Result<SessionName, Box<Problem>> {
        let named = match query {
            SessionQuery::Named(name) => Some(name),
            SessionQuery::OfProfile(profile) => self.profile(profile).ok().map(|profile| &profile.session),
            SessionQuery::Only => None,
        };
        match self.session(named) {
            Ok(definition) => Ok(definition.name.clone()),
            Err(error) => Err(Box::new(words::unselected(error))),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(25);
const LIST_PATIENCE: Duration = Duration::from_secs(60);
const SIGN_IN_PATIENCE: Duration = Duration::from_secs(45);
const DRAIN: Duration = Duration::from_secs(2);
const CLOCKS_DISAGREE_MS: u64 = 5_000;
const OVERSLEPT: Duration = Duration::from_secs(10);
