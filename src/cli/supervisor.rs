//! The service manager that runs the agent, if one does.
//!
//! Owns: finding out whether it has a unit for the agent or runs it, and asking it to start, stop or restart that.
//! Refuses to know what is in a unit: `service` does. Invariants: its program is run by its place in the system and not
//! through a path variable; a unit that was made for other places than ours is left alone.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::event::PollFlags;

use crate::client::Deadline;
use crate::env::Env;
use crate::exit::Exit;
use crate::paths::{self, SocketPath, our_uid};
use crate::recorded::recorded_env;
use crate::shell_words;

use super::failure::Failure;

/// The user's own service manager.
#[derive(Debug)]
pub(super) struct Supervisor {
    kind: Kind,
    program: PathBuf,
    runtime_dir: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Systemd,
    Launchd,
}

impl Supervisor {
    /// The manager that has a unit for the agent of this environment, with this socket.
    pub(super) fn of_installed_unit(env: &Env, socket: &SocketPath) -> Option<Self> {
        Self::find(env).filter(|manager| manager.has_unit_for(env, socket))
    }

    /// The manager that runs this process as the agent's service.
    pub(super) fn of_process(pid: u32, env: &Env) -> Option<Self> {
        // Without asking a manager where that is plain: most agents are nobody's service.
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
        if groups.is_ok_and(|groups| !runs_as_service(&groups)) {
            return None;
        }
        Self::find(env).filter(|manager| manager.main_process() == Some(pid))
    }

    /// Starts socket and service, and returns when the service is ready.
    pub(super) fn start(&self) -> Result<(), Failure> {
        match self.kind {
            Kind::Systemd => self.tell(&["start", SOCKET, SERVICE]),
            Kind::Launchd => self.tell(&["kickstart", &target()]),
        }
    }

    /// Stops the service. systemd returns when it has ended.
    pub(super) fn stop(&self) -> Result<(), Failure> {
        match self.kind {
            Kind::Systemd => self.tell(&["stop", SERVICE]),
            Kind::Launchd => self.tell(&["kill", "SIGTERM", &target()]),
        }
    }

    /// Stops and starts the service. systemd returns when it is ready.
    pub(super) fn restart(&self) -> Result<(), Failure> {
        match self.kind {
            Kind::Systemd => self.tell(&["restart", SERVICE]),
            Kind::Launchd => self.tell(&["kickstart", "-k", &target()]),
        }
    }

    /// What keeps the next caller from starting the service again, if one would.
    pub(super) fn remedy(&self) -> Option<String> {
        match self.kind {
            Kind::Systemd => {
                let status = self.command().args(["--quiet", "is-active", SOCKET]).status();
                status.is_ok_and(|status| status.success()).then(|| format!("systemctl --user stop {SOCKET}"))
            }
            Kind::Launchd => Some(format!("launchctl bootout {}", target())),
        }
    }

    fn find(env: &Env) -> Option<Self> {
        let kind = if cfg!(target_os = "macos") { Kind::Launchd } else { Kind::Systemd };
        let programs =
            if kind == Kind::Launchd { ["/bin/launchctl"; 2] } else { ["/usr/bin/systemctl", "/bin/systemctl"] };
        let program = programs.iter().map(Path::new).find(|path| path.exists())?.to_owned();
        let runtime_dir =
            env.get_os("XDG_RUNTIME_DIR").map_or_else(|| format!("/run/user/{}", our_uid()).into(), PathBuf::from);
        if kind == Kind::Systemd {
            // Where the user's systemd listens.
            let private = std::fs::symlink_metadata(runtime_dir.join("systemd/private")).ok()?;
            if private.uid() != our_uid() {
                return None;
            }
        }
        Some(Self { kind, program, runtime_dir })
    }

    fn has_unit_for(&self, env: &Env, socket: &SocketPath) -> bool {
        match self.kind {
            Kind::Systemd => {
                let said = self.says(&["show", "--property=Id,LoadState,Listen,Environment", SOCKET, SERVICE]);
                Unit::of(&said).is_some_and(|unit| unit.is_for(env, socket))
            }
            Kind::Launchd => {
                // A list knows nothing of places that were named here.
                let named = socket.is_explicit() || PLACES.iter().any(|name| env.get_os(name).is_some());
                !named && !self.says(&["print", &target()]).is_empty()
            }
        }
    }

