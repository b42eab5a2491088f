//! Whether a program is one of those in a list.
//!
//! Invariant: what is compared is the file that runs and the files that lie under the listed paths now.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::audit::Caller;

/// Why it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    /// None of the files is the one that runs.
    Another,
    /// One of the paths is its path, and another file lies there now.
    Replaced,
    /// One of them has its name.
    Namesake(PathBuf),
    /// Nobody knows what runs there.
    Unknown,
}

/// Looks at the files anew each time: programs are replaced by upgrades.
pub(super) fn admits(allowed: &[PathBuf], caller: &Caller) -> Result<(), Reason> {
    let Caller::Program { exe, file } = caller else { return Err(Reason::Unknown) };
    let found = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == *file);
    if allowed.iter().any(found) {
        return Ok(());
    }
    // The kernel's remark about a file that has gone from its name.
    let path = Path::new(exe.strip_suffix(" (deleted)").unwrap_or(exe));
    let same_name = |other: &&PathBuf| other.file_name() == path.file_name();
    Err(match allowed.iter().find(same_name) {
        Some(other) if other == path => Reason::Replaced,
        Some(other) => Reason::Namesake(other.clone()),
        None => Reason::Another,
    })
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Another => formatter.write_str("none of the files in the list is the one that runs"),
            Self::Replaced => {
                formatter.write_str("it was replaced while it ran; start it again, and it is the one in the list")
            }
            Self::Namesake(path) => write!(formatter, "it only has the name of {}", path.display()),
            Self::Unknown => formatter.write_str("the system does not tell which program asks"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn running(path: &Path) -> Caller {
        let found = std::fs::metadata(path).unwrap();
        Caller::Program { exe: path.to_string_lossy().into_owned(), file: (found.dev(), found.ino()) }
    }

    #[test]
    fn a_program_is_the_file_it_runs_and_not_its_name() {
        let scratch = Scratch::new();
        let (tool, link) = (scratch.path().join("tool"), scratch.path().join("link"));
        std::fs::create_dir(scratch.path().join("bin")).unwrap();
        let namesake = scratch.path().join("bin/tool");
        std::fs::copy("/bin/true", &tool).unwrap();
        std::fs::copy("/bin/true", &namesake).unwrap();
        std::os::unix::fs::symlink(&tool, &link).unwrap();
        let allowed = [PathBuf::from("/nowhere/at/all"), link];
        assert_eq!(admits(&allowed, &running(&tool)), Ok(()), "through the link that is listed");
        assert_eq!(admits(&allowed, &running(Path::new("/bin/sh"))), Err(Reason::Another));
        assert_eq!(admits(&[], &running(&tool)), Err(Reason::Another));
        let only = std::slice::from_ref(&tool);
        assert_eq!(admits(only, &running(&namesake)), Err(Reason::Namesake(tool.clone())));
        let before = running(&tool);
        std::fs::rename(&namesake, &tool).unwrap();
        assert_eq!(admits(only, &before), Err(Reason::Replaced), "upgraded while it ran");
        assert_eq!(admits(only, &running(&tool)), Ok(()));
        for nobody in [Caller::Hidden, Caller::Untold] {
            assert_eq!(admits(only, &nobody), Err(Reason::Unknown));
        }
    }
}
