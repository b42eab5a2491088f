//! What the world knows about a session from outside: which tokens the agent must hold, how often which was presented.
//!
//! Owns the accounts by which the agent is judged. Refuses to know the agent's inside: everything here comes from what
//! went in and out of it. Invariant: a token leaves these books only for a reason that they name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sso_agent::store::TokenRecord;
use sso_agent::time::Timestamp;
use sso_agent::upstream::ServiceTime;

use super::moment::At;

/// A refresh token: of which session at the service, and which of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Renewal {
    /// The session at the service.
    pub family: usize,
    /// Counts its refresh tokens.
    pub index: usize,
}

/// An access token in use.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// The session at the service.
    pub family: usize,
    /// Counts its access tokens.
    pub serial: usize,
    /// When it ends, at the service.
    pub ends: At,
    /// When this run of the agent must think it over at the latest; none for one that was loaded.
    pub limit: Option<At>,
    /// How long it lives.
    pub lifetime: Duration,
    /// The portal did not accept it.
    pub rejected: bool,
    /// A clock may have made it look over.
    pub doubted: bool,
}

/// Every time a refresh token was presented.
#[derive(Debug, Clone, Copy)]
pub struct Presented {
    /// When.
    pub at: At,
    /// When its end was known.
    pub ended: At,
    /// In which run of the agent.
    pub run: u64,
    /// What became of it, as the agent knows it.
    pub outcome: Outcome,
    /// How long the access token still lived; as far as the agent can have known, nothing where it was rejected.
    pub left: At,
    /// What late meant then.
    pub late: At,
    /// A user insisted.
    pub forced: bool,
}

/// What became of a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody knows yet.
    Flying,
    /// It is known that the service has not acted.
    NotTaken,
    /// The service has answered.
    Answered,
    /// The service has answered, and what it said is in use.
    Over,
    /// The answer was lost.
    Lost,
    /// The agent was gone before there was an end.
    Crashed,
}

/// Tokens that are being saved before they are used.
#[derive(Debug, Clone, Copy)]
pub struct Coming {
    /// What is refreshed with.
    pub renewal: Renewal,
    /// What is called with.
    pub access: Access,
    /// They come of a sign-in.
    pub signed_in: bool,
}

/// A set of role credentials the agent has.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// Where it came from.
    pub realm: usize,
    /// When it ends.
    pub ends: At,
    /// A clock may have made it look over.
    pub doubted: bool,
}

/// The books of one session.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// The refresh token that the agent must not lose.
    pub held: Option<Renewal>,
    /// The access token it uses.
    pub access: Option<Access>,
    /// What is on its way to disk.
    pub coming: Option<Coming>,
    /// Why a refresh token may be presented although the service has replaced it: nobody told the agent.
    pub excuses: BTreeMap<Renewal, &'static str>,
    /// How often the tokens of the session at hand were presented.
    pub presented: BTreeMap<Renewal, Vec<Presented>>,
    /// Tokens of which a save was tried, so that they may be used.
    pub tried: BTreeSet<(usize, usize)>,
    /// The newest refresh token that is known to have reached the disk.
    pub safe: Option<Renewal>,
    /// The latest that late has meant since the access token was got.
    pub latest: At,
    /// The last mark could not be saved.
    pub unmarkable: bool,
    /// Role credentials by role.
    pub kept: BTreeMap<usize, Kept>,
    /// Portal calls made before this are about something that is no longer true.
    pub portal_since: At,
    /// When the portal last said 401.
    pub rejected_at: Option<At>,
    /// When a user last insisted on a refresh, which begins with a look at what others have done.
    pub insisted: Option<At>,
    /// The refresh that is being prepared was insisted on.
    pub forced: bool,
    /// The era of the last write.
    pub era: u64,
    /// Why the session before the next sign-in ended.
    pub ended: Option<&'static str>,
    /// The user has heard that a sign-in is wanted.
    pub wants_sign_in: bool,
    /// A sign-in that a request has started is on the screen.
    pub offered: bool,
    /// When one was, within a day.
    pub offers: Vec<At>,
    /// What the agent can know about the clocks.
    pub skew: Skew,
    /// The access token of the answer that the agent is hearing of: if nobody wants it, it may be revoked.
    pub given_up: Option<(usize, usize)>,
    /// A sign-in of an earlier run is on disk, and the key to it is away.
    pub sealed: bool,
    /// Of refreshes in this hour.
    pub refreshes: u64,
    /// Of calls to the portal in this hour.
    pub portal_calls: u64,
}

