//! Errors of the socket API: `application/problem+json` (RFC 9457) with a stable word in `code`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exit::Exit;

/// The stable word of an error. Clients decide by this, never by text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// A bug.
    Internal,
    /// The request makes no sense.
    InvalidRequest,
    /// The user has to sign in.
    SignInRequired,
    /// No such profile.
    UnknownProfile,
    /// No such session.
    UnknownSession,
    /// The configuration is wrong.
    InvalidConfig,
    /// AWS says that this user has no such role.
    AccessDenied,
    /// AWS said no for another reason.
    Refused,
    /// The user's own settings say no: to this program, at this door, or at a prompt.
    NotAllowed,
    /// The service cannot be reached or does not work.
    Unavailable,
    /// The service asks for patience.
    Throttled,
    /// The agent has too much to do.
    Busy,
    /// The caller's time was up.
    Timeout,
    /// The agent is on its way out.
    ShuttingDown,
    /// The agent is locked.
    Locked,
    /// Stored secrets cannot be read or written.
    Storage,
    /// The user said no (a failed sign-in).
    SignInDenied,
    /// Nobody approved the sign-in in time.
    SignInExpired,
    /// The sign-in was cancelled.
    SignInCancelled,
    /// A code this version does not know.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// The word as it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.table().0
    }

    /// The HTTP status it travels with, unless a request error has a closer one.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.table().1
    }

    /// The exit code of a command that ends with it.
    #[must_use]
    pub const fn exit(self) -> Exit {
        self.table().2
    }

    /// A short title for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.table().3
    }

    const fn table(self) -> (&'static str, u16, Exit, &'static str) {
        match self {
            Self::Internal => ("internal", 500, Exit::Internal, "internal error"),
            Self::InvalidRequest => ("invalid_request", 400, Exit::Usage, "invalid request"),
            Self::SignInRequired => ("sign_in_required", 401, Exit::SignInRequired, "sign-in required"),
            Self::UnknownProfile => ("unknown_profile", 404, Exit::Configuration, "unknown profile"),
            Self::UnknownSession => ("unknown_session", 404, Exit::Configuration, "unknown session"),
            Self::InvalidConfig => ("invalid_config", 422, Exit::Configuration, "invalid configuration"),
            Self::AccessDenied => ("access_denied", 403, Exit::Denied, "access denied"),
            Self::Refused => ("refused", 502, Exit::Denied, "refused by the service"),
            Self::NotAllowed => ("not_allowed", 403, Exit::Denied, "not allowed"),
            Self::Unavailable => ("unavailable", 503, Exit::Unavailable, "service unavailable"),
            Self::Throttled => ("throttled", 503, Exit::Unavailable, "throttled by the service"),
            Self::Busy => ("busy", 503, Exit::Unavailable, "agent busy"),
            Self::Timeout => ("timeout", 504, Exit::Unavailable, "timeout"),
            Self::ShuttingDown => ("shutting_down", 503, Exit::Unavailable, "agent shutting down"),
            Self::Locked => ("locked", 423, Exit::Locked, "agent locked"),
            Self::Storage => ("storage", 507, Exit::Storage, "storage not available"),
            Self::SignInDenied => ("sign_in_denied", 200, Exit::SignInRequired, "sign-in denied"),
            Self::SignInExpired => ("sign_in_expired", 200, Exit::SignInRequired, "sign-in expired"),
            Self::SignInCancelled => ("sign_in_cancelled", 200, Exit::SignInRequired, "sign-in cancelled"),
            Self::Unknown => ("unknown", 500, Exit::Internal, "unknown error"),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// An error as it crosses the socket: for machines `code`, for people `detail` and `hint`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// RFC 9457 `type`.
    #[serde(rename = "type", default = "blank")]
    pub kind: String,
    /// Short, always the same for one code.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// What happened and why, for people; holds no secret and no control character.
    #[serde(default)]
    pub detail: String,
    /// The stable word.
    pub code: Code,
    /// The command or edit that helps.
    #[serde(default)]
    pub hint: Option<String>,
    /// The session it is about.
    #[serde(default)]
    pub session: Option<String>,
    /// Seconds after which trying again makes sense.
    #[serde(default)]
    pub retry_after: Option<u64>,
    /// What led to it, outermost first.
    #[serde(default)]
    pub caused_by: Vec<String>,
}

fn blank() -> String {
    "about:blank".to_owned()
}

impl Problem {
    /// A problem with its code's own status and title.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: blank(),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            hint: None,
            session: None,
            retry_after: None,
            caused_by: Vec::new(),
        }
    }

    /// Adds the command or edit that helps.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the session it is about.
    #[must_use]
    pub fn session(mut self, session: &crate::ids::SessionName) -> Self {
        self.session = Some(session.as_str().to_owned());
        self
    }

    /// Says when trying again makes sense; rounded up, so that nobody comes too early.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause.as_secs() + u64::from(pause.subsec_nanos() > 0));
        self
    }

    /// Replaces the status where the request's fault has a closer one than its code's (404, 405, 413).
    #[must_use]
    pub const fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Adds what led to it.
    #[must_use]
    pub fn caused_by(mut self, cause: impl fmt::Display) -> Self {
        self.caused_by.push(cause.to_string());
        self
    }
}

/// One line: what happened, then what helps.
impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = if self.detail.is_empty() { &self.title } else { &self.detail };
        write!(formatter, "{}", crate::untrusted::shown(detail))?;
        for cause in &self.caused_by {
            write!(formatter, ": {}", crate::untrusted::shown(cause))?;
        }
        match &self.hint {
            Some(hint) => write!(formatter, "; {}", crate::untrusted::shown(hint)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_survives_the_wire_with_its_causes() {
        let problem = Problem::new(Code::Unavailable, "the portal cannot be reached")
            .hint("check the network")
            .retry_after(Duration::from_millis(1500))
            .caused_by("connection refused");
        let text = serde_json::to_string(&problem).unwrap();
        assert_eq!(
            text,
            r#"{"type":"about:blank","title":"service unavailable","status":503,"detail":"the portal cannot be reached","code":"unavailable","hint":"check the network","session":null,"retry_after":2,"caused_by":["connection refused"]}"#
        );
        assert_eq!(serde_json::from_str::<Problem>(&text).unwrap(), problem);
    }

    #[test]
    fn a_problem_from_the_future_is_still_a_problem() {
        let problem: Problem = serde_json::from_str(r#"{"code":"out_of_cheese","detail":"x","new":1}"#).unwrap();
        assert_eq!(problem.code, Code::Unknown);
        assert_eq!(problem.to_string(), "x");
    }

    #[test]
    fn every_code_is_the_same_word_in_json_and_in_the_table() {
        for code in [Code::Internal, Code::SignInRequired, Code::ShuttingDown, Code::SignInCancelled, Code::NotAllowed]
        {
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{}\"", code.as_str()));
        }
    }

    #[test]
    fn a_problem_is_one_line() {
        let problem = Problem::new(Code::Refused, "a\nb").hint("c\r\nd");
        assert!(!problem.to_string().contains(['\n', '\r']));
    }
}
