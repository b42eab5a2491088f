//! Asking for the key on a thread of its own, because a keyring may answer never.
//!
//! Owns: the thread, its deadline and its pauses. Refuses to know who is asked. Invariants: never two asks at once;
//! nobody waits for the thread, so a place that hangs delays nothing but the key.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::open::OpenError;
use super::places::Asked;

/// Called when there is news; from any thread.
pub(super) type Waker = Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>;

/// Somebody is being asked, again and again, until there is a key.
pub(super) struct Asking<T> {
    asks: Sender<Asked>,
    answers: Receiver<Result<T, OpenError>>,
}

impl<T: Send + 'static> Asking<T> {
    /// Starts asking: at once, and after every refusal again, each time after a longer pause.
    pub(super) fn start(
        mut ask: impl FnMut(&Asked) -> Result<T, OpenError> + Send + 'static,
        first: Asked,
        waker: Waker,
    ) -> Self {
        let (asks, asked) = channel::<Asked>();
        let (answer, answers) = channel();
        std::thread::spawn(move || {
            let mut next = first;
            let mut pause = FIRST_PAUSE;
            loop {
                let outcome = ask(&next);
                let done = outcome.is_ok();
                if answer.send(outcome).is_err() {
                    return;
                }
                if let Some(wake) = waker.get() {
                    wake();
                }
                if done {
                    return;
                }
                next = match asked.recv_timeout(pause) {
                    Ok(asked) => asked,
                    // Nobody is there to be prompted: an agent that asks by itself asks silently.
                    Err(RecvTimeoutError::Timeout) => Asked::default(),
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
        Self { asks, answers }
    }

    /// Asks again without waiting for the pause to end; while somebody is being asked, as soon as that has ended.
    pub(super) fn again(&self, asked: Asked) {
        // An error means that it ended with an answer, which is about to be read.
        let _ = self.asks.send(asked);
    }

    /// The next answer, if it comes in time.
    pub(super) fn answer_within(&self, patience: Duration) -> Option<Result<T, OpenError>> {
        self.answers.recv_timeout(patience).ok()
    }

    /// The newest answer, if there is one that was not read yet.
    pub(super) fn newest(&self) -> Option<Result<T, OpenError>> {
        self.answers.try_iter().last()
    }
}

/// Does something that may never end, and waits for it only so long.
pub(super) fn within<T: Send + 'static>(deadline: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = channel();
    std::thread::spawn(move || {
        // An error means that nobody waits any more: what was done stays done.
        let _ = done.send(work());
    });
    result.recv_timeout(deadline).ok()
}

/// How long anybody waits for a place to answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(3);
/// How long deriving a key from a passphrase may take on a busy machine: it takes its time, and ends.
pub(super) const DEADLINE_OF_DERIVATION: Duration = Duration::from_secs(20);

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
