//! The files of a log in the state directory: `NAME`, and the older ones `NAME.1`, `NAME.2`, ...
//!
//! Owns: appending, and rotation by size. Refuses to know what a line says, and which log it is. Invariants: a line is in the file whole or
//! not at all; a file that was deleted, replaced or rotated by somebody else is not written to any more; a failure
//! leaves nothing behind that the next line would suffer from. There is one writer: the holder of the state lock.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Which log, and how many files of it are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// The file that is written to.
    pub(crate) name: &'static str,
    /// It and the older ones.
    pub(crate) files: usize,
}

/// A log of a state directory, for its one writer.
pub(crate) struct LogFile {
    path: PathBuf,
    kind: Kind,
    open: Option<Open>,
}

struct Open {
    directory: OwnedFd,
    file: OwnedFd,
    /// Device and inode: what has the name must still be it.
    identity: (u64, u64),
    /// The last byte in it is no end of a line.
    torn: bool,
}

impl LogFile {
    pub(crate) const fn new(state_dir: PathBuf, kind: Kind) -> Self {
        Self { path: state_dir, kind, open: None }
    }

    /// Appends a line.
    pub(crate) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let appended = self.try_append(line);
        if appended.is_err() {
            // Whatever it was, the next line begins afresh.
            self.open = None;
        }
        appended
    }

    fn try_append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut size = match self.open.as_ref().and_then(|open| open.still_there(self.kind.name)) {
            Some(size) => size,
            None => self.reopen()?,
        };
        if size > 0 && size + line.len() as u64 > MOST_BYTES {
            let rotated = self.open.as_ref().map_or(Ok(()), |open| self.kind.rotate(&open.directory));
            match rotated {
                Ok(()) => size = self.reopen()?,
                // Better a file that is too long than a line that is missing, for a while.
                Err(_) if size < MOST_BYTES_IN_NEED => {}
                Err(error) => return Err(error.into()),
            }
        }
        let Some(open) = &mut self.open else { return Err(Errno::BADF.into()) };
        let mended = [b"\n", line].concat();
        let bytes = if open.torn { &mended } else { line };
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&open.file, bytes))?;
        if written < bytes.len() {
            // The disk is full in the middle of a line. If this fails too, the next line finds out by itself.
            let _ = rustix::fs::ftruncate(&open.file, size);
            return Err(Errno::NOSPC.into());
        }
        open.torn = false;
        Ok(())
    }

    /// Opens the file, makes it where there is none, and says how long it is.
    fn reopen(&mut self) -> io::Result<u64> {
        let directory = open_directory(&self.path)?;
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, self.kind.name, flags | OFlags::NONBLOCK, OWNER_ONLY)?;
        let stat = rustix::fs::fstat(&file)?;
        if !is_plain_and_ours(&stat) {
            return Err(not_ours());
        }
        if stat.st_mode & 0o777 != 0o600 {
            rustix::fs::fchmod(&file, OWNER_ONLY)?;
        }
        let size = length(&stat);
        let mut last = [b'\n'];
        if size > 0 {
            rustix::io::pread(&file, &mut last, size - 1)?;
        }
        self.open = Some(Open { directory, file, identity: identity(&stat), torn: last != [b'\n'] });
        Ok(size)
    }
}

impl Open {
    /// How long the file is, if it still is the one that has the name.
    fn still_there(&self, name: &str) -> Option<u64> {
        let named = rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        (identity(&named) == self.identity).then(|| length(&named))
    }
}

impl Kind {
    /// The name of the file so many rotations ago.
    pub(crate) fn file(self, age: usize) -> String {
        if age == 0 { self.name.to_owned() } else { format!("{}.{age}", self.name) }
    }

    /// Makes room for a new file: every file gets the name of the next older one, the oldest goes.
    fn rotate(self, directory: &OwnedFd) -> Result<(), Errno> {
        for older in (1..self.files).rev() {
            match rustix::fs::renameat(directory, self.file(older - 1), directory, self.file(older)) {
                // A gap: somebody has deleted one.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Opens a file of the log for reading; `None` where there is none.
pub(crate) fn open_to_read(directory: &OwnedFd, name: &str) -> io::Result<Option<(OwnedFd, (u64, u64))>> {
    // Without O_NONBLOCK a FIFO in its place would hang the reader.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&file)?;
    if is_plain_and_ours(&stat) && stat.st_mode & 0o022 == 0 {
        Ok(Some((file, identity(&stat))))
    } else {
        Err(not_ours())
    }
}

/// Opens the state directory, which only we may write to.
pub(crate) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&directory)?;
    if stat.st_uid == crate::paths::our_uid() && stat.st_mode & 0o022 == 0 { Ok(directory) } else { Err(not_ours()) }
}

fn is_plain_and_ours(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_uid == crate::paths::our_uid()
}

fn not_ours() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "it is not a plain file of yours that only you can write")
}

#[cfg_attr(target_os = "linux", expect(clippy::unnecessary_cast, reason = "narrower and signed elsewhere"))]
pub(crate) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

