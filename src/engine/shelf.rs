//! Answers that hold until something happens: role credentials, laid out by the engine for whoever asks the same again
//! in the same words.
//!
//! Owns: finding such an answer, and when it is over. Refuses to know what was asked and what makes an answer good: the
//! engine says for how long it is. Invariant: whatever happens in the engine (a sign-out, a reload, a fresher set, a clock that was set) empties
//! the shelf before anything else is answered, and an answer older than its time by either clock is not given.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::api::Response;
use crate::clock::Clock;
use crate::time::Now;
use crate::untrusted::shown;

/// The answers that hold, and the clock they are judged by.
pub(super) struct Shelf {
    clock: Arc<dyn Clock>,
    answers: Mutex<HashMap<String, Answer>>,
    locked: AtomicBool,
}

/// An answer on its way to the shelf.
#[derive(Debug, Clone)]
pub struct Shelved {
    /// The question's path and query, as [`crate::api::Request::encode`] writes it and our own clients put it.
    pub question: String,
    /// The answer.
    pub answer: Response,
    /// For how long from now the answer is the same.
    pub good_for: Duration,
}

struct Answer {
    answer: Response,
    /// By either clock, whichever comes first.
    until: Now,
}

impl Shelf {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, answers: Mutex::default(), locked: AtomicBool::new(false) }
    }

    /// The answer to a `GET` of this path and query, if it lies here.
    pub(super) fn find(&self, question: &str) -> Option<Response> {
        let answers = self.answers();
        let found = answers.get(question)?;
        let now = self.clock.now();
        let holds = now.wall < found.until.wall && now.mono < found.until.mono;
        if holds {
            let left = found.until.mono.since(now.mono);
            tracing::debug!(decision = "answer", question = %shown(question), left_s = left.as_secs(), "laid out already");
        }
        holds.then(|| found.answer.clone())
    }

    pub(super) fn put(&self, shelved: Shelved, now: Now) {
        let Shelved { question, answer, good_for } = shelved;
        let until = Now { wall: now.wall.after(good_for), mono: now.mono.after(good_for) };
        let mut answers = self.answers();
        if answers.len() >= MOST_ANSWERS {
            answers.clear();
        }
        answers.insert(question, Answer { answer, until });
    }

    /// Whether the agent is locked, as the doors see it.
    pub(super) fn set_locked(&self, locked: bool) {
        self.locked.store(locked, Ordering::SeqCst);
    }

    pub(super) fn is_locked(&self) -> bool {
        self.locked.load(Ordering::SeqCst)
    }

    pub(super) fn clear(&self) {
        self.answers().clear();
    }

    /// A panic while it was held can have left nothing half done: every change is one call of the map's.
    fn answers(&self) -> MutexGuard<'_, HashMap<String, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shelf").field("answers", &self.answers().len()).finish_non_exhaustive()
    }
}

/// A question in other words has an answer of its own, so there may be more of them than targets.
const MOST_ANSWERS: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Health;
    use crate::time::{Mono, Timestamp};

    struct Hands(Mutex<Now>);

    impl Clock for Hands {
        fn now(&self) -> Now {
            *self.0.lock().unwrap()
        }
    }

    fn at(wall: i64, mono: u64) -> Now {
        Now { wall: Timestamp::from_secs(wall), mono: Mono::from_start(Duration::from_secs(mono)) }
    }

    const QUESTION: &str = "/v1/credentials?profile=dev&timeout=29";

    fn shelf() -> (Shelf, Arc<Hands>) {
        let hands = Arc::new(Hands(Mutex::new(at(1000, 10))));
        let shelf = Shelf::new(Arc::clone(&hands) as Arc<dyn Clock>);
        let answer = Response::Health(Health { version: "x".into() });
        let question = QUESTION.to_owned();
        shelf.put(Shelved { question, answer, good_for: Duration::from_secs(5) }, at(1000, 10));
        (shelf, hands)
    }

    #[test]
    fn the_same_question_has_the_same_answer_until_its_time_is_over_by_either_clock() {
        let (shelf, hands) = shelf();
        for (now, found) in [(at(1000, 10), true), (at(1004, 14), true), (at(1005, 14), false), (at(900, 15), false)] {
            *hands.0.lock().unwrap() = now;
            assert_eq!(shelf.find(QUESTION).is_some(), found, "{now:?}");
        }
    }

    #[test]
    fn another_question_has_no_answer_here() {
        let (shelf, _) = shelf();
        assert!(shelf.find("/v1/credentials?profile=dev&min_validity=60&timeout=29").is_none());
        assert!(shelf.find("/v1/health").is_none());
    }

    #[test]
    fn whatever_happens_empties_the_shelf() {
        let (shelf, _) = shelf();
        shelf.clear();
        assert!(shelf.find(QUESTION).is_none());
    }
}
