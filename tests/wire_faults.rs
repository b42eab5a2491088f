//! Every fault of the wire, with the real agent: before the service acted it costs the user nothing; after it acted,
//! what is valid is served to its end, no token is presented twice in a hurry, and the message says what happened.
//!
//! Many sessions share one agent, so that one lifetime plays every fault.

mod clocks;
mod errors;
mod portal;
mod refresh;
mod roles;
mod sign_in;
mod unreachable;

use std::time::Duration;

use crate::support::fake::{Exception, FakeIdentityCenter, Fault, Operation};
use crate::support::sandbox::Agent;

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

/// Errors that are in no model, and what is shown of them.
fn unmodelled() -> Vec<(Fault, &'static [&'static str])> {
    let status = |code, headers: &[(&str, &str)], body: &str| Fault::Status {
        code,
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: body.to_owned(),
    };
    vec![
        (status(400, &[("x-amzn-ErrorType", "OutOfCheeseException")], "{}"), &["OutOfCheeseException"]),
        (status(418, &[], "{\"message\":\"short and stout\"}"), &["418", "short and stout"]),
        // A proxy's page is nobody's word, whatever it claims to be.
        (status(403, &[("x-amzn-ErrorType", "InvalidGrantException")], "<html>not from here</html>"), &["403"]),
    ]
}

/// So many sessions `s0`, `s1`, ... are signed in, by one sign-in each that came to something.
fn everybody_is_signed_in(agent: &Agent<'_>, service: &FakeIdentityCenter, count: usize) {
    let status = agent.get("/v1/status");
    for number in 0..count {
        let session = &status["sessions"][number];
        assert_eq!((&session["state"], &session["renewable"]), (&"signed_in".into(), &true.into()), "{session}");
        let token = agent.get(&format!("/v1/token?session={}", session["session"].as_str().unwrap()));
        assert_eq!(token["token_type"], "Bearer", "{token}");
    }
    assert!(service.count(Operation::CreateTokenDeviceCode) >= count);
}
