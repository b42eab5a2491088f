//! How doors talk to the engine: one question, one answer.

use tokio::sync::{mpsc, oneshot};

use crate::api::{Code, Problem, Request, Response};

/// A request on its way into the engine, with the place its answer goes to.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes. Dropping it unanswered means that the agent is going away.
    pub answer: oneshot::Sender<Result<Response, Problem>>,
}

/// The way into the engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle(mpsc::Sender<Question>);

impl Handle {
    /// A handle and the end the engine reads from. At most `capacity` questions wait to be read.
    #[must_use]
    pub fn channel(capacity: usize) -> (Self, mpsc::Receiver<Question>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Self(sender), receiver)
    }

    /// Asks, and waits for the answer. Every question is answered: the engine bounds its waiting.
    ///
    /// # Errors
    /// The problem the engine answered with; `busy` if too many questions wait; `shutting_down` if it is gone.
    pub async fn ask(&self, request: Request) -> Result<Response, Problem> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Question { request, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Problem::new(Code::Busy, "too many requests wait for the agent"),
            mpsc::error::TrySendError::Closed(_) => gone(),
        })?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn gone() -> Problem {
    Problem::new(Code::ShuttingDown, "the agent is shutting down")
}
