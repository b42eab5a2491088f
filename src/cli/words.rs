//! Times and places in words: how people read what machines count.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::api::WarningEntry;
use crate::time::Timestamp;
use crate::untrusted::shown;

use super::paint::Paint;

/// A length of time, in the two units that matter: `7 h 12 min`, `12 min`, `40 s`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / DAY, seconds % DAY / HOUR, seconds % HOUR / MINUTE);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// How long the words for how far away a time is stay the same: seconds are told in the last minute only.
pub(super) fn lasts(time: Timestamp, now: Timestamp) -> Duration {
    let (ahead, ago) = (time.since(now), now.since(time));
    let unit = if ahead.max(ago) < ONE_MINUTE { Duration::from_secs(1) } else { ONE_MINUTE };
    let past_a_unit = |length: Duration| Duration::from_millis((length.as_millis() % unit.as_millis()) as u64);
    if ahead.is_zero() { unit - past_a_unit(ago) } else { past_a_unit(ahead) + Duration::from_millis(1) }
}

/// A countdown: `9:48`.
pub(super) fn countdown(left: Duration) -> String {
    let seconds = left.as_secs();
    format!("{}:{:02}", seconds / MINUTE, seconds % MINUTE)
}

/// A point in time on the reader's clock: `17:02` today, else with the date.
pub(super) fn clock_time(time: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let local = |time: Timestamp| {
        jiff::Timestamp::from_millisecond(time.as_millis()).ok().map(|time| time.to_zoned(zone.clone()))
    };
    match (local(time), local(now)) {
        (Some(time), Some(now)) if time.date() == now.date() => time.strftime("%H:%M").to_string(),
        (Some(time), _) => time.strftime("%Y-%m-%d %H:%M").to_string(),
        (None, _) => time.to_string(),
    }
}

/// What is wrong with a file, and where in it; the line is zero where it is about all of it.
pub(super) fn warning(warning: &WarningEntry, colour: bool) -> String {
    let mark = Paint::Yellow.apply("warning:", colour);
    let line = if warning.line > 0 { format!(":{}", warning.line) } else { String::new() };
    format!("{mark} {}{line}: {}", shown(&warning.file), shown(&warning.message))
}

/// What `12 min` is told in.
pub(super) const ONE_MINUTE: Duration = Duration::from_secs(MINUTE);
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_told_in_its_two_largest_units() {
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (25_920, "7 h 12 min"),
            (3600, "1 h"),
            (86_400, "1 d"),
            (97_200, "1 d 3 h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), words);
        }
        assert_eq!(countdown(Duration::from_secs(588)), "9:48");
        assert_eq!(countdown(Duration::from_secs(5)), "0:05");
    }

    #[test]
    fn words_are_looked_at_again_when_they_change() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let words = |time: Timestamp, now: Timestamp| duration(time.since(now).max(now.since(time)));
        for seconds in [1, 5, 59, 60, 61, 119, 120, 3599, 3600, 7210] {
            for time in [now.after(Duration::from_secs(seconds)), now.before(Duration::from_secs(seconds))] {
                let lasts = lasts(time, now);
                let changed = now.after(lasts);
                assert_ne!(words(time, changed), words(time, now), "{seconds}: {lasts:?}");
                let just_before = changed.before(Duration::from_millis(1));
                assert_eq!(words(time, just_before), words(time, now), "{seconds}: {lasts:?}");
            }
        }
    }

    #[test]
    fn a_time_of_another_day_says_which() {
        let now: Timestamp = "2026-11-22T20:30:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(clock_time(now, now, &zone), "21:30");
        assert_eq!(clock_time(now.after(Duration::from_secs(3 * 3600)), now, &zone), "2026-11-23 00:30");
        assert_eq!(clock_time(Timestamp::from_millis(i64::MAX), now, &zone), "9999-12-30T22:00:00Z");
    }
}
