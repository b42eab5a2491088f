//! The socket API's door: accepts connections and lets the engine answer.
//!
//! Owns: who may connect, how many, for how long, and the end of it all. Refuses to know what is asked: a request is
//! handed to [`Handle::ask`] and its answer written down. Invariants: a peer of another user is never answered; no
//! caller can hold a place for ever or take all of them (A§14: every limit is in [`Limits`]); a caller that hangs up
//! costs nothing more; without connections there are no timers. The main socket and the [`Restricted`] ones share the
//! places, and whoever comes through the latter takes none that the main socket's callers need.
//!
//! One timer serves all connections. A connection notes in its `Seat` what it is doing and since when; the loop
//! looks through the seats when the nearest deadline has come, or when a connection calls because it now has a nearer
//! one. A request that arrives whole touches no timer at all.

mod connection;
mod convert;
#[cfg(all(feature = "agent", any(test, feature = "fuzzing")))]
pub(crate) mod fuzz;
mod gate;
mod guests;
mod metrics;
mod restricted;
mod seat;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::audit::{Asker, Audit};
use crate::engine::Handle;
use crate::policy::Policies;
use gate::Gate;
pub use guests::Guests;
pub use metrics::Meters;
use restricted::Knock;
pub use restricted::Restricted;
use seat::{Phase, Room, Seat};

/// Where callers come in.
pub struct Listeners {
    /// The socket where everything can be asked for.
    pub main: UnixListener,
    /// Those where a few things can.
    pub restricted: Restricted,
}

/// What callers may take, all together and each.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections; when they are used up, the longest idle one is closed.
    pub connections: usize,
    /// Connections of one process; when they are used up, its longest idle one is closed.
    pub connections_per_process: usize,
    /// Of the connections, those through restricted sockets, all together.
    pub restricted: usize,
    /// Through one restricted socket; when they are used up, its longest idle one is closed.
    pub restricted_each: usize,
    /// Requests that wait for the engine leave this many connections for status and the like.
    pub reserved: usize,
    /// Requests that wait for a change.
    pub long_polls: usize,
    /// From a request's first byte to the end of its header.
    pub header_time: Duration,
    /// From the end of the header to the end of the body.
    pub body_time: Duration,
    /// Until the caller has taken the whole answer.
    pub answer_time: Duration,
    /// Between two requests of a connection, and before its first.
    pub idle_time: Duration,
    /// A request's header. Hyper insists on at least 8 KiB.
    pub header_bytes: usize,
    /// A request's body.
    pub body_bytes: usize,
    /// Until open answers are cut off at shutdown.
    pub goodbye_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_per_process: 64,
            restricted: 128,
            restricted_each: 64,
            reserved: 16,
            long_polls: 32,
            header_time: Duration::from_secs(5),
            body_time: Duration::from_secs(10),
            answer_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(60),
            header_bytes: 16 * 1024,
            body_bytes: 16 * 1024,
            // The engine answers whoever still waits after two seconds; that answer must get out.
            goodbye_time: Duration::from_secs(4),
        }
    }
}

/// What requests are answered with.
pub struct Means {
    /// The way to the engine.
    pub handle: Handle,
    /// Where it is written down who got what.
    pub audit: Arc<Audit>,
    /// Who may get what.
    pub policies: Arc<Policies>,
    /// Where it is counted.
    pub meters: Arc<Meters>,
    /// What callers may take.
    pub limits: Limits,
}

