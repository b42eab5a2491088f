//! Files in a private directory, replaced whole or not at all.
//!
//! Owns: the steps of a write and their order. Refuses to know what is written. Invariant: under its name a file is
//! always the old one or the new one, complete; what a failed or interrupted write leaves behind is recognisable by
//! its name.

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::directory::{PrivateDirectory, permission_bits};
use super::{StoreError, random};

/// A step of a write, in the order they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Make a temporary file under a random name.
    Create,
    /// Take it from group and others, whatever the umask.
    Restrict,
    /// Write the content.
    Write,
    /// Wait until the content is on disk.
    Sync,
    /// Put it in the place of the old one.
    Rename,
    /// Wait until the new name is on disk.
    SyncDirectory,
}

impl Step {
    const fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Restrict => "set the permissions of",
            Self::Write => "write",
            Self::Sync => "flush",
            Self::Rename => "replace",
            Self::SyncDirectory => "flush the directory of",
        }
    }
}

impl PrivateDirectory {
    /// Reads a file, at most `most` bytes of it; `None` where there is none.
    pub(super) fn read(&self, name: &str, most: u64) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        // Without O_NONBLOCK a FIFO in its place would hang the agent.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let descriptor = match rustix::fs::openat(&self.descriptor, name, flags, Mode::empty()) {
            Ok(descriptor) => descriptor,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&descriptor)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
        }
        // Room for all of it at once: a growing buffer leaves copies behind that nobody wipes.
        let size = u64::try_from(stat.st_size).unwrap_or(0).min(most);
        let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
        File::from(descriptor).take(most).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    /// Puts `content` under `name`, in the place of what is there. When this returns, it is on disk.
    ///
    /// # Errors
    /// What was there is still there. Only after a failure of the last step ("flush the directory of") the new
    /// content may be there already.
    pub(super) fn replace(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let temporary = format!("{TEMPORARY}{}", random::hex_name().ok_or(StoreError::Crypto)?);
        let replaced = self.write_and_rename(&temporary, name, content);
        if let Err((step, _)) = &replaced
            && !matches!(step, Step::Create | Step::SyncDirectory)
        {
            // Never written to again: after a failed write nobody knows what is in it. Should this fail as well, the
            // next start removes it.
            let _ = rustix::fs::unlinkat(&self.descriptor, &temporary, AtFlags::empty());
        }
        replaced.map_err(|(step, source)| self.failed(step.verb(), name, source))
    }

    /// As [`PrivateDirectory::replace`], where nothing is under `name` yet. The state lock keeps others from making it
    /// between the look and the write.
    pub(super) fn create(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        match rustix::fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => self.replace(name, content),
            Err(error) => Err(self.failed(Step::Create.verb(), name, error.into())),
            Ok(_) => Err(self.failed(Step::Create.verb(), name, Errno::EXIST.into())),
        }
    }

    /// The permission bits of a file.
    pub(super) fn mode(&self, name: &str) -> io::Result<u32> {
        let stat = rustix::fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(permission_bits(&stat))
    }

    /// Gives a file another name, on disk.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        rustix::fs::renameat(&self.descriptor, from, &self.descriptor, to)
            .map_err(|error| self.failed("rename", from, error.into()))?;
        self.sync().map_err(|error| self.failed(Step::SyncDirectory.verb(), from, error))
    }

    /// Moves a file to another directory of the same file system, on disk; over what is there under the new name.
    pub(super) fn move_to(&self, name: &str, other: &Self, new_name: &str) -> Result<(), StoreError> {
        rustix::fs::renameat(&self.descriptor, name, &other.descriptor, new_name)
            .map_err(|error| self.failed("move", name, error.into()))?;
        other.sync().map_err(|error| other.failed(Step::SyncDirectory.verb(), name, error))
    }

    /// Removes an empty directory in this one, on disk.
    pub(super) fn remove_directory(&self, name: &str) -> Result<(), StoreError> {
        rustix::fs::unlinkat(&self.descriptor, name, AtFlags::REMOVEDIR)
            .map_err(|error| self.failed("delete", name, error.into()))?;
        self.sync().map_err(|error| self.failed(Step::SyncDirectory.verb(), name, error))
    }

    /// Removes a file; when this returns, it is gone from disk. None there is no error.
    pub(super) fn remove(&self, name: &str) -> Result<(), StoreError> {
        match rustix::fs::unlinkat(&self.descriptor, name, AtFlags::empty()) {
            // Also where it was gone before: an earlier attempt may have failed between the two steps.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(self.failed("delete", name, error.into())),
        }
        self.sync().map_err(|error| self.failed(Step::SyncDirectory.verb(), name, error))
    }

    /// The names in it that are text, in order; ours all are.
    pub(super) fn names(&self) -> Result<Vec<String>, StoreError> {
        let failed = |error: Errno| StoreError::Io { doing: "list", path: self.path.clone(), source: error.into() };
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.descriptor).map_err(failed)? {
            if let Ok(name) = entry.map_err(failed)?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// What interrupted writes left behind. Only the holder of the state lock may touch it: a temporary file of
    /// somebody who is writing looks the same.
    pub(super) fn leftovers(&self) -> Result<Vec<String>, StoreError> {
        let mut names = self.names()?;
        names.retain(|name| name.starts_with(TEMPORARY));
        Ok(names)
    }

    /// Removes what interrupted writes left behind.
    pub(super) fn remove_leftovers(&self) -> Result<(), StoreError> {
        for name in self.leftovers()? {
            self.remove_leftover(&name)?;
        }
        Ok(())
    }

    /// Removes one of the leftovers. Should a power failure bring it back, the next start removes it again.
    pub(super) fn remove_leftover(&self, name: &str) -> Result<(), StoreError> {
        rustix::fs::unlinkat(&self.descriptor, name, AtFlags::empty())
            .map_err(|error| self.failed("delete", name, error.into()))
    }

    /// Takes the last steps of a write that was interrupted before them.
    pub(super) fn finish_write(&self, leftover: &str, name: &str) -> Result<(), StoreError> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.descriptor, leftover, flags, Mode::empty())
            .map_err(|error| self.failed("open", leftover, error.into()))?;
        File::from(file).sync_all().map_err(|error| self.failed(Step::Sync.verb(), leftover, error))?;
        rustix::fs::renameat(&self.descriptor, leftover, &self.descriptor, name)
            .map_err(|error| self.failed(Step::Rename.verb(), name, error.into()))?;
        self.sync().map_err(|error| self.failed(Step::SyncDirectory.verb(), name, error))
    }

    fn write_and_rename(&self, temporary: &str, name: &str, content: &[u8]) -> Result<(), (Step, io::Error)> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.take(Step::Create)?;
        let descriptor = rustix::fs::openat(&self.descriptor, temporary, flags, OWNER_ONLY)
            .map_err(|error| (Step::Create, error.into()))?;
        self.take(Step::Restrict)?;
        rustix::fs::fchmod(&descriptor, OWNER_ONLY).map_err(|error| (Step::Restrict, error.into()))?;
        let mut file = File::from(descriptor);
        #[cfg(test)]
        if self.fails(Step::Write) {
            drop(file.write_all(&content[..content.len() / 2]));
        }
        self.take(Step::Write)?;
        file.write_all(content).map_err(|error| (Step::Write, error))?;
        self.take(Step::Sync)?;
        file.sync_all().map_err(|error| (Step::Sync, error))?;
        self.take(Step::Rename)?;
        rustix::fs::renameat(&self.descriptor, temporary, &self.descriptor, name)
            .map_err(|error| (Step::Rename, error.into()))?;
        self.take(Step::SyncDirectory)?;
        self.sync().map_err(|error| (Step::SyncDirectory, error))
    }

    fn sync(&self) -> io::Result<()> {
        match File::from(self.descriptor.try_clone()?).sync_all() {
            // Some file systems have no such thing for directories and need none.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
            synced => synced,
        }
    }

    fn failed(&self, doing: &'static str, name: &str, source: io::Error) -> StoreError {
        StoreError::Io { doing, path: self.path.join(name), source }
    }

    /// Where tests make a step fail as a full disk would.
    #[cfg_attr(not(test), expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the seam is for tests"))]
    fn take(&self, step: Step) -> Result<(), (Step, io::Error)> {
        #[cfg(test)]
        if self.fails(step) {
            return Err((step, Errno::NOSPC.into()));
        }
        let _ = step;
        Ok(())
    }
}

