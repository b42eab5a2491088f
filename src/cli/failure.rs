//! How a command fails, and how it says so.
//!
//! Owns: the lines `error: …`, `caused by: …`, `hint: …` and the exit code. Refuses to know which command it was.
//! Invariant: everything foreign goes through `untrusted::shown`, so an error cannot steer a terminal.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};

use crate::agent::AgentError;
use crate::api::{Code, Problem};
use crate::audit::ReadError;
use crate::client::{Absence, ClientError};
use crate::container::LedgerError;
use crate::exit::Exit;
use crate::paths::{PathError, shell_word};
use crate::recorded::RecordedError;
use crate::untrusted::shown;

use super::configure::Trouble;
use super::paint::Paint;
use super::service;
use super::words;

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command line or the environment makes no sense.
    Usage {
        /// What is wrong.
        message: String,
        /// What helps.
        hint: String,
    },
    /// The agent cannot be reached, or it answered with a problem.
    Client(ClientError),
    /// What the agent answered cannot be understood.
    Answer(serde_json::Error),
    /// A value that must not be handed to a shell, a terminal or a browser.
    Unsafe(&'static str),
    /// The agent knows no session of that name.
    UnknownSession {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The sign-in ended without a token.
    SignIn {
        /// Of which session.
        session: String,
        /// The stable word.
        code: Code,
        /// What happened.
        message: String,
    },
    /// The socket's path cannot be used.
    Path(PathError),
    /// The service is not installed or removed.
    Service(service::Trouble),
    /// The recorded environment cannot be used.
    Recorded(RecordedError),
    /// The audit log cannot be read.
    AuditLog(ReadError),
    /// The agent that was to run here did not.
    Agent(AgentError),
    /// No agent could be started.
    NotStarted {
        /// Why, and what helps.
        message: String,
        /// Which code says so.
        exit: Exit,
    },
    /// An agent was started and has ended again.
    Reported {
        /// Its own lines for people.
        report: String,
        /// How it ended.
        exit: Exit,
    },
    /// What another program of ours will say in its own line.
    ForPrograms {
        /// The line.
        message: String,
        /// Which code says so.
        exit: Exit,
    },
    /// The system refused something on the way to an agent in the background.
    Start {
        /// What was to be done.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The agent has not ended.
    NotStopped {
        /// Why, and what helps.
        message: String,
        /// Which code says so.
        exit: Exit,
    },
    /// The system refused something on the way to its end.
    Stop {
        /// What was to be done.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Ctrl-C cannot be waited for.
    Signals(io::Error),
    /// A passphrase cannot be read.
    Passphrase(io::Error),
    /// A browser on this machine cannot be let in.
    Doorway(io::Error),
    /// The list of tokens cannot be read or changed.
    Ledger(LedgerError),
    /// There can be no endpoint for a command.
    Endpoint(io::Error),
    /// What was to be printed cannot be written.
    Output(io::Error),
    /// The AWS config is not written.
    Configure(Trouble),
    /// All there is to say has been said.
    Silent(Exit),
}

impl Failure {
    /// The exit code.
    pub(super) fn exit(&self) -> Exit {
        match self {
            // What a passphrase is read from, and what is in it, is the caller's.
            Self::Usage { .. } | Self::Passphrase(_) => Exit::Usage,
            Self::Client(error) => error.exit(),
            Self::Answer(_) | Self::Unsafe(_) | Self::Signals(_) | Self::Doorway(_) | Self::Endpoint(_) => {
                Exit::Internal
            }
            Self::Ledger(LedgerError::Known(_) | LedgerError::TooMany) => Exit::Usage,
            Self::Ledger(_) => Exit::Storage,
            Self::UnknownSession { .. } => Exit::Configuration,
            Self::SignIn { code, .. } => code.exit(),
            Self::Path(error) => error.exit(),
            Self::Recorded(_) => Exit::Configuration,
            Self::Service(trouble) => trouble.exit(),
            Self::AuditLog(_) => Exit::Storage,
            Self::Agent(error) => error.exit(),
            Self::NotStarted { exit, .. }
            | Self::Reported { exit, .. }
            | Self::ForPrograms { exit, .. }
            | Self::NotStopped { exit, .. } => *exit,
            Self::Start { .. } | Self::Stop { .. } => Exit::NoAgent,
            Self::Configure(trouble) => trouble.exit(),
            // Whoever reads our output has seen enough: that is no error of this program.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
            Self::Output(_) => Exit::Internal,
            Self::Silent(exit) => *exit,
        }
    }

    /// The stable word for machines, where there is one.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Client(ClientError::Problem(problem)) => problem.code.as_str(),
            Self::SignIn { code, .. } => code.as_str(),
            other => match other.exit() {
                Exit::Usage => Code::InvalidRequest.as_str(),
                Exit::NoAgent => NO_AGENT,
                Exit::Configuration => Code::InvalidConfig.as_str(),
                Exit::Unavailable => Code::Unavailable.as_str(),
                _ => Code::Internal.as_str(),
            },
        }
    }

    /// The agent's problem, if that is what it is.
    pub(super) fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Client(ClientError::Problem(problem)) => Some(problem),
            _ => None,
        }
    }

    /// Writes the lines for people. What cannot be written to stderr is lost: there is nowhere else to say it.
    pub(super) fn report(&self, stderr: &mut dyn Write, colour: bool) {
        if matches!(self, Self::Silent(_)) || (matches!(self, Self::Output(_)) && self.exit() == Exit::Success) {
            return;
        }
        if let Self::Reported { report: lines, .. } | Self::ForPrograms { message: lines, .. } = self {
            for line in lines.lines() {
                let _ = writeln!(stderr, "{}", shown(line));
            }
            return;
        }
        let message = self.to_string();
        let _ = writeln!(stderr, "{} {}", Paint::Red.apply("error:", colour), shown(&message));
        for cause in self.causes() {
            let _ = writeln!(stderr, "  caused by: {}", shown(&cause));
        }
        for hint in self.hints() {
            let _ = writeln!(stderr, "{} {}", Paint::Bold.apply("hint:", colour), shown(&hint));
        }
    }

    fn causes(&self) -> Vec<String> {
        match self {
            Self::Client(ClientError::Problem(problem)) => problem.caused_by.clone(),
            Self::Client(ClientError::Io { source, .. }) => vec![source.to_string()],
            Self::Agent(error) => sources(error),
            Self::Start { source, .. } | Self::Stop { source, .. } => vec![source.to_string()],
            Self::Ledger(error) => sources(error),
            Self::Configure(trouble) => trouble.causes(),
            Self::AuditLog(error) => vec![error.source.to_string()],
            Self::Recorded(error) => sources(error),
            Self::Service(trouble) => sources(trouble),
            Self::Answer(error) => vec![error.to_string()],
            Self::Output(error)
            | Self::Signals(error)
            | Self::Passphrase(error)
            | Self::Doorway(error)
            | Self::Endpoint(error) => {
                vec![error.to_string()]
            }
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Usage { hint, .. } => vec![hint.clone()],
            Self::Client(ClientError::Problem(problem)) => {
                let pause = problem.retry_after.map(|seconds| format!("try again in {seconds} s"));
                problem.hint.clone().into_iter().chain(pause).collect()
            }
            Self::Client(ClientError::NoAgent { .. }) => vec!["start it with: sso-agent start".to_owned()],
            Self::Client(ClientError::TimedOut { .. }) => vec!["see: sso-agent doctor".to_owned()],
            Self::Agent(error) => error.hint().into_iter().collect(),
            Self::Ledger(error) => error.hint().into_iter().collect(),
            Self::Configure(trouble) => trouble.hint().into_iter().collect(),
            Self::Recorded(error) => error.hint().into_iter().collect(),
            Self::Service(trouble) => trouble.hint().into_iter().collect(),
            Self::UnknownSession { known, .. } if !known.is_empty() => {
                vec![format!("sessions the agent knows: {}", known.join(", "))]
            }
            Self::SignIn { session, code, .. } if code.exit() == Exit::SignInRequired => {
                vec![format!("sign in with: sso-agent login {}", shell_word(session.as_ref()))]
            }
            Self::Answer(_) => {
                vec!["if the agent is of another version than this command: sso-agent restart".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}

/// One line: what happened, without causes and hints.
impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage { message, .. } => formatter.write_str(message),
            Self::Client(ClientError::Problem(problem)) => {
                let text = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
                formatter.write_str(text)
            }
            // The client's own lines hold what helps as well; here that is a line of its own.
            Self::Client(ClientError::NoAgent { socket, absence }) => {
                let what = match absence {
                    Absence::NoSocket => "there is no socket",
                    Absence::Refused => "nobody listens",
                };
                write!(formatter, "the agent is not running: {what} at {}", shown(&socket.to_string_lossy()))
            }
            Self::Client(ClientError::TimedOut { patience }) => {
                write!(formatter, "the agent did not answer within {}", words::duration(*patience))
            }
            Self::Client(ClientError::Io { doing, .. }) => write!(formatter, "cannot {doing} the agent"),
            Self::Client(error) => error.fmt(formatter),
            Self::Path(error) => error.fmt(formatter),
            Self::Answer(_) => formatter.write_str("the agent's answer cannot be understood"),
            Self::Unsafe(what) => write!(formatter, "the agent handed out {what}; it is not used"),
            Self::UnknownSession { name, .. } => write!(formatter, "there is no session named {name}"),
            Self::SignIn { message, .. } => formatter.write_str(message),
            Self::Agent(error) => error.fmt(formatter),
            Self::NotStarted { message, .. }
            | Self::Reported { report: message, .. }
            | Self::ForPrograms { message, .. }
            | Self::NotStopped { message, .. } => formatter.write_str(message),
            Self::Start { doing, .. } => write!(formatter, "the agent could not be started: cannot {doing}"),
            Self::Stop { doing, .. } => write!(formatter, "the agent could not be stopped: cannot {doing}"),
            Self::Configure(trouble) => trouble.fmt(formatter),
            Self::AuditLog(error) => error.fmt(formatter),
            Self::Recorded(error) => error.fmt(formatter),
            Self::Service(trouble) => trouble.fmt(formatter),
            Self::Signals(_) => formatter.write_str("signals cannot be handled"),
            Self::Passphrase(_) => formatter.write_str("the passphrase cannot be read"),
            Self::Doorway(_) => formatter.write_str("a browser on this machine cannot be let in"),
            Self::Endpoint(_) => {
                formatter.write_str("the endpoint that gives the command its credentials cannot be made")
            }
            Self::Ledger(error) => error.fmt(formatter),
            Self::Output(_) => formatter.write_str("the output cannot be written"),
            Self::Silent(_) => Ok(()),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}

impl From<RecordedError> for Failure {
    fn from(error: RecordedError) -> Self {
        Self::Recorded(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Answer(error)
    }
}

fn sources(error: &dyn Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes
}

/// The word for "there is no agent" in events, beside those of the API.
const NO_AGENT: &str = "no_agent";

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(failure: &Failure) -> String {
        let mut lines = Vec::new();
        failure.report(&mut lines, false);
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn an_error_is_followed_by_its_causes_and_by_what_helps() {
        let mut problem = Problem::new(Code::Unavailable, "the portal cannot be reached")
            .hint("check the network")
            .caused_by("connect failed")
            .caused_by("connection refused");
        problem.retry_after = Some(5);
        let failure = Failure::Client(ClientError::Problem(Box::new(problem)));
        assert_eq!(
            reported(&failure),
            "error: the portal cannot be reached\n  caused by: connect failed\n  caused by: connection refused\n\
             hint: check the network\nhint: try again in 5 s\n"
        );
        assert_eq!(failure.exit(), Exit::Unavailable);
    }

    #[test]
    fn an_error_cannot_steer_the_terminal() {
        let problem = Problem::new(Code::Refused, "a\x1b]52;c;eA==\x07\nb").hint("c\r\x1b[2J");
        let text = reported(&Failure::Client(ClientError::Problem(Box::new(problem))));
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains(['\x1b', '\x07', '\r']), "{text:?}");
    }

    #[test]
    fn a_reader_that_has_gone_away_is_not_an_error() {
        let failure = Failure::Output(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.exit(), Exit::Success);
        assert_eq!(reported(&failure), "");
        let full = Failure::Output(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit(), Exit::Internal);
        assert!(reported(&full).starts_with("error: the output cannot be written\n"));
    }
}
