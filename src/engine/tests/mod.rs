//! The rules of the engine, played out on a bench: events and time go in, effects come out. No runtime, no sleeping.

mod abandoned;
mod browser;
mod chains;
mod config;
mod console;
mod headline;
mod latch;
mod notices;
mod on_demand;
mod outage;
mod publish;
mod refresh;
mod reloading;
mod rest;
mod roles;
mod shutdown;
mod sign_in;
mod skew;
mod stage;
mod start_url;
mod storage;
mod storms;
mod time;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stage::*;

use super::{
    Agent, Configuration, Effect, Event, Flight, News, Notice, Purpose, SignInId, State, Ticket, Unread, WaiterId,
};
use crate::api::{
    Code, FlowChoice, LoginRequest, LoginStatus, Problem, Request, Response, SessionQuery, SessionStatus, StartedBy,
    Status, TargetQuery, TokenKind,
};
use crate::aws_config::{Catalog, Place, Profile, SessionDefinition};
use crate::callback::{Plan, Verdict};
use crate::identity_center::{
    ClientRegistration, DeviceAuthorization, Endpoint, Endpoints, ErrorName, Flow, Origin, RoleCredentials,
    ServiceError, TokenResponse, TokenSet,
};
use crate::ids::{Grant, SessionName, TargetId};
use crate::secret::Secret;
use crate::settings::{SessionSettings, Settings};
use crate::store::{ClientRecord, Record, RecordKind, StoreError, TokenRecord};
use crate::time::{Mono, Now, Timestamp};
use crate::untrusted::Untrusted;
use crate::upstream::{Answer, Call, Failure, NotSent, Reply, Route, ServiceTime, Unclear};

/// A state, the time it lives in, and everything it wanted done.
struct Bench {
    state: State,
    wall: i64,
    mono: Duration,
    asked: u64,
    /// Calls that have not been replied to.
    calls: Vec<OpenCall>,
    /// How many calls were ever made, by operation.
    made: BTreeMap<&'static str, usize>,
    /// Writes that have not been carried out; only while they are held.
    writes: Vec<OpenWrite>,
    hold_writes: bool,
    fail_writes: bool,
    /// What is on disk.
    disk: BTreeMap<(SessionName, RecordKind), Record>,
    waiting: BTreeSet<WaiterId>,
    answers: BTreeMap<WaiterId, Result<Response, Problem>>,
    reads: usize,
    looks: usize,
    /// The places that browsers come back to, and what they were told in the end.
    listening: Vec<(SignInId, Plan)>,
    concluded: Vec<(SignInId, Verdict)>,
    /// What the user was told without having asked.
    notices: Vec<Notice>,
    /// What was to be done about the key.
    managed: Vec<(WaiterId, Option<crate::store::Manage>)>,
    /// What was to be done about the lock.
    latches: Vec<crate::store::LatchOrder>,
    /// What the file of the lock says.
    latched: crate::store::Latch,
    /// The AWS CLI's cache.
    cache: publish::CacheBox,
    /// Everything in order, in short words.
    log: Vec<String>,
    /// Every time a refresh token was presented.
    presented: Vec<Presented>,
    /// Access tokens and access key ids, with the ends of their lives on both clocks, where a test keeps them.
    lives: Vec<(Secret, Timestamp, Duration)>,
}

/// The answer as whoever asked reads it.
fn decoded(response: Response) -> Response {
    match response {
        Response::EncodedCredentials(encoded) => {
            let document = serde_json::from_slice(encoded.body().expose()).unwrap();
            Response::Credentials(document, encoded.target().clone())
        }
        other => other,
    }
}

/// A refresh token that was presented.
#[derive(Debug, Clone)]
struct Presented {
    token: Secret,
    /// How long the access token still lived.
    remaining: Duration,
    at: Duration,
    wall: Timestamp,
    fate: Fate,
    forced: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Flying,
    /// The service has not acted on it, and was perhaps not even reached.
    NotTaken,
    /// The service has answered.
    Answered,
    Unknown,
    /// It was made for tokens or by an agent that is gone.
    Gone,
}

