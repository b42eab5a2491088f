//! The configuration, read again: who waits for it, and what it changes.
//!
//! Invariants: a reading that fails changes nothing; one that succeeds touches only what really changed.

use std::collections::BTreeSet;

use super::event::{Configuration, Effect, Waiter};
use super::session::{Session, same_place};
use super::state::State;
use crate::api::{Code, Problem, Reloaded, Response};
use crate::ids::SessionName;
use crate::settings::{SessionSettings, Settings};
use crate::time::Now;

/// The reading under way, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Reloading {
    reading: bool,
    waiting: Vec<Waiter>,
    /// Who came after it had begun: it may have seen the files as they were before.
    late: Vec<Waiter>,
    read_again: bool,
}

impl Reloading {
    pub(super) fn wait(&mut self, waiter: Waiter) {
        if self.reading { self.late.push(waiter) } else { self.waiting.push(waiter) }
    }

    pub(super) fn waiters(&self) -> impl Iterator<Item = &Waiter> {
        self.waiting.iter().chain(&self.late)
    }

    pub(super) fn waiters_mut(&mut self) -> impl Iterator<Item = &mut Waiter> {
        self.waiting.iter_mut().chain(&mut self.late)
    }

    /// Those whose reading it was; the others wait for the next.
    fn done(&mut self) -> Vec<Waiter> {
        std::mem::replace(&mut self.waiting, std::mem::take(&mut self.late))
    }
}

impl State {
    pub(super) fn read_configuration(&mut self, effects: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.reloading.reading, true) {
            self.reloading.read_again = true;
        } else {
            effects.push(Effect::ReadConfiguration);
        }
    }

    pub(super) fn configuration_read(
        &mut self,
        read: Result<Configuration, Problem>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.reloading.reading = false;
        let answer = match read {
            Ok(configuration) => {
                let changed = self.configure(configuration, now, effects);
                tracing::info!(
                    changed = changed.len(),
                    warnings = self.configuration.catalog.warnings.len(),
                    "configuration read"
                );
                Ok(Response::Reloaded(Reloaded { changed, warnings: self.warnings() }))
            }
            Err(problem) => {
                tracing::warn!("the configuration was not read, the old one stays: {problem}");
                Err(problem)
            }
        };
        for waiter in self.reloading.done() {
            effects.push(Effect::Answer(waiter.id, answer.clone()));
        }
        if std::mem::take(&mut self.reloading.read_again) && !self.stopping {
            self.read_configuration(effects);
        }
    }

    /// Takes a configuration. Only what really changed is touched.
    pub(super) fn configure(
        &mut self,
        configuration: Configuration,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Vec<String> {
        let changed = differences(&self.configuration, &configuration);
        if configuration.settings.storage != self.configuration.settings.storage && self.previous.is_some() {
            tracing::warn!(
                "storage.key is looked at when the agent starts; what moves a key is: sso-agent storage migrate"
            );
        }
        self.configuration = configuration;
        // Each once, though most are in both.
        let names: BTreeSet<SessionName> =
            self.configuration.catalog.sessions.keys().chain(self.sessions.keys()).cloned().collect();
        for name in names {
            let definition = self.configuration.catalog.sessions.get(&name).cloned();
            let settings = self.configuration.settings.sessions.get(&name).cloned().unwrap_or_default();
            self.sessions.entry(name.clone()).or_insert_with(|| Session::new(name.clone()));
            self.with_session(&name, now, effects, |session, turn| {
                if std::mem::replace(&mut session.settings, settings).refresh_margin != session.settings.refresh_margin
                {
                    session.plan_by_settings(turn);
                }
                let origin = |definition: &Option<Result<crate::aws_config::SessionDefinition, _>>| {
                    definition.as_ref().and_then(|d| d.as_ref().ok().map(crate::aws_config::SessionDefinition::origin))
                };
                let moved = match (origin(&session.definition), origin(&definition)) {
                    (Some(old), Some(new)) => !same_place(&old, &new),
                    (None, None) => false,
                    _ => true,
                };
                session.definition = definition;
                if moved {
                    session.portal.new_era();
                    session.abandon_sign_in(turn);
                }
                session.forget_pauses();
            });
        }
        self.mark_sealed();
        changed
    }

    pub(super) fn settle_reloads(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let impatient = |waiter: &mut Waiter| waiter.deadline <= now.mono;
        let Reloading { waiting, late, .. } = &mut self.reloading;
        for waiter in waiting.extract_if(.., impatient).chain(late.extract_if(.., impatient)) {
            let problem = Problem::new(Code::Timeout, "reading the configuration took too long");
            effects.push(Effect::Answer(waiter.id, Err(problem)));
        }
    }
}

/// What counts from now on and did not before, in words. Not `storage.key`: that counts from the next start on, if at all.
fn differences(old: &Configuration, new: &Configuration) -> Vec<String> {
    let diff = old.catalog.diff(&new.catalog);
    let (old, new) = (&old.settings, &new.settings);
    let of_session = |settings: &Settings, name| {
        let session = settings.sessions.get(name).cloned().unwrap_or_default();
        // Where it stands in the file is no difference.
        SessionSettings { line: 0, ..session }
    };
    let mut sessions = BTreeSet::from_iter(diff.sessions);
    let named = old.sessions.keys().chain(new.sessions.keys());
    sessions.extend(named.filter(|name| of_session(old, name) != of_session(new, name)).cloned());
    let settings = [
        ("autostart", old.autostart != new.autostart),
        ("audit", old.audit != new.audit),
        ("container", old.container != new.container),
        ("exit_after_idle", old.exit_after_idle != new.exit_after_idle),
        ("imds", old.imds != new.imds),
        ("keep_warm", old.keep_warm != new.keep_warm),
        ("notifications", old.notifications != new.notifications),
        ("serve", old.serve != new.serve),
        ("target", old.targets != new.targets),
    ];
    let sessions = sessions.iter().map(|name| format!("session {name}"));
    let profiles = diff.profiles.iter().map(|name| format!("profile {name}"));
    let settings = settings.iter().filter(|(_, differs)| *differs).map(|(name, _)| format!("setting {name}"));
    sessions.chain(profiles).chain(settings).collect()
}
