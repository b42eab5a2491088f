//! One thing the portal hands out: what is kept of it, who waits for it, and when it is asked for again.
//!
//! Owns: role credentials in memory and the rules of their age. Refuses to know tokens and calls. Invariant: what is
//! over by either clock is good for nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{PortalKey, Waiter};
use super::expiry::{Expiry, Skew};
use crate::api::{CredentialDocument, Problem};
use crate::identity_center::RoleCredentials;
use crate::ids::{AccountId, Grant, StsAddress};
use crate::schedule::{self, Backoff};
use crate::time::{Mono, Now};

/// The slots of a session. Credentials lie apart, so that they are found by a grant that is borrowed.
#[derive(Debug, Default)]
pub(super) struct Slots {
    credentials: BTreeMap<Grant, Slot>,
    /// The roles of an account; the accounts where there is none.
    lists: BTreeMap<Option<AccountId>, Slot>,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) cached: Option<Cached>,
    pub(super) flying: bool,
    /// Which of the session's access tokens the last call was made with.
    pub(super) sent_with: u64,
    /// The access key id that the last call was signed with, of a role that is assumed.
    pub(super) signed_with: Option<String>,
    /// The access key id that STS does not accept, until there is another one.
    pub(super) refused_source: Option<String>,
    /// Whether there was something to assume the role with when that was found out last.
    pub(super) source_ready: bool,
    /// What is here is needed to assume a role.
    pub(super) errand: Option<Errand>,
    pub(super) waiters: Vec<PortalWaiter>,
    pub(super) last_asked: Mono,
    /// After a failure of this slot alone.
    pub(super) pause_until: Option<Mono>,
    pub(super) backoff: Backoff,
    /// A definite no, and until when it is remembered.
    pub(super) refusal: Option<(Mono, Problem)>,
    /// The call was repeated after a 401.
    pub(super) repeated: bool,
    pub(super) last_failure: Option<Problem>,
}

/// A role cannot be assumed before this slot has good credentials.
#[derive(Debug, Clone, Copy)]
pub(super) struct Errand {
    /// Until when somebody waits for that role; `None` if it is only to be had ahead.
    pub(super) until: Option<Mono>,
}

#[derive(Debug)]
pub(super) struct Cached {
    pub(super) credentials: RoleCredentials,
    pub(super) expiry: Expiry,
}

/// Credentials that are good enough.
#[derive(Debug)]
pub(super) struct Warm {
    pub(super) document: CredentialDocument,
    /// For how long they are.
    pub(super) good_for: Duration,
    /// Whether they are refreshed ahead by the plan as it stands.
    pub(super) planned: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct PortalWaiter {
    pub(super) waiter: Waiter,
    pub(super) min_validity: Option<Duration>,
}

impl Slots {
    pub(super) fn get(&self, key: &PortalKey) -> Option<&Slot> {
        match key {
            PortalKey::Credentials(grant) => self.credentials.get(grant),
            PortalKey::Accounts => self.lists.get(&None),
            PortalKey::Roles(account) => self.lists.get(&Some(account.clone())),
        }
    }

    pub(super) fn get_mut(&mut self, key: &PortalKey) -> Option<&mut Slot> {
        match key {
            PortalKey::Credentials(grant) => self.credentials.get_mut(grant),
            PortalKey::Accounts => self.lists.get_mut(&None),
            PortalKey::Roles(account) => self.lists.get_mut(&Some(account.clone())),
        }
    }

    pub(super) fn of_credentials(&mut self, grant: &Grant) -> Option<&mut Slot> {
        self.credentials.get_mut(grant)
    }

    /// The slot, made if there is none, in the place of the one that was not asked for longest if there are too many.
    pub(super) fn obtain(&mut self, key: PortalKey, now: Now) -> &mut Slot {
        if self.get(&key).is_none() {
            self.make_room();
        }
        match key {
            PortalKey::Credentials(grant) => self.credentials.entry(grant).or_insert_with(|| Slot::new(now.mono)),
            PortalKey::Accounts => self.lists.entry(None).or_insert_with(|| Slot::new(now.mono)),
            PortalKey::Roles(account) => self.lists.entry(Some(account)).or_insert_with(|| Slot::new(now.mono)),
        }
    }

