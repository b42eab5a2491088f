//! Where the refresh of a session stands, and when its refresh token may be presented next.
//!
//! Owns the rule of patience: pauses after failures, and the late rule after a lost answer. Refuses to know calls and
//! records. Invariant: nothing that happens on this machine shortens the wait after a lost answer but the death of the
//! access token.

use std::time::Duration;

use super::expiry::Skew;
use super::session::{Holding, Session};
use super::words;
use crate::api::{Code, Problem};
use crate::identity_center::ServiceError;
use crate::ids::SessionName;
use crate::schedule::{self, Backoff};
use crate::store::TokenRecord;
use crate::time::{Mono, Now};

/// Where the refresh stands.
#[derive(Debug, Default)]
pub(super) struct Refreshing {
    pub(super) step: Step,
    pub(super) fate: Fate,
    pub(super) backoff: Backoff,
    /// After a failure that the service knows of. What never left the machine pauses the whole session.
    pub(super) pause: Option<Mono>,
    /// When a refresh last reached the service.
    pub(super) last_sent: Option<Mono>,
    /// The mark could not be saved: refresh only when it gets late.
    pub(super) unmarkable: bool,
    pub(super) started: u64,
    pub(super) finished: u64,
    pub(super) last: Option<Problem>,
    /// When the next refresh comes, as the log was told.
    pub(super) told: Option<Mono>,
}

#[derive(Debug, Default)]
pub(super) enum Step {
    #[default]
    Idle,
    /// Somebody else may have refreshed it: the AWS CLI's cache is being read.
    Looking { wanted: bool },
    /// The mark is being saved.
    Marking(Sending),
    /// The refresh token was presented.
    Flying(Sending),
    /// It was refused for good, unless somebody else has refreshed it: the cache is being read once more.
    Doubting(Box<(Sending, ServiceError)>),
    /// What came back is being saved.
    Saving(Box<Holding>),
}

/// What must be known again when the outcome is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending {
    /// The mark as it was before: an earlier refresh of unknown fate, if any.
    pub(super) mark_before: Option<crate::time::Timestamp>,
    /// How long the access token still lived when the request was made.
    pub(super) remaining: Duration,
}

/// What is known about the refresh token that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Fate {
    /// It has not been presented, or the service did not act on it.
    #[default]
    Fresh,
    /// It was presented and nobody knows; it is presented again at this time.
    Unknown(Again),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// When a quarter of the margin is left.
    Late,
    /// When the access token has expired.
    Expired,
    /// After a pause.
    Paused,
}

impl Refreshing {
    /// Takes over what a stored record says about an earlier run.
    pub(super) fn load(&mut self, record: &TokenRecord, margin: Duration, skew: Skew, now: Now) {
        if let Some(sent_at) = record.refresh_sent_at {
            // The request of the earlier run may still be on its way: the next one keeps its distance.
            let gap = schedule::refresh_gap(record.tokens.lifetime());
            self.pause_for(gap.saturating_sub(now.wall.since(skew.to_ours(sent_at))), now);
            // The mark is of the wall clock, which a step may have moved against what the refresh was timed by: a little
            // before late counts as late, so that a crash in the late window is no reason to present it once more.
            let slack = schedule::late_margin(margin) / 2;
            let remaining = record.tokens.expires_at.since(sent_at).saturating_sub(slack);
            self.fate = Fate::Unknown(again(remaining, margin));
        }
        // However often an agent is started again, there is a minute between two refreshes. One of unknown fate has a
        // longer wait of its own, which a person may cut short.
        let issued_at = skew.to_ours(record.tokens.issued_at);
        self.last_sent = (issued_at > record.signed_in_at).then(|| {
            let up = now.mono.since(Mono::default());
            Mono::from_start(up.saturating_sub(now.wall.since(issued_at)))
        });
    }

    pub(super) const fn is_under_way(&self) -> bool {
        !matches!(self.step, Step::Idle)
    }

