//! Answers that hold until something happens: role credentials, laid out by the engine for whoever asks the same again.
//!
//! Owns: finding such an answer, and when it is over. Refuses to know what makes an answer good: the engine says for how
//! long it is. Invariant: whatever happens in the engine (a sign-out, a reload, a fresher set, a clock that was set) empties
//! the shelf before anything else is answered, and an answer older than its time by either clock is not given.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::api::{Request, Response, TargetQuery};
use crate::clock::Clock;
use crate::time::Now;

/// The answers that hold, and the clock they are judged by.
pub(super) struct Shelf {
    clock: Arc<dyn Clock>,
    answers: Mutex<HashMap<TargetQuery, Answer>>,
}

/// An answer on its way to the shelf.
#[derive(Debug, Clone)]
pub struct Shelved {
    /// The question's target, as it was put.
    pub target: TargetQuery,
    /// The remaining validity that was asked for.
    pub min_validity: Option<Duration>,
    /// The answer.
    pub answer: Response,
    /// For how long from now the answer is the same.
    pub good_for: Duration,
}

struct Answer {
    min_validity: Option<Duration>,
    answer: Response,
    /// By either clock, whichever comes first.
    until: Now,
}

impl Shelf {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, answers: Mutex::default() }
    }

    /// The answer to this question, if it lies here.
    pub(super) fn find(&self, request: &Request) -> Option<Response> {
        let Request::Credentials { target, min_validity, .. } = request else { return None };
        let answers = self.answers();
        let found = answers.get(target).filter(|found| found.min_validity == *min_validity)?;
        let now = self.clock.now();
        (now.wall < found.until.wall && now.mono < found.until.mono).then(|| found.answer.clone())
    }

    pub(super) fn put(&self, shelved: Shelved, now: Now) {
        let Shelved { target, min_validity, answer, good_for } = shelved;
        let until = Now { wall: now.wall.after(good_for), mono: now.mono.after(good_for) };
        let mut answers = self.answers();
        if answers.len() >= MOST_ANSWERS {
            answers.clear();
        }
        answers.insert(target, Answer { min_validity, answer, until });
    }

    pub(super) fn clear(&self) {
        self.answers().clear();
    }

    /// A panic while it was held can have left nothing half done: every change is one call of the map's.
    fn answers(&self) -> MutexGuard<'_, HashMap<TargetQuery, Answer>> {
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
    use crate::secret::SecretBytes;
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

    fn question(min_validity: Option<Duration>) -> Request {
        let target = TargetQuery::Profile("dev".parse().unwrap());
        Request::Credentials { target, min_validity, timeout: Some(Duration::from_secs(29)) }
    }

    fn shelf() -> (Shelf, Arc<Hands>) {
        let hands = Arc::new(Hands(Mutex::new(at(1000, 10))));
        let shelf = Shelf::new(Arc::clone(&hands) as Arc<dyn Clock>);
        let answer = Response::EncodedCredentials(Arc::new(SecretBytes::new(b"{}".to_vec())));
        let target = TargetQuery::Profile("dev".parse().unwrap());
        shelf.put(Shelved { target, min_validity: None, answer, good_for: Duration::from_secs(5) }, at(1000, 10));
        (shelf, hands)
    }

    #[test]
    fn the_same_question_has_the_same_answer_until_its_time_is_over_by_either_clock() {
        let (shelf, hands) = shelf();
        for (now, found) in [(at(1000, 10), true), (at(1004, 14), true), (at(1005, 14), false), (at(900, 15), false)] {
            *hands.0.lock().unwrap() = now;
            assert_eq!(shelf.find(&question(None)).is_some(), found, "{now:?}");
        }
    }

    #[test]
    fn another_question_has_no_answer_here() {
        let (shelf, _) = shelf();
        assert!(shelf.find(&question(Some(Duration::from_secs(60)))).is_none());
        assert!(shelf.find(&Request::Health).is_none());
    }

    #[test]
    fn whatever_happens_empties_the_shelf() {
        let (shelf, _) = shelf();
        shelf.clear();
        assert!(shelf.find(&question(None)).is_none());
    }
}
