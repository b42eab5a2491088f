//! Asking the user, once for all who wait, and remembering the answer.
//!
//! Owns: which answers count for whom and how long. Refuses to know what a prompt looks like. Invariants: one prompt is
//! on the screen at a time; whoever wants the same of the same target shares it; the prompt belongs to nobody who waits,
//! so one that hangs up loses its place only, and a late answer still counts; a program that hides itself is asked about
//! every time.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::prompt::{Outcome, Question};
use crate::audit::Caller;
use crate::clock::Clock;
use crate::doors::Policy;
use crate::ids::TargetId;
use crate::time::Mono;

/// Whoever shows prompts.
pub trait Prompter: Send + Sync {
    /// Asks, and waits until there is an answer or none will come.
    fn ask(&self, question: Question) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>>;
}

/// Nobody to ask.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) struct Nobody;

#[cfg(any(test, feature = "fuzzing"))]
impl Prompter for Nobody {
    fn ask(&self, _: Question) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>> {
        Box::pin(async { Outcome::Unavailable("nobody".to_owned()) })
    }
}

/// Who wants what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    target: TargetId,
    program: Program,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Program {
    File(u64, u64),
    Hidden,
    Untold,
}

impl Key {
    pub(super) fn new(target: &TargetId, caller: &Caller) -> Self {
        let program = match caller {
            Caller::Program { file: (device, inode), .. } => Program::File(*device, *inode),
            Caller::Hidden => Program::Hidden,
            Caller::Untold => Program::Untold,
        };
        Self { target: target.clone(), program }
    }
}

/// What came of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Yes,
    /// The user said no, or nothing.
    No,
    /// There is no prompt, for this reason.
    Unavailable(String),
}

/// All prompts and answers.
pub(super) struct Confirmations {
    prompter: Arc<dyn Prompter>,
    clock: Arc<dyn Clock>,
    book: Arc<Mutex<Book>>,
    /// Whose prompt is on the screen.
    screen: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Book {
    answers: HashMap<Key, (Verdict, Mono)>,
    open: HashMap<Key, watch::Receiver<Option<Verdict>>>,
}

impl Confirmations {
    pub(super) fn new(prompter: Arc<dyn Prompter>, clock: Arc<dyn Clock>) -> Self {
        Self { prompter, clock, book: Arc::default(), screen: Arc::default() }
    }

    /// What the user said not long ago. A yes counts as long as the rule says now.
    pub(super) fn remembered(&self, key: &Key, rule: &Policy) -> Option<Verdict> {
        let now = self.clock.now().mono;
        let book = locked(&self.book);
        let (verdict, at) = book.answers.get(key)?;
        let counts = match verdict {
            Verdict::Yes if key.program == Program::Hidden => Duration::ZERO,
            Verdict::Yes => rule.remember,
            Verdict::No => NO_COUNTS,
            Verdict::Unavailable(_) => Duration::ZERO,
        };
        (now.since(*at) < counts).then(|| verdict.clone())
    }

    /// Joins the prompt about this, or opens one; none if it is not answered in time.
    pub(super) async fn ask(&self, key: Key, question: Question, deadline: Instant) -> Option<Verdict> {
        let known = locked(&self.book).open.get(&key).cloned();
        let mut answer = known.unwrap_or_else(|| self.open(key, question));
        let verdict = timeout_at(deadline, answer.wait_for(Option::is_some)).await.ok()?;
        // Who would have told is gone: the agent is on its way out.
        verdict.map_or(Some(Verdict::No), |verdict| verdict.clone())
    }

    fn open(&self, key: Key, question: Question) -> watch::Receiver<Option<Verdict>> {
        let (tell, answer) = watch::channel(None);
        locked(&self.book).open.insert(key.clone(), answer.clone());
        let (prompter, clock) = (Arc::clone(&self.prompter), Arc::clone(&self.clock));
        let (book, screen) = (Arc::clone(&self.book), Arc::clone(&self.screen));
        tokio::spawn(async move {
            let mine = screen.lock().await;
            let outcome = prompter.ask(question).await;
            drop(mine);
            tracing::info!(?outcome, "a prompt was answered, or was not");
            let verdict = match outcome {
                Outcome::Allowed => Verdict::Yes,
                Outcome::Refused | Outcome::Unanswered => Verdict::No,
                Outcome::Unavailable(reason) => Verdict::Unavailable(reason),
            };
            let now = clock.now().mono;
            let mut book = locked(&book);
            book.open.remove(&key);
            if book.answers.len() >= MOST_ANSWERS {
                book.answers.clear();
            }
            book.answers.insert(key, (verdict.clone(), now));
            // Nobody may be waiting any more.
            let _ = tell.send(Some(verdict));
        });
        answer
    }
}

/// A panic while it was held has left at most an answer forgotten.
fn locked(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So that a program in a loop does not put up one prompt after the other.
const NO_COUNTS: Duration = Duration::from_secs(60);
const MOST_ANSWERS: usize = 1000;
