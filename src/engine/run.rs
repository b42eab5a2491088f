//! The loop that lets the state machine live: brings it events, carries out its effects.
//!
//! Invariants: events are handled one at a time; store writes are made in the order the engine gave them; a refresh
//! or write under way is waited for at the end.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use super::callbacks::Callbacks;
use super::files::{Files, Happened};
use super::shelf::Shelf;
use super::{CacheTicket, Configuration, Effect, Event, Flight, Question, Questions, State, Ticket, Unread, WaiterId};
use crate::alarm::Alarm;
use crate::api::{Problem, Response};
use crate::clock::Clock;
use crate::desktop::Desktop;
use crate::ids::SessionName;
use crate::service::{Manager, Pulse};
use crate::source::{Doubt, Look};
use crate::sso_cache::{Cache, CacheOrder};
use crate::store::{LatchKeeper, LatchReport, Manage, Protection, Record, RecordKind, Store};
use crate::time::Now;
use crate::upstream::{Reply, Upstream};
use crate::watch::Watch;

/// The world as the engine's loop sees it.
pub struct World<U> {
    /// The services.
    pub upstream: Arc<U>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The disk.
    pub store: Box<dyn Store>,
    /// Reads the configuration; blocks.
    pub read_configuration: Arc<dyn Fn() -> Result<Configuration, Box<Unread>> + Send + Sync>,
    /// Looks whether there is something to be read; blocks.
    pub look_at_configuration: Arc<dyn Fn(Doubt) -> Look + Send + Sync>,
    /// Where the user is told what they did not ask for.
    pub desktop: Box<dyn Desktop>,
    /// The AWS CLI's cache.
    pub cache: Box<dyn Cache>,
    /// Where that is, for whoever watches it.
    pub cache_directory: Option<PathBuf>,
    /// Whoever keeps the lock that a person puts on the agent.
    pub latch: Arc<dyn LatchKeeper>,
    /// The wake-up call.
    pub alarm: Alarm,
    /// Who is told how things are, and when the configuration is read.
    pub manager: Manager,
    /// Who is told that this loop turns.
    pub pulse: Pulse,
    /// Told when nobody needs the agent any more.
    pub idle: Arc<Notify>,
    /// Whether the agent still owns its place; asked at every wake-up.
    pub still_ours: Box<dyn FnMut() -> bool + Send>,
}

/// What the house tells the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Read the configuration again.
    Reload,
    /// Come to an end.
    Stop,
}

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to, and everything is saved.
    Stopped,
    /// It was told to, and something would not end in time.
    GaveUp,
    /// It was told to, and the disk did not take everything.
    Unsaved,
    /// Its place was taken: the socket is gone or somebody else's.
    Displaced,
}

