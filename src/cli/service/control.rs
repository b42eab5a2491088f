//! The user's service manager, asked by its own program.
//!
//! Owns: the commands, and what they say about our units. Refuses to know what is in a unit. Invariant: it is always the
//! user's own manager that is asked, never the system's.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::env::Env;
use crate::paths::{our_uid, shell_word};
use crate::untrusted::shown;

use super::Trouble;
use super::launchd;
use super::place::Place;
use super::systemd::{SERVICE, SOCKET, Wanted, packaged, units};

/// Which manager there is on this system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Systemd,
    Launchd,
}

impl Kind {
    /// The one of the system this was built for.
    pub(super) const HERE: Self = if cfg!(target_os = "macos") { Self::Launchd } else { Self::Systemd };

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Launchd => "launchd",
        }
    }

    /// What is to lie where; nothing where a package's units do.
    pub(super) fn wanted(self, place: &Place, env: &Env) -> Result<Vec<Wanted>, Trouble> {
        match self {
            Self::Systemd => units(place, env),
            Self::Launchd => Ok(vec![launchd::agent(place)?]),
        }
    }

    /// Where a package's units for the same program lie.
    pub(super) fn packaged(self, place: &Place, env: &Env) -> Option<PathBuf> {
        (self == Self::Systemd).then(|| packaged(place, env)).flatten()
    }

    /// Has the manager read its files again.
    pub(super) fn reload(self) -> Vec<Line> {
        match self {
            Self::Systemd => vec![systemctl(&["daemon-reload"])],
            Self::Launchd => Vec::new(),
        }
    }

    /// Ends what runs by files that have changed.
    pub(super) fn halt(self) -> Line {
        match self {
            Self::Systemd => systemctl(&["stop", SERVICE, SOCKET]),
            Self::Launchd => launchctl(&["bootout", &target()]),
        }
    }

    /// Listens from now on, and after every start of the machine.
    pub(super) fn enable(self, wanted: &[Wanted], listening: bool) -> Vec<Line> {
        match (self, wanted) {
            (Self::Systemd, _) => vec![systemctl(&["enable", "--now", SOCKET])],
            (Self::Launchd, [agent, ..]) if !listening => {
                let path = agent.path.to_string_lossy();
                vec![launchctl(&["enable", &target()]), launchctl(&["bootstrap", &domain(), &path])]
            }
            (Self::Launchd, _) => vec![launchctl(&["enable", &target()])],
        }
    }

    /// Starts the agent anew, if it runs.
    pub(super) fn restart(self) -> Line {
        match self {
            Self::Systemd => systemctl(&["try-restart", SERVICE]),
            Self::Launchd => launchctl(&["kickstart", "-k", &target()]),
        }
    }

    /// Does not listen any more, now and later. Only of these, because systemd refuses to disable what is not there.
    pub(super) fn disable(self, units: &[&str]) -> Line {
        match self {
            Self::Systemd => systemctl(&[&["disable", "--now"], units].concat()),
            Self::Launchd => launchctl(&["bootout", &target()]),
        }
    }
}

/// A command: its program's name and its arguments.
pub(super) type Line = Vec<String>;

/// A command as somebody would type it.
pub(super) fn typed(line: &Line) -> String {
    let words: Vec<String> = line.iter().map(|word| shell_word(Path::new(word))).collect();
    words.join(" ")
}

/// What the manager says about our units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct State {
    pub(super) enabled: bool,
    /// Whether it holds the socket.
    pub(super) listening: bool,
    /// The agent that it runs.
    pub(super) pid: Option<u32>,
}

/// A manager that answers.
#[derive(Debug)]
pub(super) struct Manager<'a> {
    kind: Kind,
    program: PathBuf,
    env: &'a Env,
}

