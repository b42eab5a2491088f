//! Why there is no answer, for people and for exit codes.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::trust::Distrust;
use crate::api::{Code, Problem};
use crate::exit::Exit;
use crate::paths::PathError;
use crate::untrusted::shown;

/// Why there is no (good) answer. Its text is one line: what happened, then what helps.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// The agent answered with a problem.
    Problem(Box<Problem>),
    /// Nobody listens.
    NoAgent {
        /// Where.
        socket: PathBuf,
        /// In which way.
        absence: Absence,
    },
    /// Nobody listens, and no agent could be started.
    NotStarted {
        /// Why, and what helps: one line.
        message: String,
    },
    /// What is there must not be talked to.
    Untrusted(Distrust),
    /// The patience is used up.
    TimedOut {
        /// How much there was.
        patience: Duration,
    },
    /// The other side speaks, but not as the agent does.
    BadAnswer(&'static str),
    /// A system call failed.
    Io {
        /// What was being done with the agent: "connect to", "write to", ...
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// In which way nobody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// There is no socket.
    NoSocket,
    /// There is a socket that nobody listens on.
    Refused,
}

impl ClientError {
    /// The exit code of a command that ends with it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Problem(problem) => problem.code.exit(),
            Self::NoAgent { .. } | Self::NotStarted { .. } | Self::Untrusted(_) => Exit::NoAgent,
            Self::TimedOut { .. } | Self::Io { .. } => Exit::Unavailable,
            Self::BadAnswer(_) => Exit::Internal,
        }
    }

    pub(super) const fn is_problem(&self) -> bool {
        matches!(self, Self::Problem(_))
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problem(problem) => problem.fmt(formatter),
            Self::NoAgent { socket, absence } => {
                let what = match absence {
                    Absence::NoSocket => "there is no socket",
                    Absence::Refused => "nobody listens",
                };
                let socket = socket.to_string_lossy();
                write!(
                    formatter,
                    "the agent is not running: {what} at {}; start it with: sso-agent start",
                    shown(&socket)
                )
            }
            Self::NotStarted { message } => shown(message).fmt(formatter),
            Self::Untrusted(distrust) => distrust.fmt(formatter),
            Self::TimedOut { patience } => {
                let seconds = patience.as_secs_f32();
                write!(formatter, "the agent did not answer within {seconds} s; see: sso-agent doctor")
            }
            Self::BadAnswer(what) => write!(formatter, "what listens on the agent's socket is not the agent: {what}"),
            Self::Io { doing, source } => write!(formatter, "cannot {doing} the agent: {source}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Problem(problem) => Some(problem),
            Self::Untrusted(distrust) => Some(distrust),
            Self::Io { source, .. } => Some(source),
            Self::NoAgent { .. } | Self::NotStarted { .. } | Self::TimedOut { .. } | Self::BadAnswer(_) => None,
        }
    }
}

impl From<Distrust> for ClientError {
    fn from(distrust: Distrust) -> Self {
        Self::Untrusted(distrust)
    }
}

impl From<PathError> for ClientError {
    fn from(error: PathError) -> Self {
        Self::Untrusted(Distrust::Path(error))
    }
}

/// What one attempt came to.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another attempt would end the same way, or must not be made.
    Final(ClientError),
    /// The agent may be back in a moment.
    Again(ClientError),
    /// There is no socket.
    Missing(ClientError),
}

impl Failure {
    /// Whether there is a socket and nobody behind it.
    pub(super) const fn nobody_listens(&self) -> bool {
        matches!(self, Self::Again(ClientError::NoAgent { .. }))
    }

    /// Whether the agent said that it is going away: then another one is probably on its way.
    pub(super) fn says_goodbye(&self) -> bool {
        matches!(self, Self::Again(ClientError::Problem(problem)) if problem.code == Code::ShuttingDown)
    }
}

impl<E: Into<ClientError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}