    /// The pause until the refresh token may be presented; `None` if it will not be, or is being.
    pub(super) fn wait_for_attempt(&self, session: &Session, wanted: bool, now: Now) -> Option<Duration> {
        let (holding, _) = session.held_here().ok()?;
        if self.is_under_way() || holding.record.refused.is_some() || holding.record.tokens.refresh_token.is_none() {
            return None;
        }
        if !wanted && !session.remaining(now).is_zero() && session.publishing.holds_a_refresh_back(now) {
            // Is the session over? The answer comes in a moment.
            return None;
        }
        if session.sign_in_is_saving() {
            // These tokens are about to be replaced, and nothing of theirs may land on disk after the new ones.
            return None;
        }
        if holding.rejected && session.portal.rejections() > 1 && !wanted {
            // A token that was just refreshed was rejected too: more of the same helps nobody.
            return None;
        }
        let lifetime = holding.record.tokens.lifetime();
        let remaining = session.remaining(now);
        let late = schedule::late_margin(session.base_margin(lifetime));
        let gap = schedule::refresh_gap(lifetime);
        let gap_left = self.last_sent.map_or(Duration::ZERO, |sent| sent.after(gap).since(now.mono));
        let by_rule = match self.fate {
            Fate::Unknown(Again::Late) => remaining.saturating_sub(late),
            Fate::Unknown(Again::Expired | Again::Paused) => remaining,
            Fate::Fresh if self.unmarkable => remaining.saturating_sub(late),
            Fate::Fresh if wanted => Duration::ZERO,
            Fate::Fresh => remaining.saturating_sub(holding.refresh_at),
        };
        Some(by_rule.max(gap_left).max(self.pause_left(now)).max(session.oidc.pause_left(wanted, now)))
    }

    pub(super) fn pause_left(&self, now: Now) -> Duration {
        self.pause.map_or(Duration::ZERO, |until| until.since(now.mono))
    }

    /// Forgets pauses, not fates: the network or the configuration may be another now.
    pub(super) fn forget_pauses(&mut self) {
        // With a fate unknown the pause is part of it: nothing that happens here says more about the token.
        if !self.is_unknown() {
            self.pause = None;
        }
    }

    /// The disk has room again: the next mark may succeed.
    pub(super) const fn disk_works(&mut self) {
        self.unmarkable = false;
    }

    /// The tokens it was about are no longer held: whoever waits for the end of a refresh has seen it.
    pub(super) fn abandon(&mut self) {
        *self = Self { started: self.started, finished: self.started, ..Self::default() };
    }

    pub(super) const fn is_flying(&self) -> bool {
        matches!(self.step, Step::Flying(_))
    }

    /// Whatever is found elsewhere, its end decides what is held.
    pub(super) const fn is_busy_with_the_service(&self) -> bool {
        matches!(self.step, Step::Marking(_) | Step::Flying(_) | Step::Doubting(_) | Step::Saving(_))
    }

    /// What a refresh brought and is on its way to disk.
    pub(super) fn being_saved(&mut self) -> Option<&mut Holding> {
        match &mut self.step {
            Step::Saving(holding) => Some(holding),
            _ => None,
        }
    }

    /// What is held is about to be replaced on disk, or to be marked as refused there.
    pub(super) const fn is_saving(&self) -> bool {
        matches!(self.step, Step::Saving(_) | Step::Doubting(_))
    }

    /// Why there is no token, for somebody who does not wait for the next attempt.
    pub(super) fn problem(&self, name: &SessionName, wait: Option<Duration>) -> Problem {
        let problem = self.last.clone().unwrap_or_else(|| match self.fate {
            Fate::Unknown(_) => fate_unknown(name),
            Fate::Fresh => words::refreshed_lately(name),
        });
        match wait {
            Some(wait) => problem.retry_after(wait),
            None => problem,
        }
    }

    pub(super) const fn last_failure(&self) -> Option<&Problem> {
        self.last.as_ref()
    }

    /// How the attempt with this number ended, if it has.
    pub(super) fn outcome_of(&self, number: u64) -> Option<Result<(), Problem>> {
        (self.finished >= number).then(|| self.last.clone().map_or(Ok(()), Err))
    }

    pub(super) const fn is_unknown(&self) -> bool {
        matches!(self.fate, Fate::Unknown(_))
    }

    pub(super) fn pause_for(&mut self, pause: Duration, now: Now) {
        self.pause = Some(now.mono.after(pause));
    }

    pub(super) fn wait_after_unknown(&self, session: &Session, now: Now) -> Option<Duration> {
        let idle = Self { step: Step::Idle, fate: self.fate, pause: self.pause, ..Self::default() };
        idle.wait_for_attempt(session, false, now)
    }
}

/// When a refresh token of unknown fate is presented again, given how long the access token lived when it was sent.
pub(super) fn again(remaining_when_sent: Duration, margin: Duration) -> Again {
    if remaining_when_sent > schedule::late_margin(margin) {
        Again::Late
    } else if remaining_when_sent.is_zero() {
        Again::Paused
    } else {
        Again::Expired
    }
}

pub(super) fn fate_unknown(name: &SessionName) -> Problem {
    let detail = format!(
        "the answer to a refresh of session {} was lost, and the service may have replaced the refresh token",
        crate::untrusted::shown(name.as_str())
    );
    Problem::new(Code::Unavailable, detail).session(name)
}
