//! One wake-up call.
//!
//! Owns: being woken at a time, also after a suspend and when somebody sets the clock. Refuses to know what for.
//! On Linux a timer on the wall clock does it, so that an idle agent does not wake up at all; elsewhere, and under the
//! paused clock of tests, naps of at most 30 s.

use std::time::Duration;

#[cfg(target_os = "linux")]
use rustix::{
    fd::OwnedFd,
    io::Errno,
    time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
        timerfd_settime,
    },
};
#[cfg(target_os = "linux")]
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep};

/// Rings once after it is set.
#[derive(Debug)]
pub struct Alarm(Kind);

#[derive(Debug)]
enum Kind {
    #[cfg(target_os = "linux")]
    Timer(AsyncFd<OwnedFd>),
    Naps {
        sleep: std::pin::Pin<Box<Sleep>>,
        set: bool,
    },
}

impl Alarm {
    /// The best alarm this system has. Must be called within a runtime.
    #[must_use]
    pub fn of_system() -> Self {
        #[cfg(target_os = "linux")]
        {
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            match timerfd_create(TimerfdClockId::Realtime, flags).map_err(std::io::Error::from).and_then(watch) {
                Ok(timer) => return Self(Kind::Timer(timer)),
                Err(error) => tracing::warn!(%error, "no timer on the wall clock, taking naps"),
            }
        }
        Self::of_naps()
    }

    /// An alarm on the runtime's own clock, which tests can pause.
    #[must_use]
    pub fn of_naps() -> Self {
        Self(Kind::Naps { sleep: Box::pin(tokio::time::sleep_until(Instant::now())), set: false })
    }

    /// Sets it to ring after `wait`, or not at all.
    pub fn set(&mut self, wait: Option<Duration>) {
        match &mut self.0 {
            #[cfg(target_os = "linux")]
            Kind::Timer(timer) => {
                let at = wait.map(|wait| {
                    let now = clock_gettime(ClockId::Realtime);
                    let now = Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default());
                    now + wait.min(LONGEST_WAIT)
                });
                // All zeros disarm the timer.
                let at = at.unwrap_or_default();
                let it_value =
                    Timespec { tv_sec: at.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: at.subsec_nanos().into() };
                let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
                let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
                if let Err(error) = timerfd_settime(timer, flags, &once) {
                    tracing::error!(%error, "the alarm cannot be set");
                }
            }
            Kind::Naps { sleep, set } => {
                *set = wait.is_some();
                sleep.as_mut().reset(Instant::now() + wait.unwrap_or(LONGEST_NAP).min(LONGEST_NAP));
            }
        }
    }

    /// Waits until it rings. A clock that was set rings it too.
    pub async fn rings(&mut self) {
        match &mut self.0 {
            #[cfg(target_os = "linux")]
            Kind::Timer(timer) => {
                while let Ok(mut ready) = timer.readable().await {
                    match rustix::io::read(ready.get_inner(), &mut [0_u8; 8]) {
                        Err(Errno::AGAIN) => ready.clear_ready(),
                        // It rang, or the clock was set (`ECANCELED`): look again in either case.
                        _ => return,
                    }
                }
                // The runtime is going away.
                std::future::pending::<()>().await;
            }
            Kind::Naps { sleep, set: true } => {
                sleep.as_mut().await;
                // Until it is set again.
                self.set(None);
            }
            Kind::Naps { .. } => std::future::pending().await,
        }
    }
}

/// Tokio has no safe way to wait for a descriptor that is not a socket or a pipe.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the only constructor of AsyncFd that is not deprecated")]
fn watch(timer: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is an open descriptor, always the same, and stays open until it is dropped with the `AsyncFd`.
    unsafe { AsyncFd::register(timer) }.map_err(Into::into)
}

const LONGEST_NAP: Duration = Duration::from_secs(30);
/// Far beyond anything scheduled, near enough for every clock's arithmetic.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_systems_alarm_rings() {
        let mut alarm = Alarm::of_system();
        alarm.set(Some(Duration::from_millis(1)));
        alarm.rings().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_nap_is_at_most_thirty_seconds() {
        let mut alarm = Alarm::of_naps();
        let start = Instant::now();
        alarm.set(Some(Duration::from_secs(3600)));
        alarm.rings().await;
        assert_eq!(start.elapsed(), LONGEST_NAP);
    }
}