    fn main_process(&self) -> Option<u32> {
        match self.kind {
            Kind::Systemd => self.says(&["show", "--value", "--property=MainPID", SERVICE]).trim().parse().ok(),
            Kind::Launchd => {
                let printed = self.says(&["print", &target()]);
                printed.lines().find_map(|line| line.trim().strip_prefix("pid = ")?.parse().ok())
            }
        }
    }

    /// What it answers; nothing where it cannot.
    fn says(&self, arguments: &[&str]) -> String {
        self.says_within(arguments, ANSWER)
    }

    fn says_within(&self, arguments: &[&str], patience: Duration) -> String {
        let Ok(mut child) = self.command().args(arguments).stderr(Stdio::null()).spawn() else {
            return String::new();
        };
        let deadline = Deadline::after(patience);
        let said = child.stdout.take().and_then(|stdout| all_of(stdout, deadline));
        if said.is_none() {
            // A manager that hangs keeps its program for a minute and more, and all who wait for an agent.
            let _ = child.kill();
        }
        let _ = child.wait();
        said.unwrap_or_default()
    }

    fn tell(&self, arguments: &[&str]) -> Result<(), Failure> {
        let failed = |why: &str| {
            let (program, log) = match self.kind {
                Kind::Systemd => ("systemctl --user", format!("journalctl --user --unit {SERVICE}")),
                Kind::Launchd => ("launchctl", format!("launchctl print {}", target())),
            };
            let message = format!("{program} {}: {why}; see: {log}", arguments.join(" "));
            Failure::NotStarted { message, exit: Exit::NoAgent }
        };
        let output = self.command().args(arguments).output().map_err(|error| failed(&error.to_string()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(failed(said.lines().next().unwrap_or("failed"))) }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if self.kind == Kind::Systemd {
            command.arg("--user");
        }
        command.env_clear().env("XDG_RUNTIME_DIR", &self.runtime_dir).env("LC_ALL", "C");
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// For which places the units were made.
#[derive(Debug, PartialEq, Eq)]
struct Unit {
    socket: PathBuf,
    /// What the agent is told by the unit.
    told: Env,
}

impl Unit {
    /// What systemd says about both; `None` where one is not there, or listens nowhere.
    fn of(said: &str) -> Option<Self> {
        let unit = |id: &str| {
            let of_id = |unit: &&str| unit.lines().any(|line| line.strip_prefix("Id=") == Some(id));
            said.split("\n\n").find(of_id).filter(|unit| unit.lines().any(|line| line == "LoadState=loaded"))
        };
        let listens = unit(SOCKET)?.lines().find_map(|line| line.strip_prefix("Listen=")?.strip_suffix(" (Stream)"))?;
        let told = unit(SERVICE)?.lines().find_map(|line| line.strip_prefix("Environment=")).unwrap_or_default();
        let told = shell_words::split(told).unwrap_or_default();
        let told = told.iter().filter_map(|variable| variable.split_once('='));
        Some(Self { socket: listens.into(), told: told.collect() })
    }

    /// Whether its agent is the one that somebody with this environment means.
    fn is_for(&self, env: &Env, socket: &SocketPath) -> bool {
        let Ok(ours) = paths::state_dir(env) else { return false };
        let same_state = match self.told.get_os("SSO_AGENT_STATE_DIR") {
            Some(theirs) => ours == Path::new(theirs),
            // What the manager's own environment says of it is not known here.
            None => {
                env.get_os("SSO_AGENT_STATE_DIR").is_none()
                    || paths::home(env).is_ok_and(|home| ours == home.join(".local/state/sso-agent"))
            }
        };
        let same_settings = env.get_os("SSO_AGENT_CONFIG").is_none_or(|settings| {
            recorded_env(&ours, &self.told).is_ok_and(|theirs| theirs.get_os("SSO_AGENT_CONFIG") == Some(settings))
        });
        same_state && same_settings && self.socket == socket.path()
    }
}

impl fmt::Display for Supervisor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.kind {
            Kind::Systemd => "systemd",
            Kind::Launchd => "launchd",
        })
    }
}