#[cfg(test)]
impl PrivateDirectory {
    /// Makes every write fail at this step as on a full disk, until told otherwise.
    pub(super) fn fail_at(&self, step: Option<Step>) {
        *self.fails_at.lock().unwrap() = step;
    }

    fn fails(&self, step: Step) -> bool {
        *self.fails_at.lock().unwrap() == Some(step)
    }
}

/// What the names of unfinished files begin with.
pub(super) const TEMPORARY: &str = ".unfinished-";

const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);

#[cfg(test)]
pub(super) const STEPS_BEFORE_THE_NAME: [Step; 5] =
    [Step::Create, Step::Restrict, Step::Write, Step::Sync, Step::Rename];

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::sandbox::Sandbox;
    use super::*;

    fn content(directory: &PrivateDirectory, name: &str) -> Option<Vec<u8>> {
        directory.read(name, 1000).unwrap().map(|content| content.to_vec())
    }

    #[test]
    fn a_write_that_fails_at_any_step_leaves_the_old_content_and_nothing_else() {
        let sandbox = Sandbox::new();
        let directory = PrivateDirectory::prepare(sandbox.path()).unwrap();
        directory.replace("file", b"old").unwrap();
        for step in STEPS_BEFORE_THE_NAME {
            directory.fail_at(Some(step));
            let error = directory.replace("file", b"the new one").unwrap_err();
            assert!(matches!(error, StoreError::Io { doing, .. } if doing == step.verb()), "{error}");
            assert_eq!(content(&directory, "file").unwrap(), b"old", "{step:?}");
            assert_eq!(directory.names().unwrap(), [".", "..", "file"], "{step:?}");
        }
        directory.fail_at(None);
        directory.replace("file", b"the new one").unwrap();
        assert_eq!(content(&directory, "file").unwrap(), b"the new one");
    }

    #[test]
    fn after_a_failed_flush_of_the_directory_the_file_is_complete() {
        let sandbox = Sandbox::new();
        let directory = PrivateDirectory::prepare(sandbox.path()).unwrap();
        directory.replace("file", b"old").unwrap();
        directory.fail_at(Some(Step::SyncDirectory));
        assert!(directory.replace("file", b"the new one").is_err());
        assert_eq!(content(&directory, "file").unwrap(), b"the new one");
        assert_eq!(directory.names().unwrap(), [".", "..", "file"]);
    }

    #[test]
    fn a_file_is_for_its_owner_only_even_if_the_old_one_was_not() {
        let sandbox = Sandbox::new();
        let directory = PrivateDirectory::prepare(sandbox.path()).unwrap();
        let path = sandbox.path().join("file");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        directory.replace("file", b"new").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_link_is_neither_read_nor_written_through() {
        let sandbox = Sandbox::new();
        let directory = PrivateDirectory::prepare(sandbox.path()).unwrap();
        let elsewhere = sandbox.path().join("elsewhere");
        std::fs::write(&elsewhere, "untouched").unwrap();
        symlink(&elsewhere, sandbox.path().join("file")).unwrap();
        assert!(directory.read("file", 1000).is_err());
        directory.replace("file", b"new").unwrap();
        assert_eq!(content(&directory, "file").unwrap(), b"new");
        assert_eq!(content(&directory, "elsewhere").unwrap(), b"untouched");
    }

    #[test]
    fn leftovers_are_removed_and_nothing_else() {
        let sandbox = Sandbox::new();
        let directory = PrivateDirectory::prepare(sandbox.path()).unwrap();
        std::fs::write(sandbox.path().join(format!("{TEMPORARY}00")), "half").unwrap();
        std::fs::write(sandbox.path().join("file"), "whole").unwrap();
        directory.remove_leftovers().unwrap();
        assert_eq!(directory.names().unwrap(), [".", "..", "file"]);
    }

    #[test]
    fn removing_what_is_not_there_is_no_error() {
        let sandbox = Sandbox::new();
        let directory = PrivateDirectory::prepare(sandbox.path()).unwrap();
        directory.remove("file").unwrap();
    }
}
