//! The time of the simulated universe, and how the simulated machine reads it.
//!
//! Invariant: there is one true time, the service's; the machine's wall clock is off from it by as much as somebody set
//! it, its monotonic clock never is but for where it starts.

use std::time::Duration;

use sso_agent::time::{Mono, Now, Timestamp};

/// True time: microseconds since the universe began, which was on a Monday at midnight.
pub type At = u64;

/// A second.
pub const SECOND: At = 1_000_000;
/// A minute.
pub const MINUTE: At = 60 * SECOND;
/// An hour.
pub const HOUR: At = 60 * MINUTE;
/// A day.
pub const DAY: At = 24 * HOUR;

/// 2024-01-01T00:00:00Z, in milliseconds.
const BEGINNING: i64 = 1_704_067_200_000;

/// A length of true time.
pub fn span(duration: Duration) -> At {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

/// The same, as everybody else has it.
pub const fn duration(span: At) -> Duration {
    Duration::from_micros(span)
}

/// What the service's clock says.
pub fn service_time(at: At) -> Timestamp {
    Timestamp::from_millis(BEGINNING + i64::try_from(at / 1000).unwrap_or(i64::MAX / 2))
}

/// The clocks of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clocks {
    /// How far the wall clock is ahead of the service's, in milliseconds.
    pub ahead: i64,
    /// What the monotonic clock said when the universe began.
    pub booted: At,
}

impl Clocks {
    /// Both of them.
    pub fn read(&self, at: At) -> Now {
        Now { wall: service_time(at).shifted(self.ahead), mono: Mono::from_start(duration(self.booted + at)) }
    }
}

/// A time as people read it in a report.
pub fn shown(at: At) -> String {
    let seconds = at / SECOND;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    format!("day {days} {:02}:{:02}:{:02}.{:03}", rest / 3600, rest / 60 % 60, rest % 60, at / 1000 % 1000)
}

/// Later than anything that happens.
pub const NEVER: At = u64::MAX / 4;
