//! Where things are on this machine, and whether that place may be trusted.
//!
//! Owns: the rules for home, state directory, settings file and socket, and the one check of a private directory that
//! agent and clients share. Refuses to know what lies in those places. Invariants: a path comes from the environment
//! handed in or from an argument, never from a user database; a directory that others can enter is refused, not
//! repaired behind the user's back; a path too long for a socket is an error, not a truncation.

use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::env::Env;
use crate::exit::Exit;
use crate::untrusted::shown;

/// The path of the agent's socket: absolute, and short enough to bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketPath {
    path: PathBuf,
    explicit: bool,
}

impl SocketPath {
    /// The socket for this environment; `argument` is the value of `--socket`.
    ///
    /// # Errors
    /// There is no home directory to fall back to, or the path is relative or too long.
    pub fn find(env: &Env, argument: Option<&Path>) -> Result<Self, PathError> {
        Self::find_on(Platform::HERE, env, argument, Path::new("/run/user"))
    }

    /// A path that somebody named: by option, by variable, or in a test.
    ///
    /// # Errors
    /// The path is relative or too long.
    pub fn explicit(path: &Path) -> Result<Self, PathError> {
        Self::checked(absolute("the socket", path)?, true)
    }

    /// A path that another part of the agent found; its owner is held to the stricter rule.
    ///
    /// # Errors
    /// The path is relative or too long.
    pub fn implied(path: &Path) -> Result<Self, PathError> {
        Self::checked(absolute("the socket", path)?, false)
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was named by option or variable. Only then may a service manager of root's be listening.
    #[must_use]
    pub const fn is_explicit(&self) -> bool {
        self.explicit
    }

    /// The directory it lies in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    fn find_on(platform: Platform, env: &Env, argument: Option<&Path>, users: &Path) -> Result<Self, PathError> {
        if let Some(path) = argument {
            return Self::explicit(path);
        }
        if let Some(path) = env.get_os("SSO_AGENT_SOCK") {
            return Self::checked(absolute("SSO_AGENT_SOCK", Path::new(path))?, true);
        }
        let directory = match platform {
            Platform::Linux => runtime_directory(env, users),
            Platform::Mac => None,
        };
        let path = match directory {
            Some(directory) => directory.join(NAME).join(SOCKET),
            None => state_dir_on(platform, env)?.join("run").join(SOCKET),
        };
        Self::checked(path, false)
    }

    fn checked(path: PathBuf, explicit: bool) -> Result<Self, PathError> {
        if path.file_name().is_none() {
            return Err(PathError::NoFileName { path });
        }
        if path.as_os_str().len() > MOST_SOCKET_BYTES {
            return Err(PathError::TooLong { path });
        }
        Ok(Self { path, explicit })
    }
}

/// The home directory: `$HOME`, nothing else.
///
/// # Errors
/// It is not set or not absolute.
pub fn home(env: &Env) -> Result<PathBuf, PathError> {
    let home = env.get_os("HOME").ok_or(PathError::NoHome)?;
    absolute("HOME", Path::new(home))
}

/// Where the agent keeps what survives a restart.
///
/// # Errors
/// There is no home directory, or `SSO_AGENT_STATE_DIR` is relative.
pub fn state_dir(env: &Env) -> Result<PathBuf, PathError> {
    state_dir_on(Platform::HERE, env)
}

/// Where what ends with the user's session is kept, if the system has such a place.
#[must_use]
pub fn runtime_dir(env: &Env) -> Option<PathBuf> {
    match Platform::HERE {
        Platform::Linux => runtime_directory(env, Path::new("/run/user")).map(|directory| directory.join(NAME)),
        Platform::Mac => None,
    }
}

/// Checks that a directory is ours alone: not a symbolic link, owned by our effective user, closed to everybody else.
///
/// # Errors
/// It is missing, not a directory, somebody else's, or open to others.
pub fn check_private_directory(path: &Path) -> Result<(), PathError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let directory = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
            return Err(PathError::NotADirectory { path: path.to_owned() });
        }
        Err(error) => return Err(PathError::io("open", path, error)),
    };
    let stat = rustix::fs::fstat(&directory).map_err(|error| PathError::io("inspect", path, error))?;
    if stat.st_uid != our_uid() {
        return Err(PathError::NotOurs { path: path.to_owned(), owner: stat.st_uid });
    }
    #[expect(clippy::useless_conversion, reason = "the mode is a u16 on macOS")]
    let mode = u32::from(stat.st_mode) & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PathError::OpenToOthers { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Makes a directory with mode 0700, whatever the umask, or checks the one that is there.
///
/// # Errors
/// It cannot be made, or [`check_private_directory`] refuses the one that is there.
pub fn make_private_directory(path: &Path) -> Result<(), PathError> {
    if let Some(parent) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(|source| PathError::Io { doing: "make", path: parent.to_owned(), source })?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
            .map_err(|source| PathError::Io { doing: "set the mode of", path: path.to_owned(), source })?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(PathError::Io { doing: "make", path: path.to_owned(), source }),
    }
    check_private_directory(path)
}

