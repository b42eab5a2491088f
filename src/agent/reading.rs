//! The configuration, read as often as it changes.
//!
//! Owns: what must be known of earlier readings. Refuses to know when one is wanted and what becomes of it. Invariant: a
//! file that somebody is in the middle of editing takes nothing away, neither from the sessions nor from the rules at
//! the doors.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::api::{Code, Problem};
use crate::aws_config::Whole;
use crate::doors::Doors;
use crate::engine::{Configuration, Unread};
use crate::env::Env;
use crate::source::{Doubt, Locations, Look, Source, SourceError, Tracked};

/// Reads the configuration, again and again.
#[derive(Debug)]
pub(super) struct Reader {
    files: Tracked,
    env: Env,
    home: Option<PathBuf>,
    whole: Mutex<Whole>,
}

impl Reader {
    pub(super) fn new(locations: Locations, env: &Env, home: Option<PathBuf>) -> Self {
        Self { files: Tracked::new(locations), env: env.clone(), home, whole: Mutex::default() }
    }

    /// The configuration, and what it says about the doors.
    pub(super) fn read(&self) -> Result<(Configuration, Doors), SourceError> {
        let (sources, settings) = self.files.read()?;
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        let mut catalog = whole.read(sources, &self.env, &settings);
        let doors = Doors::of(&mut catalog, &settings, self.home.as_deref());
        Ok((Configuration { catalog, settings }, doors))
    }

    /// Whether there is something new to read.
    pub(super) fn look(&self, doubt: Doubt) -> Look {
        self.files.look(doubt)
    }
}

/// Why it was not read, for who asked and for `status`.
pub(super) fn unread(error: &SourceError) -> Box<Unread> {
    let (file, line) = error.place();
    let mut problem = Problem::new(Code::InvalidConfig, error.to_string());
    if let SourceError::Read { source, .. } = error {
        problem = problem.caused_by(source);
    }
    Box::new(Unread { file: file.to_owned(), line, trouble: error.trouble(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asked_hears_why_a_file_cannot_be_read() {
        let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let unread = unread(&SourceError::Read { path: "/c".into(), source });
        assert_eq!(unread.problem.caused_by, ["permission denied"]);
    }
}
