//! How a file that we have written is known again: it says so, with a hash of the rest.
//!
//! Invariant: a file is ours only if not a byte of it was changed since.

use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

/// What is at the place of a file that is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    Missing,
    /// What is to be written.
    Current,
    /// What another version has written, or this one for another place.
    Outdated,
    /// Something that we have not written, or that was edited since.
    Edited,
}

impl Standing {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Current => "current",
            Self::Outdated => "outdated",
            Self::Edited => "edited",
        }
    }
}

/// What is there, beside what should be.
pub(super) fn standing(path: &Path, wanted: &str) -> io::Result<Standing> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Missing),
        Err(error) => return Err(error),
        // A mask, or somebody's collection of settings.
        Ok(found) if !found.is_file() => return Ok(Standing::Edited),
        Ok(_) => {}
    }
    let found = std::fs::read(path)?;
    Ok(match std::str::from_utf8(&found) {
        Ok(text) if text == wanted => Standing::Current,
        Ok(text) if is_sealed(text) => Standing::Outdated,
        _ => Standing::Edited,
    })
}

/// A unit file with a line that says whose it is.
pub(super) fn sealed_unit(text: &str) -> String {
    format!("# {}\n{text}", words(text))
}

/// The same for a property list, whose first line must stay the first.
pub(super) fn sealed_plist(text: &str) -> String {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    format!("{first}\n<!-- {} -->\n{rest}", words(text))
}

fn words(text: &str) -> String {
    format!("{MARK}{}", hash(text))
}

fn is_sealed(text: &str) -> bool {
    let mut hash_found = None;
    let mut rest = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.find(MARK) {
            Some(at) if hash_found.is_none() => {
                hash_found = line[at + MARK.len()..].split_whitespace().next();
            }
            _ => rest.push_str(line),
        }
    }
    hash_found.is_some_and(|found| found == hash(&rest))
}

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

const MARK: &str = "Written by sso-agent service install, and not edited as long as this is its hash: ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_file_of_ours_is_known_until_a_byte_of_it_changes() {
        let dir = Scratch::new();
        let path = dir.path().join("file");
        let plist = "<?xml version=\"1.0\"?>\n<plist/>\n";
        assert_eq!(standing(&path, "").unwrap(), Standing::Missing);
        for text in [sealed_unit("[Unit]\nA=b\n"), sealed_plist(plist)] {
            std::fs::write(&path, &text).unwrap();
            assert_eq!(standing(&path, &text).unwrap(), Standing::Current);
            assert_eq!(standing(&path, "another").unwrap(), Standing::Outdated);
            for edited in [text.replace('b', "c"), format!("{text}#\n"), text.replace("hash: ", "hash: 0")] {
                std::fs::write(&path, edited).unwrap();
                assert_eq!(standing(&path, &text).unwrap(), Standing::Edited);
            }
        }
        assert!(sealed_plist(plist).starts_with("<?xml version=\"1.0\"?>\n<!-- "));
        assert!(!sealed_plist(plist)[24..].contains("--e"), "a comment has no two dashes in it");
    }

    #[test]
    fn what_is_no_file_of_ours_is_left_alone() {
        let dir = Scratch::new();
        let path = dir.path().join("file");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert_eq!(standing(&path, "").unwrap(), Standing::Edited, "a mask");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"\xff").unwrap();
        assert_eq!(standing(&path, "").unwrap(), Standing::Edited);
    }
}
