//! Everything there is in a simulation, and what happens when.
//!
//! Owns true time, the agenda, and the agent's surroundings. Invariant: what happens next is the earliest thing on the
//! agenda, and of two at the same moment the one that was put there first.

use std::collections::{BTreeMap, BTreeSet};

use sso_agent::api::{Problem, Request, Response};
use sso_agent::engine::{Flight, State, WaiterId};
use sso_agent::ids::SessionName;
use sso_agent::store::{Latch, LatchReport};
use sso_agent::time::Now;
use sso_agent::upstream::{Answer, Failure, Route};

use super::books::Books;
use super::chance::Chance;
use super::disk::Disk;
use super::files::Files;
use super::moment::{At, Clocks, NEVER};
use super::others::Shared;
use super::report::{Log, Report};
use super::service::{Arrival, Service};
use super::weather::{Fate, Weather};

/// The simulated world of one user.
#[derive(Debug)]
pub struct World {
    /// All randomness.
    pub chance: Chance,
    /// True time.
    pub now: At,
    agenda: BTreeMap<(At, u64), Happening>,
    planned: u64,
    /// The machine's clocks.
    pub clocks: Clocks,
    /// Until when the machine is suspended.
    pub asleep_until: At,
    /// The agent, while it runs.
    pub agent: Option<Running>,
    /// Counts its runs.
    pub runs: u64,
    /// Calls that are up.
    pub calls: BTreeMap<u64, Up>,
    calls_made: u64,
    /// The service.
    pub service: Service,
    /// What is between it and the machine.
    pub weather: Weather,
    /// The disk.
    pub disk: Disk,
    /// The AWS CLI's cache.
    pub shared: Shared,
    /// The configuration files.
    pub files: Files,
    /// What the agent must know, by session.
    pub books: Vec<Books>,
    /// Until when something was the matter that the agent may still suffer from.
    pub trouble_until: At,
    /// The summary.
    pub report: Report,
    /// What the file says about the lock.
    pub latch: Latch,
    /// What will be so about it in a moment.
    pub latched: Option<LatchReport>,
    /// The last events.
    pub log: Log,
    /// The session whose refresh has just brought something that must be saved.
    pub expected: Option<usize>,
    /// When the call was made whose answer came last.
    pub answered_to: At,
    /// The disk was full when the agent was last killed.
    pub was_full: bool,
    /// The first rule that was broken.
    pub broken: Option<String>,
    /// How many wake-ups in this hour.
    pub wakes: u64,
    /// When the machine last resumed.
    pub resumed_at: At,
    asked: u64,
}

/// Something that happens.
#[derive(Debug, Clone)]
pub enum Happening {
    /// The request of this call reaches the service.
    Acts(u64),
    /// This call ends.
    Arrives(u64),
    /// The disk has done one thing.
    Written,
    /// What this run of the agent ordered about its lock is done.
    Latched(u64),
    /// Whoever has locked the agent unlocks it.
    Unlocks,
    /// The configuration was read.
    Read,
    /// It was looked at whether there is something to read.
    Look,
    /// The user does the next thing.
    UserActs,
    /// The user decides about this device code.
    Decides(usize, bool),
    /// The weather changes.
    Weather,
    /// The next blow falls.
    Blow,
    /// An hour is over.
    Hour,
    /// This run of the agent is killed.
    Crash(u64),
    /// The lid is closed for so long.
    Suspend(At),
    /// The engine is told of a write that nobody ordered.
    Stray,
    /// Somebody edits the files.
    Edit,
    /// It is told to stop.
    Stop(u64),
    /// It has had its time to stop.
    Overdue(u64),
    /// The agent is started.
    Start,
    /// The files are put back.
    PutBack,
    /// The clock is set right.
    SetRight,
    /// Another program has written this session's file.
    OthersEnd(SessionName),
    /// The key that this run of the agent awaits.
    KeyComes(u64),
}

impl Happening {
    /// Whether it needs a machine that is awake.
    pub const fn is_of_the_machine(&self) -> bool {
        !matches!(self, Self::Acts(_) | Self::Decides(..) | Self::Weather | Self::Hour)
    }
}

/// The agent while it runs.
#[derive(Debug)]
pub struct Running {
    /// The engine.
    pub state: State,
    /// Which run it is.
    pub run: u64,
    /// When it wants to be woken.
    pub alarm: Option<At>,
    /// Who waits.
    pub waiters: BTreeMap<WaiterId, Waiting>,
    /// Until when.
    pub deadlines: BTreeSet<(At, WaiterId)>,
    /// Since when it is stopping.
    pub stopping: Option<At>,
    /// The configuration it has read last.
    pub files: Files,
    /// Wake-ups in a row without any time between.
    pub zero_waits: u64,
    /// The last wake-up.
    pub woken: At,
    /// What the turn under way is about.
    pub cause: Cause,
}

/// Somebody who waits.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// For what.
    pub request: Request,
    /// Since when.
    pub since: At,
    /// The end of its patience.
    pub deadline: At,
}

/// What a turn of the engine is about, as far as it excuses what comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nothing special.
    Other,
    /// A user signs out of this session.
    SignsOut(usize),
    /// This session makes room for a new one.
    EndsTheOld(usize),
    /// A user insists on a refresh.
    Forces(usize),
    /// It was told what lies in the cache for this session.
    Looks(usize),
    /// The portal knows its session no more, and its published file is gone.
    IsSignedOut(usize),
}