#[derive(Debug, Clone)]
struct OpenCall {
    flight: Flight,
    call: Call,
    at: Now,
}

#[derive(Debug)]
enum OpenWrite {
    Save(Ticket, Box<Record>),
    Delete(Ticket, SessionName, RecordKind),
    Cache(super::CacheTicket, crate::sso_cache::CacheOrder),
}

impl Bench {
    fn new(records: Vec<Record>) -> Self {
        Self::configured(configuration(), records)
    }

    fn configured(configuration: Configuration, records: Vec<Record>) -> Self {
        let now = Now { wall: Timestamp::from_millis(START), mono: Mono::from_start(Duration::from_secs(1000)) };
        let disk = records.iter().map(|record| ((record.session().clone(), record.kind()), record.clone())).collect();
        Self {
            state: State::new(agent(), configuration, records, Vec::new(), now),
            wall: START,
            mono: Duration::from_secs(1000),
            asked: 0,
            calls: Vec::new(),
            made: BTreeMap::new(),
            writes: Vec::new(),
            hold_writes: false,
            fail_writes: false,
            disk,
            waiting: BTreeSet::new(),
            answers: BTreeMap::new(),
            reads: 0,
            looks: 0,
            managed: Vec::new(),
            latches: Vec::new(),
            latched: crate::store::Latch::Open,
            listening: Vec::new(),
            concluded: Vec::new(),
            notices: Vec::new(),
            cache: publish::CacheBox::default(),
            log: Vec::new(),
            presented: Vec::new(),
            lives: Vec::new(),
        }
    }

    /// Signed in just now, with an access token of an hour.
    fn signed_in() -> Self {
        Self::new(vec![Record::Tokens(tokens())])
    }

    /// The same house after a crash: what is on disk, and a clock that went on.
    fn restart(&mut self) {
        let records = self.disk.values().cloned().collect();
        let mut next = Self::new(Vec::new());
        (next.wall, next.mono) = (self.wall, self.mono);
        next.disk = std::mem::take(&mut self.disk);
        next.cache = std::mem::take(&mut self.cache);
        // What was under way about the lock went with the agent; what was done is in its file.
        let now = next.now();
        next.latched.clone_from(&self.latched);
        next.state =
            State::new(agent(), configuration(), records, Vec::new(), now).with_latch(self.latched.clone(), now);
        next.made = std::mem::take(&mut self.made);
        next.presented = std::mem::take(&mut self.presented);
        next.lives = std::mem::take(&mut self.lives);
        *self = next;
    }

    fn now(&self) -> Now {
        Now { wall: Timestamp::from_millis(self.wall), mono: Mono::from_start(self.mono) }
    }

