//! Every fault of the wire, with the real agent: before the service acted it costs the user nothing; after it acted,
//! what is valid is served to its end, no token is presented twice in a hurry, and the message says what happened.
//!
//! Many sessions share one agent, so that one lifetime plays every fault.

mod refresh;
mod roles;
mod sign_in;

use std::time::Duration;

use crate::support::fake::{Exception, Fault};

const PATIENCE: Duration = Duration::from_secs(45);

/// Faults that leave it open whether the service acted.
fn unclear() -> Vec<Fault> {
    vec![
        Fault::Reset,
        Fault::CloseWithoutAnswer,
        Fault::TruncatedBody,
        Fault::Html200,
        Fault::status(500),
        Fault::Exception(Exception::InternalServer),
        Fault::Status { code: 502, headers: Vec::new(), body: "<h1>Bad gateway".to_owned() },
        Fault::status(503),
        Fault::status(504),
        Fault::NotJson200,
        Fault::MissingFields200,
        Fault::HugeBody,
    ]
}

/// Faults that say that nothing was done.
fn not_processed() -> Vec<Fault> {
    vec![
        Fault::status(429),
        Fault::retry_after(429, 1),
        Fault::retry_after(503, 1),
        Fault::Exception(Exception::SlowDown),
        // Nobody listens there, and nobody must go and look.
        Fault::Redirect("http://127.0.0.1:9/elsewhere".to_owned()),
    ]
}
