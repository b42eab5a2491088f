//! `stop` and `restart`: the end of the agent that holds our state directory.
//!
//! Owns: which process that is, ending it, and waiting for its end. Refuses to know how it ends: `agent` does. Invariants:
//! a process is signalled only while it holds the state lock or is at the other end of the socket, both looked at again
//! after it was taken hold of, so that a number that was used again is nobody's end (A§8); where a service manager runs
//! it, the manager is asked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;

use crate::client::Client;
use crate::exit::Exit;
use crate::holder::{LOCK_FILE, read_holder};
use crate::paths::{self, SocketPath};
use crate::untrusted::shown;

use super::context::Context;
use super::failure::Failure;
use super::start::{self, How, Start, answering};
use super::supervisor::Supervisor;

/// Stop the agent, and return when it has ended
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Options {
    /// Print what was stopped as JSON
    #[arg(long)]
    json: bool,
}

/// What `stop --json` prints.
#[derive(Debug, Serialize)]
struct Printed {
    stopped: bool,
    pid: Option<u32>,
}

/// Runs `stop`; `socket` is the value of `--socket`.
pub(super) fn run(options: &Options, socket: Option<&Path>, context: &mut Context<'_>) -> Result<(), Failure> {
    let place = Place::find(socket, context)?;
    let found = place.agent()?;
    if let Some(pid) = found {
        place.stop(pid, context)?;
    }
    if options.json {
        return context.print_json(&Printed { stopped: found.is_some(), pid: found });
    }
    match found {
        Some(pid) => context.say(&format!("the agent has stopped (it was pid {pid})")),
        None => context.say("the agent is not running"),
    }
    let supervisor = found.and_then(|_| Supervisor::of_installed_unit(context.env, place.client.socket()));
    if let Some(remedy) = supervisor.and_then(|supervisor| supervisor.remedy()) {
        context.say(&format!("the next request starts it again; against that: {remedy}"));
    }
    Ok(())
}

/// Runs `restart`: where none runs, one is started.
pub(super) fn restart(
    options: &start::Restart,
    socket: Option<&Path>,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let place = Place::find(socket, context)?;
    let options = options.start();
    let start = Start::new(&options, socket, context.env)?;
    if let Some(pid) = place.agent()? {
        if let Some(supervisor) = Supervisor::of_process(pid, context.env) {
            context.progress("restarting the agent");
            let restarted = supervisor.restart();
            context.progress_done();
            restarted?;
            if let Some(running) = answering(&place.client)? {
                return start.tell(&running, How::BySupervisor, context);
            }
        } else {
            place.stop(pid, context)?;
        }
    }
    let (running, how) = start.start(context)?;
    // Whoever was faster than we were has started it all the same.
    let how = if how == How::Already { How::Started } else { how };
    start.tell(&running, how, context)
}

/// Where to look for an agent.
struct Place {
    client: Client,
    state_dir: PathBuf,
}

impl Place {
    fn find(socket: Option<&Path>, context: &Context<'_>) -> Result<Self, Failure> {
        let socket = SocketPath::find(context.env, socket)?;
        let state_dir = paths::state_dir(context.env)?;
        // Not with the state directory: who listens here is the question, not who listens somewhere.
        Ok(Self { client: Client::new(socket, None), state_dir })
    }

    /// The process to end: it answers on a socket that was named, or holds the state lock.
    fn agent(&self) -> Result<Option<u32>, Failure> {
        let named = self.client.socket().is_explicit();
        if !self.lock_is_held()? {
            return if named { self.at_the_socket() } else { Ok(None) };
        }
        let holder = read_holder(&self.state_dir).ok().flatten();
        // Another agent than the one of our state directory, if there is one: that one is meant.
        if named
            && holder.as_ref().is_some_and(|holder| holder.socket != self.client.socket().path())
            && let Some(pid) = self.at_the_socket()?
        {
            return Ok(Some(pid));
        }
        if let Some(holder) = holder.as_ref().filter(|holder| holder.lives()) {
            return Ok(Some(holder.pid));
        }
        // Nothing could be written when it took the lock, so that the line is of somebody before.
        if let Some(pid) = self.at_the_socket()? {
            return Ok(Some(pid));
        }
        let whom = holder.map_or_else(String::new, |holder| {
            format!(" (it names process {} on {})", holder.pid, shown(&holder.host))
        });
        Err(Failure::NotStopped {
            message: format!(
                "somebody holds {}, and it is no agent of this machine that can be found{whom}",
                shown(&self.state_dir.join(LOCK_FILE).to_string_lossy())
            ),
            exit: Exit::NoAgent,
        })
    }

