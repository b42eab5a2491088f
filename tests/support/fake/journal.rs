//! What the fake was asked and what became of it: the calls, and every byte received.

use std::time::Instant;

use serde_json::Value;

use super::answer::Request;
use super::clock::{ServiceTime, stopwatch};
use super::fault::{Fault, When};
use super::operation::Operation;

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Received, not answered yet.
    UnderWay,
    /// Answered in good order.
    Answered {
        /// The HTTP status.
        status: u16,
        /// The exception's name, if it was a refusal.
        error: Option<&'static str>,
    },
    /// Struck by a fault.
    Struck {
        /// Which.
        fault: Fault,
        /// Before or after the effect.
        when: When,
        /// What the service itself said: `None` if it was never asked (before the effect).
        status: Option<u16>,
    },
}

/// One call, with its secrets in plain view: the tests look for them.
#[derive(Debug, Clone)]
pub struct CallRecord {
    /// What was asked for.
    pub operation: Operation,
    /// When, on the service's clock.
    pub at: ServiceTime,
    /// The request as received.
    pub request: Request,
    /// The body as JSON; null where there is none.
    pub fields: Value,
    /// What became of it.
    pub outcome: Outcome,
    /// When the outcome was there: an answer has been handed to the system by then.
    pub ended: Option<Instant>,
}

/// The record of everything received.
#[derive(Debug, Default)]
pub struct Journal {
    calls: Vec<CallRecord>,
    received: Vec<u8>,
}

impl Journal {
    /// Notes a complete request and returns the number it goes by.
    pub fn arrived(&mut self, operation: Operation, at: ServiceTime, request: Request) -> usize {
        let fields = request.json();
        self.calls.push(CallRecord { operation, at, request, fields, outcome: Outcome::UnderWay, ended: None });
        self.calls.len() - 1
    }

    /// Notes what became of a call.
    pub fn finished(&mut self, number: usize, outcome: Outcome) {
        if let Some(call) = self.calls.get_mut(number) {
            call.outcome = outcome;
            call.ended = Some(stopwatch());
        }
    }

    /// Notes bytes, whatever they mean.
    pub fn received(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// Every byte received so far (deciphered, over TLS).
    pub fn bytes(&self) -> &[u8] {
        &self.received
    }

    /// The calls of one operation, oldest first.
    pub fn calls_of(&self, operation: Operation) -> impl Iterator<Item = &CallRecord> {
        self.calls.iter().filter(move |call| call.operation == operation)
    }

    /// Every call, oldest first.
    pub fn calls(&self) -> &[CallRecord] {
        &self.calls
    }
}
