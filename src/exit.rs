//! The exit codes of both binaries: documented API that scripts rely on.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// A bug in sso-agent.
    Internal = 1,
    /// The command line or the request makes no sense.
    Usage = 2,
    /// The user has to sign in (again), or a sign-in was not completed.
    SignInRequired = 3,
    /// The agent is not running and could not be started, or must not be trusted.
    NoAgent = 4,
    /// The configuration names no such thing, or is wrong.
    Configuration = 5,
    /// AWS said no, or the user's own settings did.
    Denied = 6,
    /// Temporary: try again later.
    Unavailable = 7,
    /// The agent is locked.
    Locked = 8,
    /// Stored secrets cannot be read or written.
    Storage = 9,
}

impl Exit {
    /// The code as a number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What a program of ours that ended with this number meant.
    #[must_use]
    pub fn of_code(code: i32) -> Option<Self> {
        const ALL: [Exit; 10] = [
            Exit::Success,
            Exit::Internal,
            Exit::Usage,
            Exit::SignInRequired,
            Exit::NoAgent,
            Exit::Configuration,
            Exit::Denied,
            Exit::Unavailable,
            Exit::Locked,
            Exit::Storage,
        ];
        ALL.into_iter().find(|exit| i32::from(exit.code()) == code)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
