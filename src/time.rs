//! Points in time and lengths of time, as values.
//!
//! Owns: the two clocks' types, RFC 3339 text and the DURATION of the command line. Refuses to know what
//! time it is: `clock.rs` does. Invariant: wall and monotonic time are different types and subtraction
//! saturates, so a clock that steps back cannot make a panic or a negative nap.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point of wall-clock time, milliseconds since the Unix epoch. Written as RFC 3339 UTC with `Z`, whole
/// seconds, rounded down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch (the unit of the portal's `expiration`).
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From seconds since the Unix epoch (the unit of `clientSecretExpiresAt`).
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The point `duration` later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// The point `duration` earlier.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// The point `millis` later, or earlier when negative.
    #[must_use]
    pub const fn shifted(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0.div_euclid(1000)) {
            Ok(time) => write!(formatter, "{time}"),
            // Only years outside -9999..=9999; no service sends them and nothing may fail for them.
            Err(_) if self.0 < 0 => formatter.write_str("-009999-01-02T01:59:59Z"),
            Err(_) => formatter.write_str("9999-12-30T22:00:00Z"),
        }
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse::<jiff::Timestamp>().map(|time| Self(time.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A point of monotonic time: how long after an arbitrary start, counting suspend where the system can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(Duration);

impl Mono {
    /// The point `elapsed` after the clock's arbitrary start.
    #[must_use]
    pub const fn from_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The point `duration` later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// Both clocks, read together once per turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For questions of expiry.
    pub wall: Timestamp,
    /// For questions of patience.
    pub mono: Mono,
}

/// A DURATION as people type it: `90`, `90s`, `15m`, `1h`.
///
/// # Errors
/// A text of any other form, or one over 136 years.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let (number, unit) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        _ => (text, 1),
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidDuration);
    }
    let seconds = number.parse::<u32>().map_err(|_| InvalidDuration)?.checked_mul(unit).ok_or(InvalidDuration)?;
    Ok(Duration::from_secs(seconds.into()))
}

/// A text that is not a DURATION.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidDuration;

impl fmt::Display for InvalidDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a duration: expected for example 90, 90s, 15m or 1h")
    }
}

impl std::error::Error for InvalidDuration {}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_written_in_whole_seconds_rounded_down_with_z() {
        assert_eq!(Timestamp::from_millis(1_700_000_000_999).to_string(), "2023-11-14T22:13:20Z");
        assert_eq!(Timestamp::from_millis(-1).to_string(), "1969-12-31T23:59:59Z");
        assert_eq!("2023-11-14T22:13:20Z".parse::<Timestamp>().unwrap(), Timestamp::from_secs(1_700_000_000));
    }

    #[test]
    fn a_time_before_all_calendars_is_not_written_as_one_far_ahead() {
        let written = Timestamp::from_millis(i64::MIN).to_string();
        assert!(written.parse::<Timestamp>().unwrap() < Timestamp::from_millis(0), "{written}");
    }

    #[test]
    fn subtraction_saturates() {
        let earlier = Timestamp::from_secs(1);
        assert_eq!(earlier.since(Timestamp::from_secs(2)), Duration::ZERO);
        assert_eq!(Mono::default().since(Mono::default().after(Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(Timestamp::from_millis(i64::MAX).after(Duration::MAX), Timestamp::from_millis(i64::MAX));
        assert!(!Timestamp::from_millis(i64::MAX).to_string().is_empty());
    }

    #[test]
    fn durations_are_typed_as_numbers_with_an_optional_unit() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3600), ("0", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "s", "1d", "-1", "1.5h", "1 m", "+5", "99999999999", "5000000h", "１"] {
            assert_eq!(parse_duration(wrong), Err(InvalidDuration), "{wrong}");
        }
    }
}
