//! When something ends, judged by both clocks and by the service's.

use std::time::Duration;

use super::session::Session;
use crate::identity_center::TokenSet;
use crate::store::TokenRecord;
use crate::time::{Mono, Now, Timestamp};
use crate::upstream::ServiceTime;

/// The end of something the service gave us.
///
/// The wall clock (corrected by the skew) and the monotonic clock both count; what one of them says is over is over.
/// So a wall clock that steps back does not make anything valid again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expiry {
    /// On the service's clock, as it is handed out.
    pub(super) service: Timestamp,
    /// On our monotonic clock, counted from receipt.
    limit: Mono,
    /// When it was received.
    received: Mono,
    /// How old it was then: an earlier run of the agent may have received it first.
    older: Duration,
    loaded: bool,
}

impl Expiry {
    /// Something that lives for `lifetime` from `started`, the moment its request was sent.
    pub(super) fn of_lifetime(started: Now, lifetime: Duration, skew: Skew) -> Self {
        Self {
            service: skew.to_service(started.wall).after(lifetime),
            limit: started.mono.after(lifetime),
            received: started.mono,
            older: Duration::ZERO,
            loaded: false,
        }
    }

    /// Something that ends at a time on the service's clock, and lives for `most` at the most.
    pub(super) fn at(service: Timestamp, now: Now, skew: Skew, most: Duration) -> Self {
        let left = skew.to_ours(service).since(now.wall).min(most);
        Self { service, limit: now.mono.after(left), received: now.mono, older: Duration::ZERO, loaded: false }
    }

    /// Tokens that an earlier run of the agent has received.
    pub(super) fn of_record(record: &TokenRecord, now: Now, skew: Skew) -> Self {
        let TokenSet { issued_at, expires_at, .. } = &record.tokens;
        let issued_at = skew.to_ours(*issued_at);
        // Our clock was set back since: nobody knows how old they are.
        let from_the_future = now.wall.after(TOLERANCE) < issued_at;
        let most = if from_the_future { Duration::ZERO } else { record.tokens.lifetime() };
        Self { older: now.wall.since(issued_at), loaded: true, ..Self::at(*expires_at, now, skew, most) }
    }

    /// How long it still lives; zero when it is over.
    pub(super) fn remaining(&self, now: Now, skew: Skew) -> Duration {
        skew.to_ours(self.service).since(now.wall).min(self.limit.since(now.mono))
    }

    /// What was over once stays over, also when the wall clock steps back afterwards.
    pub(super) fn settle(&mut self, now: Now, skew: Skew) {
        if self.remaining(now, skew).is_zero() {
            self.limit = self.limit.min(now.mono);
        }
    }

    /// The service's clock was found to be this much further ahead. What lives for a time and was received in this run ends
    /// when it did by ours, which is another time of theirs. Whether it is such a thing.
    pub(super) const fn follow(&mut self, ahead_millis: i64) -> bool {
        if !self.loaded {
            self.service = self.service.shifted(ahead_millis);
        }
        !self.loaded
    }

    /// How long ago it was received.
    pub(super) fn age(&self, now: Now) -> Duration {
        now.mono.since(self.received).saturating_add(self.older)
    }

    /// How long it was to live when it was received.
    pub(super) fn lifetime(&self) -> Duration {
        self.limit.since(self.received)
    }
}

/// How far the service's clock is ahead of ours, as far as two responses agree on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Skew {
    ahead_millis: i64,
    candidate: Option<i64>,
}

impl Skew {
    /// As it was known when these tokens were saved, unless it cannot be the same any more: no token is from the future.
    pub(super) fn of_record(record: &TokenRecord, wall: Timestamp) -> Self {
        let known = Self { ahead_millis: record.clock_ahead, candidate: None };
        let from_the_future = known.to_service(wall).after(TOLERANCE) < record.tokens.issued_at;
        if from_the_future { Self::default() } else { known }
    }