/// A call that is up.
#[derive(Debug)]
pub struct Up {
    /// As the engine knows it.
    pub flight: Flight,
    /// As the service knows it.
    pub arrival: Arrival,
    /// Where.
    pub realm: usize,
    /// When it was made.
    pub made: At,
    /// The same by the machine's clocks.
    pub started: Now,
    /// By which run of the agent.
    pub run: u64,
    /// What becomes of it.
    pub fate: Fate,
    /// What the service did, and when.
    pub done: Option<(At, Result<Answer, Failure>)>,
}

impl World {
    /// A world on its first day, without an agent.
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let sessions = usize::try_from(chance.between(1, 4)).unwrap_or(1);
        let clocks = Clocks { ahead: chance.pick(&[0, 0, 0, 2000, -40_000]), booted: chance.below(1 << 40) };
        Self {
            chance,
            now: 0,
            agenda: BTreeMap::new(),
            planned: 0,
            clocks,
            asleep_until: 0,
            agent: None,
            runs: 0,
            calls: BTreeMap::new(),
            calls_made: 0,
            service: Service::new(),
            weather: Weather::new(),
            disk: Disk::default(),
            shared: Shared::default(),
            files: Files::new(sessions),
            books: vec![Books::default(); sessions],
            trouble_until: 0,
            report: Report::default(),
            latch: Latch::Open,
            latched: None,
            log: Log::default(),
            expected: None,
            answered_to: 0,
            was_full: false,
            broken: None,
            wakes: 0,
            resumed_at: 0,
            asked: 0,
        }
    }

    /// Puts something on the agenda.
    pub fn plan(&mut self, pause: At, happening: Happening) {
        self.planned += 1;
        self.agenda.insert((self.now + pause, self.planned), happening);
    }

    /// Takes the next thing from the agenda, or says that the agent wakes before; and moves time there.
    pub fn next(&mut self) -> Option<Happening> {
        let alarm = self.agent.as_ref().and_then(|agent| agent.alarm).map(|alarm| alarm.max(self.asleep_until));
        let first = self.agenda.first_key_value().map(|((at, _), _)| *at).unwrap_or(NEVER);
        if let Some(alarm) = alarm.filter(|alarm| *alarm < first) {
            self.now = self.now.max(alarm);
            return None;
        }
        let ((at, number), happening) = self.agenda.pop_first()?;
        self.now = self.now.max(at);
        if happening.is_of_the_machine() && self.now < self.asleep_until {
            // In the order in which it should have happened.
            self.agenda.insert((self.asleep_until, number), happening);
            return self.next();
        }
        Some(happening)
    }

    /// Remembers a call that was made. Its number.
    pub fn call_up(&mut self, flight: Flight, arrival: Arrival, realm: usize, route: &Route) -> u64 {
        self.calls_made += 1;
        let number = self.calls_made;
        let fate = self.weather.fate(route.timeout, &mut self.chance);
        if let Some(out) = fate.out {
            self.plan(out, Happening::Acts(number));
        }
        self.plan(fate.end, Happening::Arrives(number));
        if fate.kind != "none" {
            *self.report.faults.entry(fate.kind).or_default() += 1;
            self.trouble(self.now + fate.end);
        }
        let (made, started) = (self.now, self.clocks.read(self.now));
        let run = self.agent.as_ref().map_or(0, |agent| agent.run);
        self.calls.insert(number, Up { flight, arrival, realm, made, started, run, fate, done: None });
        number
    }

    /// A number for somebody who asks.
    pub const fn next_waiter(&mut self) -> WaiterId {
        self.asked += 1;
        WaiterId(self.asked)
    }

    /// Until then something is the matter.
    pub fn trouble(&mut self, until: At) {
        self.trouble_until = self.trouble_until.max(until);
    }

    /// Whether nothing has been the matter for this long.
    pub fn is_calm_for(&self, long: At) -> bool {
        let at_peace = self.weather.sky == super::weather::Sky::Calm && self.now >= self.disk.full_until;
        at_peace
            && self.agent.as_ref().is_some_and(|agent| agent.stopping.is_none() && agent.files.are_in_order())
            && self.now >= self.trouble_until.saturating_add(long)
    }

    /// A rule is broken.
    pub fn violation(&mut self, what: impl Into<String>) {
        if self.broken.is_none() {
            self.broken = Some(what.into());
        }
    }

    /// Notes an event.
    pub fn note(&mut self, line: String) {
        self.log.note(self.now, line);
    }
}

/// What somebody who asked was told, in few words.
pub fn in_short(answer: &Result<Response, Problem>) -> String {
    match answer {
        Ok(Response::Credentials(..) | Response::EncodedCredentials(_)) => "credentials".to_owned(),
        Ok(Response::Token(_)) => "token".to_owned(),
        Ok(Response::Status(_)) => "status".to_owned(),
        Ok(Response::Login { status, accepted }) => {
            format!("login {:?} accepted {accepted} {:?}", status.state, status.code)
        }
        Ok(Response::Session(_)) => "session".to_owned(),
        Ok(Response::LoggedOut(out)) => format!("{out:?}"),
        Ok(_) => "done".to_owned(),
        Err(problem) => format!("{} {:?} ({})", problem.code, problem.retry_after, problem.detail),
    }
}