/// Who we are to the file system and to peers.
#[must_use]
pub fn our_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A path as one word of a shell command that a person is advised to type.
#[must_use]
pub fn shell_word(path: &Path) -> String {
    let text = shown(&path.to_string_lossy()).to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./=,@+:-".contains(&byte);
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Why a path cannot be used.
#[derive(Debug)]
pub enum PathError {
    /// `HOME` is not set.
    NoHome,
    /// A path that must be absolute is not.
    Relative {
        /// Which: a variable's name or what it is for.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// A socket path that ends in a slash or in `..`.
    NoFileName {
        /// The path.
        path: PathBuf,
    },
    /// A path too long for a socket.
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// Something else, or a symbolic link, is where a directory should be.
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// Something else is where the socket should be.
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// It belongs to another user.
    NotOurs {
        /// The path.
        path: PathBuf,
        /// The owner.
        owner: u32,
    },
    /// Others can enter or write the directory.
    OpenToOthers {
        /// The path.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A system call failed.
    Io {
        /// What was being done: "open", "make", ...
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl PathError {
    /// A failed system call.
    pub(crate) fn io(doing: &'static str, path: &Path, error: impl Into<io::Error>) -> Self {
        Self::Io { doing, path: path.to_owned(), source: error.into() }
    }

    /// Whether the path simply is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// The command or edit that helps.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoHome => Some("set HOME to your home directory".to_owned()),
            Self::Relative { what, .. } => Some(format!("name {what} from / on")),
            Self::NoFileName { .. } => Some("name the socket itself, not its directory".to_owned()),
            Self::TooLong { .. } => Some("name a shorter one with SSO_AGENT_SOCK or --socket".to_owned()),
            Self::NotADirectory { path } | Self::NotASocket { path } => {
                Some(format!("look what it is, and move it away: mv {0} {0}.old", shell_word(path)))
            }
            // Places of the system must not be bent to fit us, whoever asks.
            Self::NotOurs { owner: 0, path } if !path.parent().is_some_and(is_our_directory) => {
                Some(OWN_DIRECTORY.to_owned())
            }
            Self::OpenToOthers { path, mode }
                if mode & STICKY != 0 || path.parent().is_none_or(|parent| parent.parent().is_none()) =>
            {
                Some(OWN_DIRECTORY.to_owned())
            }
            Self::NotOurs { path, .. } => {
                Some(format!("if it should be yours: sudo chown {} {}", our_uid(), shell_word(path)))
            }
            Self::OpenToOthers { path, .. } => Some(format!("chmod 700 {}", shell_word(path))),
            Self::Io { .. } => None,
        }
    }

    /// The exit code of a command that ends with it.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::NoHome | Self::Relative { .. } | Self::NoFileName { .. } | Self::TooLong { .. } => {
                Exit::Configuration
            }
            _ => Exit::NoAgent,
        }
    }
}

