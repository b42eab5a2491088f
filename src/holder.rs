//! Who holds the state directory, as the lock file says it.
//!
//! Owns: the one line in `<state>/lock`, reading it, and the check that the file is ours. Refuses to know how the lock
//! is taken: `store::lock` does. Invariant: what is read was written by our own user, names a real process id and an
//! absolute path; it is a hint whom to ask, never proof that the holder lives.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Deserializer, Serialize};

/// The agent that took the lock last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id, as seen on `host`.
    #[serde(deserialize_with = "process_id")]
    pub pid: u32,
    /// Where it listens.
    #[serde(deserialize_with = "absolute_path")]
    pub socket: PathBuf,
    /// The machine it runs on; differs from ours where the state directory is shared over a network.
    pub host: String,
    /// The boot it belongs to, where the system has such an id.
    pub boot_id: Option<String>,
}

impl Holder {
    /// This process, listening on `socket`.
    ///
    /// # Errors
    /// Where we are is not known, and the path is not absolute.
    pub fn this_process(socket: &Path) -> std::io::Result<Self> {
        let socket = std::path::absolute(socket)?;
        Ok(Self { pid: std::process::id(), socket, host: host(), boot_id: boot_id() })
    }

    /// Whether that process still runs, as far as can be told: it is of this machine and this boot, and so is called the
    /// process of its number.
    #[must_use]
    pub fn lives(&self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let here = self.host == host() && self.boot_id == boot_id();
        here && pid.is_some_and(|pid| test_kill_process(pid).is_ok())
            // Where there is no such file, a number that somebody has will do.
            && std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).map_or(true, |stat| runs_as_agent(&stat))
    }

    /// Reads the content of a lock file; `None` where nothing was written yet.
    ///
    /// # Errors
    /// It is not the line an agent writes.
    pub fn parse(content: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        if content.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        serde_json::from_slice(content).map(Some)
    }

    /// The line for the lock file.
    ///
    /// # Errors
    /// The socket's path is not text.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self).map(|line| line + "\n")
    }
}

/// Reads who took the lock of a state directory last, dead or alive; `None` where nobody ever did.
///
/// # Errors
/// The file cannot be read, is not ours, or says nothing sensible.
pub fn read_holder(state_dir: &Path) -> Result<Option<Holder>, HolderError> {
    let path = state_dir.join(LOCK_FILE);
    open(&path)?.map_or(Ok(None), |file| read(file, path))
}

/// Why the holder is not known.
#[derive(Debug)]
pub enum HolderError {
    /// A system call failed.
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The lock file is not a plain file of ours that only we can write.
    NotOurs {
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file does not say what an agent writes into it.
    Malformed {
        /// The lock file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl fmt::Display for HolderError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(formatter, "cannot read {}: {source}", path.display()),
            Self::NotOurs { path } => {
                write!(formatter, "{} is not a plain file of yours that only you can write", path.display())
            }
            Self::Malformed { path, .. } => {
                write!(formatter, "{} does not name the agent that holds it", path.display())
            }
        }
    }
}

impl std::error::Error for HolderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Malformed { source, .. } => Some(source),
            Self::NotOurs { .. } => None,
        }
    }
}

fn open(path: &Path) -> Result<Option<File>, HolderError> {
    let io = |error: Errno| HolderError::Io { path: path.to_owned(), source: error.into() };
    // Without O_NONBLOCK a FIFO in its place would hang the client.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let stat = rustix::fs::fstat(&file).map_err(io)?;
    let ours = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_uid == rustix::process::geteuid().as_raw()
        && stat.st_mode & 0o022 == 0;
    if ours { Ok(Some(file.into())) } else { Err(HolderError::NotOurs { path: path.to_owned() }) }
}

fn read(file: File, path: PathBuf) -> Result<Option<Holder>, HolderError> {
    let mut content = Vec::new();
    match file.take(LONGEST_LINE).read_to_end(&mut content) {
        Ok(_) => Holder::parse(&content).map_err(|source| HolderError::Malformed { path, source }),
        Err(source) => Err(HolderError::Io { path, source }),
    }
}

