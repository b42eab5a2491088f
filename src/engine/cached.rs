//! What came of an order to the cache, and what it means.
//!
//! Invariant: what lies there is believed only for exactly this session, and never when we have written it ourselves.

use std::time::Duration;

use super::event::{CacheTicket, Effect, Purpose, Turn};
use super::publish::{Form, Job, Missing, There};
use super::session::Session;
use super::words;
use crate::identity_center::ErrorName;
use crate::settings::Publish;
use crate::sso_cache::{CacheError, CacheOrder, CacheOutcome, CacheReport, CachedSet, Found, Mark, Renewal};
use crate::time::{Mono, Timestamp};
use crate::untrusted::shown;
use crate::upstream::{Call, Failure, Reply};

impl Session {
    /// An order was carried out.
    pub(super) fn cached(&mut self, ticket: &CacheTicket, report: CacheReport, turn: &mut Turn<'_>) {
        let Some(job) = self.publishing.jobs.remove(&ticket.number) else { return };
        self.publishing.path = Some(report.path.display().to_string());
        if matches!(report.outcome, CacheOutcome::Looked(Found::Torn)) && self.publishing.torn < MOST_TORN {
            // Half a file: its writer will have finished in a moment.
            self.publishing.torn += 1;
            self.publishing.relooks.push((turn.now.mono.after(TORN_PAUSE), job));
            return;
        }
        self.publishing.torn = 0;
        match (job, report.outcome) {
            (Job::Survey, CacheOutcome::Looked(found)) => self.surveyed(found, turn),
            (Job::BeforeRefresh, CacheOutcome::Looked(found)) => self.looked_before_refresh(found, turn),
            (Job::AfterRefusal, CacheOutcome::Looked(found)) => self.looked_after_refusal(found, turn),
            (Job::Adopt, CacheOutcome::Looked(found)) => self.looked_to_adopt(found, turn),
            (Job::Write(form), CacheOutcome::Written(outcome)) => self.published(form, outcome, turn),
            // Look first, then think again.
            (Job::Write(_), CacheOutcome::Overtaken) => {
                self.publishing.there = There::Unknown;
                self.publishing.tried = None;
            }
            (Job::Remove, CacheOutcome::Removed(outcome)) => self.withdrawn(outcome, turn),
            // That it is gone is no question.
            (Job::Discard, CacheOutcome::Removed(Ok(()))) => self.publishing.proven = true,
            _ => {}
        }
    }

    fn published(&mut self, form: Form, outcome: Result<(), CacheError>, turn: &mut Turn<'_>) {
        match outcome {
            Ok(()) => {
                let publishing = &mut self.publishing;
                publishing.there = There::Ours(form);
                publishing.proven = false;
                publishing.written_at = Some(turn.now.wall);
                publishing.tried = None;
                publishing.again = None;
                publishing.trouble = None;
                tracing::info!(session = %shown(self.name.as_str()), "the AWS CLI's cache is up to date");
                // The directory may be a new one.
                if self.is_watched() && !turn.stopping {
                    turn.effects.push(Effect::WatchCache(true));
                }
            }
            Err(error) => {
                self.publishing_failed(&error, turn);
                self.take_stale_material_away(turn);
            }
        }
    }

    /// What could not be replaced may hold a refresh token that is used up: whoever presents it ends the session. A disk
    /// that takes nothing more still lets go of a file.
    fn take_stale_material_away(&mut self, turn: &mut Turn<'_>) {
        if self.settings.publish != Publish::Full {
            return;
        }
        let Some(client) = &self.client else { return };
        let current = self.holding.as_ref().map(|holding| Mark::of(&holding.record.tokens.access_token));
        let stale = client.published.marks.iter().filter(|mark| Some(*mark) != current.as_ref()).cloned().collect();
        self.publishing.order(&self.name, Job::Discard, CacheOrder::Remove(stale), turn);
    }

