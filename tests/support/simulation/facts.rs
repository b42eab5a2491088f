//! What can be known at a moment: margins in force, how long a token lives, how far a clock may be trusted.
//!
//! Refuses to judge. Invariant: what cannot be known is said to be unknown, never guessed.

use std::time::Duration;

use sso_agent::api::SessionQuery;
use sso_agent::schedule;
use sso_agent::store::{Record, RecordKind, TokenRecord};

use super::books::{Access, Renewal};
use super::files::{Files, Leads, session_name, session_number};
use super::hands::numbers;
use super::moment::{At, SECOND, span};
use super::world::World;

impl World {
    /// The margin in force.
    pub fn margin(&self, session: usize, lifetime: Duration) -> Duration {
        self.agent.as_ref().map_or(Duration::ZERO, |agent| margin_of(&agent.files, session, lifetime))
    }

    /// What late means for the access token at hand.
    pub fn late(&self, session: usize) -> At {
        let lifetime = self.books[session].access.map(|access| access.lifetime);
        lifetime.map_or(0, |lifetime| span(schedule::late_margin(self.margin(session, lifetime))))
    }

    /// Whether a session is configured where its tokens came from.
    pub fn is_at_home(&self, session: usize) -> bool {
        let leads = self.agent.as_ref().map(|agent| agent.files.sessions[session].leads);
        let realm = self.books[session].access.map(|access| self.service.families[access.family].realm);
        leads == Some(Leads::Home) && realm.is_none_or(|realm| realm == session * 2)
    }

    /// How long the access token lives, as far as an agent with a true clock can know; nothing if that is doubtful.
    pub fn left(&self, session: usize) -> Option<At> {
        let books = &self.books[session];
        let access = books.access.filter(|access| !access.doubted && books.skew.is_true(self.clocks.ahead))?;
        let ends = access.limit.map_or(access.ends, |limit| limit.min(access.ends));
        Some(if access.rejected { 0 } else { ends.saturating_sub(self.now) })
    }

    /// How wrong a clock may be that counts as true.
    pub fn slack(&self, session: usize) -> At {
        let off = (self.books[session].skew.believed + self.clocks.ahead).unsigned_abs() * 1000;
        let loaded = self.books[session].access.is_some_and(|access| access.limit.is_none());
        off + if loaded { 65 * SECOND } else { 3 * SECOND }
    }

    /// The record a restart would find.
    pub fn tokens_on_disk(&self, session: usize) -> Option<TokenRecord> {
        match self.disk.records.get(&(session_name(session), RecordKind::Tokens)) {
            Some(Record::Tokens(record)) => Some(record.clone()),
            _ => None,
        }
    }

    pub fn access_of(&self, record: &TokenRecord, asked: Option<At>, true_clock: bool) -> Access {
        let token = numbers(&record.tokens.access_token);
        let ends = self.service.families[token[0]].access[token[1]];
        Access {
            family: token[0],
            serial: token[1],
            ends,
            limit: asked.map(|asked| asked + span(record.tokens.lifetime())),
            lifetime: record.tokens.lifetime(),
            rejected: false,
            doubted: !true_clock,
        }
    }
}

/// The margin that files say.
pub fn margin_of(files: &Files, session: usize, lifetime: Duration) -> Duration {
    match files.sessions[session].margin {
        Some(wanted) => wanted.min(lifetime / 2),
        None => schedule::refresh_margin(lifetime),
    }
}

/// The refresh token in a record.
pub fn renewal_of(record: &TokenRecord) -> Option<Renewal> {
    let token = numbers(record.tokens.refresh_token.as_ref()?);
    Some(Renewal { family: token[0], index: token[1] })
}

/// The number of a set of role credentials.
pub fn set_number(access_key_id: &str) -> usize {
    access_key_id[4..].parse().expect("a key of this service")
}

/// The session that is asked for by name.
pub fn named(query: &SessionQuery) -> Option<usize> {
    match query {
        SessionQuery::Named(name) => Some(session_number(name)),
        _ => None,
    }
}