/// One line: what is wrong, then what helps.
impl fmt::Display for PathError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &Path| shown(&path.to_string_lossy()).to_string();
        match self {
            Self::NoHome => formatter.write_str("HOME is not set"),
            Self::Relative { what, path } => write!(formatter, "{what} is not an absolute path: {}", name(path)),
            Self::NoFileName { path } => write!(formatter, "the socket path {} names no file", name(path)),
            Self::TooLong { path } => write!(
                formatter,
                "the socket path {} has {} bytes, the most is {MOST_SOCKET_BYTES}",
                name(path),
                path.as_os_str().as_bytes().len()
            ),
            Self::NotADirectory { path } => write!(formatter, "{} is not a directory", name(path)),
            Self::NotASocket { path } => write!(formatter, "{} is not a socket", name(path)),
            Self::NotOurs { path, owner } => {
                write!(formatter, "{} belongs to user {owner}, not to user {}", name(path), our_uid())
            }
            Self::OpenToOthers { path, mode } => {
                write!(formatter, "{} is open to other users (mode {mode:04o})", name(path))
            }
            Self::Io { doing, path, source } => write!(formatter, "cannot {doing} {}: {source}", name(path)),
        }?;
        match self.hint() {
            Some(hint) => write!(formatter, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PathError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A value, so that the rules of both platforms are tested on either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Platform {
    Linux,
    Mac,
}

impl Platform {
    const HERE: Self = if cfg!(target_os = "macos") { Self::Mac } else { Self::Linux };
}

fn state_dir_on(platform: Platform, env: &Env) -> Result<PathBuf, PathError> {
    if let Some(path) = env.get_os("SSO_AGENT_STATE_DIR") {
        return absolute("SSO_AGENT_STATE_DIR", Path::new(path));
    }
    let base = match platform {
        Platform::Linux => match base_directory(env, "XDG_STATE_HOME") {
            Some(base) => base,
            None => home(env)?.join(".local/state"),
        },
        Platform::Mac => home(env)?.join("Library/Application Support"),
    };
    Ok(base.join(NAME))
}

/// A base directory variable; a relative one is to be ignored, says their specification.
fn base_directory(env: &Env, variable: &str) -> Option<PathBuf> {
    env.get_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The user's runtime directory. One that is somebody else's (left over in the environment after `su`) counts as none.
fn runtime_directory(env: &Env, users: &Path) -> Option<PathBuf> {
    base_directory(env, "XDG_RUNTIME_DIR")
        .filter(|path| is_our_directory(path))
        .or_else(|| Some(users.join(our_uid().to_string())).filter(|path| is_our_directory(path)))
}

fn is_our_directory(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == our_uid())
}

fn absolute(what: &'static str, path: &Path) -> Result<PathBuf, PathError> {
    if path.is_absolute() { Ok(path.to_owned()) } else { Err(PathError::Relative { what, path: path.to_owned() }) }
}

const OWN_DIRECTORY: &str = "use a directory of your own with mode 0700";
const STICKY: u32 = 0o1000;
const NAME: &str = "sso-agent";
const SOCKET: &str = "agent.sock";
/// The agent binds a temporary name beside the socket, `.` and up to six hexadecimal digits longer.
pub(crate) const TEMPORARY_SUFFIX_BYTES: usize = 7;
/// `sun_path` less the terminating zero, less room for the temporary name: what a client accepts, the agent can bind.
pub const MOST_SOCKET_BYTES: usize = if cfg!(target_os = "macos") { 103 } else { 107 } - TEMPORARY_SUFFIX_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn env(variables: &[(&str, &str)]) -> Env {
        Env::from_iter(variables.iter().copied())
    }

    #[test]
    fn the_socket_is_in_the_runtime_directory_if_that_is_ours() {
        let dir = Scratch::new();
        let runtime = dir.path().to_str().unwrap();
        let env = env(&[("HOME", "/home/u"), ("XDG_RUNTIME_DIR", runtime)]);
        let socket = SocketPath::find_on(Platform::Linux, &env, None, Path::new("/nowhere")).unwrap();
        assert_eq!(socket.path(), dir.path().join("sso-agent/agent.sock"));
        assert!(!socket.is_explicit());
    }

    #[test]
    fn without_the_variable_the_usual_runtime_directory_is_used_if_it_is_ours() {
        let dir = Scratch::new();
        std::fs::create_dir(dir.path().join(our_uid().to_string())).unwrap();
        let env = env(&[("HOME", "/home/u"), ("XDG_RUNTIME_DIR", "/nonexistent")]);
        let socket = SocketPath::find_on(Platform::Linux, &env, None, dir.path()).unwrap();
        assert_eq!(socket.path(), dir.path().join(our_uid().to_string()).join("sso-agent/agent.sock"));
    }

    #[test]
    fn without_a_runtime_directory_the_socket_is_in_the_state_directory() {
        let linux = env(&[("HOME", "/home/u"), ("XDG_RUNTIME_DIR", "relative")]);
        let socket = SocketPath::find_on(Platform::Linux, &linux, None, Path::new("/nowhere")).unwrap();
        assert_eq!(socket.path(), Path::new("/home/u/.local/state/sso-agent/run/agent.sock"));
        let mac = env(&[("HOME", "/Users/u"), ("XDG_RUNTIME_DIR", "/tmp"), ("XDG_STATE_HOME", "/x")]);
        let socket = SocketPath::find_on(Platform::Mac, &mac, None, Path::new("/nowhere")).unwrap();
        assert_eq!(socket.path(), Path::new("/Users/u/Library/Application Support/sso-agent/run/agent.sock"));
    }

    #[test]
    fn somebody_elses_runtime_directory_counts_as_none() {
        // The root directory is root's; the one user who owns it has nothing to fear from it.
        if our_uid() != 0 {
            let env = env(&[("HOME", "/home/u"), ("XDG_RUNTIME_DIR", "/")]);
            assert_eq!(runtime_directory(&env, Path::new("/nowhere")), None);
        }
        let missing = env(&[("XDG_RUNTIME_DIR", "/nonexistent/run")]);
        assert_eq!(runtime_directory(&missing, Path::new("/nowhere")), None);
    }

    #[test]
    fn a_named_socket_wins_and_is_remembered_as_named() {
        let env = env(&[("SSO_AGENT_SOCK", "/a/b")]);
        let by_variable = SocketPath::find(&env, None).unwrap();
        assert_eq!((by_variable.path(), by_variable.is_explicit()), (Path::new("/a/b"), true));
        let by_option = SocketPath::find(&env, Some(Path::new("/c/d"))).unwrap();
        assert_eq!((by_option.path(), by_option.is_explicit()), (Path::new("/c/d"), true));
        assert_eq!(by_option.directory(), Path::new("/c"));
    }

    #[test]
    fn a_path_that_cannot_be_bound_is_an_error_and_not_a_truncation() {
        let longest = format!("/{}", "s".repeat(MOST_SOCKET_BYTES - 1));
        assert!(SocketPath::explicit(Path::new(&longest)).is_ok());
        let error = SocketPath::explicit(Path::new(&format!("{longest}s"))).unwrap_err();
        assert!(matches!(error, PathError::TooLong { .. }));
        assert!(error.to_string().contains("SSO_AGENT_SOCK"), "{error}");
        assert!(matches!(SocketPath::explicit(Path::new("a/b")), Err(PathError::Relative { .. })));
        assert!(matches!(SocketPath::explicit(Path::new("/")), Err(PathError::NoFileName { .. })));
    }

    #[test]
    fn home_comes_from_the_environment_only() {
        assert!(matches!(home(&env(&[])), Err(PathError::NoHome)));
        assert!(matches!(home(&env(&[("HOME", "u")])), Err(PathError::Relative { .. })));
        assert_eq!(state_dir(&env(&[("SSO_AGENT_STATE_DIR", "/s")])).unwrap(), Path::new("/s"));
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused_with_the_command_that_helps() {
        let dir = Scratch::new();
        let open = dir.path().join("it's open");
        make_private_directory(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = make_private_directory(&open).unwrap_err();
        assert!(matches!(error, PathError::OpenToOthers { mode: 0o755, .. }));
        assert!(error.to_string().contains("chmod 700 '") && error.to_string().contains(r"it'\''s open'"), "{error}");
    }

    #[test]
    fn nobody_is_advised_to_change_a_directory_of_the_system() {
        let open = |path: &str, mode| PathError::OpenToOthers { path: path.into(), mode };
        let roots = |path: &str| PathError::NotOurs { path: path.into(), owner: 0 };
        for error in [open("/tmp", 0o1777), open("/var/tmp", 0o1777), open("/", 0o755), open("/etc", 0o755)] {
            assert_eq!(error.hint().as_deref(), Some(OWN_DIRECTORY), "{error}");
        }
        if our_uid() != 0 {
            assert_eq!(roots("/var/run").hint().as_deref(), Some(OWN_DIRECTORY));
        }
        let dir = Scratch::new();
        let made_by_sudo = roots(dir.path().join("sso-agent").to_str().unwrap());
        assert!(made_by_sudo.hint().unwrap().contains("sudo chown"), "{made_by_sudo}");
    }

    #[test]
    fn a_link_to_a_directory_is_not_a_private_directory() {
        let dir = Scratch::new();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(matches!(check_private_directory(&link), Err(PathError::NotADirectory { .. })));
        assert!(check_private_directory(&dir.path().join("none")).unwrap_err().is_missing());
    }

    #[test]
    fn directories_are_made_private() {
        let dir = Scratch::new();
        let path = dir.path().join("a/b");
        make_private_directory(&path).unwrap();
        for made in [path.as_path(), path.parent().unwrap()] {
            assert_eq!(std::fs::metadata(made).unwrap().mode() & 0o777, 0o700);
        }
    }
}