    fn withdrawn(&mut self, outcome: Result<(), CacheError>, turn: &mut Turn<'_>) {
        match outcome {
            Ok(()) => {
                let publishing = &mut self.publishing;
                publishing.there = There::Replaceable(None);
                publishing.tried = None;
                publishing.again = None;
                publishing.trouble = None;
                publishing.written_at = None;
                self.update_client(turn, |client| client.published.standing = false);
            }
            Err(error) => self.publishing_failed(&error, turn),
        }
    }

    fn publishing_failed(&mut self, error: &CacheError, turn: &Turn<'_>) {
        let text = format!("{error} ({})", error.hint());
        tracing::warn!(session = %shown(self.name.as_str()), "the AWS CLI's cache is not up to date: {text}");
        self.publishing.trouble = Some(text);
        self.publishing.there = There::Unknown;
        // What never was there is not missing.
        self.publishing.proven |= self.publishing.written_at.is_none();
        self.publishing.again = Some(turn.now.mono.after(TRY_AGAIN));
    }

    /// What lies there before anything is written, or after somebody did something.
    fn surveyed(&mut self, found: Found, turn: &mut Turn<'_>) {
        self.publishing.again = None;
        self.publishing.tried = None;
        match found {
            Found::Missing => self.found_missing(turn),
            Found::Torn | Found::Unusable(_) => self.found_something(There::Replaceable(None)),
            Found::Set(set) => {
                if self.may_adopt(&set, Needs::Renewal, turn) {
                    self.found_something(There::Unknown);
                    self.take_over(*set, turn);
                    return;
                }
                let there = self.judge_set(&set, turn.now.mono);
                self.found_something(there);
            }
        }
    }

    pub(super) fn found_something(&mut self, there: There) {
        self.publishing.missing = Missing::No;
        if there != There::Foreign {
            // A write that fails says so anew.
            self.publishing.trouble = None;
        }
        self.publishing.there = there;
    }

    fn judge_set(&mut self, set: &CachedSet, now: Mono) -> There {
        if let Some(problem) = self.of_another_session(set) {
            self.publishing.trouble = Some(format!("{problem}; it stays as it is"));
            self.publishing.again = Some(now.after(TRY_AGAIN));
            return There::Foreign;
        }
        let mark = Mark::of(&set.access_token);
        match &self.holding {
            Some(holding) if Mark::of(&holding.record.tokens.access_token) == mark => {
                There::Ours(Form { mark, material: matches!(set.renewal, Renewal::Whole(_)) })
            }
            _ => There::Replaceable(Some(mark)),
        }
    }

    /// Why a set is not one of this session, in words.
    pub(super) fn of_another_session(&self, set: &CachedSet) -> Option<String> {
        let definition = self.usable().ok()?;
        if set.start_url != definition.start_url {
            return Some(format!(
                "the file holds a sign-in at {}, and session {} is at {}",
                shown(&set.start_url),
                shown(self.name.as_str()),
                shown(&definition.start_url)
            ));
        }
        (set.region != definition.region.as_str()).then(|| {
            format!(
                "the file holds a sign-in in region {}, and session {} is in {}",
                shown(&set.region),
                shown(self.name.as_str()),
                definition.region
            )
        })
    }

    /// Whether somebody else has refreshed what we hold: a whole set of this session, later than ours, not of our making.
    pub(super) fn may_adopt(&self, set: &CachedSet, needs: Needs, turn: &Turn<'_>) -> bool {
        let Ok((holding, _)) = self.held_here() else { return false };
        let refreshing = !matches!(needs, Needs::Anything) && self.refreshing.is_busy_with_the_service();
        if self.settings.publish != Publish::Full || refreshing || self.sign_in_is_saving() {
            return false;
        }
        let whole = match (&set.renewal, needs) {
            (Renewal::Whole(material), _) => material.registration_expires_at > turn.now.wall,
            (Renewal::None, Needs::Anything) => set.expires_at > turn.now.wall,
            (Renewal::None | Renewal::Incomplete, _) => false,
        };
        // Whole seconds are all that a file says, and a token may be refreshed within one.
        let ours = Timestamp::from_secs(self.skew.to_ours(holding.access.service).as_millis().div_euclid(1000));
        whole && self.of_another_session(set).is_none() && set.expires_at >= ours && !self.is_of_our_making(set)
    }

