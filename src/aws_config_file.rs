//! The only writer of the AWS config.
//!
//! Owns: how the file is replaced: whole or not at all, in its place and with its mode and owner. Refuses to know what
//! is in it. Invariants: what somebody else has written since it was read is not lost; a file that cannot be replaced
//! is as it was; nothing but the file itself is left behind.

use std::fmt;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::paths::{our_uid, shell_word};

/// A file as it was when it was read, or a place where there was none.
#[derive(Debug)]
pub struct AwsConfigFile {
    /// As it was named; may be a symbolic link.
    named: PathBuf,
    /// What is to be replaced.
    real: PathBuf,
    bytes: Vec<u8>,
    seen: Option<Seen>,
}

/// By what a file is recognised, besides its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    mode: u32,
    owner: u32,
    group: u32,
    links: u64,
}

/// How an attempt to replace a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// The new file is in its place.
    Done,
    /// Somebody has changed it since it was read: nothing was done.
    ChangedMeanwhile,
}

impl AwsConfigFile {
    /// Reads the file. One that is not there is empty.
    ///
    /// # Errors
    /// It is not a plain file, or cannot be read.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let real = resolve(path)?;
        let (bytes, seen) = match look(&real)? {
            Some((bytes, seen)) => (bytes, Some(seen)),
            None => (Vec::new(), None),
        };
        Ok(Self { named: path.to_owned(), real, bytes, seen })
    }

    /// What was in it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the file has other names, which go on naming the old file when it is replaced.
    #[must_use]
    pub fn has_other_names(&self) -> bool {
        self.seen.is_some_and(|seen| seen.links > 1)
    }

    /// Puts a file with this content in its place, unless somebody has changed it since it was read.
    ///
    /// # Errors
    /// It cannot be written; then it is as it was.
    pub fn replace(&self, content: &[u8]) -> Result<Replaced, FileError> {
        if let Some(seen) = self.seen {
            if seen.mode & 0o200 == 0 {
                return Err(FileError::ReadOnly { path: self.real.clone() });
            }
            if seen.owner != our_uid() && our_uid() != 0 {
                return Err(FileError::NotOurs { path: self.real.clone(), owner: seen.owner });
            }
        }
        let directory = self.real.parent().unwrap_or(Path::new("/"));
        if self.seen.is_none() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(|source| FileError::io("make", directory, source))?;
        }
        let failed = |doing| move |error: Errno| FileError::io(doing, directory, error);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(directory, flags, Mode::empty()).map_err(failed("open"))?;
        // Two of us one after the other. Others do not look at it, and where it does not work nothing depends on it.
        let _ = rustix::fs::flock(&handle, FlockOperation::LockExclusive);
        let temporary = Temporary::make(directory)?;
        temporary.fill(content, self.seen)?;
        if resolve(&self.named)? != self.real || !self.is_unchanged()? {
            return Ok(Replaced::ChangedMeanwhile);
        }
        if !temporary.put(&self.real, self.seen.is_some())? {
            return Ok(Replaced::ChangedMeanwhile);
        }
        rustix::fs::fsync(&handle).map_err(failed("flush"))?;
        Ok(Replaced::Done)
    }

    fn is_unchanged(&self) -> Result<bool, FileError> {
        Ok(match (look(&self.real)?, self.seen) {
            (Some((bytes, seen)), Some(before)) => seen == before && bytes == self.bytes,
            (None, None) => true,
            _ => false,
        })
    }
}

/// A file beside the one that is to be replaced, removed unless it has taken its place.
struct Temporary {
    path: PathBuf,
    file: File,
    placed: std::cell::Cell<bool>,
}

