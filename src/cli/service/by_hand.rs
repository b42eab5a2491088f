//! Ending an agent that no service manager runs.
//!
//! Invariant: a process is signalled only after it was taken hold of and is still the one that the lock names (A§8).

use std::path::Path;

use rustix::process::{Pid, Signal};

use crate::holder::read_holder;

use super::Trouble;

/// Ends the agent, and returns when it has ended: what is under way is finished first.
pub(super) fn end(state_dir: &Path, pid: u32) -> Result<(), Trouble> {
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let still = || read_holder(state_dir).ok().flatten().is_some_and(|holder| holder.pid == pid && holder.lives());
    terminate(process, &still).map_err(|_| Trouble::StillThere { pid })
}

#[cfg(target_os = "linux")]
fn terminate(process: Pid, still: &dyn Fn() -> bool) -> rustix::io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

    let held = match pidfd_open(process, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        held => held?,
    };
    if !still() {
        return Ok(());
    }
    match pidfd_send_signal(&held, Signal::TERM) {
        Err(Errno::SRCH) => return Ok(()),
        sent => sent?,
    }
    let patience = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
    let mut end = [PollFd::new(&held, PollFlags::IN)];
    match rustix::io::retry_on_intr(|| poll(&mut end, Some(&patience)))? {
        0 => Err(Errno::TIMEDOUT),
        _ => Ok(()),
    }
}

/// There is nothing to take hold of a process by, so it is looked at again and again.
#[cfg(not(target_os = "linux"))]
fn terminate(process: Pid, still: &dyn Fn() -> bool) -> rustix::io::Result<()> {
    use rustix::io::Errno;
    use rustix::process::kill_process;

    if !still() {
        return Ok(());
    }
    kill_process(process, Signal::TERM)?;
    let (_nobody, silence) = std::sync::mpsc::channel::<()>();
    for _ in 0..PATIENCE * 10 {
        if !still() {
            return Ok(());
        }
        let _ = silence.recv_timeout(std::time::Duration::from_millis(100));
    }
    Err(Errno::TIMEDOUT)
}

/// Seconds; longer than an agent takes that ends in good order.
const PATIENCE: i64 = 45;
