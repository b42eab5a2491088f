//! The real cache: `~/.aws/sso/cache`. No variable moves it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::encode::encode;
use super::{Cache, CacheError, CacheOrder, CacheOutcome, CacheReport, CachedSet, Found, Mark, Unusable, names, parse};
use crate::ids::SessionName;
use crate::secret::SecretBytes;

/// The cache below a home directory.
#[derive(Debug, Clone)]
pub struct DiskCache {
    directory: Option<PathBuf>,
}

impl DiskCache {
    /// The cache of this home; without a home nothing is found, and nothing can be written.
    #[must_use]
    pub fn below(home: Option<&Path>) -> Self {
        Self { directory: home.map(|home| home.join(".aws/sso/cache")) }
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    fn look(&self, session: &SessionName, name: &str, scopes: &[String]) -> Found {
        let Some(directory) = &self.directory else { return Found::Missing };
        let bytes = match read(&directory.join(name)) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Found::Missing,
            Err(unusable) => return Found::Unusable(unusable),
        };
        parse::token(bytes.expose(), |head| {
            // A profile without a session goes by its start URL here, and by nothing there.
            let session = Some(session.as_str()).filter(|name| *name != head.start_url);
            // The CLI sends no scopes where none are configured, and says so in the name.
            let configured = (!scopes.is_empty()).then_some(scopes);
            [configured, None].into_iter().find_map(|scopes| {
                let name = names::registration_file(&head.start_url, &head.region, scopes, session);
                parse::registration(read(&directory.join(name)).ok()??.expose())
            })
        })
    }

    /// Whether it was replaced; not, if another set lies there than those that may go.
    fn write(&self, name: &str, set: &CachedSet, over: &[Mark]) -> Result<bool, CacheError> {
        let directory = self.directory.as_deref().ok_or(CacheError::NoHome)?;
        make(directory)?;
        let opened = open_directory(directory)?;
        check_target(&opened, directory, name)?;
        let temporary = temporary_name(name);
        let path = directory.join(&temporary);
        let failed = |doing, source: io::Error| CacheError::Io { doing, path: path.clone(), source };
        let written = create(&opened, &temporary)
            .map_err(|error| failed("create", error))
            .and_then(|file| fill(file, encode(set).expose()).map_err(|error| failed("write", error)))
            .and_then(|()| {
                // As late as can be: what another program has just refreshed is worth more than what we have.
                if read(&directory.join(name)).ok().and_then(mark_of).is_some_and(|mark| !over.contains(&mark)) {
                    return Ok(false);
                }
                let renamed = rustix::fs::renameat(&opened, temporary.as_str(), &opened, name);
                renamed.map(|()| true).map_err(|error| failed("rename", error.into()))
            });
        if !matches!(written, Ok(true)) {
            // It holds a secret, or part of one.
            let _ = rustix::fs::unlinkat(&opened, temporary.as_str(), AtFlags::empty());
        }
        if !written? {
            return Ok(false);
        }
        // Where that fails, a power failure may bring the old one back: it is written again at the next change.
        let _ = rustix::fs::fsync(&opened);
        Ok(true)
    }