/// Serves until `shutdown` completes; then accepts nothing more, gives open answers `goodbye_time`, and returns. What is
/// handed out is in the audit log before it is on its way, and all of it when this returns.
pub async fn serve(listeners: Listeners, means: Means, guests: Guests, shutdown: impl Future<Output = ()>) {
    let Listeners { main, mut restricted } = listeners;
    let mut shutdown = pin!(shutdown);
    let mut house = House::new(means);
    house.room.tell_of(&restricted);
    let mut alarm = pin!(sleep_until(Instant::now()));
    let mut trouble = Trouble::default();
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(left) = house.connections.join_next_with_id() => house.leave(&left),
            () = house.room.called() => house.sweep(),
            () = &mut alarm, if house.next_sweep.is_some() => house.sweep(),
            // Pauses after an error, so that a full descriptor table is not a busy loop.
            accepted = trouble.accept(main.accept()) => match accepted {
                Ok((stream, _)) => house.enter(stream, None),
                Err(error) => house.not_accepted(&error),
            },
            knock = restricted.knock() => match knock {
                Knock::Caller(stream, gate) => house.enter(stream, Some(gate)),
                Knock::Trouble(error) => house.not_accepted(&error),
                Knock::Changed => {
                    house.room.tell_of(&restricted);
                    house.close_behind_gates();
                }
            },
        }
        guests.count(house.connections.len());
        match house.next_sweep {
            Some(next) if alarm.deadline() != next => alarm.as_mut().reset(next),
            Some(_) => {}
            // Not only unheard but unset, or it would wake an agent that nobody is connected to.
            None => alarm.set(sleep_until(Instant::now())),
        }
    }
    drop((main, restricted));
    house.say_goodbye().await;
}

/// All connections.
struct House {
    room: Arc<Room>,
    connections: JoinSet<()>,
    seats: HashMap<Id, (Arc<Seat>, AbortHandle)>,
    next_sweep: Option<Instant>,
    us: Option<u32>,
    overflow: Option<u32>,
}

impl House {
    fn new(means: Means) -> Self {
        let overflow = overflow_uid();
        let us = Some(crate::paths::our_uid()).filter(|uid| Some(*uid) != overflow);
        if us.is_none() {
            tracing::error!(
                "running as the user that stands for unknown users: nobody can be told apart, all are refused"
            );
        }
        let room = Arc::new(Room::new(means));
        Self { room, connections: JoinSet::new(), seats: HashMap::new(), next_sweep: None, us, overflow }
    }

    fn enter(&mut self, stream: UnixStream, gate: Option<Arc<Gate>>) {
        let Ok(peer) = stream.peer_cred() else { return };
        if !self.may_enter(peer.uid(), gate.as_deref()) {
            tracing::warn!(uid = peer.uid(), "refused a connection of another user");
            return;
        }
        // Zero is everybody whose process is in another namespace.
        let pid = peer.pid().filter(|pid| gate.is_none() || *pid > 0);
        if let Err(too_many) = self.make_room(pid, gate.as_ref()) {
            tracing::warn!(pid, "refused a connection: {too_many}");
            return;
        }
        let via = gate.as_ref().map(|gate| gate.name.clone());
        let asker = Asker::of(&stream, pid, peer.uid()).via(via);
        let seat = Arc::new(Seat::new(Arc::clone(&self.room), pid, asker).behind(gate));
        let task = self.connections.spawn(connection::converse(stream, Arc::clone(&seat)));
        self.look_again_by(Instant::now() + self.room.limits.idle_time);
        self.seats.insert(task.id(), (seat, task));
    }

    /// The kernel translates users into our namespace; those it cannot translate are all the same one, who is nobody.
    fn may_enter(&self, uid: u32, gate: Option<&Gate>) -> bool {
        Some(uid) == self.us
            || (gate.is_some_and(|gate| gate.allow_root) && uid == 0 && self.overflow != Some(0) && self.us.is_some())
    }

