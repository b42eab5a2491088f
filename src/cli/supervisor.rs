//! The service manager that runs the agent, if one does.
//!
//! Owns: finding out whether it has a unit for the agent or runs it, and asking it to start, stop or restart that.
//! Refuses to know what is in a unit: `service` does. Invariants: its program is run by its place in the system and not
//! through a path variable; an agent whose places were named by hand is not the unit's, so the unit is left alone.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::env::Env;
use crate::exit::Exit;
use crate::paths::our_uid;

use super::failure::Failure;

/// The user's systemd.
#[derive(Debug)]
pub(super) struct Supervisor {
    systemctl: PathBuf,
    runtime_dir: PathBuf,
}

impl Supervisor {
    /// The manager that has a socket unit for the agent of this environment; `named` where places were named by option.
    pub(super) fn of_socket_unit(env: &Env, named: bool) -> Option<Self> {
        // A unit knows nothing of places that were named here.
        if named || PLACES.iter().any(|name| env.get_os(name).is_some()) {
            return None;
        }
        Self::find(env).filter(|systemd| systemd.has(SOCKET))
    }

    /// The manager that runs this process as the agent's service.
    pub(super) fn of_process(pid: u32, env: &Env) -> Option<Self> {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        if runs_as_service(&groups) { Self::find(env) } else { None }
    }

    /// Starts socket and service, and returns when the service is ready.
    pub(super) fn start(&self) -> Result<(), Failure> {
        self.tell(&["start", SOCKET, SERVICE])
    }

    /// Stops the service, and returns when it has ended.
    pub(super) fn stop(&self) -> Result<(), Failure> {
        self.tell(&["stop", SERVICE])
    }

    /// Stops and starts the service, and returns when it is ready.
    pub(super) fn restart(&self) -> Result<(), Failure> {
        self.tell(&["restart", SERVICE])
    }

    /// Whether the next caller makes it start the service again.
    pub(super) fn listens(&self) -> bool {
        self.command().args(["--quiet", "is-active", SOCKET]).status().is_ok_and(|status| status.success())
    }

    fn find(env: &Env) -> Option<Self> {
        let systemctl = SYSTEMCTL.iter().map(Path::new).find(|path| path.exists())?.to_owned();
        let runtime_dir =
            env.get_os("XDG_RUNTIME_DIR").map_or_else(|| format!("/run/user/{}", our_uid()).into(), PathBuf::from);
        // Where the user's systemd listens.
        let private = std::fs::symlink_metadata(runtime_dir.join("systemd/private")).ok()?;
        (private.uid() == our_uid()).then_some(Self { systemctl, runtime_dir })
    }

    fn has(&self, unit: &str) -> bool {
        let output = self.command().args(["show", "--property=LoadState", "--value", unit]).output();
        output.is_ok_and(|output| output.stdout.trim_ascii() == b"loaded")
    }

    fn tell(&self, arguments: &[&str]) -> Result<(), Failure> {
        let failed = |why: &str| Failure::NotStarted {
            message: format!(
                "systemctl --user {}: {why}; see: journalctl --user --unit {SERVICE}",
                arguments.join(" ")
            ),
            exit: Exit::NoAgent,
        };
        let output = self.command().args(arguments).output().map_err(|error| failed(&error.to_string()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(failed(said.lines().next().unwrap_or("failed"))) }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.systemctl);
        command.arg("--user").env_clear().env("XDG_RUNTIME_DIR", &self.runtime_dir).env("LC_ALL", "C");
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl fmt::Display for Supervisor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("systemd")
    }
}

/// Whether these control groups are those of our unit of a user's systemd.
fn runs_as_service(groups: &str) -> bool {
    groups.lines().any(|line| line.contains("/user@") && line.rsplit('/').next() == Some(SERVICE))
}

const SOCKET: &str = "sso-agent.socket";
const SERVICE: &str = "sso-agent.service";
const SYSTEMCTL: [&str; 2] = ["/usr/bin/systemctl", "/bin/systemctl"];
/// What names a place that a unit does not know of.
const PLACES: [&str; 3] = ["SSO_AGENT_SOCK", "SSO_AGENT_STATE_DIR", "SSO_AGENT_CONFIG"];

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
            "0::/system.slice/sso-agent.service\n",
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/sso-agent.service/x\n",
            "",
        ] {
            assert!(!runs_as_service(other), "{other}");
        }
    }

    #[test]
    fn without_a_manager_or_with_places_of_its_own_no_unit_is_asked_for() {
        let dir = Scratch::new();
        let runtime = dir.path().to_str().unwrap();
        assert!(Supervisor::of_socket_unit(&Env::from_iter([("XDG_RUNTIME_DIR", runtime)]), false).is_none());
        for place in PLACES {
            assert!(Supervisor::of_socket_unit(&Env::from_iter([(place, "/x")]), false).is_none());
        }
    }
}
