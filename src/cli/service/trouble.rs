//! Why the service is not as it was asked for.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::exit::Exit;
use crate::paths::shell_word;
use crate::untrusted::shown;

use super::super::failure::Failure;

/// See the module.
#[derive(Debug)]
pub(in super::super) enum Trouble {
    /// Root, for somebody else.
    Sudo,
    /// There is no service manager that could be asked.
    NoManager {
        /// What is missing.
        what: String,
    },
    /// Our own program is not where it was.
    Program {
        /// Why not.
        source: io::Error,
    },
    /// Others could exchange the program.
    WritableProgram {
        /// What they can write: the program, or the directory it lies in.
        path: PathBuf,
    },
    /// Somebody else owns the program.
    ForeignProgram {
        /// The program.
        path: PathBuf,
        /// The owner.
        owner: u32,
    },
    /// A path that cannot be written into a unit.
    Unwritable {
        /// The path.
        path: PathBuf,
    },
    /// Files that we have not written, or that were edited since.
    Edited {
        /// Which.
        paths: Vec<PathBuf>,
    },
    /// A system call failed.
    Io {
        /// What was being done: "read", "write", ...
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The service manager refused.
    Command {
        /// What it was asked.
        line: String,
        /// What it said.
        said: String,
    },
    /// The service was installed, and no agent answers.
    Silent {
        /// What asking it came to.
        why: String,
    },
}

impl Trouble {
    /// The exit code.
    pub(in super::super) const fn exit(&self) -> Exit {
        match self {
            Self::Sudo | Self::Unwritable { .. } => Exit::Usage,
            Self::Program { .. } => Exit::Internal,
            Self::WritableProgram { .. } | Self::ForeignProgram { .. } | Self::Edited { .. } | Self::Io { .. } => {
                Exit::Configuration
            }
            Self::NoManager { .. } | Self::Command { .. } | Self::Silent { .. } => Exit::NoAgent,
        }
    }

    /// What helps.
    pub(in super::super) fn hint(&self) -> Option<String> {
        match self {
            Self::Sudo => Some("run it without sudo, as the user whose sign-ins it keeps".to_owned()),
            Self::NoManager { .. } => Some(
                "without a service manager: sso-agent start; shim and commands also start one when they find none"
                    .to_owned(),
            ),
            Self::Program { .. } => Some("it was replaced while it ran: run the new one".to_owned()),
            Self::WritableProgram { path } => Some(format!("chmod go-w {}", shell_word(path))),
            Self::ForeignProgram { .. } => Some("install a copy of your own, or your distribution's".to_owned()),
            Self::Unwritable { .. } => Some("move it to a path without quotes, backslashes and control characters".to_owned()),
            Self::Edited { .. } => Some(
                "--dry-run shows the difference, --force writes over it; what you want otherwise belongs into a file of \
                 its own: systemctl --user edit sso-agent.service"
                    .to_owned(),
            ),
            Self::Command { .. } | Self::Silent { .. } => Some(JOURNAL.to_owned()),
            Self::Io { .. } => None,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &Path| shown(&path.to_string_lossy()).to_string();
        match self {
            Self::Sudo => formatter.write_str("the service is a user's own, and this would be root's"),
            Self::NoManager { what } => {
                write!(formatter, "there is no service manager to install into: {}", shown(what))
            }
            Self::Program { .. } => formatter.write_str("this program cannot be found where it was started"),
            Self::WritableProgram { path } => {
                write!(formatter, "{} can be written by others: the service would run what they put there", name(path))
            }
            Self::ForeignProgram { path, owner } => {
                write!(formatter, "{} belongs to user {owner}, who is neither root nor you", name(path))
            }
            Self::Unwritable { path } => write!(formatter, "{} cannot be written into a unit", name(path)),
            Self::Edited { paths } => {
                let paths: Vec<String> = paths.iter().map(|path| name(path)).collect();
                write!(formatter, "not written by this command, or edited since: {}", paths.join(", "))
            }
            Self::Io { doing, path, .. } => write!(formatter, "cannot {doing} {}", name(path)),
            Self::Command { line, said } => write!(formatter, "{}: {}", shown(line), shown(said)),
            Self::Silent { why } => write!(formatter, "the service is installed, but no agent answers: {}", shown(why)),
        }
    }
}

impl Error for Trouble {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Program { source } | Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Service(trouble)
    }
}

#[cfg(not(target_os = "macos"))]
const JOURNAL: &str = "see: systemctl --user status sso-agent.socket sso-agent.service; journalctl --user -u sso-agent";
#[cfg(target_os = "macos")]
const JOURNAL: &str = "see: launchctl print gui/$UID/sso-agent, and agent.log in the state directory";