impl<'a> Manager<'a> {
    /// The user's manager, if it can be asked.
    pub(super) fn find(kind: Kind, env: &'a Env) -> Result<Self, Trouble> {
        let name = if kind == Kind::Systemd { "systemctl" } else { "launchctl" };
        let path = env.get_os("PATH").map(std::ffi::OsStr::to_owned).unwrap_or_default();
        let programs = std::env::split_paths(&path).filter(|directory| directory.is_absolute());
        let program = programs.map(|directory| directory.join(name)).find(|path| path.is_file());
        let program = program.ok_or_else(|| Trouble::NoManager { what: format!("there is no {name} on the path") })?;
        let manager = Self { kind, program, env };
        if kind == Kind::Systemd {
            let output = manager.output(&systemctl(&["show", "--property=Version"]))?;
            if !output.status.success() {
                return Err(Trouble::NoManager { what: said(&output) });
            }
        }
        Ok(manager)
    }

    /// Carries out a command.
    pub(super) fn run(&self, line: &Line) -> Result<(), Trouble> {
        let output = self.output(line)?;
        if output.status.success() {
            return Ok(());
        }
        Err(Trouble::Command { line: typed(line), said: said(&output) })
    }

    /// How our units are.
    pub(super) fn state(&self) -> Result<State, Trouble> {
        match self.kind {
            Kind::Systemd => {
                let properties = "--property=Id,UnitFileState,ActiveState,MainPID";
                let output = self.output(&systemctl(&["show", properties, SOCKET, SERVICE]))?;
                Ok(state_of_units(&String::from_utf8_lossy(&output.stdout)))
            }
            Kind::Launchd => {
                let output = self.output(&launchctl(&["print", &target()]))?;
                let text = String::from_utf8_lossy(&output.stdout);
                let pid = text.lines().find_map(|line| line.trim().strip_prefix("pid = ")?.parse().ok());
                let known = output.status.success();
                Ok(State { enabled: known, listening: known, pid })
            }
        }
    }

    fn output(&self, line: &Line) -> Result<Output, Trouble> {
        let mut command = Command::new(&self.program);
        command.args(&line[1..]).env_clear().envs(self.env.iter()).env("LC_ALL", "C").stdin(Stdio::null());
        let failed = |source| Trouble::Io { doing: "run", path: self.program.clone(), source };
        command.output().map_err(failed)
    }
}

fn state_of_units(text: &str) -> State {
    let mut state = State::default();
    for unit in text.split("\n\n") {
        let of = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        match of("Id") {
            Some(SOCKET) => {
                state.enabled = matches!(of("UnitFileState"), Some("enabled" | "enabled-runtime" | "linked"));
                state.listening = of("ActiveState") == Some("active");
            }
            Some(SERVICE) => state.pid = of("MainPID").and_then(|pid| pid.parse().ok()).filter(|pid| *pid != 0),
            _ => {}
        }
    }
    state
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() { output.status.to_string() } else { shown(&lines.join("; ")).to_string() }
}

fn systemctl(arguments: &[&str]) -> Line {
    ["systemctl", "--user"].iter().chain(arguments).map(|word| (*word).to_owned()).collect()
}

fn launchctl(arguments: &[&str]) -> Line {
    ["launchctl"].iter().chain(arguments).map(|word| (*word).to_owned()).collect()
}

fn domain() -> String {
    format!("gui/{}", our_uid())
}

fn target() -> String {
    format!("{}/sso-agent", domain())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_says_about_both_units_is_read() {
        let text = "MainPID=4711\nId=sso-agent.service\nActiveState=active\nUnitFileState=disabled\n\n\
                    Id=sso-agent.socket\nActiveState=active\nUnitFileState=enabled\n";
        assert_eq!(state_of_units(text), State { enabled: true, listening: true, pid: Some(4711) });
        let none = "MainPID=0\nId=sso-agent.service\n\nId=sso-agent.socket\nActiveState=inactive\nUnitFileState=\n";
        assert_eq!(state_of_units(none), State::default());
    }

    #[test]
    fn only_the_users_own_manager_is_asked() {
        for kind in [Kind::Systemd, Kind::Launchd] {
            let lines =
                [kind.reload(), kind.enable(&[], false), vec![kind.halt(), kind.restart(), kind.disable(&[SOCKET])]];
            for line in lines.concat() {
                let own = line[1] == "--user" || line.iter().any(|word| word.starts_with("gui/"));
                assert!(own && line[0] != "sudo", "{line:?}");
            }
        }
    }
}