    fn make_room(&mut self) {
        while self.credentials.len() + self.lists.len() >= MOST_SLOTS {
            let idle = self.iter().filter(|(_, slot)| !slot.flying && slot.waiters.is_empty());
            let Some((oldest, _)) = idle.min_by_key(|(_, slot)| slot.last_asked) else { return };
            match oldest {
                PortalKey::Credentials(grant) => self.credentials.remove(&grant),
                PortalKey::Accounts => self.lists.remove(&None),
                PortalKey::Roles(account) => self.lists.remove(&Some(account)),
            };
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PortalKey, &Slot)> {
        let credentials = self.credentials.iter().map(|(grant, slot)| (PortalKey::Credentials(grant.clone()), slot));
        let lists = self.lists.iter().map(|(account, slot)| match account {
            Some(account) => (PortalKey::Roles(account.clone()), slot),
            None => (PortalKey::Accounts, slot),
        });
        credentials.chain(lists)
    }

    /// The keys of the slots that something is to be done for.
    pub(super) fn keys_of(&self, wanted: impl Fn(&Slot) -> bool) -> Vec<PortalKey> {
        if self.values().any(&wanted) {
            self.iter().filter(|(_, slot)| wanted(slot)).map(|(key, _)| key).collect()
        } else {
            Vec::new()
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Slot> {
        self.credentials.values().chain(self.lists.values())
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.credentials.values_mut().chain(self.lists.values_mut())
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Slot) -> bool) {
        self.credentials.retain(|_, slot| keep(slot));
        self.lists.retain(|_, slot| keep(slot));
    }

    /// Whether somebody waits for something that the portal hands out.
    pub(super) fn someone_waits_for_the_portal(&self) -> bool {
        let of_portal = self.credentials.iter().filter(|(grant, _)| grant.assumption().is_none()).map(|(_, slot)| slot);
        of_portal.chain(self.lists.values()).any(Slot::someone_waits)
    }

    /// The roles that are assumed with what this grants.
    pub(super) fn assumed_with<'a>(&'a mut self, source: &'a Grant) -> impl Iterator<Item = &'a mut Slot> {
        let is_source = move |grant: &Grant| grant.assumption().is_some_and(|assumption| assumption.source == *source);
        self.credentials.iter_mut().filter(move |(grant, _)| is_source(grant)).map(|(_, slot)| slot)
    }

    /// Whether one of the roles is assumed there.
    pub(super) fn have_one_of(&self, address: &StsAddress) -> bool {
        self.credentials.keys().filter_map(Grant::assumption).any(|assumption| assumption.sts.address == *address)
    }

    /// The credentials that still live.
    pub(super) fn living(&self, now: Now, skew: Skew) -> impl Iterator<Item = (&Grant, &Cached)> {
        self.credentials.iter().filter_map(move |(grant, slot)| Some((grant, slot.living(now, skew)?)))
    }
}

impl Slot {
    fn new(now: Mono) -> Self {
        Self {
            cached: None,
            flying: false,
            sent_with: 0,
            signed_with: None,
            refused_source: None,
            source_ready: true,
            errand: None,
            waiters: Vec::new(),
            last_asked: now,
            pause_until: None,
            backoff: Backoff::default(),
            refusal: None,
            repeated: false,
            last_failure: None,
        }
    }

    /// What is kept, unless it is over.
    pub(super) fn living(&self, now: Now, skew: Skew) -> Option<&Cached> {
        self.cached.as_ref().filter(|cached| !cached.expiry.remaining(now, skew).is_zero())
    }

    /// The definite no that is still remembered.
    pub(super) fn remembered_refusal(&self, now: Now) -> Option<&Problem> {
        self.refusal.as_ref().filter(|(until, _)| *until > now.mono).map(|(_, problem)| problem)
    }

    pub(super) fn refuse(&mut self, problem: Problem, now: Now) {
        self.refusal = Some((now.mono.after(schedule::REFUSAL_REMEMBERED), problem));
    }

    /// How long nothing is asked for this slot after a failure of its own.
    pub(super) fn pause_left(&self, now: Now) -> Duration {
        self.pause_until.map_or(Duration::ZERO, |until| until.since(now.mono))
    }

    pub(super) fn refusal_left(&self, now: Now) -> Duration {
        self.refusal.as_ref().map_or(Duration::ZERO, |(until, _)| until.since(now.mono))
    }

    pub(super) fn succeeded(&mut self) {
        self.backoff.reset();
        self.pause_until = None;
        self.refusal = None;
        self.repeated = false;
        self.last_failure = None;
    }

    /// Whether somebody waits, for this or for what it is needed for.
    pub(super) fn someone_waits(&self) -> bool {
        !self.waiters.is_empty() || self.errand.is_some_and(|errand| errand.until.is_some())
    }

    /// The time that whoever waits longest would wait.
    pub(super) fn longest_patience(&self, now: Now) -> Duration {
        let of_errand = self.errand.and_then(|errand| errand.until);
        let deadlines = self.waiters.iter().map(|waiting| waiting.waiter.deadline).chain(of_errand);
        deadlines.map(|deadline| deadline.since(now.mono)).max().unwrap_or_default()
    }

    /// Whether a call is to be made, as soon as it can be.
    pub(super) fn is_due(&self, keep_warm: Duration, now: Now, skew: Skew) -> bool {
        !self.waiters.is_empty() || self.errand.is_some() || self.wants_ahead(keep_warm, now, skew)
    }

    pub(super) fn is_warm(&self, keep_warm: Duration, now: Now) -> bool {
        now.mono.since(self.last_asked) < keep_warm
    }

    pub(super) fn wants_ahead(&self, keep_warm: Duration, now: Now, skew: Skew) -> bool {
        self.ahead_wait(keep_warm, now, skew) == Some(Duration::ZERO)
    }

    /// The pause until credentials in use are refreshed ahead; `None` if they are not in use.
    pub(super) fn ahead_wait(&self, keep_warm: Duration, now: Now, skew: Skew) -> Option<Duration> {
        let cached = self.cached.as_ref()?;
        let wait = cached.expiry.remaining(now, skew).saturating_sub(schedule::role_margin(cached.expiry.lifetime()));
        // It must still be warm when it is due, not only now.
        (now.mono.since(self.last_asked) + wait < keep_warm && !self.flying).then_some(wait)
    }

    /// Keeps the better of the set at hand and a new one. Whether the new one was it.
    pub(super) fn keep_better(&mut self, credentials: RoleCredentials, expiry: Expiry, now: Now, skew: Skew) -> bool {
        match &mut self.cached {
            Some(old) if old.expiry.remaining(now, skew) > expiry.remaining(now, skew) => {
                // Counting from now, so that it is not asked for again at once.
                let left = old.expiry.remaining(now, skew);
                old.expiry = Expiry::at(old.credentials.expires_at, now, skew, left);
                false
            }
            cached => {
                *cached = Some(Cached { credentials, expiry });
                true
            }
        }
    }

    pub(super) fn is_worth_keeping(&self, keep_warm: Duration, now: Now, skew: Skew) -> bool {
        let valid = self.living(now, skew).is_some();
        let remembered = self.remembered_refusal(now).is_some();
        let paused = !self.pause_left(now).is_zero();
        let in_use = self.cached.is_some() && self.is_warm(keep_warm, now);
        self.flying || !self.waiters.is_empty() || self.errand.is_some() || valid || remembered || paused || in_use
    }
}

impl Cached {
    pub(super) fn is_good_for(&self, min_validity: Option<Duration>, now: Now, skew: Skew) -> bool {
        self.good_for(min_validity, now, skew).is_some()
    }

    /// For how long it is good for somebody who asks for this; `None` if it is not.
    pub(super) fn good_for(&self, min_validity: Option<Duration>, now: Now, skew: Skew) -> Option<Duration> {
        let remaining = self.expiry.remaining(now, skew);
        let lifetime = self.expiry.lifetime();
        let wanted = min_validity.unwrap_or_else(|| schedule::default_min_validity(lifetime)).min(lifetime * 2 / 3);
        let young_for = (lifetime / 3).saturating_sub(self.expiry.age(now));
        let good_for = remaining.saturating_sub(wanted).max(young_for).min(remaining);
        (!good_for.is_zero()).then_some(good_for)
    }

    pub(super) fn document(&self, grant: &Grant) -> CredentialDocument {
        CredentialDocument {
            version: 1,
            access_key_id: self.credentials.access_key_id.clone(),
            secret_access_key: self.credentials.secret_access_key.clone(),
            session_token: self.credentials.session_token.clone(),
            expiration: self.expiry.service,
            account_id: Some(grant.account().clone()),
        }
    }
}

const MOST_SLOTS: usize = 1000;
