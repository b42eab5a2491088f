//! Why a file is not edited.

use std::fmt;

/// What stands in the way of an edit. Lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EditError {
    /// No AWS tool reads it.
    Utf16,
    /// A marker of a region without its partner, twice, or inside another region.
    Marker {
        /// Where.
        line: usize,
        /// What is wrong with it.
        problem: MarkerProblem,
    },
    /// The value of a key that is to be changed goes on over several lines, or is not text.
    Value {
        /// Where.
        line: usize,
        /// Of which key.
        key: &'static str,
    },
    /// Lines outside the region belong to a profile in it.
    Attached {
        /// The region's last line, after which they stand.
        line: usize,
    },
    /// The file would mean something else than it was to.
    NotReadBack,
}

/// What is wrong with a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkerProblem {
    /// It begins nothing and ends nothing.
    Unreadable,
    /// There is no end to this begin.
    NoEnd,
    /// There is no begin to this end.
    NoBegin,
    /// A begin inside the region that begins at this line.
    Nested(usize),
    /// The end of another session's region, inside the one that begins at this line.
    OtherEnd(usize),
    /// A second region of the session whose first begins at this line.
    Doubled(usize),
}

impl fmt::Display for EditError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utf16 => formatter.write_str("the file is UTF-16, which no AWS tool reads: save it as UTF-8"),
            Self::Marker { line, problem } => write!(formatter, "line {line}: {problem}"),
            Self::Value { line, key } => {
                write!(formatter, "line {line}: the value of {key} is more than plain text on one line")
            }
            Self::Attached { line } => {
                write!(formatter, "what follows line {line} belongs to the last profile above that line")
            }
            Self::NotReadBack => {
                formatter.write_str("the file would not mean what it should, because of something unusual in it")
            }
        }
    }
}

impl fmt::Display for MarkerProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => formatter.write_str("a marker of sso-agent that cannot be read"),
            Self::NoEnd => formatter.write_str("a region of sso-agent begins here and ends nowhere"),
            Self::NoBegin => formatter.write_str("a region of sso-agent ends here and begins nowhere"),
            Self::Nested(line) => write!(formatter, "a region of sso-agent begins inside the one of line {line}"),
            Self::OtherEnd(line) => {
                write!(formatter, "the end of another session's region, inside the one of line {line}")
            }
            Self::Doubled(line) => {
                write!(formatter, "a second region of the session whose profiles begin at line {line} already")
            }
        }
    }
}

impl std::error::Error for EditError {}

impl EditError {
    /// What helps.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Marker { .. } => {
                "put the markers right, or delete them with the profiles between them, and run the command again"
            }
            Self::Attached { .. } => {
                "give those lines a section header of their own, or move them up into the profile, and run the command again"
            }
            Self::Utf16 | Self::Value { .. } | Self::NotReadBack => "nothing was changed; correct it by hand",
        }
    }
}
