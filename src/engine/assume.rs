//! Roles that are assumed with the credentials of another slot of the session.
//!
//! Such a slot is one like the others: at most one call up, waiters, failures remembered, refreshed ahead. What differs
//! is what a call takes: not an access token, but good credentials of its source. So it is a caller of its source: it
//! asks there what anybody would ask, waits as they do, and fails for the same reasons.
//!
//! Invariants: credentials are signed with for the STS that their assumption names, and for nobody else; a set that STS
//! does not accept is fetched anew once and not again and again; it is served to others until its own end all the same,
//! because what an STS says about it may be a mistake of that STS.

use std::sync::Arc;
use std::time::Duration;

use super::event::{Effect, Flight, PortalKey, Purpose, Turn};
use super::request;
use super::session::{Outlook, Session, route};
use super::slot::Errand;
use super::words;
use crate::api::{Code, Problem};
use crate::identity_center::{Bound, Endpoint, ErrorName, ServiceError};
use crate::ids::Assumption;
use crate::schedule;
use crate::upstream::{Call, Failure};

impl Session {
    /// Finds out which roles are due whose source has to be fetched first, and sees to it that it is.
    pub(super) fn send_errands(&mut self, turn: &Turn<'_>) {
        let (now, keep_warm, skew) = (turn.now, turn.keep_warm, self.skew);
        for slot in self.portal.slots.values_mut() {
            slot.errand = None;
            slot.source_ready = true;
        }
        let mut due = self.portal.slots.keys_of(|slot| slot.is_due(keep_warm, now, skew) && !slot.flying);
        // A source may be assumed itself, and be an errand only by what was found here.
        while let Some(key) = due.pop() {
            let Some(assumption) = key.assumption() else { continue };
            let Some(slot) = self.portal.slots.get(&key) else { continue };
            let held_up = !slot.pause_left(now).is_zero() || slot.remembered_refusal(now).is_some();
            let closed = self.portal.lane_of(&key).closed_for(true, now);
            let Some(slot) = self.portal.slots.get(&key) else { continue };
            let (patience, waits) = (slot.longest_patience(now), slot.someone_waits());
            if held_up || !closed.is_zero() {
                continue;
            }
            if matches!(self.source_outlook(&key, assumption, patience, turn), Outlook::Ready) {
                continue;
            }
            if let Some(slot) = self.portal.slots.get_mut(&key) {
                slot.source_ready = false;
            }
            let source = PortalKey::Credentials(assumption.source.clone());
            let slot = self.portal.slots.obtain(source.clone(), now);
            let until = waits.then(|| now.mono.after(patience));
            let before = slot.errand.and_then(|errand| errand.until);
            slot.errand = Some(Errand { until: until.max(before) });
            if !slot.flying {
                due.push(source);
            }
        }
    }

    /// Whether there are credentials to assume this role with.
    pub(super) fn source_outlook(
        &self,
        key: &PortalKey,
        assumption: &Assumption,
        patience: Duration,
        turn: &Turn<'_>,
    ) -> Outlook {
        let source = PortalKey::Credentials(assumption.source.clone());
        let Some(slot) = self.portal.slots.get(&source) else { return not_yet(self.means(&source, patience, turn)) };
        if self.is_refused(key, &source) {
            return match slot.remembered_refusal(turn.now) {
                Some(problem) => Outlook::Never(Box::new(problem.clone())),
                None => not_yet(self.means(&source, patience, turn)),
            };
        }
        match self.slot_answer(&source, None, patience, turn) {
            Some(Ok(_)) => Outlook::Ready,
            Some(Err(problem)) => Outlook::Never(Box::new(problem)),
            None => Outlook::Wait,
        }
    }

    /// Whether what the source has is what STS has refused to take from this slot.
    fn is_refused(&self, key: &PortalKey, source: &PortalKey) -> bool {
        let of_source = self.portal.slots.get(source).and_then(|slot| slot.cached.as_ref());
        let refused = self.portal.slots.get(key).and_then(|slot| slot.refused_source.as_ref());
        refused.is_some_and(|refused| of_source.is_none_or(|set| set.credentials.access_key_id == *refused))
    }

