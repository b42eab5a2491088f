//! What may be asked through a restricted socket, and what may come out of it.
//!
//! Owns: the two routes and the targets of one `[serve.NAME]`. Refuses to know where its socket is. Invariants: what is
//! not allowed by name is refused, on the way in and again on the way out; an answer that leaves names one of the
//! targets, wherever it was made or kept; once closed, nothing more comes through.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;

use crate::api::{Code, Problem, Request, Response};
use crate::clock::Clock;
use crate::doors::Serve;
use crate::ids::{DoorName, TargetId};
use crate::time::Now;

/// One restricted socket, as its connections know it.
pub(super) struct Gate {
    pub(super) name: DoorName,
    pub(super) targets: Arc<BTreeSet<TargetId>>,
    pub(super) allow_root: bool,
    clock: Arc<dyn Clock>,
    /// By either clock, whichever comes first.
    until: Option<Now>,
    closed: AtomicBool,
}

impl Gate {
    pub(super) fn new(name: DoorName, serve: &Serve, until: Option<Now>, clock: Arc<dyn Clock>) -> Self {
        let targets = Arc::new(serve.targets.iter().cloned().collect());
        Self { name, targets, allow_root: serve.allow_root, clock, until, closed: AtomicBool::new(false) }
    }

    /// From now on nothing comes through.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether it was closed, or its time is over and nobody has noticed yet.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed) || self.until.is_some_and(|until| is_over(until, self.clock.now()))
    }

    /// Looks at what is asked before anything of it is read.
    pub(super) fn admit(&self, method: &Method, path: &str) -> Result<(), Problem> {
        if !self.is_closed() && method == Method::GET && ROUTES.contains(&path) { Ok(()) } else { Err(self.refusal()) }
    }

    /// Whether this may leave.
    pub(super) fn lets_out(&self, response: &Response) -> bool {
        !self.is_closed()
            && match response {
                Response::Credentials(_, target) => self.targets.contains(target),
                Response::EncodedCredentials(encoded) => self.targets.contains(encoded.target()),
                Response::Health(_) => true,
                _ => false,
            }
    }

    /// What whoever asks for more is told: nothing about what there is.
    pub(super) fn refusal(&self) -> Problem {
        let detail = if self.is_closed() {
            format!("this socket (serve.{}) is closed", self.name)
        } else {
            format!("this socket (serve.{}) hands out the credentials of some targets and nothing else", self.name)
        };
        Problem::new(Code::NotAllowed, detail).hint("its section in the agent's config.toml says which")
    }
}

/// Whether that time has come by either clock.
pub(super) fn is_over(until: Now, now: Now) -> bool {
    until.mono <= now.mono || until.wall <= now.wall
}

/// The target that is asked for through a restricted socket, in the caller's words.
pub(super) fn wanted(gate: Option<&Gate>, request: &Request) -> Option<String> {
    match request {
        Request::Credentials { target, .. } if gate.is_some() => Some(target.to_string()),
        _ => None,
    }
}

const ROUTES: [&str; 2] = ["/v1/credentials", "/v1/health"];