impl Books {
    /// Why this may have been used twice; or why the one before it may, by another program, whose end is the end of both.
    pub fn excuse_of(&self, renewal: Renewal) -> Option<&'static str> {
        let before = renewal.index.checked_sub(1).map(|index| Renewal { index, ..renewal });
        let of_others = before.and_then(|before| self.excuses.get(&before)).filter(|why| why.starts_with("another"));
        self.excuses.get(&renewal).or(of_others).copied()
    }

    /// Another run of the agent: what was only in memory is gone.
    pub fn crashed(&mut self, at: At) {
        self.offered = false;
        for (renewal, presented) in &mut self.presented {
            for one in presented.iter_mut().filter(|one| one.outcome == Outcome::Flying) {
                one.outcome = Outcome::Crashed;
                one.ended = at;
                self.excuses.insert(*renewal, "the agent was killed before the answer to a refresh came");
            }
        }
        self.coming = None;
        self.held = None;
        self.access = None;
        self.unmarkable = false;
        self.kept.clear();
        self.skew = Skew::default();
        self.portal_since = at;
        self.rejected_at = None;
        self.era = 0;
    }

    /// Leaves what may still matter.
    pub fn forget_the_old(&mut self) {
        let family = self.tried.last().map_or(0, |last| last.0).saturating_sub(1);
        self.tried.retain(|tried| tried.0 >= family);
    }

    /// A sign-in took the place of what was held. Where that is not on disk, a restart finds the tokens before it.
    pub fn replaced(&mut self, saved: bool) {
        if saved {
            self.presented.clear();
            self.excuses.clear();
        }
        for (renewal, presented) in &mut self.presented {
            for one in presented {
                one.run = 0;
                if one.outcome == Outcome::Flying {
                    one.outcome = Outcome::Crashed;
                    self.excuses.insert(*renewal, "the user had signed in anew, which the disk forgot");
                }
            }
        }
    }

    /// The agent must not hold this any more.
    pub fn let_go(&mut self, why: &'static str) {
        if self.held.take().is_some() {
            self.ended = Some(why);
        }
    }

    /// Whether the token at hand was presented and the answer to that was lost.
    pub fn is_unknown(&self) -> bool {
        self.lost().next().is_some()
    }

    /// Every time the token at hand was presented without an answer.
    pub fn lost(&self) -> impl Iterator<Item = &Presented> {
        let of_it = self.held.and_then(|held| self.presented.get(&held));
        of_it.into_iter().flatten().filter(|one| matches!(one.outcome, Outcome::Lost | Outcome::Crashed))
    }

    /// Whether a refresh token is being presented.
    pub fn is_flying(&self) -> bool {
        self.presented.values().flatten().any(|one| one.outcome == Outcome::Flying)
    }

    /// A clock was set: what is held may look over, and that counts for good.
    pub fn doubt(&mut self) {
        for access in self.access.iter_mut().chain(self.coming.iter_mut().map(|coming| &mut coming.access)) {
            access.doubted = true;
        }
        for kept in self.kept.values_mut() {
            kept.doubted = true;
        }
    }
}

/// What two responses that agree say about the service's clock (attack 19), kept apart from what the agent makes of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Skew {
    /// How far the service is believed to be ahead, in milliseconds.
    pub believed: i64,
    candidate: Option<i64>,
}

impl Skew {
    /// What was known when tokens were saved, unless they would be from the future by that.
    pub fn of_record(record: &TokenRecord, wall: Timestamp) -> Self {
        let from_the_future =
            wall.shifted(record.clock_ahead).as_millis() + 60_000 < record.tokens.issued_at.as_millis();
        Self { believed: if from_the_future { 0 } else { record.clock_ahead }, candidate: None }
    }

    /// One more response.
    pub fn observe(&mut self, time: ServiceTime) {
        let ahead = time.service.as_millis() - time.ours.as_millis();
        if ahead.abs_diff(self.believed) <= 60_000 {
            self.candidate = None;
        } else if self.candidate.is_some_and(|candidate| candidate.abs_diff(ahead) <= 30_000) {
            *self = Self { believed: if ahead.abs() <= 60_000 { 0 } else { ahead }, candidate: None };
        } else {
            self.candidate = Some(ahead);
        }
    }

    /// Whether what can be known is true, for a machine that is so far ahead of the service.
    pub const fn is_true(&self, machine_ahead: i64) -> bool {
        (self.believed + machine_ahead).abs() <= 61_000
    }
}
