//! What the handle and the connections share: one model behind one lock, and an event for everything that changes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::answer::{Answer, Request};
use super::clock::ServiceClock;
use super::fault::{Fault, Faults, When};
use super::journal::{Journal, Outcome};
use super::operation::Operation;
use super::refusal::{Exception, Refusal};
use super::state::Service;
use super::{authorize, oidc, portal, signin, sts};

/// The model and its events.
pub struct Shared {
    model: Mutex<Model>,
    changed: Condvar,
    released: watch::Sender<()>,
    base: String,
}

/// Everything behind the lock.
pub struct Model {
    /// The service.
    pub service: Service,
    /// Its clock.
    pub clock: ServiceClock,
    /// What is to go wrong.
    pub faults: Faults,
    /// What has been received.
    pub journal: Journal,
    /// Whether the port accepts connections.
    pub plug: Plug,
    /// How many connections are open.
    pub open_connections: usize,
}

/// Whether anybody listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plug {
    /// Connections are accepted.
    In,
    /// Connections are refused, and those that were open are gone.
    Out,
}

/// What is to be done with a request that has arrived.
pub struct Plan {
    /// The call's number in the journal.
    pub number: usize,
    /// What it asks for.
    pub operation: Operation,
    /// How long the operation takes.
    pub latency: Duration,
    /// What is to go wrong with it.
    pub fault: Option<(Fault, When)>,
    /// Fires when hanging connections are let go. Subscribed to on arrival, so that no release is missed.
    pub released: watch::Receiver<()>,
}

impl Shared {
    /// A fresh model that is reached under `base`.
    pub fn new(service: Service, base: String) -> Self {
        let clock = ServiceClock::ahead_by(service.config.clock_ahead_seconds);
        let model = Model {
            service,
            clock,
            faults: Faults::default(),
            journal: Journal::default(),
            plug: Plug::In,
            open_connections: 0,
        };
        Self { model: Mutex::new(model), changed: Condvar::new(), released: watch::Sender::new(()), base }
    }

    /// The URL under which both services are reached.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The model, locked. Nobody waits while holding it.
    pub fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the model and wakes whoever waits for a change.
    pub fn change<T>(&self, change: impl FnOnce(&mut Model) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until the model is as wished; false if the deadline came first.
    pub fn wait_until(&self, deadline: Duration, mut wish: impl FnMut(&Model) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), deadline, |model| !wish(model));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Lets every hanging connection go.
    pub fn release(&self) {
        self.released.send_replace(());
    }

    /// Notes a request and says what is to be done with it.
    pub fn admit(&self, request: &Request) -> Plan {
        let operation = Operation::of(request.path(), &request.body);
        self.change(|model| {
            let number = model.journal.arrived(operation, model.clock.now(), request.clone());
            let latency = model.service.config.latency.get(&operation).copied().unwrap_or_default();
            let released = self.released.subscribe();
            Plan { number, operation, latency, fault: model.faults.strike(operation), released }
        })
    }

    /// Lets the operation take its effect.
    pub fn perform(&self, operation: Operation, request: &Request) -> Answer {
        self.change(|model| {
            let now = model.clock.now();
            let service = &mut model.service;
            let portal = operation.is_portal();
            let answer = if portal {
                portal::answer(service, now, operation, request)
            } else if operation == Operation::AssumeRole {
                Ok(sts::answer(service, now, request))
            } else if operation == Operation::DevicePage {
                Ok(oidc::device_page(service, now, request))
            } else if operation == Operation::GetSigninToken {
                Ok(signin::get_signin_token(service, request))
            } else if operation == Operation::ConsoleLogin {
                Ok(signin::login(service, request))
            } else if operation == Operation::Authorize {
                Ok(authorize::visit(service, now, request))
            } else if oidc::serves(operation, request.path()) {
                oidc::answer(service, now, &self.base, request)
            } else {
                Err(Refusal::new(Exception::UnknownOperation, format!("no route {:?}", request.path())))
            };
            answer.unwrap_or_else(|refusal| refusal.exception.answer(&refusal.text, portal))
        })
    }

    /// Notes what became of a call.
    pub fn finish(&self, number: usize, outcome: Outcome) {
        self.change(|model| model.journal.finished(number, outcome));
    }
}
