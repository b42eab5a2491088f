//! The command as a child of ours, as if we were not there.
//!
//! Owns: starting it, the signals that are meant for it, and how we end after it. Invariants: it stays in our process
//! group, so that a terminal's keys reach it as ever and reach it once; it is stopped and continued when we are, and we
//! when it is; signals that we were told to ignore it ignores too.

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};

use rustix::event::{Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpgrp, getpid, kill_process, waitid};
use signal_hook::consts::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this code.
    Code(u8),
    /// By this signal.
    Signal(i32),
}

impl End {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            // The system keeps eight bits of it.
            (Some(code), _) => Self::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Code(u8::MAX),
        }
    }

    /// What a command that cannot be started ends with, as shells have it.
    pub(super) fn not_started(error: &io::Error) -> Self {
        Self::Code(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
    }
}

/// Why there is no end.
pub(super) enum Trouble {
    /// Signals cannot be handled.
    Signals(io::Error),
    /// The command was not started.
    Start(io::Error),
}

/// Runs the command to its end.
pub(super) fn run(command: &mut Command) -> Result<End, Trouble> {
    // Before it starts, so that nothing is missed.
    let mut signals = Signals::new(watched(&ignored())).map_err(Trouble::Signals)?;
    let mut child = command.spawn().map_err(Trouble::Start)?;
    loop {
        if let Some(status) = child.try_wait().map_err(Trouble::Signals)? {
            return Ok(End::of(status));
        }
        if is_stopped(&child) {
            stop_too(&child);
        }
        for signal in signals.wait() {
            match signal {
                SIGCHLD => {}
                SIGINT | SIGQUIT if terminal_tells_our_group() => {}
                signal => pass_on(&child, signal),
            }
        }
    }
}

/// Signals we look out for. One that we were told to ignore the command is to ignore too, and would not if we had a handler.
fn watched(ignored: &[i32]) -> Vec<i32> {
    let meant_for_the_command = [SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
    meant_for_the_command.into_iter().filter(|signal| !ignored.contains(signal)).chain([SIGCHLD]).collect()
}

/// The signals that this process was started to ignore, as far as the system tells.
fn ignored() -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    (1..=64).filter(|signal| mask & (1 << (signal - 1)) != 0).collect()
}

fn pass_on(child: &Child, signal: i32) {
    if let Some(signal) = Signal::from_named_raw(signal) {
        // It has not been waited for, so the number is its own; if it has ended, it needs no signal.
        let _ = kill_process(Pid::from_child(child), signal);
    }
}

/// Whether a key at the terminal is told to the command as well: then it must not be told twice.
fn terminal_tells_our_group() -> bool {
    File::open("/dev/tty")
        .is_ok_and(|terminal| rustix::termios::tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}

/// Whether the command has been stopped, and not along with us.
fn is_stopped(child: &Child) -> bool {
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let look = || matches!(waitid(WaitId::Pid(Pid::from_child(child)), options), Ok(Some(_)));
    if !look() {
        return false;
    }
    // If we were stopped as well, we go on just now, and so will it.
    let moment = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let _ = poll(&mut [], Some(&moment));
    look()
}

/// Stops this process, so that whoever has started it sees what they would see without us. When it goes on, so does the
/// command.
fn stop_too(child: &Child) {
    // Seen.
    let _ = waitid(WaitId::Pid(Pid::from_child(child)), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG);
    let _ = kill_process(getpid(), Signal::STOP);
    pass_on(child, SIGCONT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_not_there_ends_as_shells_have_it() {
        let ended = |path: &str| End::not_started(&Command::new(path).spawn().unwrap_err());
        assert_eq!(ended("/nonexistent/command"), End::Code(127));
        assert_eq!(ended("/etc/passwd"), End::Code(126));
    }

    #[test]
    fn the_end_is_the_commands() {
        assert_eq!(End::of(ExitStatus::from_raw(42 << 8)), End::Code(42));
        assert_eq!(End::of(ExitStatus::from_raw(9)), End::Signal(9));
    }

    #[test]
    fn what_we_ignore_is_not_listened_for() {
        assert!(watched(&[]).contains(&SIGHUP));
        assert!(!watched(&[SIGHUP, SIGINT]).iter().any(|signal| [SIGHUP, SIGINT].contains(signal)));
        assert!(
            ignored().contains(&signal_hook::consts::SIGPIPE) || cfg!(not(target_os = "linux")),
            "Rust's own doing"
        );
    }
}