/// Runs the engine until it is told to stop and has come to its end.
pub async fn run<U: Upstream>(
    mut state: State,
    world: World<U>,
    mut questions: Questions,
    mut orders: mpsc::Receiver<Order>,
) -> Ended {
    let World {
        upstream,
        clock,
        store,
        read_configuration,
        look_at_configuration,
        desktop,
        cache,
        cache_directory,
        latch,
        mut alarm,
        manager,
        mut pulse,
        idle,
        mut still_ours,
    } = world;
    let mut hands = Hands {
        upstream,
        flights: JoinSet::new(),
        reads: JoinSet::new(),
        latches: JoinSet::new(),
        latch,
        store: StoreThread::start(store, cache, state.protection().clone()),
        callbacks: Callbacks::new(),
        watch: Watch::nothing(),
        cache_directory: cache_directory.into_iter().collect(),
        waiters: HashMap::new(),
        read_configuration,
        files: Files::new(look_at_configuration),
        desktop,
        manager,
        asked: 0,
    };
    let mut deadline = std::pin::pin!(tokio::time::sleep_until(tokio::time::Instant::now()));
    let mut ended = Ended::Stopped;
    let mut stopping = false;
    let mut doors_closed = false;
    // What happened to the files since they were read has been told by nobody.
    let mut event = Event::ConfigurationTouched;
    loop {
        if matches!(event, Event::Stop) && !std::mem::replace(&mut stopping, true) {
            deadline.as_mut().reset(tokio::time::Instant::now() + LAST_DEADLINE);
        }
        let now = clock.now();
        let was_read = matches!(event, Event::ConfigurationRead(_));
        let effects = state.handle(now, event);
        // Before anything leaves: what was answered a moment ago may still be on its way to the door.
        questions.shelf.set_locked(state.is_locked());
        if was_read && !stopping {
            hands.manager.ready();
        }
        if !state.plan_holds() {
            // Something happened: what lay ready may not be true any more.
            questions.shelf.clear();
        }
        hands.carry_out(effects, &questions.shelf, now);
        if stopping && state.is_settled() && hands.waiters.is_empty() && hands.store.is_idle() {
            return if state.is_saved() { ended } else { Ended::Unsaved };
        }
        if !state.plan_holds() && state.wants_rest(now) {
            idle.notify_one();
        }
        // An answer from the warm cache changes no schedule: the alarm stays as it is.
        if !state.plan_holds() {
            alarm.set(state.next_wait(clock.now()).map(|wait| wait + TIMER_SLACK));
            if hands.manager.listens() && !stopping {
                hands.manager.status(&state.headline(now));
            }
        }
        event = tokio::select! {
            biased;
            () = pulse.due() => {
                pulse.beat();
                Event::Tick
            }
            Some(order) = orders.recv() => match order {
                Order::Reload => Event::ReloadWanted,
                Order::Stop => Event::Stop,
            },
            Some(Ok((flight, reply))) = hands.flights.join_next() => Event::Finished(flight, reply),
            Some(event) = hands.store.done() => event,
            Some(event) = hands.callbacks.next() => event,
            Some(Ok(read)) = hands.reads.join_next() => Event::ConfigurationRead(read),
            Some(Ok(report)) = hands.latches.join_next() => Event::Latched(report),
            () = hands.watch.changed() => Event::CacheTouched,
            happened = hands.files.next(state.is_reading()) => match happened {
                Happened::Touched => Event::ConfigurationTouched,
                Happened::LookedAt { changed } => Event::ConfigurationLookedAt { changed },
                Happened::Released(question) => hands.asked(question),
            },
            () = alarm.rings() => {
                if !stopping && !still_ours() {
                    tracing::error!("the socket is gone or somebody else's: saving and ending");
                    ended = Ended::Displaced;
                    Event::Stop
                } else {
                    Event::Tick
                }
            }
            () = &mut deadline, if stopping => {
                tracing::error!("a refresh or a write did not end in time");
                return Ended::GaveUp;
            }
            question = questions.next(), if !doors_closed && !hands.files.is_holding() => match question {
                Some(question) => match hands.files.hold(question) {
                    None => Event::ConfigurationTouched,
                    Some(question) => hands.asked(question),
                },
                None => {
                    doors_closed = true;
                    Event::Stop
                }
            },
        };
    }
}

struct Hands<U> {
    upstream: Arc<U>,
    flights: JoinSet<(Flight, Reply)>,
    reads: JoinSet<Result<Configuration, Box<Unread>>>,
    latches: JoinSet<LatchReport>,
    latch: Arc<dyn LatchKeeper>,
    store: StoreThread,
    callbacks: Callbacks,
    watch: Watch,
    /// One, or none without a home.
    cache_directory: BTreeSet<PathBuf>,
    waiters: HashMap<WaiterId, oneshot::Sender<Result<Response, Problem>>>,
    read_configuration: Arc<dyn Fn() -> Result<Configuration, Box<Unread>> + Send + Sync>,
    files: Files,
    desktop: Box<dyn Desktop>,
    manager: Manager,
    asked: u64,
}

