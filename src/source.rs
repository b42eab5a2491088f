//! The only reader of configuration files.
//!
//! Owns: where the files are and how they are read. Refuses to know what is in them, except that it hands on settings
//! already checked. Invariant: a missing file is an empty one; any other trouble is an error that names the path, so
//! that a file that cannot be read is never taken for one that says nothing.

mod tracked;
mod way;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

pub use self::tracked::{Doubt, Look, Tracked};
pub use self::way::{Directory, Way};
use crate::aws_config::{SourceFile, Sources};
use crate::env::Env;
use crate::settings::{Settings, SettingsError};
use crate::untrusted::shown;

/// Where the configuration is read from, whenever it is read.
pub trait Source {
    /// Reads all files again.
    ///
    /// # Errors
    /// A file that is there but cannot be read, or settings that are wrong.
    fn read(&self) -> Result<(Sources, Settings), SourceError>;
}

/// The files of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locations {
    /// The AWS config file.
    pub aws_config: PathBuf,
    /// The AWS credentials file.
    pub aws_credentials: PathBuf,
    /// `config.toml`.
    pub settings: PathBuf,
    /// Whether somebody named that file. One that was named and is not there is a mistake: with the defaults in its
    /// place, secrets that were to stay in memory would be written to disk.
    pub settings_named: bool,
}

impl Locations {
    /// Where the files are, by the environment; `settings` is the path given with `--config`.
    ///
    /// # Errors
    /// [`SourceError::NoHome`] if a place depends on the home directory and `HOME` does not name one.
    pub fn from_env(env: &Env, settings: Option<&Path>) -> Result<Self, SourceError> {
        let home = || absolute(env, "HOME").ok_or(SourceError::NoHome);
        let aws = |variable, name| match env.get_os(variable) {
            Some(path) => Ok(expanded(path, env)),
            None => home().map(|home| home.join(".aws").join(name)),
        };
        let named = settings.map(Path::as_os_str).or(env.get_os("SSO_AGENT_CONFIG"));
        let settings = match (named, xdg_config(env)) {
            (Some(path), _) => PathBuf::from(path),
            (None, Some(directory)) => directory.join(SETTINGS),
            (None, None) => home()?.join(".config").join(SETTINGS),
        };
        Ok(Self {
            aws_config: aws("AWS_CONFIG_FILE", "config")?,
            aws_credentials: aws("AWS_SHARED_CREDENTIALS_FILE", "credentials")?,
            settings,
            settings_named: named.is_some(),
        })
    }
}

impl Locations {
    /// Reads the agent's own settings, and nothing else.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn settings(&self) -> Result<Settings, SourceError> {
        match gather_settings(&self.settings, self.settings_named)? {
            Some(bytes) => read_settings(&self.settings, bytes),
            None => Ok(Settings::default()),
        }
    }
}

impl Source for Locations {
    fn read(&self) -> Result<(Sources, Settings), SourceError> {
        read(self)
    }
}

/// Reads the files.
///
/// # Errors
/// See [`SourceError`].
pub fn read(locations: &Locations) -> Result<(Sources, Settings), SourceError> {
    gather(locations)?.understood(locations)
}

/// What the files hold; nothing for those that are not there.
#[derive(Debug)]
struct Gathered {
    aws_config: Option<Vec<u8>>,
    aws_credentials: Option<Vec<u8>>,
    settings: Option<Vec<u8>>,
}

fn gather(locations: &Locations) -> Result<Gathered, SourceError> {
    let aws = |path: &Path| open(path)?.map(|file| content(path, file)).transpose();
    Ok(Gathered {
        aws_config: aws(&locations.aws_config)?,
        aws_credentials: aws(&locations.aws_credentials)?,
        settings: gather_settings(&locations.settings, locations.settings_named)?,
    })
}

fn gather_settings(path: &Path, named: bool) -> Result<Option<Vec<u8>>, SourceError> {
    match open(path)? {
        Some(file) => {
            check_owner(path, &file)?;
            Ok(Some(content(path, file)?))
        }
        None if named => Err(SourceError::Read { path: path.to_owned(), source: rustix::io::Errno::NOENT.into() }),
        None => Ok(None),
    }
}

