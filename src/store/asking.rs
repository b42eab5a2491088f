//! Asking for the key on a thread of its own, because a keyring may answer never.
//!
//! Owns: the thread, its deadline and its pauses. Refuses to know who is asked. Invariants: never two asks at once;
//! nobody waits for the thread, so a place that hangs, or makes a library panic, delays nothing but the key.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::open::OpenError;
use super::places::Asked;
use crate::panics;

/// Called when there is news; from any thread.
pub(super) type Waker = Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>;

/// Somebody is being asked, again and again, until there is a key.
pub(super) struct Asking<T> {
    asks: Sender<(Number, Asked)>,
    answers: Receiver<(Number, Result<T, OpenError>)>,
    asked: Number,
}

/// Tells the answer to one ask from the answer to another.
type Number = u64;

impl<T: Send + 'static> Asking<T> {
    /// Starts asking: at once if it is said how, and after every refusal again, each time after a longer pause.
    pub(super) fn start(
        mut ask: impl FnMut(&Asked) -> Result<T, OpenError> + Send + 'static,
        first: Option<Asked>,
        waker: Waker,
    ) -> Self {
        let (asks, asked) = channel();
        let (answer, answers) = channel();
        panics::spawn_expendable(move || {
            let mut pause = if first.is_some() { FIRST_PAUSE } else { LONGEST_PAUSE };
            let mut first = first;
            loop {
                let next = match first.take() {
                    Some(first) => (FIRST, first),
                    None => match asked.recv_timeout(pause) {
                        Ok(asked) => asked,
                        // Nobody is there to be prompted: an agent that asks by itself asks silently.
                        Err(RecvTimeoutError::Timeout) => {
                            pause = (pause * 2).min(LONGEST_PAUSE);
                            (BY_ITSELF, Asked::default())
                        }
                        Err(RecvTimeoutError::Disconnected) => return,
                    },
                };
                let outcome = ask(&next.1);
                let done = outcome.is_ok();
                if answer.send((next.0, outcome)).is_err() {
                    return;
                }
                if let Some(wake) = waker.get() {
                    wake();
                }
                if done {
                    return;
                }
            }
        });
        Self { asks, answers, asked: FIRST }
    }

    /// Asks again without waiting for the pause to end; while somebody is being asked, as soon as that has ended.
    pub(super) fn again(&mut self, asked: Asked) {
        self.asked += 1;
        // An error means that it ended with an answer, which is about to be read.
        let _ = self.asks.send((self.asked, asked));
    }

    /// The answer to what was asked last, if it comes in time; or the key, whoever asked for it.
    pub(super) fn answer_within(&self, patience: Duration) -> Option<Result<T, OpenError>> {
        loop {
            let (number, answer) = self.answers.recv_timeout(patience).ok()?;
            if number == self.asked || answer.is_ok() {
                return Some(answer);
            }
        }
    }

    /// The newest answer, if there is one that was not read yet.
    pub(super) fn newest(&self) -> Option<Result<T, OpenError>> {
        self.answers.try_iter().last().map(|(_, answer)| answer)
    }
}

/// Does something that may never end, and waits for it only so long.
pub(super) fn within<T: Send + 'static>(deadline: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = channel();
    panics::spawn_expendable(move || {
        // An error means that nobody waits any more: what was done stays done.
        let _ = done.send(work());
    });
    result.recv_timeout(deadline).ok()
}

/// How long anybody waits for a place to answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(3);
/// How long deriving a key from a passphrase may take on a busy machine: it takes its time, and ends.
pub(super) const DEADLINE_OF_DERIVATION: Duration = Duration::from_secs(20);

const BY_ITSELF: Number = 0;
const FIRST: Number = 1;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
