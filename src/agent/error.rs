//! Why the agent did not start, or did not end well.
//!
//! Owns: the words, the exit code and what helps. Refuses to know in which order things are started.

use std::fmt;

use crate::exit::Exit;
use crate::listener::ListenError;
use crate::logging::LoggingError;
use crate::paths::PathError;
use crate::source::SourceError;
use crate::store::{LockError, OpenError};

/// Why the agent did not start, or did not end well.
#[derive(Debug)]
pub enum AgentError {
    /// No log.
    Logging(LoggingError),
    /// No place for the socket or the state.
    Path(PathError),
    /// Another agent, or an unfit state directory.
    Lock(LockError),
    /// The configuration cannot be read.
    Source(SourceError),
    /// The stored records cannot be opened.
    Open(OpenError),
    /// No socket.
    Listen(ListenError),
    /// The system gives no randomness.
    Randomness,
    /// The system refused something the runtime needs.
    Runtime(std::io::Error),
    /// The socket was removed or replaced while the agent ran.
    Displaced,
    /// Something was not saved in time at the end.
    GaveUp,
    /// Something could not be saved.
    Unsaved,
}

impl AgentError {
    /// The exit code.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Logging(_) => Exit::Usage,
            Self::Path(error) => error.exit(),
            Self::Lock(_) | Self::Listen(_) | Self::Displaced => Exit::NoAgent,
            Self::Source(_) => Exit::Configuration,
            Self::Open(_) | Self::GaveUp | Self::Unsaved => Exit::Storage,
            Self::Randomness | Self::Runtime(_) => Exit::Internal,
        }
    }

    /// What helps.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            // A path's own line ends with what helps.
            Self::Lock(error) => Some(error.hint()),
            Self::Open(error) => Some(error.hint()),
            _ => None,
        }
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Logging(error) => error.fmt(formatter),
            Self::Path(error) => error.fmt(formatter),
            Self::Lock(error) => error.fmt(formatter),
            Self::Source(error) => error.fmt(formatter),
            Self::Open(error) => error.fmt(formatter),
            Self::Listen(error) => error.fmt(formatter),
            Self::Randomness => formatter.write_str("the system's random generator failed"),
            Self::Runtime(_) => formatter.write_str("the system refused something the agent needs to run"),
            Self::Displaced => formatter.write_str("the socket was removed or replaced while the agent ran"),
            Self::GaveUp => formatter.write_str("a refresh or a write did not end in time"),
            Self::Unsaved => {
                formatter.write_str("not everything could be saved: who is signed in now may not be after a start")
            }
        }
    }
}

impl std::error::Error for AgentError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Runtime(error) => Some(error),
            // The others are shown as they are, so what is below them comes next.
            Self::Logging(error) => error.source(),
            Self::Path(error) => error.source(),
            Self::Lock(error) => error.source(),
            Self::Source(error) => error.source(),
            Self::Open(error) => error.source(),
            Self::Listen(error) => error.source(),
            Self::Randomness | Self::Displaced | Self::GaveUp | Self::Unsaved => None,
        }
    }
}
