//! What can go wrong on the wire, queued per operation.
//!
//! Every fault strikes before or after the operation took effect: after a damaged answer the client cannot
//! tell which, and that is the point.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::json;

use super::answer::Answer;
use super::operation::Operation;
use super::refusal::Exception;

/// Whether the operation took effect before the fault struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing happened at the service.
    BeforeEffect,
    /// The service has acted: the refresh token is rotated, the device code used. Only the answer is lost.
    AfterEffect,
}

/// How many calls a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// The next so many.
    Next(usize),
    /// Every one until the faults are cleared.
    UntilCleared,
}

/// A fault. Those that damage a genuine answer (`TruncatedBody`, `Dribble`) damage a stand-in, a 200 with a
/// JSON object of no meaning, where the operation has had no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection is reset.
    Reset,
    /// The request is read and never answered, until the faults are cleared or the fake is dropped.
    Hang,
    /// The connection is closed in good order, without a byte.
    CloseWithoutAnswer,
    /// `Content-Length` promises more than comes before the connection is closed.
    TruncatedBody,
    /// A captive portal: 200 with a page.
    Html200,
    /// 302 to this URL.
    Redirect(String),
    /// This status, with these headers and this body.
    Status {
        /// The HTTP status.
        code: u16,
        /// Headers beside `Date` and `Content-Length`.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// A modelled error, with all that belongs to it.
    Exception(Exception),
    /// The body comes byte by byte with this pause before each.
    Dribble {
        /// The pause.
        per_byte: Duration,
    },
    /// 200 with a body that claims to be JSON and is not.
    NotJson200,
    /// 200 with `{}`.
    MissingFields200,
    /// 200 with 2 MiB of JSON.
    HugeBody,
    /// The genuine answer, late. `BeforeEffect`: the effect is late as well.
    Delay(Duration),
    /// The genuine answer, once the faults are cleared: so a test lets callers gather before they are served.
    /// `BeforeEffect`: the effect is held back as well.
    Hold,
}

impl Fault {
    /// A bare status without a body.
    pub fn status(code: u16) -> Self {
        Self::Status { code, headers: Vec::new(), body: String::new() }
    }

    /// A bare status with `Retry-After` in seconds.
    pub fn retry_after(code: u16, seconds: u64) -> Self {
        let headers = vec![("Retry-After".to_owned(), seconds.to_string())];
        Self::Status { code, headers, body: String::new() }
    }

    /// Whether the genuine answer comes in the end.
    pub(super) fn only_delays(&self) -> bool {
        matches!(self, Self::Delay(_) | Self::Hold)
    }

    /// The answer that stands in for the genuine one, for faults that consist of an answer.
    pub(super) fn answer(&self, portal: bool) -> Option<Answer> {
        match self {
            Self::Html200 => Some(Answer::html(200, "<!doctype html><title>Welcome</title><p>Accept our terms.")),
            Self::Redirect(url) => {
                let mut answer = Answer::html(302, "");
                answer.headers.push(("Location".to_owned(), url.clone()));
                Some(answer)
            }
            Self::Status { code, headers, body } => {
                Some(Answer { status: *code, headers: headers.clone(), body: body.clone().into_bytes(), error: None })
            }
            Self::Exception(exception) => Some(exception.answer("ordered by the test", portal)),
            Self::NotJson200 => Some(Answer::typed(200, "application/json", "{\"accessToken\": \"cut o")),
            Self::MissingFields200 => Some(Answer::json(200, &json!({}))),
            Self::HugeBody => Some(Answer::json(200, &json!({ "padding": "x".repeat(2 << 20) }))),
            Self::Reset | Self::Hang | Self::CloseWithoutAnswer => None,
            Self::TruncatedBody | Self::Dribble { .. } | Self::Delay(_) | Self::Hold => None,
        }
    }
}

/// The faults that wait for their calls.
#[derive(Debug, Default)]
pub struct Faults(BTreeMap<Operation, VecDeque<(Fault, When, Times)>>);

impl Faults {
    /// Puts a fault at the end of the operation's queue.
    pub fn queue(&mut self, operation: Operation, fault: Fault, when: When, times: Times) {
        self.0.entry(operation).or_default().push_back((fault, when, times));
    }

    /// The fault that strikes this call, if any.
    pub fn strike(&mut self, operation: Operation) -> Option<(Fault, When)> {
        let queue = self.0.get_mut(&operation)?;
        while let Some((fault, when, times)) = queue.front_mut() {
            match times {
                Times::UntilCleared => return Some((fault.clone(), *when)),
                Times::Next(0) => drop(queue.pop_front()),
                Times::Next(left) => {
                    *left -= 1;
                    return Some((fault.clone(), *when));
                }
            }
        }
        None
    }

    /// Forgets every fault.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets the faults of one operation.
    pub fn clear_of(&mut self, operation: Operation) {
        self.0.remove(&operation);
    }
}