    /// Why the source could not be had the last time.
    pub(super) fn failure_of_source(&self, key: &PortalKey) -> Option<&Problem> {
        let source = PortalKey::Credentials(key.assumption()?.source.clone());
        self.portal.slots.get(&source)?.last_failure.as_ref()
    }

    /// Calls STS, if there is something to sign with.
    pub(super) fn assume(
        &mut self,
        key: &PortalKey,
        assumption: &Arc<Assumption>,
        era: u64,
        timeout: Duration,
        turn: &mut Turn<'_>,
    ) -> bool {
        let patience = self.portal.slots.get(key).map(|slot| slot.longest_patience(turn.now)).unwrap_or_default();
        if !matches!(self.source_outlook(key, assumption, patience, turn), Outlook::Ready) {
            return false;
        }
        let source = PortalKey::Credentials(assumption.source.clone());
        let (now, skew) = (turn.now, self.skew);
        let credentials = self.portal.slots.get(&source).and_then(|slot| slot.living(now, skew));
        let (Some(credentials), Ok(definition)) = (credentials.map(|set| set.credentials.clone()), self.usable())
        else {
            return false;
        };
        let mut route = route(definition, timeout);
        if let Some(bundle) = &assumption.sts.ca_bundle {
            route.ca_bundle = Some(bundle.clone());
        }
        let signed_with = credentials.access_key_id.clone();
        let call = Call::AssumeRole {
            credentials: Bound::new(Endpoint::from(&assumption.sts.address), credentials),
            assumption: Arc::clone(assumption),
            signed_at: skew.to_service(now.wall),
        };
        let flight = Flight { session: self.name.clone(), era, purpose: Purpose::Portal(key.clone()) };
        turn.effects.push(Effect::Call(flight, route, call));
        if let Some(slot) = self.portal.slots.get_mut(key) {
            slot.signed_with = Some(signed_with);
        }
        true
    }

    /// STS said no.
    pub(super) fn role_refused(&mut self, key: &PortalKey, error: &ServiceError, turn: &mut Turn<'_>) {
        let Some(assumption) = key.assumption() else { return };
        let Some(slot) = self.portal.slots.get_mut(key) else { return };
        let about_the_source = matches!(error.name, ErrorName::ExpiredToken | ErrorName::InvalidClientTokenId);
        if about_the_source && !std::mem::replace(&mut slot.repeated, true) {
            tracing::warn!(role = %assumption.role, %error, "STS does not accept the credentials it was asked with");
            slot.refused_source = slot.signed_with.take();
            return;
        }
        slot.repeated = false;
        let problem = match error.name {
            ErrorName::AccessDenied => words::may_not_assume(&self.name, assumption, error),
            _ => {
                let failure = Failure::Refused(error.clone());
                let doing = format!("{} with {}", key.doing(), request::role(&assumption.source));
                let problem = words::failed(&self.name, &doing, &failure, Some(schedule::REFUSAL_REMEMBERED));
                match assumption.duration {
                    Some(duration) if duration.is_more_than_chained_roles_get() => problem.hint(
                        "AWS lets a role that is assumed with another role's credentials live for an hour at the most: \
                         set duration_seconds = 3600, or leave it out",
                    ),
                    _ => problem,
                }
            }
        };
        tracing::warn!(code = %problem.code, "{problem}");
        slot.refuse(problem.clone(), turn.now);
        if problem.code == Code::Refused {
            self.note(&problem, turn.now);
        }
    }

    /// A slot has something new: whoever was refused with what it had before may try with that.
    pub(super) fn source_is_fresh(&mut self, key: &PortalKey) {
        let PortalKey::Credentials(source) = key else { return };
        for slot in self.portal.slots.assumed_with(source) {
            slot.refused_source = None;
        }
    }
}

/// There is nothing yet, but there will be.
fn not_yet(outlook: Outlook) -> Outlook {
    match outlook {
        Outlook::Ready => Outlook::Wait,
        other => other,
    }
}
