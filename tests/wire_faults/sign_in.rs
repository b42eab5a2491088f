//! Faults while somebody signs in: registering, starting, polling.

use std::time::Duration;

use serde_json::Value;

use super::{PATIENCE, not_processed, unclear};
use crate::support::crowd::sessions;
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When};
use crate::support::sandbox::{Agent, Sandbox};

fn login(agent: &Agent<'_>) -> (u16, Value) {
    agent.request("POST", "/v1/sessions/corp/login", r#"{"flow":"device","started_by":"cli"}"#)
}

/// A sign-in that could not begin is a temporary failure with the fault in its causes; the next one begins anew.
fn a_failed_start_is_told_and_the_next_one_works(operation: Operation) {
    for when in [When::BeforeEffect, When::AfterEffect] {
        let service = FakeIdentityCenter::start(FakeConfig::default());
        let sandbox = Sandbox::with_session(service.url());
        let agent = sandbox.start_agent();
        for fault in [unclear(), not_processed()].concat() {
            service.fault(operation, fault.clone(), when, Times::Next(1));
            let (status, problem) = login(&agent);
            assert_eq!(status, 503, "{fault:?}: {problem}");
            assert!(["unavailable", "throttled"].contains(&problem["code"].as_str().unwrap()), "{fault:?}: {problem}");
            assert!(!problem["caused_by"].as_array().unwrap().is_empty(), "{fault:?}: {problem}");
            // A hotel, a train: somebody else answers.
            let portal = matches!(fault, Fault::Html200 | Fault::Redirect(_));
            let told = problem["hint"].as_str().is_some_and(|hint| hint.contains("sign-in page"));
            assert!(!portal || told, "{fault:?}: {problem}");
            let state = agent.get("/v1/sessions/corp/login");
            assert_eq!((&state["state"], &state["code"]), (&"failed".into(), &problem["code"]), "{fault:?}: {state}");
        }
        agent.sign_in(&service);
        assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
        let registered = service.count(Operation::RegisterClient);
        if operation == Operation::StartDeviceAuthorization {
            assert_eq!(registered, 1, "what was registered is used again");
        }
    }
}

#[test]
fn a_fault_while_registering_is_told_and_the_next_sign_in_works() {
    a_failed_start_is_told_and_the_next_one_works(Operation::RegisterClient);
}

#[test]
fn a_fault_while_starting_is_told_and_the_next_sign_in_works() {
    a_failed_start_is_told_and_the_next_one_works(Operation::StartDeviceAuthorization);
}

fn pollers(service: &FakeIdentityCenter, count: usize) -> Sandbox {
    let sandbox = Sandbox::new().at(service.url());
    sandbox.write_config(&sessions(count));
    sandbox
}

#[test]
fn before_the_service_acted_polling_goes_on_until_it_succeeds() {
    let mut faults = [unclear(), not_processed()].concat();
    faults.push(Fault::Hang);
    faults.push(Fault::Dribble { per_byte: Duration::from_millis(1) });
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = pollers(&service, faults.len());
    let agent = sandbox.start_agent();
    for fault in &faults {
        service.fault(Operation::CreateTokenDeviceCode, fault.clone(), When::BeforeEffect, Times::Next(1));
    }
    agent.sign_in_to_all(&service, faults.len());
    assert_eq!(service.sessions().len(), faults.len());
    let status = agent.get("/v1/status");
    for session in status["sessions"].as_array().unwrap() {
        assert_eq!((&session["state"], &session["renewable"]), (&"signed_in".into(), &true.into()), "{session}");
    }
}

#[test]
fn after_the_service_acted_the_lost_tokens_are_owned_up_to() {
    let faults = [unclear(), not_processed()].concat();
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = pollers(&service, faults.len());
    let agent = sandbox.start_agent();
    for fault in &faults {
        service.fault(Operation::CreateTokenDeviceCode, fault.clone(), When::AfterEffect, Times::Next(1));
    }
    (0..faults.len()).for_each(|number| agent.begin_sign_in(&service, &format!("s{number}")));
    service.wait_for_answers(Operation::CreateTokenDeviceCode, faults.len(), PATIENCE).unwrap();
    let mut lost = 0;
    for number in 0..faults.len() {
        let state = agent.end_of_sign_in(&format!("s{number}"));
        // The code is used up: the service's word for that is that it has expired.
        assert_eq!((&state["state"], &state["code"]), (&"failed".into(), &"sign_in_expired".into()), "{state}");
        lost += usize::from(state["message"].as_str().unwrap().contains("an earlier answer of it was lost"));
    }
    assert_eq!(lost, unclear().len(), "all but those of which the service said that nothing was done");
    agent.begin_sign_in(&service, "s0");
    assert_eq!(agent.end_of_sign_in("s0")["state"], "signed_in");
}