    fn remove(&self, name: &str, ours: &[Mark]) -> Result<(), CacheError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let opened = match open_directory(directory) {
            Ok(opened) => opened,
            Err(CacheError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        // What was left by a write that was cut off.
        let _ = rustix::fs::unlinkat(&opened, temporary_name(name).as_str(), AtFlags::empty());
        let path = directory.join(name);
        // Others may have been let in since: it is ours all the same, and goes.
        let is_ours = match read_unless(&path, 0) {
            Ok(bytes) => mark_of(bytes).is_some_and(|mark| ours.contains(&mark)),
            Err(Unusable::Unreadable(error)) => {
                return Err(CacheError::Io { doing: "read", path, source: io::Error::other(error) });
            }
            Err(_) => false,
        };
        if is_ours {
            match rustix::fs::unlinkat(&opened, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(CacheError::Io { doing: "remove", path, source: error.into() }),
            }
            let _ = rustix::fs::fsync(&opened);
        }
        Ok(())
    }
}

impl Cache for DiskCache {
    fn carry_out(&mut self, session: &SessionName, order: CacheOrder) -> CacheReport {
        let name = names::token_file(session.as_str());
        let outcome = match order {
            CacheOrder::Look { scopes } => CacheOutcome::Looked(self.look(session, &name, &scopes)),
            CacheOrder::Write { set, over } => match self.write(&name, &set, &over) {
                Ok(false) => CacheOutcome::Overtaken,
                written => CacheOutcome::Written(written.map(drop)),
            },
            CacheOrder::Remove(ours) => CacheOutcome::Removed(self.remove(&name, &ours)),
        };
        let path = self.directory.as_ref().map_or_else(|| name.clone().into(), |directory| directory.join(&name));
        CacheReport { path, outcome }
    }
}

/// Which set a file holds, if it is one.
fn mark_of(file: Option<SecretBytes>) -> Option<Mark> {
    match parse::token(file?.expose(), |_| None) {
        Found::Set(set) => Some(Mark::of(&set.access_token)),
        _ => None,
    }
}

/// A file's content, if it may be believed; `None` if it is not there.
fn read(path: &Path) -> Result<Option<SecretBytes>, Unusable> {
    read_unless(path, 0o022)
}

/// The same, unless it grants one of these permissions.
fn read_unless(path: &Path, forbidden: u32) -> Result<Option<SecretBytes>, Unusable> {
    let unreadable = |error: io::Error| Unusable::Unreadable(error.to_string());
    // Not blocking, for a pipe would keep us for ever.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let descriptor = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Ok(descriptor) => descriptor,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(Errno::LOOP | Errno::NXIO) => return Err(Unusable::NotAFile),
        Err(error) => return Err(unreadable(error.into())),
    };
    let stat = rustix::fs::fstat(&descriptor).map_err(|error| unreadable(error.into()))?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(Unusable::NotAFile);
    }
    if stat.st_uid != crate::paths::our_uid() {
        return Err(Unusable::NotOurs { owner: stat.st_uid });
    }
    let mode = permission_bits(&stat);
    if mode & forbidden != 0 {
        return Err(Unusable::Writable { mode });
    }
    // One buffer that never grows: an outgrown one would be a copy of secrets that nobody wipes.
    let mut bytes = Vec::with_capacity(LARGEST + 1);
    let took = File::from(descriptor).take(LARGEST as u64 + 1).read_to_end(&mut bytes);
    let bytes = SecretBytes::new(bytes);
    match took {
        Ok(length) if length > LARGEST => Err(Unusable::TooLarge),
        Ok(_) => Ok(Some(bytes)),
        Err(error) => Err(unreadable(error)),
    }
}

/// Makes the directory with the parents it lacks, for its owner only. What is there stays as it is.
fn make(path: &Path) -> Result<(), CacheError> {
    if path.metadata().is_ok() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make(parent)?;
    }
    match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(CacheError::Io { doing: "create", path: path.to_owned(), source: error.into() }),
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, CacheError> {
    let io = |doing, error: Errno| CacheError::Io { doing, path: path.to_owned(), source: error.into() };
    // A link to a directory of one's own is for its owner to make.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| io("open", error))?;
    let stat = rustix::fs::fstat(&opened).map_err(|error| io("check", error))?;
    if stat.st_uid != crate::paths::our_uid() {
        return Err(CacheError::NotOurs { path: path.to_owned(), owner: stat.st_uid });
    }
    let mode = permission_bits(&stat);
    if mode & 0o022 != 0 {
        return Err(CacheError::Writable { path: path.to_owned(), mode });
    }
    Ok(opened)
}

/// Whether what the file would replace may be replaced: nothing, a file of ours, a link.
fn check_target(directory: &OwnedFd, path: &Path, name: &str) -> Result<(), CacheError> {
    let Ok(stat) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
    let kind = FileType::from_raw_mode(stat.st_mode);
    if (kind.is_file() || kind.is_symlink()) && stat.st_uid == crate::paths::our_uid() {
        return Ok(());
    }
    Err(CacheError::Occupied { path: path.join(name) })
}

