//! What the process denies itself before the first secret.
//!
//! Owns: core dumps, inspection by the user's other processes, swap, the umask, the descriptor limit. Refuses to know what
//! the secrets are. Invariant: a measure that fails is reported and never fatal, for an agent that serves is worth
//! more than one that is slightly harder to inspect.

use std::fmt;
use std::io;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A measure that could not be taken.
#[derive(Debug)]
pub struct Weakness {
    /// What remains possible.
    pub remains: &'static str,
    /// Why.
    pub source: io::Error,
}

impl fmt::Display for Weakness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.remains, self.source)
    }
}

impl std::error::Error for Weakness {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Takes all measures; to be called by agent and CLI before they read the first secret. What is returned is to be
/// logged as warnings.
#[must_use]
pub fn harden() -> Vec<Weakness> {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let no_core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let measures = [
        ("the process may leave a core dump", no_core),
        ("other processes of this user may read its memory", forbid_inspection()),
        ("secrets may be written to swap", keep_out_of_swap()),
    ];
    measures
        .into_iter()
        .filter_map(|(remains, taken)| taken.err().map(|error| Weakness { remains, source: error.into() }))
        .collect()
}

/// Keeps the user's other processes out, and nothing that a program started from here would inherit.
pub fn keep_others_out() {
    // As far as it goes: whoever asked wants an answer.
    let _ = forbid_inspection();
}

/// Makes room for so many open descriptors, as far as the hard limit allows.
///
/// # Errors
/// The limit stays as it is.
pub fn raise_descriptor_limit(wanted: u64) -> Result<(), Weakness> {
    let limit = getrlimit(Resource::Nofile);
    // No limit at all is `None`.
    let Some(current) = limit.current.filter(|current| *current < wanted) else { return Ok(()) };
    let allowed = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    let raised = if allowed > current {
        setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum: limit.maximum })
    } else {
        Err(rustix::io::Errno::PERM)
    };
    raised.map_err(|error| Weakness { remains: "many callers at once may be refused", source: error.into() })
}

/// Locks the memory of secrets from now on, as far as the limit goes.
fn keep_out_of_swap() -> rustix::io::Result<()> {
    let limit = getrlimit(Resource::Memlock);
    if limit.current != limit.maximum {
        // What there was may do.
        let _ = setrlimit(Resource::Memlock, Rlimit { current: limit.maximum, ..limit });
    }
    crate::secret::resident::begin()
}

/// Keeps the user's other processes from attaching to this one and from reading its memory and environment.
#[cfg(target_os = "linux")]
fn forbid_inspection() -> rustix::io::Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
}

/// macOS has no such switch; its hardened runtime is a property of a signed binary.
#[cfg(not(target_os = "linux"))]
fn forbid_inspection() -> rustix::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_hardened_process_leaves_no_core_and_cannot_be_inspected() {
        assert!(harden().is_empty());
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        let dumpable = rustix::process::dumpable_behavior().unwrap();
        assert_eq!(dumpable, rustix::process::DumpableBehavior::NotDumpable);
        assert_eq!(rustix::process::umask(Mode::RWXG | Mode::RWXO), Mode::RWXG | Mode::RWXO);
    }

    #[test]
    fn a_descriptor_limit_that_suffices_is_left_alone_and_an_impossible_one_is_reported() {
        let before = getrlimit(Resource::Nofile);
        assert!(raise_descriptor_limit(1).is_ok());
        assert_eq!(getrlimit(Resource::Nofile), before);
        assert!(
            Weakness { remains: "x", source: io::ErrorKind::PermissionDenied.into() }.to_string().starts_with("x: ")
        );
    }
}
