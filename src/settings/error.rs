//! What is wrong with a `config.toml`.

use std::fmt;

use super::BrowserError;
use crate::ids::InvalidName;
use crate::time::InvalidDuration;
use crate::untrusted::Untrusted;

/// What is wrong with a `config.toml`, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a line of `config.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Not TOML, in the parser's words.
    Syntax(Untrusted),
    /// A key that means nothing.
    UnknownKey {
        /// The key.
        key: Untrusted,
        /// The key that was probably meant.
        did_you_mean: Option<&'static str>,
        /// All keys that mean something in that place.
        known: &'static [&'static str],
    },
    /// A value of the wrong type, or one that is none of the choices.
    Value {
        /// The key.
        key: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// A word that is none of the choices.
    UnknownChoice {
        /// The key.
        key: &'static str,
        /// The word.
        word: Untrusted,
        /// The choice that was probably meant.
        did_you_mean: Option<&'static str>,
        /// What it takes.
        expected: &'static str,
    },
    /// Not a length of time.
    Duration {
        /// The key.
        key: &'static str,
        /// Why not.
        source: InvalidDuration,
    },
    /// The name of a session, a target or a door cannot be one.
    Name(InvalidName),
    /// A table has not the key that it is about.
    Missing(&'static str),
    /// Not a browser's command.
    Browser(BrowserError),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(message) => write!(formatter, "not TOML: {}", message.shown()),
            Self::UnknownKey { key, did_you_mean: Some(near), .. } => {
                write!(formatter, "unknown key `{}` (did you mean `{near}`?)", key.shown())
            }
            Self::UnknownKey { key, known, .. } => {
                write!(formatter, "unknown key `{}`: expected one of {}", key.shown(), known.join(", "))
            }
            Self::Value { key, expected } => write!(formatter, "`{key}` takes {expected}"),
            Self::UnknownChoice { key, word, did_you_mean: Some(near), .. } => {
                write!(formatter, "`{key}` cannot be \"{}\" (did you mean \"{near}\"?)", word.shown())
            }
            Self::UnknownChoice { key, word, expected, .. } => {
                write!(formatter, "`{key}` cannot be \"{}\": it takes {expected}", word.shown())
            }
            Self::Duration { key, source } => write!(formatter, "`{key}` is {source}"),
            Self::Name(error) => write!(formatter, "{error}"),
            Self::Missing(key) => write!(formatter, "`{key}` is missing here"),
            Self::Browser(error) => write!(formatter, "`browser` is {error}"),
        }
    }
}

impl std::error::Error for SettingsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Duration { source, .. } => Some(source),
            Problem::Name(source) => Some(source),
            Problem::Browser(source) => Some(source),
            _ => None,
        }
    }
}
