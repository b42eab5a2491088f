//! The way to the agent for everything that is not the agent: one blocking client for the shim and the CLI.
//!
//! Owns: finding the socket, checking who listens, one request and its answer, and trying again within the caller's
//! patience. Refuses to know what is asked and what the answer means. Invariants: not a byte is sent before the
//! checks of `trust` have passed; what could have had an effect is never sent twice; nothing the other side says
//! makes us allocate without bound; waiting is `poll(2)` with a deadline.

mod deadline;
mod error;
#[cfg(all(feature = "agent", any(test, feature = "fuzzing")))]
pub(crate) mod fuzz;
#[cfg(target_os = "linux")]
mod peer;
mod trust;
mod wire;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

pub use error::{Absence, ClientError};
pub use trust::Distrust;

use crate::api::{Method, Request};
use crate::paths::SocketPath;
use crate::secret::SecretBytes;
pub(crate) use deadline::Deadline;
use error::Failure;

/// A successful answer.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status, 2xx.
    pub status: u16,
    /// The version of the agent that answered.
    pub agent_version: Option<String>,
    /// The body, complete by its `Content-Length`.
    pub body: SecretBytes,
}

/// Talks to the agent. Every request is a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    socket: SocketPath,
    state_dir: Option<PathBuf>,
    before_answer: Option<fn()>,
    agent_version: OnceLock<String>,
}

impl Client {
    /// A client for this socket. Where nobody listens there, the agent that holds the lock in `state_dir` is tried.
    #[must_use]
    pub const fn new(socket: SocketPath, state_dir: Option<PathBuf>) -> Self {
        Self { socket, state_dir, before_answer: None, agent_version: OnceLock::new() }
    }

    /// The same, which does this when an answer has come and before a byte of it is read: until then no secret is in
    /// this process, and the agent may look at who it is.
    #[must_use]
    pub fn before_answer(mut self, prepare: fn()) -> Self {
        self.before_answer = Some(prepare);
        self
    }

    /// The socket this client tries first.
    #[must_use]
    pub const fn socket(&self) -> &SocketPath {
        &self.socket
    }

    /// The version of the agent that has answered with a problem, if one has. Other answers tell it themselves.
    #[must_use]
    pub fn agent_version(&self) -> Option<String> {
        self.agent_version.get().cloned()
    }

    /// The process that listens on the socket, or that has made it; `None` where the system does not tell.
    ///
    /// # Errors
    /// Nobody listens there, or whoever does must not be trusted.
    pub fn peer(&self) -> Result<Option<u32>, ClientError> {
        match trust::connect(&self.socket, &Deadline::after(RETURN_GRACE)) {
            Ok(stream) => Ok(trust::peer_process(&stream)),
            Err(Failure::Final(error) | Failure::Again(error) | Failure::Missing(error)) => Err(error),
        }
    }

    /// Asks, and waits for the answer for at most `patience`. The agent is told to answer within what is left of it.
    ///
    /// # Errors
    /// The problem the agent answered with, or why there is no answer.
    pub fn send(&self, request: &Request, patience: Duration) -> Result<Reply, ClientError> {
        self.send_or(request, patience, &mut |_| Ok(false))
    }

    /// The same; where nobody listens and nobody is about to, `absent` is told once how much patience is left. It says
    /// whether it has started somebody, or why that failed.
    ///
    /// # Errors
    /// As [`Client::send`], and what `absent` says.
    pub fn send_or(
        &self,
        request: &Request,
        patience: Duration,
        absent: &mut dyn FnMut(Duration) -> Result<bool, ClientError>,
    ) -> Result<Reply, ClientError> {
        let deadline = Deadline::after(patience);
        let mut asked_for_one = false;
        // An agent that says goodbye, or lives behind closed doors, is waited for as long as there is patience: it starts,
        // or the next one may follow. One that has died and left its socket behind is waited for only as long as a
        // restart takes.
        let mut until = None;
        let mut pause = FIRST_PAUSE;
        let mut leaving = false;
        loop {
            let failure = match self.attempt(request, &deadline) {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            let nobody = failure.nobody_listens() || matches!(failure, Failure::Missing(_));
            let holder_lives = nobody && self.holder_lives();
            if nobody && !holder_lives && !asked_for_one {
                asked_for_one = true;
                if absent(deadline.left())? {
                    (until, pause, leaving) = (None, FIRST_PAUSE, false);
                    continue;
                }
            }
            leaving |= failure.says_goodbye() || holder_lives;
            let error = match failure {
                Failure::Final(error) => return Err(error),
                Failure::Missing(error) if !leaving && until.is_none() => return Err(error),
                Failure::Missing(error) | Failure::Again(error) => error,
            };
            let until = *until.get_or_insert_with(|| deadline.no_later_than(RETURN_GRACE));
            let until = if leaving { deadline } else { until };
            if until.left() <= pause {
                return Err(error);
            }
            until.pause(pause)?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn attempt(&self, request: &Request, deadline: &Deadline) -> Result<Reply, Failure> {
        let stream = self.connect(deadline)?;
        let raw = within(request, deadline.left()).encode();
        match wire::exchange(&stream, &raw, deadline, self.before_answer, &self.agent_version) {
            // The agent acts only on complete requests, but whether this one was is not known here.
            Err(Failure::Again(error)) if raw.method != Method::Get && !error.is_problem() => {
                Err(Failure::Final(error))
            }
            result => result,
        }
    }

    /// Whether the agent that took the lock last is still there.
    fn holder_lives(&self) -> bool {
        let holder = self.state_dir.as_deref().and_then(|state| crate::holder::read_holder(state).ok().flatten());
        holder.is_some_and(|holder| holder.lives())
    }

    fn connect(&self, deadline: &Deadline) -> Result<std::os::unix::net::UnixStream, Failure> {
        let failure = match trust::connect(&self.socket, deadline) {
            Ok(stream) => return Ok(stream),
            Err(failure) => failure,
        };
        let nobody = matches!(&failure, Failure::Missing(_)) || failure.nobody_listens();
        match self.state_dir.as_deref().filter(|_| nobody).and_then(trust::socket_of_lock_holder) {
            Some(other) if other.path() != self.socket.path() => match trust::connect(&other, deadline) {
                // A lock file may be left over, so its socket's absence says nothing more than our own's.
                Err(Failure::Missing(_)) => Err(failure),
                result => result,
            },
            _ => Err(failure),
        }
    }
}

/// How long the agent may take for an answer that is to arrive within `left`: a little less, so that the agent's own
/// account of why it took too long still arrives.
#[must_use]
pub fn time_for_the_agent(left: Duration) -> Duration {
    let whole = left.saturating_sub(TIME_ON_THE_WAY).as_secs();
    Duration::from_secs(whole.clamp(1, crate::api::request::MOST_PATIENCE.as_secs()))
}

/// The request with no more patience in it than the caller has left.
fn within(request: &Request, left: Duration) -> Request {
    let most = time_for_the_agent(left);
    let mut request = request.clone();
    match &mut request {
        Request::Credentials { timeout, .. } => *timeout = Some(timeout.map_or(most, |timeout| timeout.min(most))),
        Request::Status { wait, .. } | Request::LoginState { wait, .. } => *wait = (*wait).min(most),
        _ => {}
    }
    request
}

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long an agent that refuses connections may take to come back.
const RETURN_GRACE: Duration = Duration::from_secs(5);
const TIME_ON_THE_WAY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
