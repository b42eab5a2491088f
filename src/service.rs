//! The service manager: telling it how things are (sd_notify protocol), and that the agent is alive.
//!
//! Owns: the datagrams to `NOTIFY_SOCKET`, the rhythm that `WATCHDOG_USEC` asks for, and which variables are between the
//! manager and this process alone. Refuses to know which manager listens, and what there is to say. Invariant: without a
//! manager this does nothing, and a manager that does not listen changes nothing.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::clock;
use crate::env::Env;

/// Where the service manager listens, if there is one.
#[derive(Debug, Clone)]
pub struct Manager {
    address: Option<SocketAddr>,
    /// What it was told last about how things are.
    told: String,
}

impl Manager {
    /// The manager that `NOTIFY_SOCKET` names.
    #[must_use]
    pub fn from_env(env: &Env) -> Self {
        Self { address: env.get_os("NOTIFY_SOCKET").and_then(address), told: String::new() }
    }

    /// Nobody.
    #[must_use]
    pub const fn none() -> Self {
        Self { address: None, told: String::new() }
    }

    /// Whether anybody wants to know how things are.
    #[must_use]
    pub const fn listens(&self) -> bool {
        self.address.is_some()
    }

    /// Requests are answered from now on.
    pub fn ready(&self) {
        self.tell("READY=1", Weight::MustArrive);
    }

    /// The configuration is being read, until [`Manager::ready`] is said again.
    pub fn reloading(&self) {
        if self.listens() {
            let now = clock::monotonic_without_suspend().as_micros();
            self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}"), Weight::MustArrive);
        }
    }

    /// The agent is coming to its end.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=saving and ending", Weight::MustArrive);
    }

    /// How things are, in a line for people; said only when it is not what was said last.
    pub fn status(&mut self, line: &str) {
        if line != self.told {
            line.clone_into(&mut self.told);
            // A line break would begin another message.
            let line = line.replace('\n', " ");
            self.tell(&format!("STATUS={line}"), Weight::MayBeLost);
        }
    }

    fn tell(&self, state: &str, weight: Weight) {
        let Some(address) = &self.address else { return };
        match send(address, state, weight) {
            Ok(()) => {}
            // Whoever started the agent wanted to know only that it is ready, and has gone.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
                tracing::debug!(%error, "the service manager has gone");
            }
            Err(error) => tracing::warn!(%error, "the service manager cannot be told: {state}"),
        }
    }
}

/// The signs of life that the manager wants. Without a watchdog there are none, and nothing wakes up for them.
#[derive(Debug)]
pub struct Pulse {
    manager: Manager,
    beats: Option<Interval>,
}

impl Pulse {
    /// At half of `WATCHDOG_USEC`, if that is meant for this process. Must be called on the runtime.
    #[must_use]
    pub fn from_env(env: &Env) -> Self {
        let manager = Manager::from_env(env);
        let every = watchdog(env, std::process::id()).filter(|_| manager.listens()).map(|limit| limit / 2);
        let beats = every.map(|every| {
            let mut beats = interval_at(Instant::now() + every, every);
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            beats
        });
        Self { manager, beats }
    }

    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self { manager: Manager::none(), beats: None }
    }

    /// Completes when the next sign of life is due, never if none is wanted. Nothing is lost if this is dropped before.
    pub async fn due(&mut self) {
        match &mut self.beats {
            Some(beats) => drop(beats.tick().await),
            None => std::future::pending().await,
        }
    }

    /// Alive. To be said by the loop that must not stand still, or it is no sign of life.
    pub fn beat(&self) {
        self.manager.tell("WATCHDOG=1", Weight::MayBeLost);
    }
}

/// Lets a program that is started from here not take itself for the manager's service, nor the manager's socket for its
/// own.
pub fn keep_from(child: &mut Command) -> &mut Command {
    for variable in BETWEEN_US {
        child.env_remove(variable);
    }
    child
}

/// Whether the process of this id is what systemd started for a unit, and not only a descendant of that.
#[must_use]
pub fn is_unit(env: &Env, us: u32) -> bool {
    env.get("SYSTEMD_EXEC_PID").and_then(|pid| pid.parse().ok()) == Some(us)
}

/// What happens if the manager does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// It is waited for a little.
    MustArrive,
    /// Then not.
    MayBeLost,
}

fn send(address: &SocketAddr, state: &str, weight: Weight) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    match weight {
        Weight::MustArrive => socket.set_write_timeout(Some(PATIENCE))?,
        Weight::MayBeLost => socket.set_nonblocking(true)?,
    }
    socket.send_to_addr(state.as_bytes(), address).map(drop)
}

/// How long the manager waits for a sign of life from the process of this id.
fn watchdog(env: &Env, us: u32) -> Option<Duration> {
    // Without a pid it is meant for whoever has it.
    if env.get("WATCHDOG_PID").is_some_and(|pid| pid.parse() != Ok(us)) {
        return None;
    }
    let limit = env.get("WATCHDOG_USEC")?.parse().ok().map(Duration::from_micros)?;
    // Half of it must be a time that can be waited for.
    (limit >= SHORTEST_WATCHDOG).then_some(limit)
}