    /// The process at the other end of the socket, if it says itself that it is that.
    fn at_the_socket(&self) -> Result<Option<u32>, Failure> {
        let Some(running) = answering(&self.client)? else { return Ok(None) };
        Ok(self.client.peer()?.filter(|peer| *peer == running.pid))
    }

    /// Whether somebody holds the state lock. To find out it is taken and given back, where it is free.
    fn lock_is_held(&self) -> Result<bool, Failure> {
        let open = |path: &Path, flags| {
            rustix::fs::open(path, flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        };
        let file = match open(&self.state_dir.join(LOCK_FILE), OFlags::NONBLOCK) {
            // Where there can be no file, the directory is what is locked.
            Err(Errno::NOENT) => open(&self.state_dir, OFlags::DIRECTORY),
            opened => opened,
        };
        let file = match file {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(Failure::Stop { doing: "look at the state lock", source: error.into() }),
        };
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)) {
            Ok(()) => Ok(false),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(Failure::Stop { doing: "look at the state lock", source: error.into() }),
        }
    }

    /// Ends it, and returns when it has ended.
    fn stop(&self, pid: u32, context: &mut Context<'_>) -> Result<(), Failure> {
        context.progress("stopping the agent, which finishes what it has begun");
        let stopped = match Supervisor::of_process(pid, context.env) {
            // launchd does not wait for the end: what follows finds the process gone, or does.
            Some(supervisor) => supervisor.stop().and_then(|()| self.end(pid)),
            None => self.end(pid),
        };
        context.progress_done();
        stopped
    }

    #[cfg(target_os = "linux")]
    fn end(&self, pid: u32) -> Result<(), Failure> {
        use crate::client::Deadline;
        use rustix::event::PollFlags;
        use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

        let failed = |doing| move |error: Errno| Failure::Stop { doing, source: error.into() };
        let Some(number) = process(pid) else { return Ok(()) };
        let process = match pidfd_open(number, PidfdFlags::empty()) {
            Ok(process) => process,
            Err(Errno::SRCH) => return Ok(()),
            Err(error) => return Err(failed("take hold of its process")(error)),
        };
        // What is held now stays the same process. Is it still the agent?
        if self.agent()? != Some(pid) {
            return Ok(());
        }
        match pidfd_send_signal(&process, Signal::TERM) {
            Ok(()) => {}
            Err(Errno::SRCH) => return Ok(()),
            Err(error) => return Err(failed("signal its process")(error)),
        }
        Deadline::after(PATIENCE).wait(&process, PollFlags::IN).map_err(|_| still_there(pid))
    }

    /// There is nothing to take hold of a process by, so it is looked for again and again.
    #[cfg(not(target_os = "linux"))]
    fn end(&self, pid: u32) -> Result<(), Failure> {
        use crate::client::Deadline;
        use rustix::process::{Signal, kill_process};

        let Some(number) = process(pid) else { return Ok(()) };
        match kill_process(number, Signal::TERM) {
            Ok(()) => {}
            Err(Errno::SRCH) => return Ok(()),
            Err(error) => return Err(Failure::Stop { doing: "signal its process", source: error.into() }),
        }
        let deadline = Deadline::after(PATIENCE);
        while self.agent()? == Some(pid) {
            if deadline.left().is_zero() {
                return Err(still_there(pid));
            }
            deadline.pause(Duration::from_millis(50))?;
        }
        Ok(())
    }
}

fn process(pid: u32) -> Option<rustix::process::Pid> {
    i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw)
}

fn still_there(pid: u32) -> Failure {
    let patience = PATIENCE.as_secs();
    Failure::NotStopped {
        message: format!(
            "the agent (pid {pid}) has not ended within {patience} s: it waits for a refresh or for the disk; wait for \
             it, or: kill -KILL {pid}, at the risk of the sign-in"
        ),
        exit: Exit::Unavailable,
    }
}

/// Longer than an agent takes that ends in good order.
const PATIENCE: Duration = Duration::from_secs(45);