    fn handle(&mut self, event: Event) {
        let effects = self.state.handle(self.now(), event);
        self.carry_out(effects);
        while !self.hold_writes && !self.writes.is_empty() {
            self.write_one();
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Call(flight, route, call) => {
                    assert_at_home(&route, &call);
                    if let Call::CreateTokenFromRefreshToken { refresh_token, .. } = &call {
                        let token = refresh_token.for_sending_to(&route.endpoints.oidc).unwrap().clone();
                        let (remaining, at) = (self.remaining(), self.mono);
                        let (wall, fate) = (self.now().wall, Fate::Flying);
                        self.presented.push(Presented { token, remaining, at, wall, fate, forced: false });
                    }
                    self.log.push(call.operation().to_owned());
                    *self.made.entry(call.operation()).or_default() += 1;
                    self.calls.push(OpenCall { flight, call, at: self.now() });
                }
                Effect::Save(ticket, record) => {
                    self.log.push(format!("save {:?}", ticket.write));
                    self.writes.push(OpenWrite::Save(ticket, record));
                }
                Effect::Delete(ticket, session, kind) => {
                    self.log.push("delete".to_owned());
                    self.writes.push(OpenWrite::Delete(ticket, session, kind));
                }
                Effect::Answer(waiter, answer) => {
                    assert!(self.waiting.remove(&waiter), "answered twice or never asked: {waiter:?}");
                    self.log.push("answer".to_owned());
                    let answer = answer.map(decoded);
                    self.check_life(&answer);
                    let handed_out = answer.as_ref().is_ok_and(|answer| answer.hand_out().is_some());
                    assert!(!handed_out || !self.state.is_locked(), "handed out by a locked agent");
                    self.answers.insert(waiter, answer);
                }
                Effect::Shelve(shelved) => {
                    // What lies ready must be alive until it is taken away.
                    let answer = Ok(decoded(shelved.answer));
                    let (wall, mono) = (self.wall, self.mono);
                    let last_moment = shelved.good_for.saturating_sub(Duration::from_millis(1));
                    self.wall += i64::try_from(last_moment.as_millis()).unwrap();
                    self.mono += last_moment;
                    self.check_life(&answer);
                    (self.wall, self.mono) = (wall, mono);
                }
                Effect::ReadConfiguration => self.reads += 1,
                Effect::LookAtConfiguration => self.looks += 1,
                Effect::Notify(notice) => self.notices.push(notice),
                Effect::Listen(id, plan) => self.listening.push((id, *plan)),
                Effect::Conclude(id, verdict) => self.concluded.push((id, verdict)),
                Effect::Cache(ticket, order) => self.writes.push(OpenWrite::Cache(ticket, order)),
                Effect::WatchCache(watched) => self.cache.watched = watched,
                Effect::Latch(order) => self.latches.push(order),
                Effect::Manage(waiter, order) => self.managed.push((waiter, order)),
            }
        }
    }

    /// What is handed out is alive at that moment, by both clocks.
    fn check_life(&self, answer: &Result<Response, Problem>) {
        let text = match answer {
            Ok(Response::Token(token)) => token.access_token.clone(),
            Ok(Response::Credentials(document, _)) => secret(&document.access_key_id),
            _ => return,
        };
        if let Some((_, wall, mono)) = self.lives.iter().find(|(known, _, _)| *known == text) {
            assert!(self.now().wall < *wall && self.mono < *mono, "handed out although it is over");
        }
    }

    /// Carries out the oldest write.
    fn write_one(&mut self) {
        let write = self.writes.remove(0);
        let outcome = if self.fail_writes { Err(disk_full()) } else { Ok(()) };
        let ticket = match write {
            OpenWrite::Save(ticket, record) => {
                if outcome.is_ok() {
                    self.disk.insert((record.session().clone(), record.kind()), *record);
                }
                ticket
            }
            OpenWrite::Delete(ticket, session, kind) => {
                if outcome.is_ok() {
                    self.disk.remove(&(session, kind));
                }
                ticket
            }
            OpenWrite::Cache(ticket, order) => {
                let report = crate::sso_cache::Cache::carry_out(&mut self.cache, &ticket.session, order);
                let effects = self.state.handle(self.now(), Event::Cached(ticket, report));
                return self.carry_out(effects);
            }
        };
        let effects = self.state.handle(self.now(), Event::Stored(ticket, outcome));
        self.carry_out(effects);
    }

    /// Lets held writes go.
    fn release_writes(&mut self) {
        self.hold_writes = false;
        while !self.writes.is_empty() {
            self.write_one();
        }
    }

    fn next_wait(&mut self) -> Option<Duration> {
        self.state.next_wait(self.now())
    }

    fn move_clocks(&mut self, by: Duration) {
        // Whole milliseconds, as the wall clock is read.
        let by = u64::try_from(by.as_micros().div_ceil(1000)).unwrap();
        self.wall += i64::try_from(by).unwrap();
        self.mono += Duration::from_millis(by);
    }

    /// Time passes, and the engine is woken whenever it asked for it.
    fn advance(&mut self, by: Duration) {
        let end = self.mono + by;
        let mut idle_turns = 0;
        while self.mono < end {
            let left = end - self.mono;
            match self.next_wait() {
                Some(wait) if wait < left => {
                    if wait.is_zero() {
                        idle_turns += 1;
                        assert!(idle_turns < 3, "the engine spins: {:?}", self.log);
                    } else {
                        idle_turns = 0;
                    }
                    self.move_clocks(wait);
                    self.handle(Event::Tick);
                }
                _ => {
                    self.move_clocks(left);
                    self.handle(Event::Tick);
                }
            }
        }
    }

    /// Until the engine's next deadline, and over it.
    fn advance_to_next(&mut self) -> Duration {
        let wait = self.next_wait().expect("something is scheduled");
        self.move_clocks(wait);
        self.handle(Event::Tick);
        wait
    }

    /// The clocks jump, each by its own.
    fn jump(&mut self, wall: i64, mono: Duration) {
        self.wall += wall;
        self.mono += mono;
        self.handle(Event::Tick);
    }

    fn ask(&mut self, request: Request) -> WaiterId {
        self.asked += 1;
        let waiter = WaiterId(self.asked);
        self.waiting.insert(waiter);
        self.handle(Event::Asked(waiter, request));
        waiter
    }

    fn ask_token(&mut self, min_validity: Duration) -> WaiterId {
        self.ask(Request::Token { session: SessionQuery::Only, min_validity, kind: TokenKind::Access })
    }

    fn ask_refresh(&mut self, force: bool) -> WaiterId {
        self.ask(Request::Refresh { session: SessionQuery::Only, force })
    }

    fn ask_role(&mut self, role: &str) -> WaiterId {
        self.ask(credentials(role, None, None))
    }

    fn login(&mut self, login: LoginRequest) -> WaiterId {
        self.ask(Request::Login { session: SessionQuery::Only, login })
    }

    fn logout(&mut self) -> WaiterId {
        self.ask(Request::Logout { session: SessionQuery::Only })
    }

    fn status(&mut self) -> Status {
        let waiter = self.ask(Request::Status { wait: Duration::ZERO, after: None });
        match self.answers.remove(&waiter) {
            Some(Ok(Response::Status(status))) => *status,
            other => panic!("no status: {other:?}"),
        }
    }

    fn session(&mut self) -> SessionStatus {
        self.status().sessions.remove(0)
    }

    fn is_waiting(&self, waiter: WaiterId) -> bool {
        self.waiting.contains(&waiter)
    }

    fn answer(&mut self, waiter: WaiterId) -> Result<Response, Problem> {
        self.answers.remove(&waiter).unwrap_or_else(|| panic!("not answered: {waiter:?} {:?}", self.log))
    }

    fn problem(&mut self, waiter: WaiterId) -> Problem {
        self.answer(waiter).expect_err("a problem")
    }

    fn access_token(&mut self, waiter: WaiterId) -> Secret {
        match self.answer(waiter) {
            Ok(Response::Token(token)) => token.access_token,
            other => panic!("no token: {other:?}"),
        }
    }

    fn access_key(&mut self, waiter: WaiterId) -> String {
        match self.answer(waiter) {
            Ok(Response::Credentials(document, _)) => document.access_key_id,
            other => panic!("no credentials: {other:?}"),
        }
    }

    fn login_status(&mut self, waiter: WaiterId) -> LoginStatus {
        match self.answer(waiter) {
            Ok(Response::Login { status, .. }) => *status,
            other => panic!("no state of a sign-in: {other:?}"),
        }
    }

    fn login_state(&mut self) -> LoginStatus {
        let waiter = self.ask(Request::LoginState { session: SessionQuery::Only, wait: Duration::ZERO });
        self.login_status(waiter)
    }

    fn made(&self, operation: &str) -> usize {
        self.made.iter().find(|(name, _)| name.starts_with(operation)).map_or(0, |(_, made)| *made)
    }

    fn refreshes(&self) -> usize {
        self.made("CreateToken (refresh token)")
    }

    fn role_calls(&self) -> usize {
        self.made("GetRoleCredentials")
    }

    fn flying(&self, operation: &str) -> Vec<OpenCall> {
        self.calls.iter().filter(|open| open.call.operation().starts_with(operation)).cloned().collect()
    }

    /// The only call of this operation that is up.
    fn open(&self, operation: &str) -> OpenCall {
        let mut open = self.flying(operation);
        assert_eq!(open.len(), 1, "calls of {operation} up: {:?}", self.log);
        open.remove(0)
    }

    fn reply_to(&mut self, open: &OpenCall, result: Result<Answer, Failure>) {
        self.reply_with_date(open, result, None);
    }

    fn reply_with_date(&mut self, open: &OpenCall, result: Result<Answer, Failure>, date: Option<ServiceTime>) {
        let index = self.calls.iter().position(|up| up.flight == open.flight).expect("the call is up");
        let open = self.calls.remove(index);
        let reply = Reply { result, started: open.at, service_time: date };
        self.handle(Event::Finished(open.flight, reply));
    }

    fn reply(&mut self, operation: &str, result: Result<Answer, Failure>) {
        let open = self.open(operation);
        self.reply_to(&open, result);
    }

    fn reply_refresh(&mut self, result: Result<Answer, Failure>) {
        self.reply("CreateToken (refresh token)", result);
    }

    /// Until the refresh token is presented.
    fn advance_to_refresh(&mut self) {
        for _ in 0..50 {
            if !self.flying("CreateToken (refresh token)").is_empty() {
                return;
            }
            self.advance_to_next();
        }
        panic!("no refresh: {:?}", self.log);
    }

    /// Whether the refresh that is up presents this token, to the place it came from.
    fn presents(&self, refresh_token: &str) -> bool {
        match &self.open("CreateToken (refresh token)").call {
            Call::CreateTokenFromRefreshToken { refresh_token: bound, .. } => {
                bound.for_sending_to(&oidc()).ok() == Some(&secret(refresh_token))
            }
            _ => false,
        }
    }

    fn tokens_on_disk(&self) -> Option<&TokenRecord> {
        match self.disk.get(&(corp(), RecordKind::Tokens)) {
            Some(Record::Tokens(record)) => Some(record),
            _ => None,
        }
    }

    fn client_on_disk(&self) -> Option<&ClientRecord> {
        match self.disk.get(&(corp(), RecordKind::Client)) {
            Some(Record::Client(record)) => Some(record),
            _ => None,
        }
    }

    fn remaining(&self) -> Duration {
        self.state.sessions[&corp()].remaining(self.now())
    }

    fn reconfigure(&mut self, configuration: Configuration) {
        let waiter = self.ask(Request::Reload);
        self.handle(Event::ConfigurationRead(Ok(configuration)));
        assert!(matches!(self.answer(waiter), Ok(Response::Reloaded(_))));
    }
}