/// Whether this is the line of a process of the agent's name, and of one that has not ended: where nobody waits for the
/// end of orphans, as in many a container, the dead keep their numbers.
fn runs_as_agent(stat: &str) -> bool {
    let Some((name, rest)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(") ")) else { return false };
    name == AGENT && !rest.starts_with(['Z', 'X'])
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// Zero and negative numbers are refused: to `kill` they mean groups of processes.
fn process_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let pid = u32::deserialize(deserializer)?;
    match i32::try_from(pid) {
        Ok(1..) => Ok(pid),
        _ => Err(serde::de::Error::custom("not a process id")),
    }
}

fn absolute_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    if path.is_absolute() { Ok(path) } else { Err(serde::de::Error::custom("not an absolute path")) }
}

/// The name of the lock file in the state directory.
pub const LOCK_FILE: &str = "lock";

/// What the system calls the agent's process.
const AGENT: &str = "sso-agent";
/// Far over any path.
const LONGEST_LINE: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_survives_its_line() {
        let holder = Holder {
            pid: 4711,
            socket: "/run/user/1000/sso-agent/agent.sock".into(),
            host: "laptop".to_owned(),
            boot_id: Some("0c1f".to_owned()),
        };
        let line = holder.to_line().unwrap();
        assert_eq!(line.lines().count(), 1);
        assert_eq!(Holder::parse(line.as_bytes()).unwrap(), Some(holder));
    }

    #[test]
    fn a_holder_lives_if_it_is_an_agent_of_this_boot() {
        let this = Holder::this_process(Path::new("/s")).unwrap();
        assert!(!this.lives(), "this is a test and no agent");
        // A process of that name, which waits for its input to end.
        let mut child = std::process::Command::new("sh")
            .args(["-c", "printf sso-agent > /proc/self/comm; echo; read -r _"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut named = [0];
        child.stdout.as_mut().unwrap().read_exact(&mut named).unwrap();
        let agent = Holder { pid: child.id(), ..this };
        assert!(agent.lives());
        for elsewhere in [
            Holder { host: "elsewhere".to_owned(), ..agent.clone() },
            Holder { boot_id: Some("earlier".to_owned()), ..agent.clone() },
        ] {
            assert!(!elsewhere.lives(), "{elsewhere:?}");
        }
        child.kill().unwrap();
        let end = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        let pid = Pid::from_child(&child);
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), end).unwrap();
        assert!(!agent.lives(), "nobody has waited for its end, and it has ended");
        child.wait().unwrap();
        assert!(!agent.lives());
    }

    #[test]
    fn the_dead_are_told_by_their_state() {
        for (stat, runs) in [
            ("7 (sso-agent) S 1 7", true),
            ("7 (sso-agent) R 1 7", true),
            ("7 (sso-agent) Z 1 7", false),
            ("7 (sh) S 1 7", false),
            ("7 (a) (sso-agent) S 1 7", false),
            ("", false),
        ] {
            assert_eq!(runs_as_agent(stat), runs, "{stat}");
        }
    }

    #[test]
    fn a_lock_file_without_a_line_names_nobody() {
        assert_eq!(Holder::parse(b"").unwrap(), None);
        assert_eq!(Holder::parse(b"\n").unwrap(), None);
    }

    #[test]
    fn a_process_id_that_means_a_group_is_refused() {
        for pid in ["0", "-1", "4294967295", "2147483648", "1.5", "\"1\""] {
            let line = format!(r#"{{"pid":{pid},"socket":"/s","host":"h","boot_id":null}}"#);
            assert!(Holder::parse(line.as_bytes()).is_err(), "{pid}");
        }
        assert!(Holder::parse(br#"{"pid":1,"socket":"/s","host":"h","boot_id":null}"#).is_ok());
    }

    #[test]
    fn a_relative_socket_is_refused() {
        assert!(Holder::parse(br#"{"pid":1,"socket":"s","host":"h","boot_id":null}"#).is_err());
    }
}
