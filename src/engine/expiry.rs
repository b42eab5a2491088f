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
    /// By that run: what this one counts is only an estimate.
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

    /// The service's clock is known better now: when this ends by it. `None` if that was not counted here.
    pub(super) fn redated(&self, now: Now, skew: Skew) -> Option<Timestamp> {
        (!self.loaded).then(|| skew.to_service(now.wall.after(self.limit.since(now.mono))))
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

    /// Takes note of one response, and says whether that changed anything. A change of over 60 s counts when a second
    /// response agrees within 30 s.
    pub(super) fn observe(&mut self, time: ServiceTime) -> bool {
        let ahead = time.service.as_millis().saturating_sub(time.ours.as_millis());
        if ahead.abs_diff(self.ahead_millis) <= 60_000 {
            self.candidate = None;
            return false;
        }
        match self.candidate {
            Some(candidate) if candidate.abs_diff(ahead) <= 30_000 => {
                tracing::info!(from_ms = self.ahead_millis, to_ms = ahead, "the service's clock differs from ours");
                *self = Self { ahead_millis: if ahead.abs() <= 60_000 { 0 } else { ahead }, candidate: None };
                true
            }
            _ => {
                self.candidate = Some(ahead);
                false
            }
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
    /// Takes note of the service's clock. If it is another than was thought, tokens that were dated by what was thought
    /// live no shorter and no longer for it.
    pub(super) fn observe_clock(&mut self, time: ServiceTime, now: Now) {
        if !self.skew.observe(time) {
            return;
        }
        let skew = self.skew;
        for holding in self.holding.iter_mut().chain(self.refreshing.being_saved()) {
            let Some(ends) = holding.access.redated(now, skew) else { continue };
            holding.access.service = ends;
            let TokenRecord { tokens, clock_ahead, .. } = &mut holding.record;
            let lifetime = tokens.lifetime();
            tokens.expires_at = ends;
            tokens.issued_at = ends.before(lifetime);
            *clock_ahead = skew.ahead_millis;
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
