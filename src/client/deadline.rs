//! The caller's patience as a point in time. Floor 0 knows no clock module, so the one clock it needs is read here.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::error::ClientError;

/// When patience ends, on the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    end: Duration,
    patience: Duration,
}

impl Deadline {
    /// So long from now.
    pub(crate) fn after(patience: Duration) -> Self {
        Self { end: monotonic().saturating_add(patience), patience }
    }

    /// The same deadline, or one so long from now if that is earlier.
    pub(crate) fn no_later_than(self, patience: Duration) -> Self {
        Self { end: self.end.min(monotonic().saturating_add(patience)), ..self }
    }

    /// What is left; zero when it has passed.
    pub(crate) fn left(self) -> Duration {
        self.end.saturating_sub(monotonic())
    }

    /// Waits until the other side can be read from or written to.
    pub(crate) fn wait(self, fd: impl AsFd, readiness: PollFlags) -> Result<(), ClientError> {
        if self.poll(&mut [PollFd::new(&fd, readiness)], self.left())? { Ok(()) } else { Err(self.passed()) }
    }

    /// Waits for nothing but time, so long or until the deadline.
    pub(crate) fn pause(self, pause: Duration) -> Result<(), ClientError> {
        self.poll(&mut [], pause.min(self.left())).map(|_| ())
    }

    /// What to say when it has passed.
    pub(crate) const fn passed(self) -> ClientError {
        ClientError::TimedOut { patience: self.patience }
    }

    /// Whether something is ready, or the time has passed without.
    fn poll(self, fds: &mut [PollFd<'_>], most: Duration) -> Result<bool, ClientError> {
        let end = monotonic().saturating_add(most);
        loop {
            let left = end.saturating_sub(monotonic());
            match poll(fds, Timespec::try_from(left).ok().as_ref()) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(ClientError::Io { doing: "wait for", source: error.into() }),
            }
        }
    }
}

fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), u32::try_from(now.tv_nsec).unwrap_or_default())
}
