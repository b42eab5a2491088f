//! What each connection is doing and since when, and what all of them share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::gate::Gate;
use super::restricted::Follows;
use super::{Limits, Means, Meters, Restricted};
use crate::api::{DoorStatus, Problem, Response, WarningEntry};
use crate::audit::{Asker, Audit};
use crate::engine::Handle;
use crate::policy::Policies;

/// What all connections share. Everything runs on one thread; the atomics only spare a lock.
pub(super) struct Room {
    pub(super) handle: Handle,
    pub(super) audit: Arc<Audit>,
    pub(super) policies: Arc<Policies>,
    pub(super) meters: Arc<Meters>,
    pub(super) limits: Limits,
    pub(super) start: Instant,
    coarse_start: Duration,
    leaving: AtomicBool,
    asking: AtomicUsize,
    polling: AtomicUsize,
    call: Notify,
    /// The restricted sockets, for `status`.
    doors: Mutex<Told>,
    followed: Notify,
}

impl Room {
    pub(super) fn new(means: Means) -> Self {
        let Means { handle, audit, policies, meters, limits } = means;
        Self {
            handle,
            audit,
            policies,
            meters,
            limits,
            start: Instant::now(),
            coarse_start: coarse(),
            leaving: AtomicBool::new(false),
            asking: AtomicUsize::new(0),
            polling: AtomicUsize::new(0),
            call: Notify::new(),
            doors: Mutex::default(),
            followed: Notify::new(),
        }
    }

    /// How long the server has been up: the time in which seats are noted, exact to a few milliseconds.
    pub(super) fn now(&self) -> Duration {
        coarse().saturating_sub(self.coarse_start)
    }

    /// Completes when a connection has a deadline that may be nearer than all others.
    pub(super) async fn called(&self) {
        self.call.notified().await;
    }

    /// How the restricted sockets are now.
    pub(super) fn tell_of(&self, restricted: &Restricted) {
        let (serve, warnings) = (restricted.statuses(), restricted.warnings());
        *self.told() = Told { serve, warnings, follows: restricted.follows() };
        self.followed.notify_waiters();
    }

    /// What was last told of the restricted sockets.
    pub(super) fn doors(&self) -> (Vec<DoorStatus>, Vec<WarningEntry>) {
        let told = self.told();
        (told.serve.clone(), told.warnings.clone())
    }

    /// Waits until the restricted sockets are as the settings say that were read last.
    pub(super) async fn doors_follow(&self) {
        loop {
            let mut followed = std::pin::pin!(self.followed.notified());
            followed.as_mut().enable();
            if self.is_leaving() || self.told().follows.is_up_to_date() {
                return;
            }
            followed.await;
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on every connection ends with the answer it is at.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.followed.notify_waiters();
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// A place among the requests that wait for the engine, if one is left.
    pub(super) fn ask(&self) -> Option<Place<'_>> {
        Place::take(&self.asking, self.limits.connections.saturating_sub(self.limits.reserved))
    }

    /// A place among the requests that wait for a change, if one is left.
    pub(super) fn poll(&self) -> Option<Place<'_>> {
        Place::take(&self.polling, self.limits.long_polls)
    }
}

/// The restricted sockets as they were told last.
#[derive(Default)]
struct Told {
    serve: Vec<DoorStatus>,
    warnings: Vec<WarningEntry>,
    follows: Follows,
}

/// A place that is counted, given back when dropped.
pub(super) struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(taken: &'a AtomicUsize, most: usize) -> Option<Self> {
        if taken.fetch_add(1, Ordering::Relaxed) < most {
            Some(Self(taken))
        } else {
            taken.fetch_sub(1, Ordering::Relaxed);
            None
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing.
    Idle,
    /// The header has begun and is not complete.
    Header,
    /// The body is not complete.
    Body,
    /// The engine has the word.
    Asking,
    /// The answer is on its way to the caller.
    Answering,
}

/// One connection as the loop sees it.
pub(super) struct Seat {
    pub(super) room: Arc<Room>,
    pub(super) pid: Option<i32>,
    pub(super) asker: Asker,
    /// What it came through, if not the main socket.
    pub(super) gate: Option<Arc<Gate>>,
    /// Microseconds since the room's start, and the phase in the lowest three bits.
    state: AtomicU64,
}

impl Seat {
    pub(super) fn new(room: Arc<Room>, pid: Option<i32>, asker: Asker) -> Self {
        let seat = Self { room, pid, asker, gate: None, state: AtomicU64::new(0) };
        seat.enter(Phase::Idle);
        seat
    }

    /// The same connection, come through a restricted socket.
    pub(super) fn behind(mut self, gate: Option<Arc<Gate>>) -> Self {
        self.gate = gate;
        self
    }

    pub(super) const fn is_restricted(&self) -> bool {
        self.gate.is_some()
    }

    /// What it came through was closed.
    pub(super) fn is_shut_out(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| gate.is_closed())
    }

    /// The answer, if it may go to where the caller came in.
    pub(super) fn lets_out(&self, response: Response) -> Result<Response, Problem> {
        match &self.gate {
            Some(gate) if !gate.lets_out(&response) => Err(gate.refusal()),
            _ => Ok(response),
        }
    }

    /// No further question of this connection is answered.
    pub(super) fn is_at_its_end(&self) -> bool {
        self.room.is_leaving() || self.is_shut_out()
    }

    pub(super) fn enter(&self, phase: Phase) {
        let since = u64::try_from(self.room.now().as_micros()).unwrap_or(u64::MAX >> PHASE_BITS);
        self.state.store(since << PHASE_BITS | phase as u64, Ordering::Relaxed);
    }

    /// Enters `next` if the phase is `from`.
    pub(super) fn step(&self, from: Phase, next: Phase) {
        if self.phase().0 == from {
            self.enter(next);
        }
    }

    /// What it is doing, and since when.
    pub(super) fn phase(&self) -> (Phase, Duration) {
        let state = self.state.load(Ordering::Relaxed);
        let phase = match state & ((1 << PHASE_BITS) - 1) {
            0 => Phase::Idle,
            1 => Phase::Header,
            2 => Phase::Body,
            3 => Phase::Asking,
            _ => Phase::Answering,
        };
        (phase, Duration::from_micros(state >> PHASE_BITS))
    }

    /// When it has taken too long. The engine bounds its own answers.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let limits = &self.room.limits;
        let (phase, since) = self.phase();
        let time = match phase {
            Phase::Idle => limits.idle_time,
            Phase::Header => limits.header_time,
            Phase::Body => limits.body_time,
            Phase::Asking => return None,
            Phase::Answering => limits.answer_time,
        };
        Some(since + time)
    }

    /// Makes the loop look at the deadlines: this one may be the nearest now.
    pub(super) fn call(&self) {
        self.room.call.notify_one();
    }
}

/// Every request notes the time four times over, so the clock is the cheapest there is: it reads no counter.
fn coarse() -> Duration {
    let now = clock_gettime(COARSE);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

#[cfg(target_os = "linux")]
const COARSE: ClockId = ClockId::MonotonicCoarse;
#[cfg(not(target_os = "linux"))]
const COARSE: ClockId = ClockId::Monotonic;

/// By how much that clock may be late: whoever is woken by a better one looks this much later.
pub(super) const GRAIN: Duration = Duration::from_millis(10);

const PHASE_BITS: u32 = 3;
