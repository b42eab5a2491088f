//! The way to one host that slots are filled from: how much is on it, and how long nothing is sent there.
//!
//! A session has one for the portal and one for each STS. Invariant: what happens on one of them (throttled, cannot be
//! reached, eight calls up) holds up nothing on another.

use std::time::Duration;

use super::outage::Outage;
use crate::api::Problem;
use crate::schedule::{self, Backoff, Dice};
use crate::time::{Mono, Now};
use crate::upstream::Failure;

/// One way.
#[derive(Debug, Default)]
pub(super) struct Lane {
    flying: usize,
    /// After a failure that concerns everything on it: throttled.
    pause: Option<Pause>,
    backoff: Backoff,
    pub(super) last_failure: Option<Problem>,
    pub(super) outage: Outage,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    since: Mono,
    until: Mono,
}

impl Lane {
    /// Nothing that is up is waited for any more.
    pub(super) fn let_go(&mut self) {
        self.flying = 0;
        self.forget_pauses();
    }

    pub(super) fn forget_pauses(&mut self) {
        self.pause = None;
        self.outage.forget_pause();
    }

    /// After a failure that concerned everything, one call tries whether it is over.
    pub(super) fn has_a_free_place(&self) -> bool {
        self.flying < if self.backoff.failures() > 0 { 1 } else { MOST_FLIGHTS }
    }

    /// How often in a row something failed that concerned everything.
    pub(super) const fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    pub(super) const fn is_in_use(&self) -> bool {
        self.flying > 0 || self.pause.is_some()
    }

    /// How long nothing is sent because of a failure that concerned everything.
    pub(super) fn pause_left(&self, now: Now) -> Duration {
        self.pause.map_or(Duration::ZERO, |pause| pause.until.since(now.mono))
    }

    /// How long nothing is sent, whatever the reason.
    pub(super) fn closed_for(&self, someone_waits: bool, now: Now) -> Duration {
        self.pause_left(now).max(self.outage.pause_left(someone_waits, now))
    }

    pub(super) fn took_off(&mut self, now: Now, dice: &mut Dice) {
        self.outage.trying(now, dice);
        self.flying += 1;
    }

    pub(super) fn landed(&mut self) {
        self.flying = self.flying.saturating_sub(1);
    }

    pub(super) fn succeeded(&mut self) {
        self.backoff.reset();
        self.pause = None;
        self.last_failure = None;
    }

    /// A call has failed, which was made then, on behalf of something that has a backoff of its own. For how long
    /// nothing is sent; whether that goes for all.
    pub(super) fn failed(
        &mut self,
        failure: &Failure,
        own: &mut Backoff,
        started: Now,
        now: Now,
        dice: &mut Dice,
    ) -> (Duration, bool) {
        let everybody = matches!(failure, Failure::NotProcessed { .. });
        // Calls that were up together fail together: that is one failure, not eight.
        let same_wave = self.pause.filter(|pause| everybody && started.mono <= pause.since);
        let backoff = if everybody { &mut self.backoff } else { own };
        let mut pause = match (failure, same_wave) {
            // Whoever asks again waits no longer than this.
            (Failure::NotSent(_), _) => self.outage.pause_left(true, now),
            (_, Some(known)) => known.until.since(now.mono),
            (_, None) => backoff.next(dice),
        };
        if let Failure::NotProcessed { retry_after: Some(asked), .. } = failure {
            pause = pause.max((*asked).min(schedule::LONGEST_PAUSE));
        }
        if everybody {
            let since = same_wave.map_or(now.mono, |known| known.since);
            self.pause = Some(Pause { since, until: now.mono.after(pause) });
        }
        (pause, everybody)
    }
}

const MOST_FLIGHTS: usize = 8;
