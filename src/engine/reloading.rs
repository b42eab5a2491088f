//! The configuration, read again: who waits for it, and what it changes.
//!
//! Invariants: a reading that fails changes nothing; one that succeeds touches only what really changed.

use std::collections::BTreeSet;

use super::event::{Configuration, Effect, Unread, Waiter};
use super::session::{Session, same_place};
use super::state::State;
use crate::api::{Code, Problem, Reloaded, Response, WarningEntry};
use crate::aws_config::{Rejected, SessionDefinition};
use crate::ids::SessionName;
use crate::settings::{SessionSettings, Settings};
use crate::time::Now;
use crate::untrusted::shown;

/// What is under way, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Reloading {
    step: Step,
    /// Who is answered with the reading under way, or with the next.
    waiting: Vec<Waiter>,
    /// Who came after it had begun: it may have seen the files as they were before.
    late: Vec<Waiter>,
    again: Option<Again>,
    /// Why the last reading changed nothing.
    unread: Option<Box<Unread>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Step {
    #[default]
    Idle,
    /// Have the files changed?
    Looking,
    /// They are being read, because somebody said so, or because they have changed.
    Reading { asked: bool },
}

/// What is done when that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Again {
    Look,
    Read,
}

/// What made the configuration be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The agent starts.
    Start,
    /// A person or a program said so.
    Asked,
    /// The files have changed.
    Changed,
}

impl Reloading {
    pub(super) fn wait(&mut self, waiter: Waiter) {
        if self.step == Step::Idle { self.waiting.push(waiter) } else { self.late.push(waiter) }
    }

    pub(super) fn waiters(&self) -> impl Iterator<Item = &Waiter> {
        self.waiting.iter().chain(&self.late)
    }

    pub(super) fn waiters_mut(&mut self) -> impl Iterator<Item = &mut Waiter> {
        self.waiting.iter_mut().chain(&mut self.late)
    }

    /// What is wrong with the files as they are, for `status`.
    pub(super) fn warning(&self) -> Option<WarningEntry> {
        self.unread.as_ref().map(|unread| WarningEntry {
            file: unread.file.display().to_string(),
            line: unread.line,
            message: format!(
                "{}; nothing was taken from this edit, what was read before counts",
                shown(&unread.trouble)
            ),
        })
    }

    fn read(&mut self, asked: bool, effects: &mut Vec<Effect>) {
        self.step = Step::Reading { asked };
        // It begins now: it sees what everybody who has come so far wants seen.
        self.waiting.append(&mut self.late);
        self.again = None;
        effects.push(Effect::ReadConfiguration);
    }
}

impl State {
    pub(super) fn read_configuration(&mut self, effects: &mut Vec<Effect>) {
        match self.reloading.step {
            Step::Idle => self.reloading.read(true, effects),
            Step::Looking | Step::Reading { .. } => self.reloading.again = Some(Again::Read),
        }
    }

    /// Whether what the files say now may be something else than what is known.
    pub(super) fn is_reading(&self) -> bool {
        self.reloading.step != Step::Idle
    }

    pub(super) fn look_at_configuration(&mut self, effects: &mut Vec<Effect>) {
        if self.stopping {
            return;
        }
        if self.is_reading() {
            self.reloading.again = self.reloading.again.max(Some(Again::Look));
        } else {
            self.reloading.step = Step::Looking;
            effects.push(Effect::LookAtConfiguration);
        }
    }

    pub(super) fn configuration_looked_at(&mut self, changed: bool, effects: &mut Vec<Effect>) {
        if self.reloading.step != Step::Looking {
            return;
        }
        if changed && !self.stopping {
            let asked = self.reloading.again == Some(Again::Read);
            self.reloading.read(asked, effects);
        } else {
            self.reading_is_over(effects);
        }
    }

    pub(super) fn configuration_read(
        &mut self,
        read: Result<Configuration, Box<Unread>>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let asked = !matches!(self.reloading.step, Step::Reading { asked: false });
        let answer = match read {
            Ok(configuration) => {
                self.reloading.unread = None;
                let cause = if asked { Cause::Asked } else { Cause::Changed };
                let changed = self.configure(configuration, cause, now, effects);
                let warnings = self.configuration.catalog.warnings.len();
                tracing::info!(
                    asked,
                    changed = changed.len(),
                    changes = listed(&changed),
                    warnings,
                    "configuration read"
                );
                Ok(Response::Reloaded(Reloaded { changed, warnings: self.warnings() }))
            }
            Err(unread) => {
                let problem = unread.problem.clone();
                // An editor that saves all the time says the same all the time.
                if asked || self.reloading.unread.as_ref() != Some(&unread) {
                    tracing::warn!(asked, "the configuration was not read, the old one stays: {problem}");
                }
                self.reloading.unread = Some(unread);
                Err(problem)
            }
        };
        for waiter in std::mem::take(&mut self.reloading.waiting) {
            effects.push(Effect::Answer(waiter.id, answer.clone()));
        }
        self.reading_is_over(effects);
    }

    fn reading_is_over(&mut self, effects: &mut Vec<Effect>) {
        self.reloading.step = Step::Idle;
        match self.reloading.again.take().filter(|_| !self.stopping) {
            Some(Again::Read) => self.reloading.read(true, effects),
            Some(Again::Look) => self.look_at_configuration(effects),
            // Nobody comes late for what is over.
            None => self.reloading.waiting.append(&mut self.reloading.late),
        }
    }

    /// Takes a configuration. Only what really changed is touched.
    pub(super) fn configure(
        &mut self,
        configuration: Configuration,
        cause: Cause,
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
                let origin = |definition: &Option<Result<SessionDefinition, _>>| {
                    definition.as_ref().and_then(|d| d.as_ref().ok().map(SessionDefinition::origin))
                };
                let differs = differs(session.definition.as_ref(), definition.as_ref());
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
                // What was tried in vain may work now. A file that changes all the time is no reason to try all the time.
                if cause != Cause::Changed || differs && session.may_forget_pauses_again(now) {
                    session.forget_pauses();
                }
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

/// Whether calls of the session go another way than before.
fn differs(
    old: Option<&Result<SessionDefinition, Rejected>>,
    new: Option<&Result<SessionDefinition, Rejected>>,
) -> bool {
    match (old.and_then(|old| old.as_ref().ok()), new.and_then(|new| new.as_ref().ok())) {
        (Some(old), Some(new)) => old.origin() != new.origin() || old.ca_bundle != new.ca_bundle,
        (None, None) => false,
        _ => true,
    }
}

/// For the log: so many and no more.
fn listed(changed: &[String]) -> String {
    let mut list =
        changed.iter().take(MOST_LISTED).map(|change| shown(change).to_string()).collect::<Vec<_>>().join(", ");
    if changed.len() > MOST_LISTED {
        list.push_str(", …");
    }
    list
}

const MOST_LISTED: usize = 20;

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
