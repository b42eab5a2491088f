//! The key to what is stored: what the engine does without it, when it comes, and when a person wants something done
//! about it.
//!
//! Invariant: what is in memory is newer than what was sealed, and is never replaced by it.

use std::time::Duration;

use super::event::{Effect, Waiter, WaiterId};
use super::session::Session;
use super::state::State;
use super::words;
use crate::api::{Code, Problem, Response, StorageReport, StorageStatus, WarningEntry};
use crate::settings::KeyKind;
use crate::sso_cache::Published;
use crate::store::{ClientRecord, Inventory, Loaded, Manage, ManageError, Protection, Record};
use crate::time::Now;

impl State {
    /// Takes records that could be read.
    pub(super) fn load(&mut self, records: Vec<Record>, now: Now, effects: &mut Vec<Effect>) {
        for record in records {
            let name = record.session().clone();
            let (sessions, mut turn) = self.parts(now, effects);
            sessions.entry(name.clone()).or_insert_with(|| Session::new(name)).load(record, &mut turn);
        }
        self.mark_sealed();
    }

    /// The key has come, or is awaited for another reason, or lies elsewhere.
    pub(super) fn protected(
        &mut self,
        protection: Protection,
        loaded: Option<Loaded>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.protection = protection;
        if let Some(Loaded { records, reports }) = loaded {
            self.reports.extend(reports);
            self.load(records, now, effects);
            for session in self.sessions.values_mut().filter(|session| !session.is_saved()) {
                session.save_now(now);
            }
        }
        self.mark_sealed();
    }

    /// Tells the sessions whose sign-in is stored and cannot be read.
    pub(super) fn mark_sealed(&mut self) {
        // Also those that the configuration does not name any more: they are there, and can be let go.
        for name in self.protection.awaited.iter().flat_map(|awaited| &awaited.sealed) {
            self.sessions.entry(name.clone()).or_insert_with(|| Session::new(name.clone()));
        }
        for (name, session) in &mut self.sessions {
            let awaited = self.protection.awaited.as_ref().filter(|awaited| awaited.sealed.contains(name));
            session.sealed = awaited.map(|awaited| Box::new(words::sealed(name, awaited)));
        }
    }

    /// Somebody asks about the key or wants something done about it.
    pub(super) fn asked_to_manage(
        &mut self,
        waiter: WaiterId,
        order: Option<Manage>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Result<Response, Problem>> {
        self.managing.push(Waiter { id: waiter, deadline: now.mono.after(PATIENCE) });
        effects.push(Effect::Manage(waiter, order));
        None
    }

    /// It is done, or was refused.
    pub(super) fn managed(
        &mut self,
        waiter: WaiterId,
        outcome: Result<Inventory, ManageError>,
        effects: &mut Vec<Effect>,
    ) {
        let waiting = self.managing.extract_if(.., |waiting| waiting.id == waiter).next();
        if let Some(waiting) = waiting {
            let answer = match outcome {
                Ok(inventory) => Ok(Response::Storage(Box::new(self.storage_report(inventory)))),
                Err(error) => Err(words::not_managed(&error)),
            };
            effects.push(Effect::Answer(waiting.id, answer));
        }
    }

    pub(super) fn settle_managing(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for waiter in self.managing.extract_if(.., |waiter| waiter.deadline <= now.mono) {
            let problem = Problem::new(Code::Timeout, "the stored secrets' key took too long; it may still be done")
                .hint("see: sso-agent storage status");
            effects.push(Effect::Answer(waiter.id, Err(problem)));
        }
    }

    pub(super) fn storage_status(&self) -> StorageStatus {
        let awaited = self.protection.awaited.as_ref();
        StorageStatus {
            key: self.protection.key.to_owned(),
            saved: self.is_saved(),
            available: awaited.is_none(),
            message: awaited.map(|awaited| awaited.message.clone()),
            hint: awaited.map(|awaited| awaited.hint.clone()),
        }
    }

    /// The place for the key was decided once: a setting that says another one changes nothing by itself.
    pub(super) fn storage_warning(&self) -> Option<WarningEntry> {
        let settings = &self.configuration.settings;
        let (wanted, key) = (settings.storage.key, self.protection.key);
        if wanted == KeyKind::Auto || wanted.as_str() == key {
            return None;
        }
        let wanted = wanted.as_str();
        let message = if key == KeyKind::None.as_str() || wanted == KeyKind::None.as_str() {
            format!("storage.key is \"{wanted}\" now; the agent keeps to \"{key}\" until it is started again")
        } else {
            format!(
                "storage.key is \"{wanted}\", but the key is kept as \"{key}\", and that stays so until: sso-agent \
                 storage migrate --to {wanted}"
            )
        };
        Some(WarningEntry { file: settings.file.display().to_string(), line: 0, message })
    }

    fn storage_report(&self, inventory: Inventory) -> StorageReport {
        let Inventory { directory, records, set_aside, decided } = inventory;
        StorageReport {
            status: self.storage_status(),
            decided,
            directory: directory.map(|directory| directory.display().to_string()),
            records,
            set_aside,
        }
    }
}

impl Session {
    /// What was sealed until now, where nothing newer is in memory.
    pub(super) fn merge_client(&mut self, stored: ClientRecord) {
        let Some(client) = &mut self.client else {
            self.client = Some(stored);
            return;
        };
        if client.registrations.is_empty() {
            client.origin = stored.origin.clone();
        }
        // A client is known only where it was registered.
        let of_this_place = client.origin == stored.origin;
        for registration in stored.registrations.into_iter().filter(|_| of_this_place) {
            if client.registrations.iter().all(|newer| newer.flow != registration.flow) {
                client.registrations.push(registration);
            }
        }
        client.longest_session = client.longest_session.max(stored.longest_session);
        client.last_session = client.last_session.or(stored.last_session);
        client.end_announced = client.end_announced.or(stored.end_announced);
        client.program_sign_ins.extend(stored.program_sign_ins);
        client.program_sign_ins.sort_unstable();
        // What this run has written stands; what an earlier one wrote is known again.
        let Published { mut marks, standing } = stored.published;
        marks.append(&mut client.published.marks);
        client.published = Published { marks, standing: standing || client.published.standing };
        self.client_saved = false;
    }

    /// Whether tokens that were sealed are still the ones to have: nobody has signed in or out meanwhile.
    pub(super) fn wants_stored_tokens(&self) -> bool {
        self.holding.is_none() && !self.sign_in_is_saving() && !self.undeleted
    }

    /// What could not be saved is tried again at once.
    pub(super) const fn save_now(&mut self, now: Now) {
        self.save_again = Some(now.mono);
    }
}

/// Moving everything to another key may take a while, and a keyring may take its time twice.
const PATIENCE: Duration = Duration::from_secs(60);
