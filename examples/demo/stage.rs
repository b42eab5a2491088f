//! The temporary home and the processes in it.
//!
//! Invariant: after `clear` no process that was started here runs, the home is gone, and nothing new can be started.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// Where everything happens.
pub(crate) struct Stage {
    home: PathBuf,
    /// None once it has been cleared.
    children: Mutex<Option<Vec<Child>>>,
}

/// A process that was started; it stays in the stage's care.
pub(crate) struct Started {
    /// Its process id.
    pub(crate) pid: u32,
    /// Its output, where it was to be piped.
    pub(crate) stdout: Option<ChildStdout>,
    /// Its standard error, where it was to be piped.
    pub(crate) stderr: Option<ChildStderr>,
}

impl Stage {
    /// Makes the home.
    pub(crate) fn set() -> io::Result<Self> {
        let home = std::env::temp_dir().join(format!("sso-agent-demo-{}", std::process::id()));
        let private = |path: &Path| DirBuilder::new().mode(0o700).create(path);
        private(&home)?;
        for directory in [".aws", "run", "state"] {
            private(&home.join(directory))?;
        }
        Ok(Self { home, children: Mutex::new(Some(Vec::new())) })
    }

    /// The temporary home.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// The AWS configuration in it.
    pub(crate) fn aws_config(&self) -> PathBuf {
        self.home.join(".aws/config")
    }

    /// The agent's socket in it.
    pub(crate) fn socket(&self) -> PathBuf {
        self.home.join("run/agent.sock")
    }

    /// Where the agent's log goes.
    pub(crate) fn log(&self) -> PathBuf {
        self.home.join("agent.log")
    }

    /// A program that sees this home and nothing of the real one.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(&self.home).env("PATH", "/usr/bin:/bin").env("HOME", &self.home);
        command.env("USER", "you").env("SSO_AGENT_SOCK", self.socket());
        command.env("SSO_AGENT_STATE_DIR", self.home.join("state"));
        command
    }

    /// Starts a program, in a process group of its own: Ctrl-C is for the demo, which ends the others in order.
    pub(crate) fn start(&self, command: &mut Command) -> io::Result<Started> {
        let mut children = self.children();
        let Some(children) = children.as_mut() else { return Err(io::Error::other("the demo is ending")) };
        let mut child = command.stdin(Stdio::null()).process_group(0).spawn()?;
        let started = Started { pid: child.id(), stdout: child.stdout.take(), stderr: child.stderr.take() };
        children.push(child);
        Ok(started)
    }

    /// Waits for a program that has closed its output, so is about to end.
    pub(crate) fn reap(&self, started: &Started) -> io::Result<ExitStatus> {
        let child = self.children().as_mut().and_then(|children| {
            let index = children.iter().position(|child| child.id() == started.pid)?;
            Some(children.swap_remove(index))
        });
        child.ok_or_else(|| io::Error::other("the demo is ending"))?.wait()
    }

    /// Ends every process and removes the home. Any further call does nothing.
    pub(crate) fn clear(&self) {
        let Some(children) = self.children().take() else { return };
        for mut child in children {
            let group = Pid::from_child(&child);
            // It may have ended already.
            let _ = kill_process_group(group, Signal::TERM);
            let (done, is_done) = channel();
            std::thread::spawn(move || {
                let _ = child.wait();
                // Nobody waits any longer once it had to be killed.
                let _ = done.send(());
            });
            if is_done.recv_timeout(PATIENCE).is_err() {
                let _ = kill_process_group(group, Signal::KILL);
            }
        }
        if let Err(error) = std::fs::remove_dir_all(&self.home) {
            eprintln!("{} could not be removed: {error}", self.home.display());
        }
    }

    /// The end of the agent's log.
    pub(crate) fn last_words_of_the_agent(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].iter().map(|line| format!("  agent | {line}\n")).collect()
    }

    fn children(&self) -> std::sync::MutexGuard<'_, Option<Vec<Child>>> {
        // A panic elsewhere does not change what has to be cleared.
        self.children.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What an agent that ends in good order needs at most; usually it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
