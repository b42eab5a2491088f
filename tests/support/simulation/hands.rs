//! The hands of the simulated agent: bring events to the engine and carry out what it wants, as `engine::run` does.
//!
//! Refuses to judge: every step is shown to `judge` and goes its way. Invariant: the engine meets the world through
//! events and effects only.

use sso_agent::api::{Request, Response};
use sso_agent::engine::{Agent, Effect, Event, Flight, PortalKey, Purpose, State, WaiterId};
use sso_agent::identity_center::{ClientRegistration, ErrorName};
use sso_agent::secret::Secret;
use sso_agent::store::{Latch, LatchOrder, LatchReport, Lock, Record};
use sso_agent::upstream::{Call, Failure, NotSent, Reply, Route, ServiceTime, Unclear};

use super::books::Skew;
use super::disk::Job;
use super::facts::set_number;
use super::files::{oidc, portal, role_number, session_number};
use super::moment::{At, DAY, HOUR, NEVER, SECOND, service_time, span};
use super::service::Arrival;
use super::world::{Cause, Happening, Running, Waiting, World, in_short};

impl World {
    /// The agent is started with what is on disk.
    pub fn start(&mut self) {
        if self.agent.is_some() {
            return;
        }
        self.runs += 1;
        let (protection, records) = self.protected_at_start();
        let agent = Agent {
            version: "0.0.0",
            pid: 1,
            socket: "/run/agent.sock".to_owned(),
            client_name: "sso-agent user@host".to_owned(),
            protection,
            time_zone: jiff::tz::TimeZone::UTC,
            seed: self.chance.any(),
        };
        let wall = self.clocks.read(self.now).wall;
        for record in &records {
            if let Record::Tokens(tokens) = record {
                self.books[session_number(&tokens.session)].skew = Skew::of_record(tokens, wall);
            }
        }
        let now = self.clocks.read(self.now);
        let state = State::new(agent, self.files.read(), records, Vec::new(), now).with_latch(self.latch.clone(), now);
        self.agent = Some(Running {
            state,
            run: self.runs,
            alarm: None,
            waiters: std::collections::BTreeMap::new(),
            deadlines: std::collections::BTreeSet::new(),
            stopping: None,
            files: self.files.clone(),
            zero_waits: 0,
            woken: 0,
            cause: Cause::Other,
        });
        self.note(format!("the agent starts, run {}", self.runs));
        self.trouble(self.now);
        self.judge_loaded();
        self.tell(Event::Tick, Cause::Other);
    }

    /// The agent is gone, with all that it had not saved.
    pub fn crash(&mut self) {
        if self.agent.take().is_none() {
            return;
        }
        self.note("the agent is killed".to_owned());
        self.disk.crash(&mut self.chance);
        self.all_is_forgotten();
        let pause = self.chance.spread(SECOND / 10, 10 * 60 * SECOND);
        self.plan(pause, Happening::Start);
    }

    /// What was in memory is gone.
    pub fn all_is_forgotten(&mut self) {
        let now = self.now;
        self.was_full = now < self.disk.full_until;
        for books in &mut self.books {
            books.crashed(now);
        }
        self.trouble(now);
    }

    /// Somebody asks the agent.
    pub fn ask(&mut self, request: Request) {
        let Some(agent) = &mut self.agent else { return };
        let now = self.now;
        let patience = patience_of(&request);
        let deadline = now + patience.min(agent.stopping.map_or(NEVER, |_| 2 * SECOND));
        let cause = cause_of(&request);
        if let Cause::Forces(session) = cause {
            self.books[session].insisted = Some(now);
        }
        let waiter = self.next_waiter();
        self.report.requests += 1;
        self.note(format!("asked {}: {request:?}", waiter.0));
        if let Some(agent) = &mut self.agent {
            agent.deadlines.insert((deadline, waiter));
            agent.waiters.insert(waiter, Waiting { request: request.clone(), since: now, deadline });
        }
        self.tell(Event::Asked(waiter, request), cause);
    }

