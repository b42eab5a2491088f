//! Counting things that take their time.
//!
//! Owns: how often and how long, by label. Refuses to know what is counted and who reads it. Invariant: labels are
//! words of the program or small numbers, never names of anybody's, so there is a bounded number of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is counted, by label, since the start.
#[derive(Debug)]
pub struct Meter<L> {
    bounds: &'static [Duration],
    series: Mutex<BTreeMap<L, Series>>,
}

/// One label's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Series {
    /// How many took at most as long as each bound and longer than the one before; the last, longer than all.
    pub counts: Vec<u64>,
    /// How long all of them took together.
    pub total: Duration,
}

impl<L: Ord + Copy> Meter<L> {
    /// Nothing counted yet; `bounds` are ascending.
    #[must_use]
    pub const fn new(bounds: &'static [Duration]) -> Self {
        Self { bounds, series: Mutex::new(BTreeMap::new()) }
    }

    /// What the counts are divided by.
    #[must_use]
    pub const fn bounds(&self) -> &'static [Duration] {
        self.bounds
    }

    /// One more.
    pub fn note(&self, label: L, took: Duration) {
        let place = self.bounds.iter().position(|bound| took <= *bound).unwrap_or(self.bounds.len());
        let mut all = self.series();
        let series = all.entry(label).or_insert_with(|| Series::of(self.bounds));
        series.counts[place] += 1;
        series.total = series.total.saturating_add(took);
    }

    /// All counts as they are now.
    #[must_use]
    pub fn read(&self) -> BTreeMap<L, Series> {
        self.series().clone()
    }

    /// A panic while it was held has left at most one count without its time.
    fn series(&self) -> MutexGuard<'_, BTreeMap<L, Series>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Series {
    /// Nothing counted yet.
    #[must_use]
    pub fn of(bounds: &[Duration]) -> Self {
        Self { counts: vec![0; bounds.len() + 1], total: Duration::ZERO }
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_once_under_the_first_bound_that_it_kept() {
        const BOUNDS: &[Duration] = &[Duration::from_millis(1), Duration::from_millis(10)];
        let meter = Meter::new(BOUNDS);
        for micros in [0, 1000, 1001, 10_000, 10_001, 60_000_000] {
            meter.note("a", Duration::from_micros(micros));
        }
        meter.note("b", Duration::ZERO);
        let read = meter.read();
        assert_eq!(read["a"].counts, [2, 2, 2]);
        assert_eq!((read["a"].count(), read["b"].count()), (6, 1));
        assert_eq!(read["a"].total, Duration::from_micros(60_022_002));
    }
}
