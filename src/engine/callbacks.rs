//! The listeners that browsers come back to, for the loop: opened, heard and closed by the engine's effects.
//!
//! Invariant: a listener whose sign-in has been concluded ends, also one that was still being opened then.

use std::collections::HashMap;

use tokio::sync::{mpsc, oneshot};

use super::{Event, SignInId};
use crate::callback::{Plan, Verdict, listen};

/// The listeners there are.
pub(super) struct Callbacks {
    open: HashMap<SignInId, oneshot::Sender<Verdict>>,
    report: mpsc::UnboundedSender<Event>,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Callbacks {
    pub(super) fn new() -> Self {
        // Bounded by the engine: a sign-in listens once, and has one arrival.
        let (report, events) = mpsc::unbounded_channel();
        Self { open: HashMap::new(), report, events }
    }

    pub(super) fn listen(&mut self, id: SignInId, plan: Plan) {
        let (conclude, mut concluded) = oneshot::channel();
        self.open.insert(id.clone(), conclude);
        let report = self.report.clone();
        tokio::spawn(async move {
            // Nobody reads the reports any more when the agent has ended.
            let mut callback = match listen(plan).await {
                Ok((listening, callback)) => {
                    let _ = report.send(Event::Listening(id.clone(), Ok(listening)));
                    callback
                }
                Err(error) => {
                    let _ = report.send(Event::Listening(id, Err(error)));
                    return;
                }
            };
            loop {
                tokio::select! {
                    verdict = &mut concluded => {
                        callback.conclude(verdict.unwrap_or(Verdict::Closed));
                        return;
                    }
                    arrival = callback.arrival() => {
                        let _ = report.send(Event::BrowserCameBack(id.clone(), arrival));
                    }
                }
            }
        });
    }

    pub(super) fn conclude(&mut self, id: &SignInId, verdict: Verdict) {
        if let Some(conclude) = self.open.remove(id) {
            // One that could not be opened does not listen for this either.
            let _ = conclude.send(verdict);
        }
    }

    /// What the next listener has to say; never the end.
    pub(super) async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}
