//! Other programs in the AWS CLI's cache: they refresh what is published behind the agent's back, delete it, or are
//! found half-way through writing it.
//!
//! Invariant: whatever they do, a session is lost only if the service has ended it, or if both had presented the same
//! refresh token, which nobody can help.

use std::collections::{BTreeMap, BTreeSet};

use sso_agent::engine::{CacheTicket, Event};
use sso_agent::ids::SessionName;
use sso_agent::sso_cache::{
    CacheError, CacheOrder, CacheOutcome, CacheReport, CachedSet, Found, Mark, Material, Renewal as Renewable,
};
use sso_agent::upstream::Answer;

use super::books::Renewal;
use super::files::{session_name, session_number};
use super::hands::numbers;
use super::moment::SECOND;
use super::service::Arrival;
use super::world::{Cause, Happening, World};

/// The directory.
#[derive(Debug, Default)]
pub struct Shared {
    sets: BTreeMap<SessionName, CachedSet>,
    /// Files that somebody is writing.
    torn: BTreeMap<SessionName, CachedSet>,
    /// Files that could be neither replaced nor removed when the agent last tried.
    stuck: BTreeSet<SessionName>,
}

impl World {
    /// The agent's order is carried out, and it hears of it.
    pub fn in_the_cache(&mut self, ticket: CacheTicket, order: CacheOrder) {
        let session = ticket.session.clone();
        let full = self.now < self.disk.full_until || self.chance.permille(5);
        let outcome = match order {
            CacheOrder::Look { .. } => CacheOutcome::Looked(match self.shared.sets.get(&session) {
                _ if self.shared.torn.contains_key(&session) => Found::Torn,
                Some(set) => Found::Set(Box::new(set.clone())),
                None => Found::Missing,
            }),
            CacheOrder::Write { .. } if full => CacheOutcome::Written(Err(CacheError::NoHome)),
            CacheOrder::Write { over, .. }
                if self.shared.sets.get(&session).is_some_and(|set| !over.contains(&Mark::of(&set.access_token))) =>
            {
                CacheOutcome::Overtaken
            }
            CacheOrder::Write { set, .. } => {
                self.shared.torn.remove(&session);
                self.shared.sets.insert(session.clone(), *set);
                CacheOutcome::Written(Ok(()))
            }
            CacheOrder::Remove(_) if full => CacheOutcome::Removed(Err(CacheError::NoHome)),
            CacheOrder::Remove(marks) => {
                let ours = |set: &CachedSet| marks.contains(&Mark::of(&set.access_token));
                if self.shared.sets.get(&session).is_some_and(ours) {
                    self.shared.sets.remove(&session);
                }
                CacheOutcome::Removed(Ok(()))
            }
        };
        match &outcome {
            CacheOutcome::Written(Err(_)) | CacheOutcome::Removed(Err(_)) => {
                self.shared.stuck.insert(session.clone());
            }
            CacheOutcome::Written(Ok(())) | CacheOutcome::Removed(Ok(())) => {
                self.shared.stuck.remove(&session);
            }
            _ => {}
        }
        // What is adopted counts from now.
        self.answered_to = self.now;
        let cause = Cause::Looks(session_number(&session));
        let report = CacheReport { path: "/home/user/.aws/sso/cache/file.json".into(), outcome };
        self.tell(Event::Cached(ticket, report), cause);
    }

    /// Another program does something to a published file.
    pub fn others_act(&mut self) {
        let names: Vec<SessionName> = self.shared.sets.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = names[usize::try_from(self.chance.below(names.len() as u64)).unwrap_or_default()].clone();
        let Some(set) = self.shared.sets.get(&name).cloned() else { return };
        match self.chance.weighed(&[4, 2, 4]) {
            0 => {
                self.note(format!("another program deletes the file of {name}"));
                self.shared.sets.remove(&name);
            }
            1 => {
                self.note(format!("another program writes the file of {name}"));
                self.shared.torn.insert(name.clone(), set);
                let pause = self.chance.spread(SECOND / 1000, 2 * SECOND);
                self.plan(pause, Happening::OthersEnd(name));
            }
            _ => self.others_refresh(&name, set),
        }
        self.trouble(self.now);
        self.tell_of_the_cache();
    }

    /// It has written all of it.
    pub fn others_end(&mut self, name: &SessionName) {
        if self.shared.torn.remove(name).is_some() {
            self.tell_of_the_cache();
        }
    }

    /// The system tells of it, mostly.
    fn tell_of_the_cache(&mut self) {
        if self.chance.permille(800) {
            self.tell(Event::CacheTouched, Cause::Other);
        }
    }

    /// As botocore does: the refresh token is presented, and what came of it is written.
    fn others_refresh(&mut self, name: &SessionName, set: CachedSet) {
        let Renewable::Whole(material) = set.renewal else { return };
        // With a wrong clock it would write down wrong times, and whoever reads them could not know.
        if self.clocks.ahead.abs() > 1000 {
            return;
        }
        let token = numbers(&material.refresh_token);
        let client = material.client_id[2..].parse().expect("a client of this service");
        let arrival = Arrival::Refresh { client, family: token[0], index: token[1] };
        let session = session_number(name);
        let used = Renewal { family: token[0], index: token[1] };
        self.books[session].excuses.insert(used, "another program had refreshed it");
        // Whatever came after it ends with it.
        let later = if self.shared.stuck.contains(name) { used.index + 1..used.index + 100 } else { 0..0 };
        for index in later {
            let why = "another program had used a token that the full disk kept in the cache";
            self.books[session].excuses.insert(Renewal { index, ..used }, why);
        }
        let answer = self.service.act(self.now, session * 2, arrival, &mut self.chance);
        self.note(format!("another program refreshes {name}: {used:?}: {}", answer.is_ok()));
        let Ok(Answer::Token(tokens)) = answer else { return };
        let refresh_token = tokens.refresh_token.unwrap_or(material.refresh_token);
        let expires_at = self.clocks.read(self.now).wall.after(tokens.expires_in);
        let renewal = Renewable::Whole(Box::new(Material { refresh_token, ..*material }));
        let set = CachedSet { access_token: tokens.access_token, expires_at, renewal, ..set };
        *self.report.faults.entry("refreshed by another program").or_default() += 1;
        self.shared.sets.insert(session_name(session), set);
    }

    /// The clock was set: times that others have written down mean something else now.
    pub fn files_lose_their_times(&mut self) {
        self.shared = Shared::default();
    }
}