impl Temporary {
    fn make(directory: &Path) -> Result<Self, FileError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for number in 0..MOST_LEFTOVERS {
            let path = directory.join(format!(".sso-agent-{}-{number}.tmp", std::process::id()));
            match rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => return Ok(Self { path, file: File::from(file), placed: std::cell::Cell::new(false) }),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(FileError::io("create a file in", directory, error)),
            }
        }
        Err(FileError::io("create a file in", directory, Errno::EXIST))
    }

    fn fill(&self, content: &[u8], like: Option<Seen>) -> Result<(), FileError> {
        let failed = |doing| move |error: io::Error| FileError::io(doing, &self.path, error);
        let mut file = &self.file;
        file.write_all(content).map_err(failed("write"))?;
        if let Some(like) = like {
            let made = self.file.metadata().map_err(failed("inspect"))?;
            if (made.uid(), made.gid()) != (like.owner, like.group) {
                let (owner, group) = (Uid::from_raw(like.owner), Gid::from_raw(like.group));
                rustix::fs::fchown(&self.file, Some(owner), Some(group))
                    .map_err(|error| failed("keep the owner and group of the file in")(error.into()))?;
            }
        }
        // After the owner, whose change takes bits away; and whatever the umask.
        let mode = like.map_or(0o600, |like| like.mode & 0o7777);
        #[expect(clippy::useless_conversion, reason = "the mode is a u16 on macOS")]
        let mode = Mode::from_raw_mode(mode.try_into().unwrap_or(0o600));
        rustix::fs::fchmod(&self.file, mode).map_err(|error| failed("set the mode of")(error.into()))?;
        self.file.sync_all().map_err(failed("flush"))
    }

    /// Takes the place; false if there was nothing to replace and now there is.
    fn put(&self, place: &Path, replacing: bool) -> Result<bool, FileError> {
        let put = if replacing {
            rustix::fs::rename(&self.path, place)
        } else {
            // Unlike a rename, this replaces nothing.
            rustix::fs::linkat(CWD, &self.path, CWD, place, AtFlags::empty())
        };
        match put {
            Ok(()) => {
                self.placed.set(replacing);
                Ok(true)
            }
            Err(Errno::EXIST) if !replacing => Ok(false),
            Err(error) => Err(FileError::io("replace", place, error)),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.placed.get() {
            // What cannot be removed has a name that says what it is.
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

/// The file itself, where its name is a symbolic link.
fn resolve(path: &Path) -> Result<PathBuf, FileError> {
    match std::fs::canonicalize(path) {
        Ok(real) => Ok(real),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_link = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
            if is_link { Err(FileError::Dangling { path: path.to_owned() }) } else { Ok(absolute(path)) }
        }
        Err(source) => Err(FileError::io("open", path, source)),
    }
}

/// A file that is not there yet, in a directory that may be a link.
fn absolute(path: &Path) -> PathBuf {
    match (path.parent().map(std::fs::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    }
}

fn look(path: &Path) -> Result<Option<(Vec<u8>, Seen)>, FileError> {
    // Non-blocking, because opening a pipe would wait for somebody to write into it.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(FileError::io("open", path, error)),
    };
    let failed = |source| FileError::io("read", path, source);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile { path: path.to_owned() });
    }
    let seen = Seen {
        device: metadata.dev(),
        inode: metadata.ino(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        mode: metadata.mode(),
        owner: metadata.uid(),
        group: metadata.gid(),
        links: metadata.nlink(),
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(FileError::TooLarge { path: path.to_owned() });
    }
    Ok(Some((bytes, seen)))
}

/// Why the file is not read or replaced. It is as it was.
#[derive(Debug)]
pub enum FileError {
    /// A directory, a device, a pipe.
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// A symbolic link to something that is not there.
    Dangling {
        /// The link.
        path: PathBuf,
    },
    /// Over 16 MiB.
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Its mode says that nobody is to write it.
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// It belongs to somebody else.
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Whom it belongs to.
        owner: u32,
    },
    /// The system said no.
    Io {
        /// What was to be done: "write", "replace", ...
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl FileError {
    fn io(doing: &'static str, path: &Path, error: impl Into<io::Error>) -> Self {
        Self::Io { doing, path: path.to_owned(), source: error.into() }
    }

    /// What helps, where that can be said.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ReadOnly { path } => Some(format!(
                "if you want it changed: chmod u+w {}; if another program makes this file, have that one change it",
                shell_word(path)
            )),
            Self::Dangling { path } => {
                Some(format!("make what it points to, or remove the link: rm {}", shell_word(path)))
            }
            Self::NotOurs { .. } => Some("make a copy that is yours, and name it with AWS_CONFIG_FILE".to_owned()),
            Self::Io { .. } => Some("nothing was changed".to_owned()),
            _ => None,
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAFile { path } => write!(formatter, "{} is not a file", shell_word(path)),
            Self::Dangling { path } => {
                write!(formatter, "{} is a link to something that is not there", shell_word(path))
            }
            Self::TooLarge { path } => {
                write!(formatter, "{} is larger than {} MiB", shell_word(path), MOST_BYTES / 1024 / 1024)
            }
            Self::ReadOnly { path } => write!(formatter, "{} is read-only", shell_word(path)),
            Self::NotOurs { path, owner } => write!(formatter, "{} belongs to user {owner}", shell_word(path)),
            Self::Io { doing, path, .. } => write!(formatter, "cannot {doing} {}", shell_word(path)),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// What the readers take.
const MOST_BYTES: u64 = 16 * 1024 * 1024;
/// Of processes that had our number and were killed while they wrote.
const MOST_LEFTOVERS: usize = 100;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::scratch::Scratch;

    fn only(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_else_is_left() {
        let scratch = Scratch::new();
        let path = scratch.path().join("config");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let file = AwsConfigFile::read(&path).unwrap();
        assert_eq!((file.bytes(), file.has_other_names()), (&b"old"[..], false));
        assert_eq!(file.replace(b"new").unwrap(), Replaced::Done);
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"new".to_vec(), 0o640));
        assert_eq!(only(scratch.path()), ["config"]);
    }

    #[test]
    fn a_new_file_and_its_directory_are_ours_alone() {
        let scratch = Scratch::new();
        let path = scratch.path().join("a/.aws/config");
        let file = AwsConfigFile::read(&path).unwrap();
        assert_eq!(file.bytes(), b"");
        assert_eq!(file.replace(b"new").unwrap(), Replaced::Done);
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(only(path.parent().unwrap()), ["config"]);
        assert_eq!(fs::metadata(&path).unwrap().nlink(), 1);
    }

    #[test]
    fn what_somebody_else_has_written_meanwhile_is_not_lost() {
        let scratch = Scratch::new();
        let path = scratch.path().join("config");
        let none = AwsConfigFile::read(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        assert_eq!(none.replace(b"ours").unwrap(), Replaced::ChangedMeanwhile);
        let changes: [fn(&Path); 4] = [
            |path| fs::write(path, "again").unwrap(),
            // By an editor that replaces the file, even with the same content.
            |path| {
                let other = path.with_extension("new");
                fs::copy(path, &other).unwrap();
                fs::rename(other, path).unwrap();
            },
            |path| fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap(),
            |path| fs::remove_file(path).unwrap(),
        ];
        for change in changes {
            let read = AwsConfigFile::read(&path).unwrap();
            change(&path);
            let theirs = fs::read(&path).ok();
            assert_eq!(read.replace(b"ours").unwrap(), Replaced::ChangedMeanwhile);
            assert_eq!(fs::read(&path).ok(), theirs);
        }
        assert_eq!(only(scratch.path()), [""; 0]);
    }

    #[test]
    fn a_link_stays_and_what_it_points_to_is_replaced() {
        let scratch = Scratch::new();
        let (link, real) = (scratch.path().join("config"), scratch.path().join("dotfiles/aws"));
        fs::create_dir(scratch.path().join("dotfiles")).unwrap();
        fs::write(&real, "old").unwrap();
        symlink("dotfiles/aws", &link).unwrap();
        let file = AwsConfigFile::read(&link).unwrap();
        assert_eq!(file.replace(b"new").unwrap(), Replaced::Done);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"new");

        let file = AwsConfigFile::read(&link).unwrap();
        fs::remove_file(&link).unwrap();
        fs::write(&link, "elsewhere").unwrap();
        assert_eq!(file.replace(b"newer").unwrap(), Replaced::ChangedMeanwhile);

        fs::remove_file(&link).unwrap();
        symlink("nowhere", &link).unwrap();
        assert!(matches!(AwsConfigFile::read(&link), Err(FileError::Dangling { .. })));
    }

    #[test]
    fn other_names_of_the_file_are_noticed() {
        let scratch = Scratch::new();
        let path = scratch.path().join("config");
        fs::write(&path, "old").unwrap();
        fs::hard_link(&path, scratch.path().join("other")).unwrap();
        assert!(AwsConfigFile::read(&path).unwrap().has_other_names());
    }

    #[test]
    fn what_is_not_a_file_is_refused_without_waiting() {
        let scratch = Scratch::new();
        let pipe = scratch.path().join("pipe");
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for path in [scratch.path(), &pipe, Path::new("/dev/null")] {
            assert!(matches!(AwsConfigFile::read(path), Err(FileError::NotAFile { .. })), "{}", path.display());
        }
        assert!(matches!(AwsConfigFile::read(&pipe.join("x")), Err(FileError::Io { .. })));
    }

    #[test]
    fn a_read_only_file_stays_as_it_is() {
        let scratch = Scratch::new();
        let path = scratch.path().join("config");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        let error = AwsConfigFile::read(&path).unwrap().replace(b"new").unwrap_err();
        assert!(matches!(error, FileError::ReadOnly { .. }) && error.hint().unwrap().contains("chmod u+w"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(only(scratch.path()), ["config"]);
    }
}
