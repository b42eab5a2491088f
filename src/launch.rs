//! Starting an agent where there is none: what shim and command line do on demand.
//!
//! Owns: which program may be started, what of the environment it is given, and waiting until it says how that went.
//! Refuses to know configuration and service managers: `sso-agent start --quiet` does, and decides. Invariants: the
//! program lies beside our own or where the package says, never where a path variable, the working directory or our own
//! name leads; nobody but root and us could have written it; nothing of the environment but a short list reaches it
//! (A§9).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::PollFlags;

use crate::api::Request;
use crate::client::{ClientError, Deadline};
use crate::env::Env;
use crate::paths::{SocketPath, our_uid, shell_word};
use crate::untrusted::shown;

/// Starts an agent for this socket if that is allowed here, and returns when it is ready. `false` where nothing was
/// started: forbidden, or there is no program that could be.
///
/// # Errors
/// It could not be started, or not in `patience`.
pub fn on_demand(env: &Env, socket: &SocketPath, patience: Duration) -> Result<bool, ClientError> {
    if is_forbidden(env) {
        return Ok(false);
    }
    let not_started = |error: LaunchError| ClientError::NotStarted { message: error.to_string() };
    let Some(program) = program().map_err(not_started)? else { return Ok(false) };
    let mut command = Command::new(&program);
    command.args(["start", "--quiet"]).env_clear().envs(environment(env));
    if socket.is_explicit() {
        command.env("SSO_AGENT_SOCK", socket.path());
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let spawned = command.spawn();
    let child = spawned.map_err(|source| not_started(LaunchError::Io { doing: "run", path: program, source }))?;
    outcome(child, Deadline::after(patience)).map(|()| true)
}

/// Whether the environment forbids to start an agent on demand.
#[must_use]
pub fn is_forbidden(env: &Env) -> bool {
    let no = |value: &str| ["0", "false", "no", "off"].iter().any(|no| value.trim().eq_ignore_ascii_case(no));
    env.get("SSO_AGENT_AUTOSTART").is_some_and(no)
}

/// Whether a request is worth an agent of its own. Where nobody runs, there is nothing to show, to end or to tell.
#[must_use]
pub const fn is_worth_one(request: &Request) -> bool {
    matches!(
        request,
        Request::Credentials { .. }
            | Request::Token { .. }
            | Request::Console { .. }
            | Request::Login { .. }
            | Request::Refresh { .. }
            | Request::Adopt { .. }
            | Request::Accounts { .. }
            | Request::Roles { .. }
            | Request::UnlockStorage { .. }
            | Request::MigrateStorage { .. }
            // Also for those that are started later: locked is a file (A§11).
            | Request::Lock { .. }
            | Request::Unlock { .. }
    )
}

/// The agent's program, checked: beside our own, else where the package has put it (`SSO_AGENT_PROGRAM` when this was
/// built). `None` where there is none.
///
/// # Errors
/// Somebody else could have written it.
pub fn program() -> Result<Option<PathBuf>, LaunchError> {
    // Resolved, so that it is not the name by which somebody called us that decides. The name may be of a file that was
    // replaced since; the directory is the same.
    let ours = std::env::current_exe().map(|path| path.canonicalize().unwrap_or(path)).ok();
    let beside = ours.as_deref().and_then(Path::parent).map(|directory| directory.join(PROGRAM));
    for path in beside.into_iter().chain(option_env!("SSO_AGENT_PROGRAM").map(PathBuf::from)) {
        if let Some(path) = checked(&path, our_uid())? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Of this environment what an agent is given that is started on demand.
#[must_use]
pub fn environment(env: &Env) -> Vec<(OsString, OsString)> {
    let passed_on = env.iter().filter(|(name, _)| is_passed_on(name));
    let fixed = (OsStr::new("PATH"), OsStr::new(PATH));
    passed_on.chain([fixed]).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn is_passed_on(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    PASSED_ON.contains(&name)
        || ["LC_", "XDG_", "SSO_AGENT_"].iter().any(|prefix| name.starts_with(prefix))
        || name.to_ascii_uppercase().ends_with("_PROXY")
}

/// The file that this path leads to, if there is one and nobody but root and `user` can write it.
fn checked(path: &Path, user: u32) -> Result<Option<PathBuf>, LaunchError> {
    let failed = |source: io::Error| LaunchError::Io { doing: "inspect", path: path.to_owned(), source };
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let found = path.metadata().map_err(failed)?;
    if !found.is_file() {
        return Ok(None);
    }
    if ![0, user].contains(&found.uid()) {
        return Err(LaunchError::Foreign { path, owner: found.uid() });
    }
    if found.mode() & 0o022 != 0 {
        return Err(LaunchError::WritableByOthers { path });
    }
    Ok(Some(path))
}

/// How `start --quiet` ended: it says so in one line, and its standard error ends with it.
fn outcome(mut child: Child, deadline: Deadline) -> Result<(), ClientError> {
    let failed = |source| ClientError::Io { doing: "wait for the start of", source };
    let mut said = Vec::new();
    if let Some(mut stderr) = child.stderr.take() {
        let mut part = [0; 512];
        loop {
            deadline.wait(&stderr, PollFlags::IN)?;
            match stderr.read(&mut part) {
                Ok(0) => break,
                Ok(length) if said.len() < MOST_BYTES => said.extend_from_slice(&part[..length]),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
    let status = child.wait().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let message = if lines.is_empty() { format!("{PROGRAM} start ended: {status}") } else { lines.join("; ") };
    Err(ClientError::NotStarted { message })
}

/// Why nothing was started.
#[derive(Debug)]
pub enum LaunchError {
    /// The program belongs to another user.
    Foreign {
        /// The program.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Others can write the program.
    WritableByOthers {
        /// The program.
        path: PathBuf,
    },
    /// A system call failed.
    Io {
        /// What was being done: "inspect", "run".
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// One line: what is wrong, then what helps.
impl fmt::Display for LaunchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &Path| shown(&path.to_string_lossy()).to_string();
        formatter.write_str("the agent is not running and is not started: ")?;
        match self {
            Self::Foreign { path, owner } => write!(
                formatter,
                "{} belongs to user {owner}, who is neither root nor you; if it should be yours: sudo chown {} {}",
                name(path),
                our_uid(),
                shell_word(path)
            ),
            Self::WritableByOthers { path } => {
                write!(formatter, "others can write {}; chmod go-w {}", name(path), shell_word(path))
            }
            Self::Io { doing, path, source } => write!(formatter, "cannot {doing} {}: {source}", name(path)),
        }
    }
}

impl std::error::Error for LaunchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Foreign { .. } | Self::WritableByOthers { .. } => None,
        }
    }
}

/// The agent's file name.
const PROGRAM: &str = "sso-agent";
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// By their whole names. Others are passed on by how they begin or end.
const PASSED_ON: [&str; 10] = [
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TZ",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
];
/// More than one line.
const MOST_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn only_what_is_on_the_list_is_passed_on() {
        let env = Env::from_iter([
            ("HOME", "/home/u"),
            ("LC_ALL", "C"),
            ("XDG_RUNTIME_DIR", "/run/user/1"),
            ("https_proxy", "http://proxy"),
            ("NO_PROXY", "localhost"),
            ("SSO_AGENT_SOCK", "/s"),
            ("AWS_CONFIG_FILE", "/c"),
            ("PATH", "/tmp/evil"),
            ("LD_PRELOAD", "/tmp/evil.so"),
            ("RUST_LOG", "trace"),
            ("AWS_ENDPOINT_URL_SSO_OIDC", "http://localhost:4566"),
            ("AWS_CA_BUNDLE", "/tmp/ca.pem"),
            ("SSL_CERT_FILE", "/tmp/ca.pem"),
            ("AWS_PROFILE", "dev"),
            ("NOTIFY_SOCKET", "/n"),
            ("LISTEN_FDS", "1"),
            ("XPC_HOME", "/h"),
        ]);
        let passed: Env = environment(&env).into_iter().collect();
        let names: Vec<_> = passed.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        let wanted = [
            "AWS_CONFIG_FILE",
            "HOME",
            "LC_ALL",
            "NO_PROXY",
            "PATH",
            "SSO_AGENT_SOCK",
            "XDG_RUNTIME_DIR",
            "https_proxy",
        ];
        assert_eq!(names, wanted);
        assert_eq!(passed.get("PATH"), Some(PATH));
    }

    #[test]
    fn a_program_that_somebody_else_could_have_written_is_refused_with_what_mends_it() {
        let dir = Scratch::new();
        let path = dir.path().join("sso-agent");
        let us = our_uid();
        assert!(matches!(checked(&path, us), Ok(None)));
        std::fs::write(&path, "#!/bin/false").unwrap();
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        for (mode, fit) in [(0o755, true), (0o700, true), (0o775, false), (0o757, false)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            for path in [&path, &link] {
                assert_eq!(matches!(checked(path, us), Ok(Some(_))), fit, "{mode:o}");
            }
        }
        let error = checked(&path, us).unwrap_err().to_string();
        assert!(error.contains("; chmod go-w /") && error.lines().count() == 1, "{error}");
        if us == 0 {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            std::os::unix::fs::chown(&path, Some(4711), None).unwrap();
            assert!(matches!(checked(&path, 0), Err(LaunchError::Foreign { owner: 4711, .. })));
            assert!(matches!(checked(&path, 4711), Ok(Some(_))));
        }
    }

    #[test]
    fn the_variable_forbids() {
        let forbidden = |value: &str| is_forbidden(&Env::from_iter([("SSO_AGENT_AUTOSTART", value)]));
        assert_eq!(
            ["0", "false", "No", "OFF", "1", "", "yes"].map(forbidden),
            [true, true, true, true, false, false, false]
        );
    }

    #[test]
    fn what_a_start_says_in_vain_is_one_line() {
        let run = |script: &str| {
            let mut command = Command::new("/bin/sh");
            outcome(command.args(["-c", script]).stderr(Stdio::piped()).spawn().unwrap(), Deadline::after(PATIENCE))
        };
        run("echo a warning >&2").unwrap();
        let error = run("printf 'a\\n\\n b\\n' >&2; exit 5").unwrap_err();
        assert_eq!((error.to_string().as_str(), error.exit()), ("a; b", crate::exit::Exit::NoAgent));
        assert!(run("exit 5").unwrap_err().to_string().contains("sso-agent start ended"));
    }

    #[test]
    fn whoever_asks_waits_no_longer_than_patience_lasts() {
        // It ends with the test's own end of the pipe, not before.
        let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let error = outcome(child, Deadline::after(Duration::from_millis(1))).unwrap_err();
        assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
        drop(stdin);
    }

    const PATIENCE: Duration = Duration::from_secs(30);
}