    /// The engine hears of something.
    pub fn tell(&mut self, event: Event, cause: Cause) {
        let now = self.clocks.read(self.now);
        let Some(agent) = &mut self.agent else { return };
        agent.cause = cause;
        let effects = agent.state.handle(now, event);
        self.report.events += 1;
        for effect in effects {
            self.carry_out(effect);
        }
        let Some(agent) = &mut self.agent else { return };
        if !agent.state.plan_holds() {
            // As the real loop does, a moment late.
            agent.alarm = agent.state.next_wait(now).map(|wait| self.now + span(wait) + 1000);
        }
        self.judge_turn();
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Call(flight, route, call) => self.call(flight, &route, &call),
            Effect::Save(ticket, record) => {
                self.judge_save(&ticket, &record);
                self.write(Job::Save(ticket, record));
            }
            Effect::Delete(ticket, session, kind) => {
                self.judge_delete(&ticket);
                self.write(Job::Delete(ticket, session, kind));
            }
            Effect::Answer(waiter, answer) => {
                let Some(asked) = self.agent.as_mut().and_then(|agent| {
                    let asked = agent.waiters.remove(&waiter)?;
                    agent.deadlines.remove(&(asked.deadline, waiter));
                    Some(asked)
                }) else {
                    self.violation(format!("{waiter:?} was answered twice, or never asked"));
                    return;
                };
                self.note(format!("answered {}: {}", waiter.0, in_short(&answer)));
                self.judge_answer(&asked, &answer);
                self.user_hears(&asked.request, &answer);
            }
            Effect::Shelve(shelved) => {
                let good_for = span(shelved.good_for);
                if let Response::EncodedCredentials(body) = &shelved.answer {
                    self.judge_credentials(body.body().expose(), good_for.saturating_sub(1000));
                }
            }
            Effect::Cache(ticket, order) => self.write(Job::Cache(ticket, order)),
            Effect::WatchCache(_) => {}
            // Nobody in the simulation has a browser.
            Effect::Listen(..) | Effect::Conclude(..) => {}
            Effect::Notify(notice) => self.user_sees(&notice),
            // Nobody in the simulation asks for anything about the key.
            Effect::Manage(..) => {}
            Effect::Latch(order) => self.latch(order),
            Effect::ReadConfiguration => {
                let pause = self.chance.between(1000, 200_000);
                self.plan(pause, Happening::Read);
            }
            Effect::LookAtConfiguration => {
                let pause = self.chance.between(1000, 200_000);
                self.plan(pause, Happening::Look);
            }
        }
    }

    /// Something about the lock is written, or a passphrase is looked at: the file is what it says when that is done.
    fn latch(&mut self, order: LatchOrder) {
        let report = match order {
            LatchOrder::Lock(since, _) => LatchReport::Locked(Lock { since, verifier: None, failures: 0 }, Ok(())),
            LatchOrder::Unlock(..) => LatchReport::Unlocked(Ok(())),
        };
        self.latched = Some(report);
        let pause = self.chance.between(1000, 400_000);
        self.plan(pause, Happening::Latched(self.runs));
    }

    /// It is done.
    pub fn latched(&mut self, run: u64) {
        let running = self.agent.as_ref().is_some_and(|agent| agent.run == run);
        let Some(report) = self.latched.take_if(|_| running) else { return };
        self.latch = match &report {
            LatchReport::Locked(lock, _) => Latch::Locked(lock.clone()),
            _ => Latch::Open,
        };
        self.note(format!("the lock: {:?}", self.latch));
        self.tell(Event::Latched(report), Cause::Other);
    }

    /// Gives the disk something to do.
    pub fn write(&mut self, job: Job) {
        if self.chance.permille(1) {
            let pause = self.chance.below(20_000);
            self.plan(pause, Happening::Crash(self.runs));
        }
        if self.disk.order(job) {
            let pause = self.disk.pause(self.now, &mut self.chance);
            self.plan(pause, Happening::Written);
        }
    }

    /// The disk has done one thing.
    pub fn written(&mut self) {
        let Some((job, outcome)) = self.disk.finish(self.now, &mut self.chance) else { return };
        if !self.disk.is_idle() {
            let pause = self.disk.pause(self.now, &mut self.chance);
            self.plan(pause, Happening::Written);
        }
        if outcome.is_err() {
            *self.report.faults.entry("write failed").or_default() += 1;
            self.trouble(self.now);
        }
        if let Job::Cache(ticket, order) = job {
            return self.in_the_cache(ticket, order);
        }
        let ticket = match &job {
            Job::Save(ticket, _) | Job::Delete(ticket, _, _) => ticket.clone(),
            Job::Unlock | Job::Cache(..) => return self.unlocked(),
        };
        self.note(format!("stored {:?} of {}: {}", ticket.write, ticket.session, outcome.is_ok()));
        self.judge_written(&job, outcome.is_ok());
        self.tell(Event::Stored(ticket, outcome), Cause::Other);
    }

    /// The agent has looked at its files.
    pub fn look(&mut self) {
        // It may be that it was told of something that is nothing.
        let changed = self.agent.as_ref().is_some_and(|agent| agent.files != self.files) || self.chance.permille(100);
        self.tell(Event::ConfigurationLookedAt { changed }, Cause::Other);
    }

    /// The agent has read its files.
    pub fn read(&mut self) {
        let files = self.files.clone();
        if self.chance.permille(30) {
            let problem = sso_agent::api::Problem::new(sso_agent::api::Code::InvalidConfig, "simulated");
            self.tell(Event::ConfigurationRead(Err(Box::new(problem.into()))), Cause::Other);
            return;
        }
        self.judge_configured(&files);
        let configuration = files.read();
        if let Some(agent) = &mut self.agent {
            agent.files = files;
        }
        self.note("configuration read".to_owned());
        self.tell(Event::ConfigurationRead(Ok(configuration)), Cause::Other);
    }

    fn call(&mut self, flight: Flight, route: &Route, call: &Call) {
        *self.report.calls.entry(call.operation()).or_default() += 1;
        let session = session_number(&flight.session);
        let elsewhere = route.endpoints.oidc == *oidc(true);
        if route.endpoints.oidc != *oidc(elsewhere) || route.endpoints.portal != *portal(elsewhere) {
            self.violation("a call to nowhere");
        }
        let Some(arrival) = arrival(&flight, route, call) else {
            self.violation(format!("{} would go where its secret does not come from", call.operation()));
            return;
        };
        if !matches!(arrival, Arrival::Poll { .. }) {
            self.note(format!("calls {} for {}: {arrival:?}", call.operation(), flight.session));
        }
        self.judge_call(session, &flight.purpose, &arrival);
        if matches!(arrival, Arrival::Refresh { .. } | Arrival::Poll { .. }) {
            self.strike_at_the_worst_moment();
        }
        self.call_up(flight, arrival, session * 2 + usize::from(elsewhere), route);
    }

    /// A request reaches the service.
    pub fn acts(&mut self, number: u64) {
        let Some(up) = self.calls.get_mut(&number) else { return };
        let before = if let Arrival::Refresh { family, .. } = up.arrival { Some(family) } else { None };
        let lived = before.is_some_and(|family| self.service.families[family].ended.is_none());
        let answer = self.service.act(self.now, up.realm, up.arrival, &mut self.chance);
        let arrival = up.arrival;
        let of_the_dead = self.agent.as_ref().is_none_or(|agent| agent.run != up.run);
        if let (Some(family), true, true) = (before, lived && answer.is_err(), of_the_dead) {
            // It was on its way when its agent was killed, and comes after one of the next agent's.
            let books = &mut self.books[session_number(&up.flight.session)];
            if let Some(held) = books.held.filter(|held| held.family == family) {
                books.excuses.insert(held, "a refresh of an agent that was killed reached the service late");
            }
        }
        let text = match &answer {
            Ok(_) => "done".to_owned(),
            Err(error) => error.name.to_string(),
        };
        up.done = Some((self.now, answer.map_err(Failure::Refused)));
        if before.is_some() {
            self.note(format!("the service acts: {arrival:?}: {text}"));
        }
    }

    /// A call ends.
    pub fn arrives(&mut self, number: u64) {
        let Some(mut up) = self.calls.remove(&number) else { return };
        if self.agent.as_ref().is_none_or(|agent| agent.run != up.run) {
            return;
        }
        let slept = self.resumed_at > up.made;
        let (result, answered) = match (up.fate.fault.take(), up.done.take()) {
            // A connection that lived through a suspend is rare.
            (_, done) if slept && self.chance.permille(700) => {
                let text = "simulated suspend".to_owned();
                let failure = if done.is_none() && self.chance.permille(300) {
                    Failure::NotSent(NotSent::Connect(text))
                } else {
                    Failure::Unknown(Unclear::Broken(text))
                };
                self.trouble(self.now);
                (Err(failure), None)
            }
            (Some(fault), done) => (Err(fault), done.map(|(at, _)| at)),
            (None, Some((at, result))) => (result, Some(at)),
            (None, None) => (Err(Failure::Unknown(Unclear::TimedOut)), None),
        };
        let genuine = matches!(result, Ok(_) | Err(Failure::Refused(_))) && answered.is_some();
        let service_time = answered.filter(|_| genuine && !self.chance.permille(200)).and_then(|at| {
            let service = service_time(at).shifted(if self.chance.permille(3) { self.wrong_date() } else { 0 });
            ServiceTime::between(service, up.started, self.clocks.read(self.now))
        });
        let text = match &result {
            Ok(_) => "done".to_owned(),
            Err(Failure::Refused(error)) => error.name.to_string(),
            Err(failure) => failure.to_string(),
        };
        if text != PENDING {
            self.note(format!("{:?} for {}: {text}", up.arrival, up.flight.session));
        }
        if let Err(Failure::Refused(error)) = &result
            && error.name == ErrorName::Unauthorized
        {
            self.trouble(self.now);
        }
        self.judge_arrival(&up, &result, service_time);
        let ends_the_old = matches!((&up.flight.purpose, up.arrival), (Purpose::SignIn(_), Arrival::Logout { .. }));
        let session = session_number(&up.flight.session);
        let unauthorized = matches!(&result, Err(Failure::Refused(error)) if error.name == ErrorName::Unauthorized);
        let cause = match up.flight.purpose {
            _ if ends_the_old => Cause::EndsTheOld(session),
            Purpose::Probe if unauthorized => Cause::IsSignedOut(session),
            _ => Cause::Other,
        };
        let reply = Reply { result, started: up.started, service_time };
        self.tell(Event::Finished(up.flight, reply), cause);
        self.judge_after_arrival();
    }

    /// Off by hours, never twice the same.
    fn wrong_date(&mut self) -> i64 {
        let hours = i64::try_from(self.chance.between(HOUR, DAY) / 1000).unwrap_or_default();
        if self.chance.permille(500) { hours } else { -hours }
    }
}

