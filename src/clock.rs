//! The time of this machine.
//!
//! Owns: reading both clocks. Invariant: this is the only place that does; everybody else is handed a [`Now`].

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::time::{Mono, Now, Timestamp};

/// Tells the time. The real one asks the system; tests and the simulator bring their own.
pub trait Clock: Send + Sync + 'static {
    /// Both clocks, now.
    fn now(&self) -> Now;
}

/// The system's clocks: wall time, and a monotonic clock that counts suspend where there is one.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let wall = clock_gettime(ClockId::Realtime);
        let mono = clock_gettime(SUSPEND_AWARE);
        Now {
            wall: Timestamp::from_millis(wall.tv_sec.saturating_mul(1000).saturating_add(wall.tv_nsec / 1_000_000)),
            mono: Mono::from_start(Duration::new(
                u64::try_from(mono.tv_sec).unwrap_or_default(),
                u32::try_from(mono.tv_nsec).unwrap_or_default(),
            )),
        }
    }
}

/// How long the machine has run, without the time it was suspended: the clock that service managers compare by.
#[must_use]
pub fn monotonic_without_suspend() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(target_os = "linux")]
const SUSPEND_AWARE: ClockId = ClockId::Boottime;
/// On macOS `CLOCK_MONOTONIC` counts suspend.
#[cfg(not(target_os = "linux"))]
const SUSPEND_AWARE: ClockId = ClockId::Monotonic;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_does_not_step_back() {
        let first = SystemClock.now();
        let second = SystemClock.now();
        assert!(second.mono >= first.mono);
        assert!(first.wall > Timestamp::from_secs(1_600_000_000));
    }
}
