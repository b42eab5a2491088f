//! The environment that `service install` recorded: what an agent is given that no shell starts.
//!
//! Owns: which variables count, the file `<state>/env`, and saying where another environment differs from it. Refuses
//! to know what a variable means. Invariants: only variables of the list are ever taken from the file, so that nobody
//! loads a library through it; the file is ours alone; no value is shown with what may be a password in it.

mod difference;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::env::Env;
use crate::paths::{self, PathError, shell_word};
use crate::untrusted::shown;
use crate::whole_file;

pub use difference::{Difference, masked};

/// The environment an agent of this state directory works with: `env`, and below it what was recorded. What is set
/// explicitly wins, in whichever case a proxy variable is written.
///
/// # Errors
/// There is a record, and it must not be believed or cannot be read. To go on without it would mean to go around the
/// proxy, or to other endpoints.
pub fn recorded_env(state_dir: &Path, env: &Env) -> Result<Env, RecordedError> {
    let Some(recorded) = Recorded::read(state_dir)? else { return Ok(env.clone()) };
    let mut variables: BTreeMap<OsString, OsString> =
        env.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for (name, value) in recorded.0 {
        if env.get_os(&name).is_none() && twin(&name).is_none_or(|twin| env.get_os(&twin).is_none()) {
            variables.insert(name.into(), value);
        }
    }
    Ok(variables.into_iter().collect())
}

/// Variables that matter to the agent's work, and their values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Recorded(BTreeMap<String, OsString>);

impl Recorded {
    /// What of this environment is to be recorded.
    ///
    /// # Errors
    /// A value goes over more than one line.
    pub fn of(env: &Env) -> Result<Self, RecordedError> {
        let mut variables = BTreeMap::new();
        // What is set to nothing counts as not set.
        for (name, value) in env.iter().filter(|(_, value)| !value.is_empty()) {
            let Some(name) = name.to_str().filter(|name| counts(name)) else { continue };
            if value.as_bytes().iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
                return Err(RecordedError::ManyLines { name: name.to_owned() });
            }
            variables.insert(name.to_owned(), from_anywhere(name, value));
        }
        Ok(Self(variables))
    }

    /// Reads the record of a state directory; `None` where nothing was recorded.
    ///
    /// # Errors
    /// It is not ours alone, or says what no record says.
    pub fn read(state_dir: &Path) -> Result<Option<Self>, RecordedError> {
        let path = Self::path(state_dir);
        let Some(content) = content(&path)? else { return Ok(None) };
        let mut variables = BTreeMap::new();
        for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let malformed = || RecordedError::Malformed { path: path.clone(), line: index + 1 };
            let at = line.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
            let name = std::str::from_utf8(&line[..at]).ok().filter(|name| counts(name)).ok_or_else(malformed)?;
            let value = OsString::from_vec(line[at + 1..].to_vec());
            if line.contains(&0) || variables.insert(name.to_owned(), value).is_some() {
                return Err(malformed());
            }
        }
        Ok(Some(Self(variables)))
    }

    /// Puts this in the place of what was recorded, with mode 0600.
    ///
    /// # Errors
    /// It cannot be written, or the state directory is not ours alone.
    pub fn write(&self, state_dir: &Path) -> Result<(), RecordedError> {
        let path = Self::path(state_dir);
        paths::make_private_directory(state_dir).map_err(RecordedError::Directory)?;
        let mut content = HEADER.as_bytes().to_vec();
        for (name, value) in &self.0 {
            content.extend_from_slice(name.as_bytes());
            content.push(b'=');
            content.extend_from_slice(value.as_bytes());
            content.push(b'\n');
        }
        whole_file::replace(&path, &content, 0o600).map_err(|source| RecordedError::Io { doing: "write", path, source })
    }

    /// Removes the record; `false` where there was none.
    ///
    /// # Errors
    /// It is still there.
    pub fn remove(state_dir: &Path) -> Result<bool, RecordedError> {
        let path = Self::path(state_dir);
        whole_file::remove(&path).map_err(|source| RecordedError::Io { doing: "remove", path, source })
    }

    /// Where the record of a state directory lies.
    #[must_use]
    pub fn path(state_dir: &Path) -> PathBuf {
        state_dir.join(FILE)
    }

    /// The names and values, as they can be shown.
    pub fn masked(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().map(|(name, value)| (name.as_str(), masked(name, value)))
    }

    /// Whether nothing is recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where this environment differs from what is recorded.
    #[must_use]
    pub fn differences(&self, env: &Env) -> Vec<Difference> {
        let here = env.iter().filter_map(|(name, value)| Some((name.to_str()?, value)));
        let here = here.filter(|(name, value)| counts(name) && !value.is_empty());
        let here: BTreeMap<&str, OsString> = here.map(|(name, value)| (name, from_anywhere(name, value))).collect();
        let here: BTreeMap<&str, &OsStr> = here.iter().map(|(name, value)| (*name, value.as_os_str())).collect();
        let recorded: BTreeMap<&str, &OsStr> =
            self.0.iter().map(|(name, value)| (name.as_str(), value.as_os_str())).collect();
        difference::between(&recorded, &here)
    }
}

