//! Faults while role credentials are fetched. The call has no effect that could be lost: both kinds end alike.

use std::time::Duration;

use super::{not_processed, unclear};
use crate::support::fake::{FakeAccount, FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When};
use crate::support::sandbox::Sandbox;

const ACCOUNT: &str = "111122223333";

fn service(roles: usize) -> FakeIdentityCenter {
    let names: Vec<String> = (0..roles).map(|number| format!("Role{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let accounts = vec![FakeAccount::new(ACCOUNT, "Production", &names)];
    FakeIdentityCenter::start(FakeConfig { accounts, ..FakeConfig::default() })
}

fn path(role: usize, timeout: u32) -> String {
    format!("/v1/credentials?account={ACCOUNT}&role=Role{role}&timeout={timeout}")
}

#[test]
fn a_caller_gets_its_credentials_behind_every_fault() {
    let faults = [unclear(), not_processed()].concat();
    for when in [When::BeforeEffect, When::AfterEffect] {
        let service = service(faults.len());
        let sandbox = Sandbox::with_session(service.url());
        let agent = sandbox.start_agent();
        agent.sign_in(&service);
        for (number, fault) in faults.iter().enumerate() {
            service.fault(Operation::GetRoleCredentials, fault.clone(), when, Times::Next(1));
            let document = agent.get(&path(number, 60));
            assert_eq!(document["Version"], 1, "{fault:?}");
            assert_eq!(service.count(Operation::GetRoleCredentials), 2 * (number + 1), "{fault:?}");
        }
        assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);
    }
}

#[test]
fn what_is_valid_is_served_while_nothing_fresher_can_be_had() {
    let service = service(1);
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    service.configure(|config| config.role_credentials_lifetime = Duration::from_secs(12));
    let first = agent.get(&path(0, 25));
    service.fault(Operation::GetRoleCredentials, Fault::status(500), When::BeforeEffect, Times::UntilCleared);
    // Refreshed ahead at 40 %, in vain.
    service.wait_for_answers(Operation::GetRoleCredentials, 2, super::PATIENCE).unwrap();
    assert_eq!(agent.get(&path(0, 25)), first);
    let (status, other) = agent.request("GET", &path(7, 1), "");
    assert_eq!((status, &other["code"]), (503, &"unavailable".into()), "{other}");
    let expires = crate::support::crowd::seconds(&first["Expiration"]);
    agent.wait_until(&service, expires + 1);
    let (status, problem) = agent.request("GET", &path(0, 1), "");
    assert_eq!((status, &problem["code"]), (503, &"unavailable".into()), "what has expired is never served: {problem}");
    service.clear_faults();
    let fresh = agent.get(&path(0, 60));
    assert!(crate::support::crowd::seconds(&fresh["Expiration"]) > expires);
}

#[test]
fn a_fetch_that_hangs_keeps_nobody_but_its_own_callers() {
    for when in [When::BeforeEffect, When::AfterEffect] {
        let service = service(2);
        let sandbox = Sandbox::with_session(service.url());
        let agent = sandbox.start_agent();
        agent.sign_in(&service);
        service.fault(Operation::GetRoleCredentials, Fault::Hang, when, Times::Next(1));
        let (status, problem) = agent.request("GET", &path(0, 1), "");
        assert_eq!((status, &problem["code"]), (504, &"timeout".into()), "{problem}");
        assert_eq!(agent.get(&path(1, 25))["Version"], 1, "another target is served meanwhile");
        // The call is given up after ten seconds; who still waits then gets the next one's credentials.
        assert_eq!(agent.get(&path(0, 60))["Version"], 1);
        assert_eq!(service.count(Operation::GetRoleCredentials), 3);
    }
}

#[test]
fn an_answer_that_dribbles_in_is_an_answer() {
    let service = service(2);
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let per_byte = Duration::from_millis(1);
    for (number, when, calls) in [(0, When::AfterEffect, 1), (1, When::BeforeEffect, 3)] {
        service.fault(Operation::GetRoleCredentials, Fault::Dribble { per_byte }, when, Times::Next(1));
        assert_eq!(agent.get(&path(number, 60))["Version"], 1);
        assert_eq!(service.count(Operation::GetRoleCredentials), calls);
    }
}