    pub(super) fn is_of_our_making(&self, set: &CachedSet) -> bool {
        let mark = Mark::of(&set.access_token);
        self.client.as_ref().is_some_and(|client| client.published.marks.contains(&mark))
            || self.holding.as_ref().is_some_and(|holding| Mark::of(&holding.record.tokens.access_token) == mark)
    }

    /// It should be there and is not: looked at twice, and then a question to the portal.
    pub(super) fn found_missing(&mut self, turn: &mut Turn<'_>) {
        let standing = self.client.as_ref().is_some_and(|client| client.published.standing);
        if !standing || self.publishing.proven {
            self.found_something(There::Replaceable(None));
            return;
        }
        self.publishing.there = There::Unknown;
        // The question goes before what was tried: else its time would come and nobody act on it.
        self.publishing.tried = None;
        match self.publishing.missing {
            Missing::No => self.publishing.missing = Missing::Once(turn.now.mono.after(SECOND_LOOK)),
            Missing::Once(at) | Missing::Unanswered(at) if at > turn.now.mono => {}
            Missing::Asking(_) => {}
            Missing::Once(_) | Missing::Unanswered(_) => self.ask_the_portal(turn),
        }
    }

    fn ask_the_portal(&mut self, turn: &mut Turn<'_>) {
        let mark = self.holding.as_ref().map(|holding| Mark::of(&holding.record.tokens.access_token));
        let asked = self.portal.lane.outage.pause_left(true, turn.now).is_zero()
            && self.call_portal(Purpose::Probe, self.era, PROBE_TIMEOUT, turn, |access_token| Call::ProbeAccounts {
                access_token,
            });
        self.publishing.missing = match mark {
            Some(mark) if asked => Missing::Asking(mark),
            _ => Missing::Unanswered(turn.now.mono.after(ASK_AGAIN)),
        };
    }

    /// The portal has said whether the session whose file is gone still lives.
    pub(super) fn probed(&mut self, era: u64, reply: Reply, turn: &mut Turn<'_>) {
        let Missing::Asking(mark) = std::mem::take(&mut self.publishing.missing) else { return };
        let held = self.holding.as_ref().is_some_and(|h| Mark::of(&h.record.tokens.access_token) == mark);
        if era != self.era || !held {
            // Of a token that is not held any more.
            return;
        }
        match reply.result {
            Ok(_) => {
                tracing::info!(session = %shown(self.name.as_str()), "the published file was removed, but the session lives");
                self.publishing.there = There::Replaceable(None);
                self.publishing.proven = true;
            }
            // The refresh that is up knows better, and a token that was about to end says nothing about the session.
            Err(_) if self.refreshing.is_under_way() || self.remaining(turn.now) < DYING => {
                self.publishing.missing = Missing::Unanswered(turn.now.mono.after(ASK_AGAIN));
            }
            Err(Failure::Refused(error)) if error.name == ErrorName::Unauthorized => {
                tracing::warn!(
                    session = %shown(self.name.as_str()),
                    "the published file was removed and the portal does not accept the token: signed out by another program"
                );
                self.update_client(turn, |client| client.published.standing = false);
                self.forget_tokens(turn);
                self.portal.forget_credentials();
                let problem = words::signed_out_elsewhere(&self.name, self.publishing.path.as_deref());
                self.note(&problem, turn.now);
            }
            Err(_) => self.publishing.missing = Missing::Unanswered(turn.now.mono.after(ASK_AGAIN)),
        }
    }
}

/// What a set must have to be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// What it can be refreshed with.
    Renewal,
    /// Anything is better than what is held.
    Anything,
}

/// After a write that failed, and where somebody else's file lies.
const TRY_AGAIN: Duration = Duration::from_secs(300);
const TORN_PAUSE: Duration = Duration::from_millis(100);
const MOST_TORN: u32 = 5;
const SECOND_LOOK: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// What is left of a token that may be over by the service's clock.
const DYING: Duration = Duration::from_secs(60);
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