fn create(directory: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let open = || rustix::fs::openat(directory.as_fd(), name, flags, mode);
    let file = match open() {
        Err(Errno::EXIST) => {
            // Of a write that was cut off.
            rustix::fs::unlinkat(directory.as_fd(), name, AtFlags::empty())?;
            open()?
        }
        opened => opened?,
    };
    // A umask can only take away; it must not take away from the owner.
    rustix::fs::fchmod(&file, mode)?;
    Ok(file.into())
}

fn fill(mut file: File, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    file.sync_all()
}

/// Always the same for the same file, so that what a killed agent leaves is found. Not `.json`: nobody else reads it.
fn temporary_name(name: &str) -> String {
    format!(".{name}.sso-agent")
}

#[cfg_attr(target_os = "linux", expect(clippy::useless_conversion, reason = "16 bits wide elsewhere"))]
fn permission_bits(stat: &Stat) -> u32 {
    u32::from(stat.st_mode) & 0o7777
}

/// Of a file that is read.
const LARGEST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::{Material, Renewal};
    use super::*;
    use crate::scratch::Scratch;
    use crate::secret::Secret;
    use crate::time::Timestamp;

    fn set(access_token: &str) -> Box<CachedSet> {
        Box::new(CachedSet {
            start_url: "https://corp.awsapps.com/start".into(),
            region: "eu-west-1".into(),
            access_token: Secret::new(access_token.into()),
            expires_at: Timestamp::from_secs(1_795_363_232),
            renewal: Renewal::Whole(Box::new(Material {
                refresh_token: Secret::new("RT".into()),
                client_id: "CID".into(),
                client_secret: Secret::new("CS".into()),
                registration_expires_at: Timestamp::from_secs(1_800_000_000),
            })),
        })
    }

    struct Home {
        scratch: Scratch,
        cache: DiskCache,
    }

    impl Home {
        fn new() -> Self {
            let scratch = Scratch::new();
            let cache = DiskCache::below(Some(scratch.path()));
            Self { scratch, cache }
        }

        fn directory(&self) -> PathBuf {
            self.scratch.path().join(".aws/sso/cache")
        }

        fn file(&self) -> PathBuf {
            self.directory().join("ee0bfd2552fbd840c02cc48b6e823320543c450f.json")
        }

        fn order(&mut self, order: CacheOrder) -> CacheOutcome {
            let report = self.cache.carry_out(&"corp".parse().unwrap(), order);
            assert_eq!(report.path, self.file());
            report.outcome
        }

        fn write(&mut self, access_token: &str) -> Result<(), CacheError> {
            let over = vec![Mark::of(&set("AT").access_token)];
            match self.order(CacheOrder::Write { set: set(access_token), over }) {
                CacheOutcome::Written(written) => written,
                other => panic!("{other:?}"),
            }
        }

        fn look(&mut self) -> Found {
            match self.order(CacheOrder::Look { scopes: Vec::new() }) {
                CacheOutcome::Looked(found) => found,
                other => panic!("{other:?}"),
            }
        }

        fn unusable(&mut self) -> Unusable {
            match self.look() {
                Found::Unusable(unusable) => unusable,
                other => panic!("{other:?}"),
            }
        }
    }

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_written_is_read_back_and_only_the_owner_can() {
        let mut home = Home::new();
        assert!(matches!(home.look(), Found::Missing));
        home.write("AT").unwrap();
        assert!(matches!(home.look(), Found::Set(found) if found == set("AT")));
        assert_eq!((mode(&home.file()), mode(&home.directory())), (0o600, 0o700));
        let names: Vec<_> = std::fs::read_dir(home.directory()).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing but the file: {names:?}");
    }

    #[test]
    fn what_another_program_has_written_since_it_was_looked_at_stays() {
        let mut home = Home::new();
        home.write("AT").unwrap();
        home.write("AT-2").unwrap();
        let over = vec![Mark::of(&set("AT").access_token)];
        let outcome = home.order(CacheOrder::Write { set: set("AT-3"), over });
        assert!(matches!(outcome, CacheOutcome::Overtaken), "{outcome:?}");
        assert!(matches!(home.look(), Found::Set(found) if found == set("AT-2")));
        assert_eq!(std::fs::read_dir(home.directory()).unwrap().count(), 1, "no secret is left behind");
    }

    #[test]
    fn a_directory_that_is_there_keeps_its_mode_and_one_that_others_can_write_to_is_refused() {
        let mut home = Home::new();
        std::fs::create_dir_all(home.directory()).unwrap();
        for bits in [0o755, 0o500] {
            std::fs::set_permissions(home.directory(), PermissionsExt::from_mode(bits)).unwrap();
            let _ = home.write("AT");
            assert_eq!(mode(&home.directory()), bits);
        }
        std::fs::set_permissions(home.directory(), PermissionsExt::from_mode(0o775)).unwrap();
        let error = home.write("AT2").unwrap_err();
        assert!(matches!(error, CacheError::Writable { mode: 0o775, .. }), "{error}");
        assert!(error.hint().starts_with("chmod go-w "), "{}", error.hint());
    }

    #[test]
    fn a_file_that_others_can_write_to_a_link_a_pipe_and_a_large_one_are_not_believed() {
        let mut home = Home::new();
        home.write("AT").unwrap();
        for bits in [0o620, 0o602, 0o666] {
            std::fs::set_permissions(home.file(), PermissionsExt::from_mode(bits)).unwrap();
            assert_eq!(home.unusable(), Unusable::Writable { mode: bits });
        }
        std::fs::write(home.file(), vec![b' '; LARGEST + 1]).unwrap();
        std::fs::set_permissions(home.file(), PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(home.unusable(), Unusable::TooLarge);
        std::fs::remove_file(home.file()).unwrap();
        rustix::fs::mknodat(CWD, home.file(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(home.unusable(), Unusable::NotAFile);
        assert!(matches!(home.write("AT"), Err(CacheError::Occupied { .. })));
        std::fs::remove_file(home.file()).unwrap();
        let elsewhere = home.scratch.path().join("elsewhere");
        std::fs::write(&elsewhere, "untouched").unwrap();
        symlink(&elsewhere, home.file()).unwrap();
        assert_eq!(home.unusable(), Unusable::NotAFile);
        home.write("AT").unwrap();
        assert!(matches!(home.look(), Found::Set(_)), "the link is replaced, not followed");
        assert_eq!(std::fs::read(elsewhere).unwrap(), b"untouched");
    }

    #[test]
    fn what_a_killed_agent_left_behind_is_replaced_and_removed() {
        let mut home = Home::new();
        home.write("AT").unwrap();
        let left = home.directory().join(temporary_name("ee0bfd2552fbd840c02cc48b6e823320543c450f.json"));
        std::fs::write(&left, "half").unwrap();
        home.write("AT2").unwrap();
        assert!(!left.exists());
        std::fs::write(&left, "half").unwrap();
        assert!(matches!(home.order(CacheOrder::Remove(Vec::new())), CacheOutcome::Removed(Ok(()))));
        assert!(!left.exists() && home.file().exists());
    }

    #[test]
    fn only_a_file_of_ours_is_removed() {
        let mut home = Home::new();
        home.write("AT").unwrap();
        let of = |token: &str| Mark::of(&Secret::new(token.to_owned()));
        home.order(CacheOrder::Remove(vec![of("another")]));
        assert!(home.file().exists());
        std::fs::set_permissions(home.file(), PermissionsExt::from_mode(0o666)).unwrap();
        home.order(CacheOrder::Remove(vec![of("another"), of("AT")]));
        assert!(!home.file().exists(), "whoever else may write to it by now");
        assert!(matches!(home.order(CacheOrder::Remove(vec![of("AT")])), CacheOutcome::Removed(Ok(()))));
    }

    #[test]
    fn a_home_that_is_not_there_is_said() {
        let mut cache = DiskCache::below(None);
        let report = cache.carry_out(&"corp".parse().unwrap(), CacheOrder::Write { set: set("AT"), over: Vec::new() });
        assert!(matches!(report.outcome, CacheOutcome::Written(Err(CacheError::NoHome))));
    }
}