impl Gathered {
    fn understood(self, locations: &Locations) -> Result<(Sources, Settings), SourceError> {
        let file = |path: &Path, bytes| SourceFile { path: path.to_owned(), bytes };
        let sources = Sources {
            config: self.aws_config.map(|bytes| file(&locations.aws_config, bytes)),
            credentials: self.aws_credentials.map(|bytes| file(&locations.aws_credentials, bytes)),
        };
        let settings = match self.settings {
            Some(bytes) => read_settings(&locations.settings, bytes)?,
            None => Settings::default(),
        };
        Ok((sources, settings))
    }
}

fn read_settings(path: &Path, bytes: Vec<u8>) -> Result<Settings, SourceError> {
    let text = String::from_utf8(bytes).map_err(|_| SourceError::NotText { path: path.to_owned() })?;
    match Settings::parse(&text) {
        Ok(settings) => Ok(Settings { file: path.to_owned(), ..settings }),
        Err(source) => Err(SourceError::Settings { path: path.to_owned(), source }),
    }
}

/// Settings name programs to run and places for keys: only we and root may write them.
fn check_owner(path: &Path, file: &File) -> Result<(), SourceError> {
    let metadata = file.metadata().map_err(|source| SourceError::Read { path: path.to_owned(), source })?;
    let us = rustix::process::geteuid().as_raw();
    if !metadata.is_file() {
        return Ok(());
    }
    if metadata.uid() != us && metadata.uid() != 0 {
        return Err(SourceError::ForeignOwner { path: path.to_owned(), owner: metadata.uid() });
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(SourceError::WritableByOthers { path: path.to_owned() });
    }
    Ok(())
}

fn open(path: &Path) -> Result<Option<File>, SourceError> {
    // Non-blocking, because opening a pipe would wait for somebody to write into it.
    match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty()) {
        Ok(descriptor) => Ok(Some(File::from(descriptor))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(SourceError::Read { path: path.to_owned(), source: error.into() }),
    }
}

fn content(path: &Path, file: File) -> Result<Vec<u8>, SourceError> {
    let failed = |source| SourceError::Read { path: path.to_owned(), source };
    let metadata = file.metadata().map_err(failed)?;
    // /dev/null is a common way to say "none".
    if !metadata.is_file() && !metadata.file_type().is_char_device() {
        return Err(SourceError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES { Err(SourceError::TooLarge { path: path.to_owned() }) } else { Ok(bytes) }
}

/// What botocore does to the paths in its variables: `$NAME` and `${NAME}`, where they are set, then a leading `~`.
fn expanded(path: &OsStr, env: &Env) -> PathBuf {
    let mut result = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let variable = if byte == b'$' { variable(after, env) } else { None };
        if let Some((value, after)) = variable {
            result.extend_from_slice(value.as_bytes());
            rest = after;
        } else {
            result.push(byte);
            rest = after;
        }
    }
    let home = absolute(env, "HOME");
    match (result.as_slice(), home) {
        (b"~", Some(home)) => home,
        ([b'~', b'/', rest @ ..], Some(home)) => home.join(OsStr::from_bytes(rest)),
        _ => PathBuf::from(OsString::from_vec(result)),
    }
}

/// The value of the variable named right after a `$`, and what follows the name.
fn variable<'v>(after: &'v [u8], env: &'v Env) -> Option<(&'v OsStr, &'v [u8])> {
    let (name, rest) = match after.strip_prefix(b"{") {
        Some(braced) => {
            let end = braced.iter().position(|byte| *byte == b'}')?;
            (&braced[..end], &braced[end + 1..])
        }
        None => {
            let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            after.split_at(after.iter().position(|byte| !is_name(byte)).unwrap_or(after.len()))
        }
    };
    Some((env.get_os(str::from_utf8(name).ok()?)?, rest))
}

fn xdg_config(env: &Env) -> Option<PathBuf> {
    if cfg!(target_os = "macos") { None } else { absolute(env, "XDG_CONFIG_HOME") }
}

fn absolute(env: &Env, variable: &str) -> Option<PathBuf> {
    env.get_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Why the configuration could not be read.
#[derive(Debug)]
pub enum SourceError {
    /// `HOME` is not set to an absolute path.
    NoHome,
    /// The file is there but cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory, a pipe or the like.
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// Over 16 MiB.
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Settings that are not UTF-8.
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// Settings that group or others can write.
    WritableByOthers {
        /// The file.
        path: PathBuf,
    },
    /// Settings that belong to somebody else.
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Whom it belongs to.
        owner: u32,
    },
    /// Settings that make no sense.
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        source: SettingsError,
    },
}