    /// A place for one more connection: whoever comes through a restricted socket takes it from their like only.
    fn make_room(&mut self, pid: Option<i32>, gate: Option<&Arc<Gate>>) -> Result<(), &'static str> {
        let limits = &self.room.limits;
        let (most, most_of_process) = (limits.connections, limits.connections_per_process);
        let (most_restricted, most_of_gate) = (limits.restricted, limits.restricted_each);
        if let Some(gate) = gate {
            let through_it = |seat: &Seat| seat.gate.as_ref().is_some_and(|of| Arc::ptr_eq(of, gate));
            if self.count(through_it) >= most_of_gate && !self.close_longest_idle(through_it) {
                return Err("there are too many through this socket");
            }
            if self.count(Seat::is_restricted) >= most_restricted && !self.close_longest_idle(Seat::is_restricted) {
                return Err("there are too many through restricted sockets");
            }
        }
        let of_process = |seat: &Seat| pid.is_some() && seat.pid == pid && seat.is_restricted() == gate.is_some();
        if self.count(of_process) >= most_of_process && !self.close_longest_idle(of_process) {
            return Err("this process has too many");
        }
        if self.seats.len() >= most
            && !self.close_longest_idle(Seat::is_restricted)
            && (gate.is_some() || !self.close_longest_idle(|_| true))
        {
            return Err("there are too many");
        }
        Ok(())
    }

    fn count(&self, eligible: impl Fn(&Seat) -> bool) -> usize {
        self.seats.values().filter(|(seat, _)| eligible(seat)).count()
    }

    fn not_accepted(&mut self, error: &io::Error) {
        tracing::warn!(%error, "cannot accept a connection");
        if is_out_of_descriptors(error) && !self.close_longest_idle(Seat::is_restricted) {
            self.close_longest_idle(|_| true);
        }
    }

    /// Ends the connections through sockets that were closed; one that is being answered hears that it is over.
    fn close_behind_gates(&mut self) {
        self.seats.retain(|_, (seat, task)| {
            let ends = seat.is_shut_out() && !matches!(seat.phase().0, Phase::Asking | Phase::Answering);
            if ends {
                task.abort();
            }
            !ends
        });
    }

    fn leave(&mut self, left: &Result<(Id, ()), tokio::task::JoinError>) {
        let id = match left {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        // A connection closed by us has given up its seat already.
        self.seats.remove(&id);
        if self.seats.is_empty() {
            self.next_sweep = None;
        }
    }

    /// Closes who is overdue and finds the next deadline.
    fn sweep(&mut self) {
        // Awake anyway.
        self.room.audit.settle();
        let now = self.room.now();
        let mut next: Option<Duration> = None;
        self.seats.retain(|_, (seat, task)| match seat.deadline() {
            Some(deadline) if deadline <= now => {
                tracing::debug!(pid = seat.pid, phase = ?seat.phase().0, "closed a connection that took too long");
                task.abort();
                false
            }
            Some(deadline) => {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
                true
            }
            None => true,
        });
        // One that is being answered now has no deadline, but will.
        let next = next.or_else(|| (!self.seats.is_empty()).then(|| now + self.room.limits.idle_time));
        self.next_sweep = next.map(|next| self.room.start + next + seat::GRAIN);
    }

    fn look_again_by(&mut self, time: Instant) {
        self.next_sweep = Some(self.next_sweep.map_or(time, |next| next.min(time)));
    }

    /// Makes room: closes the connection that has been idle longest, else the one that is slowest at sending or
    /// taking. One whose request is being answered is never closed.
    fn close_longest_idle(&mut self, mut eligible: impl FnMut(&Seat) -> bool) -> bool {
        let longest = self
            .seats
            .iter()
            .filter(|(_, (seat, _))| eligible(seat))
            .filter_map(|(id, (seat, _))| match seat.phase() {
                (Phase::Asking, _) => None,
                (phase, since) => Some((phase != Phase::Idle, since, *id)),
            })
            .min_by_key(|(busy, since, _)| (*busy, *since));
        let Some((_, _, id)) = longest else { return false };
        if let Some((_, task)) = self.seats.remove(&id) {
            task.abort();
        }
        true
    }

    async fn say_goodbye(mut self) {
        self.room.leave();
        for (seat, task) in self.seats.values() {
            if matches!(seat.phase().0, Phase::Idle | Phase::Header) {
                task.abort();
            }
        }
        let end = Instant::now() + self.room.limits.goodbye_time;
        while let Ok(Some(_)) = timeout_at(end, self.connections.join_next()).await {}
        self.connections.shutdown().await;
        self.room.audit.close();
    }
}

/// The pause after an accept that failed: doubling, and over with the next success.
#[derive(Default)]
struct Trouble {
    pause: Duration,
    until: Option<Instant>,
}

impl Trouble {
    /// Nothing is lost if this is dropped before it completes.
    async fn accept<T>(&mut self, accepting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        if let Some(until) = self.until {
            sleep_until(until).await;
            self.until = None;
        }
        match accepting.await {
            Ok(accepted) => {
                self.pause = Duration::ZERO;
                Ok(accepted)
            }
            Err(error) => {
                self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                self.until = Some(Instant::now() + self.pause);
                Err(error)
            }
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// The uid under which the kernel shows users that our user namespace does not know.
fn overflow_uid() -> Option<u32> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let told = std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
    Some(told.and_then(|text| text.trim().parse().ok()).unwrap_or(65_534))
}

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