/// How long somebody who asks this waits.
fn patience_of(request: &Request) -> At {
    match request {
        Request::Credentials { timeout, .. } => timeout.map_or(25 * SECOND, span),
        Request::Token { .. } | Request::Adopt { .. } | Request::Reload | Request::Logout { .. } => 25 * SECOND,
        Request::Status { wait, .. } | Request::LoginState { wait, .. } => span(*wait),
        Request::Console { .. } => 40 * SECOND,
        Request::Login { .. } => 45 * SECOND,
        Request::Refresh { .. } => 75 * SECOND,
        Request::Accounts { .. } | Request::Roles { .. } => 60 * SECOND,
        Request::Lock { .. } | Request::Unlock { .. } => 60 * SECOND,
        Request::Storage | Request::UnlockStorage { .. } | Request::MigrateStorage { .. } => 60 * SECOND,
        Request::CancelLogin { .. } | Request::Metrics | Request::Health => 0,
    }
}

fn cause_of(request: &Request) -> Cause {
    match request {
        Request::Logout { session } => super::facts::named(session).map_or(Cause::Other, Cause::SignsOut),
        Request::Refresh { session, force: true } => super::facts::named(session).map_or(Cause::Other, Cause::Forces),
        _ => Cause::Other,
    }
}

/// The call as the service reads it; nothing if a secret in it would leave its home.
fn arrival(flight: &Flight, route: &Route, call: &Call) -> Option<Arrival> {
    let (oidc, portal) = (&route.endpoints.oidc, &route.endpoints.portal);
    let role = match &flight.purpose {
        Purpose::Portal(PortalKey::Credentials(grant)) => role_number(grant),
        _ => 0,
    };
    Some(match call {
        Call::RegisterClient { .. } => Arrival::Register,
        Call::StartDeviceAuthorization { registration, .. } => {
            Arrival::StartDevice { client: client(registration.for_sending_to(oidc).ok()?) }
        }
        Call::CreateTokenFromDeviceCode { registration, device_code } => Arrival::Poll {
            client: client(registration.for_sending_to(oidc).ok()?),
            device: numbers(device_code.for_sending_to(oidc).ok()?)[0],
        },
        // Nobody in the simulation has a browser.
        Call::CreateTokenFromAuthorizationCode { .. } => return None,
        Call::CreateTokenFromRefreshToken { registration, refresh_token } => {
            let token = numbers(refresh_token.for_sending_to(oidc).ok()?);
            let client = client(registration.for_sending_to(oidc).ok()?);
            Arrival::Refresh { client, family: token[0], index: token[1] }
        }
        Call::GetRoleCredentials { access_token, .. } => {
            let token = numbers(access_token.for_sending_to(portal).ok()?);
            Arrival::Role { family: token[0], serial: token[1], role }
        }
        Call::ListAccounts { access_token }
        | Call::ProbeAccounts { access_token }
        | Call::ListAccountRoles { access_token, .. } => {
            let token = numbers(access_token.for_sending_to(portal).ok()?);
            let accounts = matches!(call, Call::ListAccounts { .. });
            Arrival::List { family: token[0], serial: token[1], accounts }
        }
        Call::AssumeRole { credentials, assumption, .. } => {
            let address = (&assumption.sts.address).into();
            let set = set_number(&credentials.for_sending_to(&address).ok()?.access_key_id);
            Arrival::Assume { set, role }
        }
        // Nobody in the simulation goes to the console.
        Call::GetSigninToken { .. } => return None,
        Call::Logout { access_token } => {
            let token = numbers(access_token.for_sending_to(portal).ok()?);
            Arrival::Logout { family: token[0], serial: token[1] }
        }
        Call::ResolveStartUrl { .. } => unreachable!("the start URLs of this world are AWS's own"),
    })
}

fn client(registration: &ClientRegistration) -> usize {
    registration.client_id[2..].parse().expect("a client of this service")
}

/// The numbers in a token of this service.
pub fn numbers(token: &Secret) -> Vec<usize> {
    token.expose().split('-').skip(1).map(|number| number.parse().expect("a token of this service")).collect()
}

const PENDING: &str = "AuthorizationPendingException";

impl Running {
    /// Whether everything that was under way has come to its end.
    pub fn is_at_its_end(&self) -> bool {
        self.stopping.is_some() && self.state.is_settled() && self.waiters.is_empty()
    }

    /// The waiter whose patience ends first.
    pub fn first_deadline(&self) -> Option<(At, WaiterId)> {
        self.deadlines.first().copied()
    }
}