impl SourceError {
    /// Where the trouble is: the file, and the line from 1, or zero where it is about the whole file.
    #[must_use]
    pub fn place(&self) -> (&Path, usize) {
        match self {
            Self::NoHome => (Path::new(""), 0),
            Self::Read { path, .. }
            | Self::NotAFile { path }
            | Self::TooLarge { path }
            | Self::NotText { path }
            | Self::WritableByOthers { path }
            | Self::ForeignOwner { path, .. } => (path, 0),
            Self::Settings { path, source } => (path, source.line),
        }
    }

    /// What is wrong there, for somebody who is told the place beside it.
    #[must_use]
    pub fn trouble(&self) -> String {
        match self {
            Self::Read { source, .. } => format!("{self}: {source}"),
            Self::Settings { source, .. } => source.problem.to_string(),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHome => formatter.write_str("HOME is not set to an absolute path"),
            Self::Read { path, .. } => write!(formatter, "{} cannot be read", Quoted(path)),
            Self::NotAFile { path } => write!(formatter, "{} is not a file", Quoted(path)),
            Self::TooLarge { path } => {
                write!(formatter, "{} is larger than {} MiB", Quoted(path), MOST_BYTES / 1024 / 1024)
            }
            Self::NotText { path } => write!(formatter, "{} is not UTF-8", Quoted(path)),
            Self::WritableByOthers { path } => {
                write!(formatter, "{0} can be written by others: run `chmod go-w {0}`", Quoted(path))
            }
            Self::ForeignOwner { path, owner } => write!(
                formatter,
                "{0} belongs to user {owner}: make a copy that is yours, and run `chmod go-w {0}`",
                Quoted(path)
            ),
            Self::Settings { path, source } => {
                write!(formatter, "{}:{}: {}", shown(&path.to_string_lossy()), source.line, source.problem)
            }
        }
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            // Its text is part of ours.
            Self::Settings { source, .. } => source.source(),
            _ => None,
        }
    }
}

/// A path as it can be typed into a shell.
struct Quoted<'p>(&'p Path);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string_lossy();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./=,@+:-".contains(&byte);
        if !text.is_empty() && text.bytes().all(plain) {
            write!(formatter, "{}", shown(&text))
        } else {
            write!(formatter, "'{}'", shown(&text.replace('\'', r"'\''")))
        }
    }
}