/// Whatever secret a call carries, it goes to where it came from.
fn assert_at_home(route: &Route, call: &Call) {
    let (oidc, portal) = (&route.endpoints.oidc, &route.endpoints.portal);
    let at_home = match call {
        Call::RegisterClient { .. } | Call::ResolveStartUrl { .. } => true,
        Call::StartDeviceAuthorization { registration, .. } => registration.for_sending_to(oidc).is_ok(),
        Call::CreateTokenFromDeviceCode { registration, device_code } => {
            registration.for_sending_to(oidc).is_ok() && device_code.for_sending_to(oidc).is_ok()
        }
        Call::CreateTokenFromAuthorizationCode { registration, code } => {
            registration.for_sending_to(oidc).is_ok() && code.for_sending_to(oidc).is_ok()
        }
        Call::CreateTokenFromRefreshToken { registration, refresh_token } => {
            registration.for_sending_to(oidc).is_ok() && refresh_token.for_sending_to(oidc).is_ok()
        }
        Call::GetSigninToken { at, credentials, .. } => {
            let allowed = at.as_str() == "https://signin.aws.amazon.com" || at.host() == portal.host();
            allowed && credentials.for_sending_to(at).is_ok()
        }
        Call::GetRoleCredentials { access_token, .. }
        | Call::ListAccounts { access_token }
        | Call::ProbeAccounts { access_token }
        | Call::ListAccountRoles { access_token, .. }
        | Call::Logout { access_token } => access_token.for_sending_to(portal).is_ok(),
        Call::AssumeRole { credentials, assumption, .. } => {
            credentials.for_sending_to(&(&assumption.sts.address).into()).is_ok()
        }
    };
    assert!(at_home, "{} would go elsewhere", call.operation());
}