impl<U: Upstream> Hands<U> {
    fn asked(&mut self, question: Question) -> Event {
        self.asked += 1;
        let waiter = WaiterId(self.asked);
        self.waiters.insert(waiter, question.answer);
        match question.within {
            None => Event::Asked(waiter, question.request),
            Some(targets) => Event::AskedWithin(waiter, question.request, targets),
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>, shelf: &Shelf, now: Now) {
        for effect in effects {
            match effect {
                Effect::Call(flight, route, call) => {
                    let upstream = Arc::clone(&self.upstream);
                    self.flights.spawn(async move { (flight, upstream.call(route, call).await) });
                }
                Effect::Save(ticket, record) => self.store.order(Job::Save(ticket, record)),
                Effect::Delete(ticket, session, kind) => self.store.order(Job::Delete(ticket, session, kind)),
                Effect::Manage(waiter, order) => self.store.order(Job::Manage(waiter, order)),
                Effect::Latch(order) => {
                    let latch = Arc::clone(&self.latch);
                    self.latches.spawn_blocking(move || latch.carry_out(order));
                }
                Effect::Listen(id, plan) => self.callbacks.listen(id, *plan),
                Effect::Conclude(id, verdict) => self.callbacks.conclude(&id, verdict),
                Effect::Cache(ticket, order) => self.store.order(Job::Cache(ticket, order)),
                Effect::WatchCache(true) => self.watch.set(&self.cache_directory),
                Effect::WatchCache(false) => self.watch.set(&BTreeSet::new()),
                Effect::Answer(waiter, answer) => {
                    if let Some(asker) = self.waiters.remove(&waiter) {
                        // A caller that has gone away does not need its answer.
                        drop(asker.send(answer));
                    }
                }
                Effect::Notify(notice) => notice.put_on(&*self.desktop),
                Effect::Shelve(shelved) => shelf.put(self.files.bounded(shelved), now),
                Effect::ReadConfiguration => {
                    self.manager.reloading();
                    let read = Arc::clone(&self.read_configuration);
                    self.reads.spawn_blocking(move || read());
                }
                Effect::LookAtConfiguration => self.files.look(),
            }
        }
    }
}

enum Job {
    Save(Ticket, Box<Record>),
    Delete(Ticket, SessionName, RecordKind),
    Manage(WaiterId, Option<Manage>),
    /// Not of the store, but its writes must come after what the store was told before.
    Cache(CacheTicket, CacheOrder),
    /// Somebody may have given the key.
    Look,
}

/// The one thread that waits for the disk, so that writes stay in order and the loop never waits.
struct StoreThread {
    orders: std::sync::mpsc::Sender<Job>,
    done: mpsc::UnboundedReceiver<Event>,
    under_way: usize,
}

impl StoreThread {
    fn start(mut store: Box<dyn Store>, mut cache: Box<dyn Cache>, mut protection: Protection) -> Self {
        let (orders, ordered) = std::sync::mpsc::channel::<Job>();
        // Bounded by the engine: a session has at most a handful of writes under way.
        let (report, done) = mpsc::unbounded_channel();
        let look = orders.clone();
        store.wake_with(Box::new(move || {
            // Nobody reads any more when the agent has ended.
            let _ = look.send(Job::Look);
        }));
        std::thread::spawn(move || {
            for job in ordered {
                let mut loaded = None;
                let done = match job {
                    Job::Save(ticket, record) => Some(Event::Stored(ticket, store.save(&record))),
                    Job::Delete(ticket, session, kind) => Some(Event::Stored(ticket, store.delete(&session, kind))),
                    Job::Manage(waiter, None) => Some(Event::Managed(waiter, Ok(store.inventory()))),
                    Job::Manage(waiter, Some(order)) => {
                        let managed = store.manage(order).map(|records| loaded = records);
                        Some(Event::Managed(waiter, managed.map(|()| store.inventory())))
                    }
                    Job::Cache(ticket, order) => {
                        let report = cache.carry_out(&ticket.session, order);
                        Some(Event::Cached(ticket, report))
                    }
                    Job::Look => {
                        loaded = store.look();
                        None
                    }
                };
                let now = store.protection();
                // First what is now, then that it was done: whoever waits for the latter is told the former.
                let changed = (now != protection || loaded.is_some()).then(|| {
                    protection.clone_from(&now);
                    Event::Protected(now, loaded)
                });
                for event in changed.into_iter().chain(done) {
                    if report.send(event).is_err() {
                        return;
                    }
                }
            }
        });
        Self { orders, done, under_way: 0 }
    }

    fn order(&mut self, job: Job) {
        if self.orders.send(job).is_ok() {
            self.under_way += 1;
        }
    }

    async fn done(&mut self) -> Option<Event> {
        let done = self.done.recv().await;
        if !matches!(done, Some(Event::Protected(..))) {
            self.under_way = self.under_way.saturating_sub(1);
        }
        done
    }

    const fn is_idle(&self) -> bool {
        self.under_way == 0
    }
}

/// For a refresh under way and its write, at the end; `TimeoutStopSec=` of the unit is longer.
const LAST_DEADLINE: Duration = Duration::from_secs(15);
/// The wall clock is read in milliseconds: ringing a moment early would only mean ringing twice.
const TIMER_SLACK: Duration = Duration::from_millis(1);
