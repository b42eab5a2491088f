//! A service that cannot be reached: how long nothing is tried, whoever wants it.
//!
//! Owns the pause after nothing left the machine. A session has one for each of its hosts: everything that goes to
//! sso-oidc (the refresh, every step of a sign-in) shares one, everything that goes to the portal another, and so does
//! everything that goes to one STS. Refuses to
//! know what is called. Invariant: while a host cannot be reached there is one attempt in each pause, no matter how
//! many callers ask for how many things; the first thing that leaves the machine ends it for all.

use std::time::Duration;

use super::attempt::Step;
use super::event::{Purpose, Turn};
use super::session::Session;
use crate::schedule::{self, Backoff, Dice};
use crate::time::{Mono, Now};
use crate::upstream::{Failure, Reply, Unclear};

/// Whether the last thing that was tried left the machine, and when to try again if not.
#[derive(Debug, Default)]
pub(super) struct Outage {
    pause: Option<Pause>,
    backoff: Backoff,
    cause: Option<Failure>,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    since: Mono,
    until: Mono,
    /// It began with an attempt that has not ended yet.
    trying: bool,
}

impl Outage {
    /// How long nothing is sent. Somebody who waits makes it shorter.
    pub(super) fn pause_left(&self, someone_waits: bool, now: Now) -> Duration {
        let Some(pause) = self.pause else { return Duration::ZERO };
        let until = if someone_waits {
            pause.until.min(pause.since.after(schedule::LONGEST_PAUSE_WITH_A_CALLER))
        } else {
            pause.until
        };
        until.since(now.mono)
    }

    /// Why nothing left the machine the last time.
    pub(super) const fn cause(&self) -> Option<&Failure> {
        self.cause.as_ref()
    }

    /// How often in a row nothing left the machine.
    pub(super) const fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// A call is about to be made. During an outage it is the only one of its pause, which begins here.
    pub(super) fn trying(&mut self, now: Now, dice: &mut Dice) {
        if self.backoff.failures() > 0 {
            self.begin(true, now, dice);
        }
    }

    /// A call has ended.
    pub(super) fn observe(&mut self, reply: &Reply, now: Now, dice: &mut Dice) {
        let older = self.pause.is_some_and(|pause| reply.started.mono <= pause.since);
        match &reply.result {
            Err(failure @ Failure::NotSent(_)) => {
                self.cause = Some(failure.clone());
                match self.pause {
                    // The pause counts from the end of the attempt: a connection may take its time to fail.
                    Some(Pause { since, until, trying: true }) => {
                        let until = now.mono.after(until.since(since));
                        self.pause = Some(Pause { since: now.mono, until, trying: false });
                    }
                    // Calls that were up together fail together: that is one failure, not eight.
                    Some(_) if older => {}
                    _ => self.begin(false, now, dice),
                }
            }
            // A connection that died with the network says nothing about what comes after it.
            Err(Failure::Unknown(Unclear::Broken(_) | Unclear::TimedOut)) if older && !self.is_trying() => {}
            _ => *self = Self::default(),
        }
    }

    /// The network may be another now.
    pub(super) fn forget_pause(&mut self) {
        self.pause = None;
    }

    fn begin(&mut self, trying: bool, now: Now, dice: &mut Dice) {
        let until = now.mono.after(self.backoff.next(dice));
        self.pause = Some(Pause { since: now.mono, until, trying });
    }

    fn is_trying(&self) -> bool {
        self.pause.is_some_and(|pause| pause.trying)
    }
}

impl Session {
    /// A call has ended: whether it left the machine counts for all that go there.
    pub(super) fn observe(&mut self, purpose: &Purpose, reply: &Reply, turn: &mut Turn<'_>) {
        let step = self.sign_in.attempt.as_ref().map(|attempt| &attempt.step);
        let outage = match purpose {
            // It may have been for any of the hosts below.
            Purpose::SignIn(number) if !self.sign_in.awaits(*number) => return,
            // Somebody else's host.
            Purpose::SignIn(_) if matches!(step, Some(Step::Resolving { .. })) => return,
            Purpose::SignIn(_) if matches!(step, Some(Step::EndingTheOld)) => &mut self.portal.lane.outage,
            Purpose::Refresh | Purpose::SignIn(_) => &mut self.oidc,
            // Another host than both.
            Purpose::Console(_) => return,
            Purpose::Portal(key) => &mut self.portal.lane_of(key).outage,
            Purpose::Probe | Purpose::Logout | Purpose::Revoke(_) => &mut self.portal.lane.outage,
        };
        outage.observe(reply, turn.now, turn.dice);
        if let Err(failure @ Failure::NotSent(_)) = &reply.result {
            let (failures, pause) = (outage.failures(), outage.pause_left(false, turn.now));
            let way = match purpose {
                Purpose::Refresh | Purpose::SignIn(_) => "oidc",
                Purpose::Portal(key) if key.assumption().is_some() => "sts",
                _ => "portal",
            };
            self.decided_to_sit_out(way, failure, failures, pause);
        }
    }

    /// How long the next call of the sign-in waits for a network. Somebody always waits for a sign-in.
    pub(super) fn sign_in_pause(&self, now: Now) -> Duration {
        let pause = self.oidc.pause_left(true, now);
        match self.sign_in.attempt.as_ref().map(|attempt| &attempt.step) {
            Some(Step::Waiting { new_session: true }) => pause.max(self.portal.lane.outage.pause_left(true, now)),
            _ => pause,
        }
    }

    /// Whether an edit of the configuration may end the session's pauses: once a minute, however often it is edited.
    pub(super) fn may_forget_pauses_again(&mut self, now: Now) -> bool {
        let lately = self.edited.is_some_and(|edited| now.mono.since(edited) < EDITS_GAP);
        if !lately {
            self.edited = Some(now.mono);
        }
        !lately
    }

    /// After a suspend, a step of the clock or a reload, pauses mean nothing any more.
    pub(super) fn forget_pauses(&mut self) {
        self.refreshing.forget_pauses();
        self.portal.forget_pauses();
        self.publishing.forget_pauses();
        self.oidc.forget_pause();
    }
}

const EDITS_GAP: Duration = Duration::from_secs(60);