    /// How far the service's clock is ahead of ours, in milliseconds.
    pub(super) const fn ahead_millis(self) -> i64 {
        self.ahead_millis
    }

    /// Takes note of one response. A change of over 60 s counts when a second response agrees within 30 s.
    pub(super) fn observe(&mut self, time: ServiceTime) {
        let ahead = time.service.as_millis().saturating_sub(time.ours.as_millis());
        if ahead.abs_diff(self.ahead_millis) <= 60_000 {
            self.candidate = None;
            return;
        }
        match self.candidate {
            Some(candidate) if candidate.abs_diff(ahead) <= 30_000 => {
                tracing::info!(from_ms = self.ahead_millis, to_ms = ahead, "the service's clock differs from ours");
                *self = Self { ahead_millis: if ahead.abs() <= 60_000 { 0 } else { ahead }, candidate: None };
            }
            _ => self.candidate = Some(ahead),
        }
    }

    pub(super) fn to_service(self, ours: Timestamp) -> Timestamp {
        ours.shifted(self.ahead_millis)
    }

    pub(super) fn to_ours(self, service: Timestamp) -> Timestamp {
        service.shifted(self.ahead_millis.saturating_neg())
    }
}

impl Session {
    /// Takes note of the service's clock; tokens that were received by ours keep their life.
    pub(super) fn observe_clock(&mut self, time: ServiceTime) {
        let before = self.skew.ahead_millis;
        self.skew.observe(time);
        let further = self.skew.ahead_millis.saturating_sub(before);
        if let Some(holding) = self.holding.as_mut().filter(|_| further != 0)
            && holding.access.follow(further)
        {
            let TokenRecord { tokens, clock_ahead, .. } = &mut holding.record;
            tokens.issued_at = tokens.issued_at.shifted(further);
            tokens.expires_at = tokens.expires_at.shifted(further);
            *clock_ahead = self.skew.ahead_millis;
        }
    }
}

/// Below this, two clocks are the same.
const TOLERANCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: i64, mono: u64) -> Now {
        Now { wall: Timestamp::from_secs(wall), mono: Mono::from_start(Duration::from_secs(mono)) }
    }

    #[test]
    fn what_one_clock_says_is_over_is_over() {
        let expiry = Expiry::of_lifetime(at(1000, 0), Duration::from_secs(60), Skew::default());
        let left = |wall, mono| expiry.remaining(at(wall, mono), Skew::default());
        assert_eq!(left(1000, 0), Duration::from_secs(60));
        assert_eq!(left(1059, 10), Duration::from_secs(1));
        assert_eq!(left(1060, 10), Duration::ZERO);
        assert_eq!(left(500, 59), Duration::from_secs(1), "the wall clock stepped back");
        assert_eq!(left(500, 60), Duration::ZERO, "the wall clock stepped back");
    }

    #[test]
    fn one_wrong_date_changes_nothing_and_two_that_agree_do() {
        let hour_ahead = ServiceTime { service: Timestamp::from_secs(4600), ours: Timestamp::from_secs(1000) };
        let mut skew = Skew::default();
        skew.observe(hour_ahead);
        assert_eq!(skew.to_ours(Timestamp::from_secs(5000)), Timestamp::from_secs(5000));
        skew.observe(hour_ahead);
        assert_eq!(skew.to_ours(Timestamp::from_secs(5000)), Timestamp::from_secs(1400));
        let expiry = Expiry::at(Timestamp::from_secs(5000), at(1000, 0), skew, Duration::MAX);
        assert_eq!(expiry.remaining(at(1000, 0), skew), Duration::from_secs(400));
    }

    #[test]
    fn a_skew_of_less_than_a_minute_is_ignored() {
        let mut skew = Skew::default();
        for _ in 0..3 {
            skew.observe(ServiceTime { service: Timestamp::from_secs(1059), ours: Timestamp::from_secs(1000) });
        }
        assert_eq!(skew, Skew::default());
    }
}