/// Values may hold the password of a proxy.
impl fmt::Debug for Recorded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why there is no recorded environment.
#[derive(Debug)]
pub enum RecordedError {
    /// The state directory is not fit for it.
    Directory(PathError),
    /// A system call failed.
    Io {
        /// What was being done: "open", "write", ...
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not a plain file that is ours alone.
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// A line that no record has.
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
    },
    /// A variable's value goes over more than one line.
    ManyLines {
        /// The variable.
        name: String,
    },
}

impl RecordedError {
    /// What helps.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Directory(error) => error.hint(),
            Self::Io { .. } => None,
            Self::NotOurs { path } => Some(format!("look who wrote it, then: chmod 600 {}", shell_word(path))),
            Self::Malformed { .. } => Some("record it again with: sso-agent service install".to_owned()),
            Self::ManyLines { name } => Some(format!("set {name} to one line, or unset it")),
        }
    }
}

impl fmt::Display for RecordedError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &Path| shown(&path.to_string_lossy()).to_string();
        match self {
            Self::Directory(error) => error.fmt(formatter),
            Self::Io { doing, path, .. } => write!(formatter, "cannot {doing} {}", name(path)),
            Self::NotOurs { path } => write!(formatter, "{} is not a plain file of yours alone", name(path)),
            Self::Malformed { path, line } => {
                write!(formatter, "{}:{line} is no variable that is recorded", name(path))
            }
            Self::ManyLines { name } => write!(formatter, "the value of {name} goes over more than one line"),
        }
    }
}

impl std::error::Error for RecordedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            // It is shown as it is, so what is below it comes next.
            Self::Directory(error) => error.source(),
            Self::NotOurs { .. } | Self::Malformed { .. } | Self::ManyLines { .. } => None,
        }
    }
}

/// Whether a variable matters to the agent's work. Where its socket and state are, the unit says; whether it may be
/// started on demand is the caller's affair.
#[must_use]
pub fn counts(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let ours = name.starts_with("SSO_AGENT_") && !NOT_RECORDED.contains(&name) && !name.starts_with("SSO_AGENT_TEST_");
    plain && (ours || name.starts_with("AWS_ENDPOINT_URL") || NAMES.contains(&name) || is_proxy(name))
}

/// The value for an agent that works in another directory: relative paths are meant from here.
#[must_use]
pub fn from_anywhere(name: &str, value: &OsStr) -> OsString {
    // What begins so is expanded by whoever reads it.
    let expanded = value.to_str().is_some_and(|text| text.starts_with(['~', '$']) || text.is_empty());
    if expanded || !PATHS.contains(&name) {
        return value.to_owned();
    }
    std::path::absolute(value).map_or_else(|_| value.to_owned(), PathBuf::into_os_string)
}

fn is_proxy(name: &str) -> bool {
    PROXIES.contains(&name)
        || PROXIES.contains(&name.to_ascii_uppercase().as_str()) && name == name.to_ascii_lowercase()
}

/// The same proxy variable, written in the other case.
fn twin(name: &str) -> Option<String> {
    if !is_proxy(name) {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    Some(if upper == name { name.to_ascii_lowercase() } else { upper })
}

fn content(path: &Path) -> Result<Option<Vec<u8>>, RecordedError> {
    let io = |error: io::Error| RecordedError::Io { doing: "read", path: path.to_owned(), source: error };
    // Without NONBLOCK a FIFO in its place would hang the agent.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(io(error.into())),
    };
    let stat = rustix::fs::fstat(&file).map_err(|error| io(error.into()))?;
    let ours = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_uid == paths::our_uid()
        && stat.st_mode & 0o077 == 0;
    if !ours {
        return Err(RecordedError::NotOurs { path: path.to_owned() });
    }
    let mut content = Vec::new();
    std::fs::File::from(file).take(MOST_BYTES).read_to_end(&mut content).map_err(io)?;
    Ok(Some(content))
}

/// The file in the state directory.
const FILE: &str = "env";

const HEADER: &str = "# Written by `sso-agent service install`: the environment of an agent that no shell starts.\n";

/// Beside those that begin with `AWS_ENDPOINT_URL` or `SSO_AGENT_`, and the proxies.
const NAMES: [&str; 10] = [
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "XDG_CONFIG_HOME",
];
/// In capitals or in small letters.
const PROXIES: [&str; 4] = ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"];
/// What `exec` says to its command is nothing to the agent.
const NOT_RECORDED: [&str; 4] = ["SSO_AGENT_AUTOSTART", "SSO_AGENT_EXEC", "SSO_AGENT_SOCK", "SSO_AGENT_STATE_DIR"];
const PATHS: [&str; 7] = [
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSO_AGENT_CONFIG",
];

/// Far over any environment.
const MOST_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests;
