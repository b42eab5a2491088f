//! Why nothing was configured.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use crate::aws_config::writing::{EditError, Unwritable};
use crate::aws_config_file::FileError;
use crate::exit::Exit;
use crate::paths::shell_word;
use crate::source::SourceError;

use super::super::failure::Failure;
use super::check::Objection;

/// See the module. Nothing was written.
#[derive(Debug)]
pub(in super::super) enum Trouble {
    /// The configuration cannot be read.
    Source(SourceError),
    /// The AWS config cannot be read or replaced.
    File(FileError),
    /// The AWS config cannot be edited.
    Edit {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: EditError,
    },
    /// Somebody else changes the file all the time.
    Contended {
        /// Which file.
        path: PathBuf,
    },
    /// Something that is not to be written.
    Unwritable(Unwritable),
    /// What would be written makes no usable session.
    Rejected {
        /// Why, with its place.
        message: String,
    },
    /// AWS was asked, and does not know the session, or could not be asked.
    Objection(Objection),
    /// The shim is not where it should be, or at a path that some client would not run.
    Shim {
        /// What is wrong.
        message: String,
    },
}

impl Trouble {
    /// The exit code.
    pub(in super::super) fn exit(&self) -> Exit {
        match self {
            Self::Unwritable(_) => Exit::Usage,
            Self::Objection(objection) => objection.exit,
            Self::Contended { .. } => Exit::Unavailable,
            _ => Exit::Configuration,
        }
    }

    /// What helps.
    pub(in super::super) fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Edit { error, .. } => Some(error.hint().to_owned()),
            Self::Contended { .. } => Some("nothing was changed; try again when it is left alone".to_owned()),
            Self::Objection(objection) => Some(objection.hint.clone()),
            Self::Shim { .. } => Some(
                "install sso-agent and sso-credential-process side by side, at a path of A-Z a-z 0-9 _ . / = , @ + : - \
                 only; or write profiles with --sso"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// What it came from.
    pub(in super::super) fn causes(&self) -> Vec<String> {
        match self {
            Self::Source(error) => error.source().map(ToString::to_string).into_iter().collect(),
            Self::File(error) => error.source().map(ToString::to_string).into_iter().collect(),
            Self::Objection(objection) => objection.cause.clone().into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(formatter),
            Self::File(error) => error.fmt(formatter),
            Self::Edit { path, error } => write!(formatter, "{} is not edited: {error}", shell_word(path)),
            Self::Contended { path } => {
                write!(formatter, "{} was changed by somebody else each time it was to be written", shell_word(path))
            }
            Self::Unwritable(error) => error.fmt(formatter),
            Self::Rejected { message } | Self::Shim { message } => formatter.write_str(message),
            Self::Objection(objection) => formatter.write_str(&objection.message),
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Configure(trouble)
    }
}
