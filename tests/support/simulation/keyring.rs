//! The key to the disk: sometimes it is not there when the agent starts, and comes later.
//!
//! Owns when it is awaited. Refuses to know records. Invariant: the key comes in order with the writes, so what it brings
//! is what the disk holds at that moment.

use sso_agent::engine::Event;
use sso_agent::store::{Awaited, Loaded, Protection, Record, RecordKind, StoreError};

use super::books::Skew;
use super::disk::Job;
use super::files::{session_name, session_number};
use super::moment::{HOUR, MINUTE, SECOND};
use super::world::{Cause, Happening, World};

impl World {
    /// How the records are protected when the agent starts, and which of them can be read.
    pub fn protected_at_start(&mut self) -> (Protection, Vec<Record>) {
        for books in &mut self.books {
            books.sealed = false;
        }
        self.disk.key_is_away = self.chance.permille(60);
        if !self.disk.key_is_away {
            return (there(), self.disk.records.values().cloned().collect());
        }
        let of_tokens = self.disk.records.keys().filter(|(_, kind)| *kind == RecordKind::Tokens);
        let sealed: std::collections::BTreeSet<_> = of_tokens.map(|(session, _)| session.clone()).collect();
        for session in &sealed {
            self.books[session_number(session)].sealed = true;
        }
        let pause = self.chance.spread(SECOND, 3 * HOUR);
        self.plan(pause, Happening::KeyComes(self.runs));
        self.trouble(self.now + pause);
        *self.report.blows.entry("started without the key").or_default() += 1;
        self.note(format!("the key is away, {} sign-ins are sealed", sealed.len()));
        let awaited = Awaited { message: "the keyring is locked".to_owned(), hint: "unlock it".to_owned(), sealed };
        (Protection { key: "keyring", awaited: Some(awaited) }, Vec::new())
    }

    /// Somebody unlocks the keyring: the store reads what it can, after what it was told before.
    pub fn key_comes(&mut self, run: u64) {
        if self.agent.as_ref().is_some_and(|agent| agent.run == run) {
            self.write(Job::Unlock);
        }
    }

    /// The records can be read.
    pub fn unlocked(&mut self) {
        let records: Vec<Record> = self.disk.records.values().cloned().collect();
        let wall = self.clocks.read(self.now).wall;
        self.note(format!("the key comes, with {} records", records.len()));
        for session in 0..self.books.len() {
            let kept_sealed = std::mem::take(&mut self.books[session].sealed);
            if kept_sealed && let Some(tokens) = self.tokens_on_disk(session) {
                self.books[session].skew = Skew::of_record(&tokens, wall);
                self.judge_found(session);
                *self.report.noted.entry("sealed sign-ins that came back with the key").or_default() += 1;
            } else if self.books[session].held.is_some() {
                *self.report.noted.entry("sign-ins made without the key").or_default() += 1;
            }
        }
        self.trouble(self.now + MINUTE);
        self.tell(Event::Protected(there(), Some(Loaded { records, reports: Vec::new() })), Cause::Other);
    }

    /// In calm weather everything that must not be lost is on disk.
    pub fn judge_saved(&mut self) {
        if !self.is_calm_for(super::judge::SIX_MINUTES) || !self.disk.is_idle() {
            return;
        }
        for session in 0..self.books.len() {
            let found = self.tokens_on_disk(session).as_ref().and_then(super::facts::renewal_of);
            let books = &self.books[session];
            if books.coming.is_none() && books.held.is_some() && books.held != found {
                let held = books.held;
                self.violation(format!("{}: {held:?} is not on disk but {found:?}", session_name(session)));
            }
        }
    }
}

const fn there() -> Protection {
    Protection { key: "keyring", awaited: None }
}

/// What a save without the key comes to.
pub fn locked() -> StoreError {
    StoreError::KeyNotAvailable { message: "the keyring is locked".to_owned(), hint: "unlock it".to_owned() }
}