fn address(path: &OsStr) -> Option<SocketAddr> {
    match path.as_bytes().strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name).ok()
        }
        #[cfg(not(target_os = "linux"))]
        Some(_) => None,
        None => SocketAddr::from_pathname(path).ok(),
    }
}

/// A manager that does not read for so long does not read at all.
const PATIENCE: Duration = Duration::from_secs(1);
const SHORTEST_WATCHDOG: Duration = Duration::from_millis(10);
const BETWEEN_US: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A manager that listens, and the environment that names it.
    struct Listening {
        socket: UnixDatagram,
        name: String,
    }

    impl Listening {
        fn new() -> Self {
            use std::os::linux::net::SocketAddrExt;
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("sso-agent-test-{}-{count}", std::process::id());
            let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
            socket.set_nonblocking(true).unwrap();
            Self { socket, name }
        }

        fn env(&self, variables: &[(&str, &str)]) -> Env {
            let address = format!("@{}", self.name);
            [("NOTIFY_SOCKET", address.as_str())].iter().chain(variables).copied().collect()
        }

        fn heard(&self) -> Option<String> {
            let mut heard = [0; 256];
            let length = self.socket.recv(&mut heard).ok()?;
            Some(String::from_utf8(heard[..length].to_vec()).unwrap())
        }
    }

    #[test]
    fn a_manager_hears_that_the_agent_is_ready_and_that_it_reads_its_configuration() {
        let listening = Listening::new();
        let manager = Manager::from_env(&listening.env(&[]));
        manager.ready();
        assert_eq!(listening.heard().as_deref(), Some("READY=1"));
        manager.reloading();
        let heard = listening.heard().unwrap();
        let since = heard.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(since.parse::<u64>().unwrap() > 0);
        manager.stopping();
        assert!(listening.heard().unwrap().starts_with("STOPPING=1\n"));
    }

    #[test]
    fn how_things_are_is_said_once_and_on_one_line() {
        let listening = Listening::new();
        let mut manager = Manager::from_env(&listening.env(&[]));
        for line in ["1 session", "1 session", "corp\nREADY=1"] {
            manager.status(line);
        }
        assert_eq!(listening.heard().as_deref(), Some("STATUS=1 session"));
        assert_eq!(listening.heard().as_deref(), Some("STATUS=corp READY=1"));
        assert_eq!(listening.heard(), None);
    }

    #[test]
    fn without_a_manager_or_with_one_that_has_gone_nothing_happens() {
        let mut manager = Manager::from_env(&Env::default());
        assert!(!manager.listens());
        manager.ready();
        manager.status("quiet");
        let listening = Listening::new();
        let manager = Manager::from_env(&listening.env(&[]));
        drop(listening);
        manager.ready();
    }

    #[test]
    fn a_manager_that_does_not_read_is_not_waited_for_with_what_may_be_lost() {
        let listening = Listening::new();
        let address = Manager::from_env(&listening.env(&[])).address.unwrap();
        let full = (0..100_000).find_map(|_| send(&address, "STATUS=again", Weight::MayBeLost).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let watchdog = |variables: &[(&str, &str)]| watchdog(&variables.iter().copied().collect(), 7);
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "7")]), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "3000000")]), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "8")]), None);
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "x")]), None);
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "soon")]), None);
        assert_eq!(watchdog(&[]), None);
    }

    #[tokio::test]
    async fn signs_of_life_are_due_at_half_of_what_the_manager_waits_and_never_without_a_watchdog() {
        let listening = Listening::new();
        let env = listening.env(&[("WATCHDOG_USEC", "20000")]);
        let mut pulse = Pulse::from_env(&env);
        assert_eq!(pulse.beats.as_ref().unwrap().period(), Duration::from_millis(10));
        pulse.due().await;
        pulse.beat();
        assert_eq!(listening.heard().as_deref(), Some("WATCHDOG=1"));
        assert!(Pulse::from_env(&listening.env(&[])).beats.is_none());
        assert!(Pulse::from_env(&[("WATCHDOG_USEC", "20000")].into_iter().collect()).beats.is_none());
    }

    #[test]
    fn what_a_unit_has_started_is_no_unit() {
        let env = Env::from_iter([("SYSTEMD_EXEC_PID", "7")]);
        assert!(is_unit(&env, 7) && !is_unit(&env, 8) && !is_unit(&Env::default(), 7));
    }

    #[test]
    fn a_child_does_not_take_itself_for_the_service() {
        let mut child = Command::new("env");
        child.env_clear().envs(BETWEEN_US.map(|variable| (variable, "1"))).env("KEPT", "1");
        let output = keep_from(&mut child).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "KEPT=1\n");
    }
}
