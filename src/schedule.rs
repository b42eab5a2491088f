//! How long before an end to act, and how long to wait after a failure.
//!
//! Owns: margins, jitter, backoff. Refuses to know the time and what is scheduled. Invariant: everything here is a
//! function of its arguments and of the seed it was given, so a run can be repeated.

use std::time::Duration;

/// Randomness with a seed that was handed in (SplitMix64): for jitter, never for secrets.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The same seed rolls the same numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Evenly between zero and `most`.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(self.roll() % (micros + 1))
    }
}

/// An access token is refreshed when this much of its lifetime is left: a third, at most 20 minutes.
#[must_use]
pub fn refresh_margin(lifetime: Duration) -> Duration {
    (lifetime / 3).min(TWENTY_MINUTES)
}

/// The margin less up to 5 %, so that many agents do not come at the same moment.
pub fn with_jitter(margin: Duration, dice: &mut Dice) -> Duration {
    margin.saturating_sub(dice.up_to(margin / 20))
}

/// With a refresh token of unknown fate, the first time to present it again: a quarter of the margin.
#[must_use]
pub fn late_margin(margin: Duration) -> Duration {
    margin / 4
}

/// Role credentials in use are refreshed ahead when this much is left: 40 %, at most 20 minutes.
#[must_use]
pub fn role_margin(lifetime: Duration) -> Duration {
    (lifetime * 2 / 5).min(TWENTY_MINUTES)
}

/// The remaining validity a caller gets who asks for none: a third of the lifetime, at most 15 minutes (below that
/// botocore runs its `credential_process` again for every call).
#[must_use]
pub fn default_min_validity(lifetime: Duration) -> Duration {
    (lifetime / 3).min(Duration::from_secs(15 * 60))
}

/// The shortest time between two refreshes, whoever asks: a minute, a fifth of shorter lifetimes, never under a second.
#[must_use]
pub fn refresh_gap(lifetime: Duration) -> Duration {
    (lifetime / 5).clamp(Duration::from_secs(1), Duration::from_secs(60))
}

/// Pauses after failures: 1 s doubling to 5 min, full jitter (each between nothing much and its ceiling).
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after one more failure.
    pub fn next(&mut self, dice: &mut Dice) -> Duration {
        let ceiling = Duration::from_secs(1 << self.failures.min(9)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        dice.up_to(ceiling).max(SHORTEST_PAUSE)
    }

    /// How many failures there have been in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// A success: start over.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The longest pause of a [`Backoff`], and the longest `Retry-After` that is honoured.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// While a caller waits and nothing can be sent, the longest pause.
pub const LONGEST_PAUSE_WITH_A_CALLER: Duration = Duration::from_secs(5);
/// How long a definite "no such role" is remembered.
pub const REFUSAL_REMEMBERED: Duration = Duration::from_secs(60);
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const TWENTY_MINUTES: Duration = Duration::from_secs(20 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_are_a_share_of_the_lifetime_with_a_ceiling() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        assert_eq!(refresh_margin(minutes(60)), minutes(20));
        assert_eq!(refresh_margin(minutes(15)), minutes(5));
        assert_eq!(role_margin(minutes(60)), minutes(20));
        assert_eq!(role_margin(minutes(10)), minutes(4));
        assert_eq!(default_min_validity(minutes(60)), minutes(15));
        assert_eq!(default_min_validity(Duration::from_secs(9)), Duration::from_secs(3));
        assert_eq!(refresh_gap(minutes(60)), minutes(1));
        assert_eq!(refresh_gap(Duration::from_secs(10)), Duration::from_secs(2));
    }

    #[test]
    fn jitter_takes_at_most_a_twentieth() {
        let mut dice = Dice::new(7);
        let margin = Duration::from_secs(1200);
        for _ in 0..1000 {
            let jittered = with_jitter(margin, &mut dice);
            assert!(jittered <= margin && jittered >= margin * 19 / 20);
        }
    }

    #[test]
    fn backoff_doubles_to_five_minutes_and_starts_over_after_success() {
        let mut dice = Dice::new(7);
        let mut backoff = Backoff::default();
        for failure in 0..40_u32 {
            let ceiling = Duration::from_secs(1 << failure.min(9)).min(LONGEST_PAUSE);
            let pause = backoff.next(&mut dice);
            assert!(pause <= ceiling && pause >= SHORTEST_PAUSE, "{failure}: {pause:?}");
        }
        backoff.reset();
        assert!(backoff.next(&mut dice) <= Duration::from_secs(1));
    }

    #[test]
    fn the_same_seed_rolls_the_same_numbers() {
        let (mut first, mut second) = (Dice::new(42), Dice::new(42));
        assert_eq!(first.up_to(Duration::from_secs(9)), second.up_to(Duration::from_secs(9)));
        assert_ne!(Dice::new(1).up_to(Duration::from_secs(9)), Dice::new(2).up_to(Duration::from_secs(9)));
    }
}