fn length(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);
const MOST_BYTES: u64 = 1024 * 1024;
/// Where it cannot be rotated.
const MOST_BYTES_IN_NEED: u64 = 4 * MOST_BYTES;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::env::Env;
    use crate::scratch::Scratch;

    const KIND: Kind = Kind { name: "some.log", files: 5 };

    fn text(scratch: &Scratch, age: usize) -> String {
        std::fs::read_to_string(scratch.path().join(KIND.file(age))).unwrap_or_default()
    }

    fn log(scratch: &Scratch) -> LogFile {
        LogFile::new(scratch.path().to_owned(), KIND)
    }

    #[test]
    fn lines_are_appended_to_a_file_of_its_owner_only() {
        let scratch = Scratch::new();
        log(&scratch).append(b"1\n").unwrap();
        let path = scratch.path().join(KIND.name);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        log(&scratch).append(b"2\n").unwrap();
        assert_eq!(text(&scratch, 0), "1\n2\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_was_deleted_or_moved_away_is_made_again() {
        let scratch = Scratch::new();
        let mut log = log(&scratch);
        log.append(b"1\n").unwrap();
        std::fs::remove_file(scratch.path().join(KIND.name)).unwrap();
        log.append(b"2\n").unwrap();
        assert_eq!(text(&scratch, 0), "2\n");
        std::fs::rename(scratch.path().join(KIND.name), scratch.path().join("elsewhere")).unwrap();
        log.append(b"3\n").unwrap();
        assert_eq!(text(&scratch, 0), "3\n");
    }

    #[test]
    fn a_full_file_is_rotated_and_the_oldest_goes() {
        let scratch = Scratch::new();
        let mut log = log(&scratch);
        let line = |digit: u8| [vec![digit; 700_000], b"\n".to_vec()].concat();
        for digit in b'1'..=b'7' {
            log.append(&line(digit)).unwrap();
        }
        let firsts: String = (0..KIND.files).map(|age| text(&scratch, age).remove(0)).collect();
        assert_eq!(firsts, "76543");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), KIND.files);
    }

    #[test]
    fn what_a_crash_has_torn_costs_that_line_only() {
        let scratch = Scratch::new();
        std::fs::write(scratch.path().join(KIND.name), "1\n{\"torn").unwrap();
        let mut log = log(&scratch);
        log.append(b"2\n").unwrap();
        log.append(b"3\n").unwrap();
        assert_eq!(text(&scratch, 0), "1\n{\"torn\n2\n3\n");
    }

    #[test]
    fn a_link_a_pipe_or_a_directory_in_its_place_is_an_error_and_not_followed() {
        let scratch = Scratch::new();
        let path = scratch.path().join(KIND.name);
        let target = scratch.path().join("target");
        symlink(&target, &path).unwrap();
        assert!(log(&scratch).append(b"1\n").is_err());
        assert!(!target.exists());
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, OWNER_ONLY, 0).unwrap();
        assert!(log(&scratch).append(b"1\n").is_err());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let mut log = log(&scratch);
        assert!(log.append(b"1\n").is_err());
        std::fs::remove_dir(&path).unwrap();
        log.append(b"2\n").unwrap();
        assert_eq!(text(&scratch, 0), "2\n");
    }

    #[test]
    fn where_it_cannot_be_rotated_it_grows_for_a_while() {
        let scratch = Scratch::new();
        for age in 1..KIND.files {
            std::fs::create_dir_all(scratch.path().join(KIND.file(age)).join("not empty")).unwrap();
        }
        let mut log = log(&scratch);
        let line = [vec![b'x'; 900_000], b"\n".to_vec()].concat();
        let written = (0..9).take_while(|_| log.append(&line).is_ok()).count();
        assert_eq!(written, 5, "up to four times the length");
        assert_eq!(text(&scratch, 0).len(), written * line.len());
    }

    /// The test is both sides: a limit on the size of files is the whole process's.
    #[test]
    fn a_disk_that_is_full_in_the_middle_of_a_line_leaves_no_half_of_it() {
        const IN_CHILD: &str = "SSO_AGENT_TEST_FULL";
        let line = [vec![b'x'; 299], b"\n".to_vec()].concat();
        if let Some(path) = Env::of_process().get(IN_CHILD) {
            let mut log = LogFile::new(path.into(), KIND);
            let written = (0..100).take_while(|_| log.append(&line).is_ok()).count();
            assert!((1..100).contains(&written), "{written}");
            assert!(log.append(&line).is_err(), "and it is still full");
            return;
        }
        let scratch = Scratch::new();
        // Not a multiple of the line, whatever the shell counts in.
        let child = std::process::Command::new("sh")
            .args(["-c", r#"trap "" XFSZ; ulimit -f 2; exec "$0" "$@""#])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "log_file::tests::a_disk_that_is_full_in_the_middle_of_a_line_leaves_no_half_of_it"])
            .env(IN_CHILD, scratch.path())
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        let length = text(&scratch, 0).len();
        assert!(length > 0 && length.is_multiple_of(line.len()), "{length}");
        let mut log = log(&scratch);
        log.append(b"room\n").unwrap();
        assert!(text(&scratch, 0).ends_with("x\nroom\n"));
    }
}