const SETTINGS: &str = "sso-agent/config.toml";
const MOST_BYTES: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A directory of its own for a test, removed afterwards.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sso-agent-source-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn locations(&self) -> Locations {
            let path = |name: &str| self.0.join(name);
            Locations {
                aws_config: path("config"),
                aws_credentials: path("credentials"),
                settings: path("config.toml"),
                settings_named: false,
            }
        }

        fn write(&self, name: &str, mode: u32, text: &[u8]) {
            fs::write(self.0.join(name), text).unwrap();
            fs::set_permissions(self.0.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn env(variables: &[(&str, &str)]) -> Env {
        variables.iter().copied().collect()
    }

    #[test]
    fn the_files_are_in_the_home_directory_unless_variables_say_otherwise() {
        let found = Locations::from_env(&env(&[("HOME", "/home/u")]), None).unwrap();
        assert_eq!(found.aws_config, Path::new("/home/u/.aws/config"));
        assert_eq!(found.aws_credentials, Path::new("/home/u/.aws/credentials"));
        assert_eq!(found.settings, Path::new("/home/u/.config/sso-agent/config.toml"));
        let variables = [
            ("HOME", "/home/u"),
            ("D", "dir"),
            ("AWS_CONFIG_FILE", "~/$D/${D}x/$NONE/c$"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/a/~/$Dx"),
            ("SSO_AGENT_CONFIG", "/etc/agent.toml"),
        ];
        let found = Locations::from_env(&env(&variables), None).unwrap();
        assert_eq!(found.aws_config, Path::new("/home/u/dir/dirx/$NONE/c$"));
        assert_eq!(found.aws_credentials, Path::new("/a/~/$Dx"));
        assert_eq!(found.settings, Path::new("/etc/agent.toml"));
        let found = Locations::from_env(&env(&variables), Some(Path::new("/given"))).unwrap();
        assert_eq!(found.settings, Path::new("/given"));
    }

    #[test]
    #[cfg(not(target_os = "macos"))]
    fn the_xdg_directory_counts_if_it_is_absolute() {
        let found = Locations::from_env(&env(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]), None).unwrap();
        assert_eq!(found.settings, Path::new("/x/sso-agent/config.toml"));
        let found = Locations::from_env(&env(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "x")]), None).unwrap();
        assert_eq!(found.settings, Path::new("/h/.config/sso-agent/config.toml"));
    }

    #[test]
    fn without_a_home_directory_every_place_must_be_named() {
        let named = [("AWS_CONFIG_FILE", "/c"), ("AWS_SHARED_CREDENTIALS_FILE", "/d"), ("SSO_AGENT_CONFIG", "/e")];
        assert!(Locations::from_env(&env(&named), None).is_ok());
        assert!(matches!(Locations::from_env(&env(&named[..2]), None), Err(SourceError::NoHome)));
    }

    #[test]
    fn missing_files_are_empty_ones() {
        let directory = Directory::new("missing");
        let (sources, settings) = read(&directory.locations()).unwrap();
        assert_eq!((sources, settings), (Sources::default(), Settings::default()));
        let nothing = Locations { aws_config: "/dev/null".into(), ..directory.locations() };
        assert_eq!(read(&nothing).unwrap().0.config.unwrap().bytes, b"");
    }

    #[test]
    fn settings_that_somebody_named_must_be_there() {
        let by_option = Locations::from_env(&env(&[("HOME", "/h")]), Some(Path::new("/nonexistent/c"))).unwrap();
        let variables = [("HOME", "/h"), ("SSO_AGENT_CONFIG", "/nonexistent/c")];
        for named in [by_option, Locations::from_env(&env(&variables), None).unwrap()] {
            let error = read(&named).unwrap_err();
            assert_eq!(error.to_string(), "/nonexistent/c cannot be read");
        }
        let usual = Locations::from_env(&env(&[("HOME", "/nonexistent")]), None).unwrap();
        assert!(read(&usual).is_ok());
    }

    #[test]
    fn files_are_read_as_they_are() {
        let directory = Directory::new("read");
        directory.write("config", 0o644, b"[profile \xff]\r\n");
        directory.write("config.toml", 0o644, b"keep_warm = \"2h\"\n");
        let (sources, settings) = directory.locations().read().unwrap();
        assert_eq!(sources.config.unwrap().bytes, b"[profile \xff]\r\n");
        assert_eq!(settings.keep_warm.as_secs(), 7200);
        assert_eq!(settings.file, directory.0.join("config.toml"));
    }

    #[test]
    fn what_is_there_but_cannot_be_read_is_an_error_that_names_it() {
        let directory = Directory::new("trouble");
        fs::create_dir(directory.0.join("config")).unwrap();
        let error = read(&directory.locations()).unwrap_err();
        assert!(error.to_string().contains(directory.0.join("config").to_str().unwrap()), "{error}");
        fs::remove_dir(directory.0.join("config")).unwrap();
        directory.write("config", 0o600, b"x");
        let below_a_file = Locations { aws_config: directory.0.join("config/x"), ..directory.locations() };
        assert!(matches!(read(&below_a_file), Err(SourceError::Read { .. })));
        let endless = Locations { aws_config: "/dev/zero".into(), ..directory.locations() };
        assert!(matches!(read(&endless), Err(SourceError::TooLarge { .. })));
    }

    #[test]
    fn a_pipe_is_refused_without_waiting_for_a_writer() {
        let directory = Directory::new("pipe");
        let path = directory.0.join("config");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(matches!(read(&directory.locations()), Err(SourceError::NotAFile { .. })));
    }

    #[test]
    fn settings_that_others_can_write_are_refused_with_the_remedy() {
        let directory = Directory::new("it's writable");
        for mode in [0o620, 0o602, 0o666] {
            directory.write("config.toml", mode, b"");
            let error = read(&directory.locations()).unwrap_err();
            assert!(matches!(error, SourceError::WritableByOthers { .. }));
            assert!(
                error.to_string().contains(r"run `chmod go-w '") && error.to_string().contains(r"it'\''s"),
                "{error}"
            );
        }
    }

    #[test]
    fn wrong_settings_are_named_with_file_and_line() {
        let directory = Directory::new("wrong");
        directory.write("config.toml", 0o600, b"\nkeep_warn = \"1h\"\n");
        let error = read(&directory.locations()).unwrap_err().to_string();
        assert!(error.ends_with("config.toml:2: unknown key `keep_warn` (did you mean `keep_warm`?)"), "{error}");
        directory.write("config.toml", 0o600, b"\xff");
        assert!(matches!(read(&directory.locations()), Err(SourceError::NotText { .. })));
    }
}