/// What is written until the other end is closed; `None` where that takes too long.
fn all_of(mut stdout: ChildStdout, deadline: Deadline) -> Option<String> {
    let mut said = Vec::new();
    let mut part = [0; 4096];
    loop {
        deadline.wait(&stdout, PollFlags::IN).ok()?;
        match stdout.read(&mut part) {
            Ok(0) => return Some(String::from_utf8_lossy(&said).into_owned()),
            Ok(length) => said.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// What launchd calls the agent.
fn target() -> String {
    format!("gui/{}/sso-agent", our_uid())
}

/// Whether these control groups are those of a service with our unit's name.
fn runs_as_service(groups: &str) -> bool {
    groups.lines().any(|line| line.rsplit('/').next() == Some(SERVICE))
}

/// How long a manager may take to say what it has.
const ANSWER: Duration = Duration::from_secs(5);
const SOCKET: &str = "sso-agent.socket";
const SERVICE: &str = "sso-agent.service";
/// What names a place that a list of launchd does not know of.
const PLACES: [&str; 2] = ["SSO_AGENT_STATE_DIR", "SSO_AGENT_CONFIG"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_service_is_told_by_its_control_group() {
        let unit = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/sso-agent.service\n";
        assert!(runs_as_service(unit));
        for other in [
            "0::/user.slice/user-1000.slice/session-2.scope\n",
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/other.service\n",
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/sso-agent.service/x\n",
            "",
        ] {
            assert!(!runs_as_service(other), "{other}");
        }
    }

    #[test]
    fn without_a_manager_no_unit_is_asked_for() {
        let dir = Scratch::new();
        let env = Env::from_iter([("XDG_RUNTIME_DIR", dir.path())]);
        let socket = SocketPath::explicit(&dir.path().join("s")).unwrap();
        assert!(Supervisor::of_installed_unit(&env, &socket).is_none());
    }

    #[test]
    fn a_manager_that_hangs_is_not_waited_for() {
        let shell = Supervisor { kind: Kind::Launchd, program: "/bin/sh".into(), runtime_dir: "/".into() };
        assert_eq!(shell.says_within(&["-c", "echo a"], Duration::from_secs(30)), "a\n");
        let hangs = ["-c", "echo a; exec tail -f /dev/null"];
        assert_eq!(shell.says_within(&hangs, Duration::from_millis(1)), "");
    }

    #[test]
    fn a_unit_is_for_the_places_it_was_made_for_and_for_no_others() {
        let said = |listen: &str, told: &str| {
            format!(
                "Id=sso-agent.socket\nListen={listen} (Stream)\nLoadState=loaded\n\n\
                 Environment={told}\nId=sso-agent.service\nLoadState=loaded\n"
            )
        };
        let is_for = |said: &str, variables: &[(&str, &str)], socket: &str| {
            let env: Env = [("HOME", "/home/u")].iter().chain(variables).copied().collect();
            Unit::of(said).unwrap().is_for(&env, &SocketPath::explicit(Path::new(socket)).unwrap())
        };
        let usual = said("/run/s", "");
        assert!(is_for(&usual, &[], "/run/s"));
        assert!(is_for(&usual, &[("SSO_AGENT_STATE_DIR", "/home/u/.local/state/sso-agent")], "/run/s"));
        assert!(!is_for(&usual, &[("SSO_AGENT_STATE_DIR", "/x")], "/run/s"));
        assert!(!is_for(&usual, &[("SSO_AGENT_CONFIG", "/x")], "/run/s"));
        assert!(!is_for(&usual, &[], "/run/t"));
        let told = said("/my run/s", "A=b \"SSO_AGENT_STATE_DIR=/my state\" SSO_AGENT_CONFIG=/c");
        let state = ("SSO_AGENT_STATE_DIR", "/my state");
        assert!(is_for(&told, &[state], "/my run/s"));
        assert!(is_for(&told, &[state, ("SSO_AGENT_CONFIG", "/c")], "/my run/s"));
        assert!(!is_for(&told, &[state, ("SSO_AGENT_CONFIG", "/d")], "/my run/s"));
        assert!(!is_for(&told, &[], "/my run/s"), "its state is elsewhere");
        assert_eq!(Unit::of(&usual.replacen("loaded", "not-found", 1)), None);
        assert_eq!(Unit::of(""), None);
    }
}
