//! The user's rules about who is handed what: `allow` and `confirm` of `[target."NAME"]`.
//!
//! Owns: the decision, once for every hand-out at whatever door. Refuses to know secrets and how a door is opened.
//! Invariants: a program counts by the file it runs (device and inode), never by its name; who cannot be told is refused
//! where there is a list; without an answer from the user nothing is handed out; a target without a rule costs nothing.
//!
//! The rules guard against accidents: a hostile program of the same user can drive one that is allowed.

mod allow;
mod confirm;
mod pinentry;
mod prompt;

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

pub use confirm::Prompter;
pub use prompt::{Outcome, Question, SystemPrompter};

use crate::api::{Code, Problem};
use crate::audit::{Asker, Audit, Caller, Refusal};
use crate::clock::Clock;
use crate::doors::{Doors, Policy};
use crate::ids::TargetId;
use crate::untrusted::shown;
use confirm::{Confirmations, Key, Verdict};

/// All rules, as the settings have them at the moment.
pub struct Policies {
    doors: watch::Receiver<Arc<Doors>>,
    audit: Arc<Audit>,
    confirmations: Confirmations,
}

/// How something came to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// At once.
    AtOnce,
    /// After a while, in which the answer at hand may have become another one.
    AfterAWhile,
}

impl Policies {
    /// The rules in `doors`; people are asked by `prompter`, and what is refused is noted in `audit`.
    #[must_use]
    pub fn new(
        doors: watch::Receiver<Arc<Doors>>,
        audit: Arc<Audit>,
        prompter: Arc<dyn Prompter>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { doors, audit, confirmations: Confirmations::new(prompter, clock) }
    }

    /// No rules at all.
    #[cfg(any(test, feature = "fuzzing"))]
    #[must_use]
    pub(crate) fn none(audit: Arc<Audit>, clock: Arc<dyn Clock>) -> Self {
        let (_, doors) = watch::channel(Arc::new(Doors::default()));
        Self::new(doors, audit, Arc::new(confirm::Nobody), clock)
    }

    /// The rule for this target, if there is one.
    #[must_use]
    pub fn rule(&self, target: &TargetId) -> Option<Arc<Policy>> {
        self.doors.borrow().policies.get(target).cloned()
    }

    /// Whether there is any rule.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.doors.borrow().policies.is_empty()
    }

    /// Whether `asker` may be handed this target's credentials; asks the user where the rule says so, and waits for the
    /// answer until `deadline`. What is refused is in the audit log when this returns.
    ///
    /// # Errors
    /// `not_allowed`, or `timeout` where the user has not answered yet.
    pub async fn admit(
        &self,
        rule: &Policy,
        target: &TargetId,
        what: &str,
        asker: &Asker,
        deadline: Instant,
    ) -> Result<Admitted, Problem> {
        let caller = self.audit.caller(asker);
        let refused = |setting, problem| {
            self.audit.note_refusal(Refusal { what, target: Some(target), asked: None, setting }, asker);
            tracing::info!(setting, what, caller = %InWords(&caller), "refused by the settings");
            Err(problem)
        };
        if let Some(allowed) = &rule.allow
            && let Err(reason) = allow::admits(allowed, &caller)
        {
            return refused("allow", not_in_the_list(rule, &caller, &reason));
        }
        if !rule.confirm {
            return Ok(Admitted::AtOnce);
        }
        let key = Key::new(target, &caller);
        if let Some(verdict) = self.confirmations.remembered(&key, rule) {
            return match verdict {
                Verdict::Yes => Ok(Admitted::AtOnce),
                verdict => refused("confirm", not_confirmed(rule, &verdict)),
            };
        }
        let question = Question {
            title: format!("AWS credentials: {}", shown(&rule.name)),
            text: format!(
                "{} asks for {what} of {} (role {} in account {}, session {}).",
                InWords(&caller),
                shown(&rule.name),
                target.grant.role(),
                target.grant.account(),
                shown(target.session.as_str()),
            ),
        };
        match self.confirmations.ask(key, question, deadline).await {
            None => Err(Problem::new(
                Code::Timeout,
                format!("target {} needs a yes at a prompt, and nobody has answered it yet", shown(&rule.name)),
            )
            .hint("answer it and try again: an answer counts also when it comes late")),
            Some(Verdict::Yes) => Ok(Admitted::AfterAWhile),
            Some(verdict) => refused("confirm", not_confirmed(rule, &verdict)),
        }
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Policies").field("rules", &self.doors.borrow().policies).finish_non_exhaustive()
    }
}

fn not_in_the_list(rule: &Policy, caller: &Caller, reason: &allow::Reason) -> Problem {
    let detail =
        format!("{} is not among the programs that target {} is handed to", InWords(caller), shown(&rule.name));
    Problem::new(Code::NotAllowed, detail)
        .caused_by(reason)
        .hint(format!("if it should be, add it to allow of target {} in config.toml", shown(&rule.name)))
}

fn not_confirmed(rule: &Policy, verdict: &Verdict) -> Problem {
    let name = shown(&rule.name);
    match verdict {
        Verdict::Unavailable(reason) => {
            let detail = format!("target {name} needs a yes at a prompt, and none can be shown: {}", shown(reason));
            Problem::new(Code::NotAllowed, detail).hint(
                "install a graphical pinentry, zenity or kdialog where the agent has a display; or take confirm from the \
                 target in config.toml",
            )
        }
        _ => Problem::new(Code::NotAllowed, format!("no yes was given at the prompt for target {name}"))
            .hint("nobody is asked again for the same within a minute"),
    }
}

/// A program for people.
struct InWords<'c>(&'c Caller);

impl fmt::Display for InWords<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Caller::Program { exe, .. } => write!(formatter, "{}", shown(exe)),
            Caller::Hidden | Caller::Untold => formatter.write_str("a program that cannot be told"),
        }
    }
}

#[cfg(test)]
mod tests;
