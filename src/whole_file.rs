//! Files of ours outside the store, replaced whole or not at all.
//!
//! Owns: the steps of such a write. Refuses to know what is written and who reads it. Invariant: under its name a file
//! is always the old one or the new one, complete, and has the mode that was asked for whatever the umask.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Puts `content` in the place of what is at `path`. When this returns, it is on disk.
///
/// # Errors
/// What was there is still there.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let temporary = temporary(path);
    // What a process of the same number has left behind is nobody's any more.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write(&temporary, content, mode).and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = written {
        // The error that counts is the one at hand.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    sync_directory_of(path)
}

/// Removes a file; `false` where there was none. When this returns, it is gone from disk.
///
/// # Errors
/// It is still there.
pub(crate) fn remove(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        removed => removed?,
    }
    sync_directory_of(path).map(|()| true)
}

fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_file_is_replaced_with_the_mode_that_was_asked_for_and_nothing_is_left_beside_it() {
        let dir = Scratch::new();
        let path = dir.path().join("file");
        for (content, mode) in [("one", 0o644), ("two", 0o600)] {
            replace(&path, content.as_bytes(), mode).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, mode);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_else() {
        let dir = Scratch::new();
        let path = dir.path().join("directory");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("inside"), "").unwrap();
        assert!(replace(&path, b"new", 0o600).is_err());
        assert!(path.join("inside").exists());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_there_is_not_removed() {
        let dir = Scratch::new();
        let path = dir.path().join("file");
        assert!(!remove(&path).unwrap());
        std::fs::write(&path, "").unwrap();
        assert!(remove(&path).unwrap());
        assert!(!path.exists());
    }
}
