//! How doors talk to the engine: one question, one answer.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::shelf::Shelf;
use crate::api::{Code, Problem, Request, Response, WarningEntry};
use crate::clock::Clock;
use crate::ids::TargetId;

/// A request on its way into the engine, with the place its answer goes to.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub request: Request,
    /// The only targets that may be asked for; all, where nothing is said.
    pub within: Option<Arc<BTreeSet<TargetId>>>,
    /// Where the answer goes. Dropping it unanswered means that the agent is going away.
    pub answer: oneshot::Sender<Result<Response, Problem>>,
}

/// The way into the engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    questions: mpsc::Sender<Question>,
    shelf: Arc<Shelf>,
    remarks: Arc<Mutex<Vec<WarningEntry>>>,
}

/// The engine's end of every [`Handle`].
#[derive(Debug)]
pub struct Questions {
    questions: mpsc::Receiver<Question>,
    pub(super) shelf: Arc<Shelf>,
}

impl Questions {
    /// The next question; `None` when every handle is gone.
    pub async fn next(&mut self) -> Option<Question> {
        self.questions.recv().await
    }
}

impl Handle {
    /// A handle and the end the engine reads from. At most `capacity` questions wait to be read.
    #[must_use]
    pub fn channel(capacity: usize, clock: Arc<dyn Clock>) -> (Self, Questions) {
        let (sender, receiver) = mpsc::channel(capacity);
        let shelf = Arc::new(Shelf::new(clock));
        (
            Self { questions: sender, shelf: Arc::clone(&shelf), remarks: Arc::default() },
            Questions { questions: receiver, shelf },
        )
    }

    /// The answer to a `GET` of this path and query, if the engine has laid it out.
    #[must_use]
    pub fn ready(&self, path_and_query: &str) -> Option<Response> {
        self.shelf.find(path_and_query)
    }

    /// Whether the agent is locked: what was answered before must not leave any more.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.shelf.is_locked()
    }

    /// What the doors have to say of themselves in `status`.
    #[must_use]
    pub fn remarks(&self) -> Vec<WarningEntry> {
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces that.
    pub fn remark(&self, remarks: Vec<WarningEntry>) {
        *self.remarks.lock().unwrap_or_else(PoisonError::into_inner) = remarks;
    }

    /// Asks, and waits for the answer. Every question is answered: the engine bounds its waiting.
    ///
    /// # Errors
    /// The problem the engine answered with; `busy` if too many questions wait; `shutting_down` if it is gone.
    pub async fn ask(&self, request: Request) -> Result<Response, Problem> {
        self.put(request, None).await
    }

    /// Asks for credentials of one of these targets, or for health; everything else is `not_allowed`, and so is a name
    /// that leads elsewhere or nowhere.
    ///
    /// # Errors
    /// As [`Handle::ask`].
    pub async fn ask_within(&self, request: Request, targets: Arc<BTreeSet<TargetId>>) -> Result<Response, Problem> {
        self.put(request, Some(targets)).await
    }

    async fn put(&self, request: Request, within: Option<Arc<BTreeSet<TargetId>>>) -> Result<Response, Problem> {
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(Question { request, within, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Problem::new(Code::Busy, "too many requests wait for the agent"),
            mpsc::error::TrySendError::Closed(_) => gone(),
        })?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn gone() -> Problem {
    Problem::new(Code::ShuttingDown, "the agent is shutting down")
}
