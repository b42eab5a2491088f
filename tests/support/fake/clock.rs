//! The service's clock: the machine's wall clock plus an offset that a test chooses.
//!
//! Owns the only readings of the system's clocks in the fake; everything else is handed a [`ServiceTime`].

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment on the service's clock, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceTime(u64);

impl ServiceTime {
    /// Milliseconds since the epoch, as the portal writes expiries.
    pub fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, as sso-oidc writes them.
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// The moment this much later.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// How much later this is than `earlier`; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The same moment for the `Date` header.
    pub fn system_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0)
    }
}

/// The machine's clock, set wrong on purpose.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServiceClock {
    ahead_millis: i64,
}

impl ServiceClock {
    /// A clock that is this many seconds ahead of the machine's (behind it, if negative).
    pub fn ahead_by(seconds: i64) -> Self {
        Self { ahead_millis: seconds.saturating_mul(1000) }
    }

    /// Puts the clock forward.
    pub fn advance(&mut self, by: Duration) {
        self.ahead_millis = self.ahead_millis.saturating_add_unsigned(millis(by));
    }

    /// What time the service believes it is.
    pub fn now(self) -> ServiceTime {
        #[expect(clippy::disallowed_methods, reason = "the fake is the world outside, and the world has a clock")]
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        ServiceTime(millis(since_epoch).saturating_add_signed(self.ahead_millis))
    }
}

/// The machine's stopwatch, for what is measured from outside the agent.
pub fn stopwatch() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a measurement, on which nothing depends")]
    Instant::now()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
