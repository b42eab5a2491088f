//! Faults while an access token is refreshed: the one call that can cost a sign-in.

use std::time::Duration;

use super::{PATIENCE, not_processed, unclear};
use crate::support::crowd::{seconds, sessions};
use crate::support::fake::{CallRecord, FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When};
use crate::support::sandbox::{Agent, Sandbox};

/// A refresh is due after two thirds: at 8 s. Its margin is 4 s, a quarter of that 1 s.
const LIFETIME: Duration = Duration::from_secs(12);

fn service() -> FakeIdentityCenter {
    FakeIdentityCenter::start(FakeConfig { access_token_lifetime: LIFETIME, ..FakeConfig::default() })
}

fn sandbox(service: &FakeIdentityCenter, count: usize) -> Sandbox {
    let sandbox = Sandbox::new().at(service.url());
    sandbox.write_config(&sessions(count));
    sandbox
}

fn refreshes(service: &FakeIdentityCenter, count: usize) -> Vec<CallRecord> {
    service.wait_for_answers(Operation::CreateTokenRefresh, count, PATIENCE).unwrap()
}

/// Every session's token is served, and none that is over.
fn everybody_is_served(agent: &Agent<'_>, service: &FakeIdentityCenter, count: usize) {
    for number in 0..count {
        let asked = service.now().seconds();
        let token = agent.get(&format!("/v1/token?session=s{number}"));
        assert!(seconds(&token["expires_at"]) >= asked, "{number}: {token}");
    }
}

fn presented(call: &CallRecord) -> String {
    call.fields["refreshToken"].as_str().unwrap().to_owned()
}

#[test]
fn before_the_service_acted_no_fault_costs_the_sign_in() {
    let faults = [unclear(), not_processed()].concat();
    let service = service();
    let sandbox = sandbox(&service, faults.len());
    let agent = sandbox.start_agent();
    agent.sign_in_to_all(&service, faults.len());
    for fault in &faults {
        service.fault(Operation::CreateTokenRefresh, fault.clone(), When::BeforeEffect, Times::Next(1));
    }
    for struck in 1..=faults.len() {
        refreshes(&service, struck);
        everybody_is_served(&agent, &service, faults.len());
    }
    // Each once in vain and once with success, however long that took.
    let calls = refreshes(&service, 2 * faults.len());
    everybody_is_served(&agent, &service, faults.len());
    let first: std::collections::HashSet<_> = calls[..faults.len()].iter().map(presented).collect();
    assert_eq!(first.len(), faults.len(), "no token was presented again before every session had its turn");
    let status = agent.wait_for_status("refreshed", |status| {
        status["sessions"].as_array().unwrap().iter().all(|session| session["last_error"].is_null())
    });
    for session in status["sessions"].as_array().unwrap() {
        assert_eq!((&session["state"], &session["renewable"]), (&"signed_in".into(), &true.into()), "{session}");
    }
    assert_eq!(service.refresh_token_reuses(), 0);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), faults.len(), "nobody signed in again");
}

#[test]
fn after_the_service_acted_what_is_valid_is_served_to_its_end() {
    let faults = unclear();
    let service = service();
    let sandbox = sandbox(&service, faults.len());
    let agent = sandbox.start_agent();
    agent.sign_in_to_all(&service, faults.len());
    for fault in &faults {
        service.fault(Operation::CreateTokenRefresh, fault.clone(), When::AfterEffect, Times::Next(1));
    }
    refreshes(&service, faults.len());
    assert_eq!(service.refresh_token_reuses(), 0, "nothing is presented twice in a hurry");
    everybody_is_served(&agent, &service, faults.len());
    // A person in a hurry does not change that, and is told why.
    let (status, problem) = agent.request("POST", "/v1/sessions/s0/refresh", "");
    if service.refresh_token_reuses() == 0 {
        assert_eq!((status, &problem["code"]), (503, &"unavailable".into()), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("lost"), "{problem}");
    }

    let calls = refreshes(&service, 2 * faults.len());
    let polls = service.calls(Operation::CreateTokenDeviceCode);
    for call in &calls[faults.len()..] {
        let first = calls[..faults.len()].iter().find(|first| presented(first) == presented(call)).unwrap();
        // Presented at 8 s the first time, and not before 11 s the second.
        let of_it = |poll: &&CallRecord| poll.fields["clientId"] == first.fields["clientId"];
        let issued = polls.iter().filter(of_it).map(|poll| poll.at).max().unwrap();
        let age = call.at.since(issued);
        assert!(age >= Duration::from_secs(10), "presented again when the access token was {age:?} old");
    }
    let status = agent.wait_for_status("refused", |status| {
        let sessions = status["sessions"].as_array().unwrap();
        sessions.iter().all(|session| session["renewable"] == false)
    });
    for session in status["sessions"].as_array().unwrap() {
        assert!(["ending", "ended"].contains(&session["state"].as_str().unwrap()), "{session}");
        let error = session["last_error"]["message"].as_str().unwrap();
        assert!(error.contains("the answer to an earlier refresh was lost"), "{session:#}");
    }
    // The rest of its life is served.
    for session in status["sessions"].as_array().unwrap() {
        let name = session["session"].as_str().unwrap();
        let (code, body) = agent.request("GET", &format!("/v1/token?session={name}"), "");
        let over = service.now().seconds() >= seconds(&session["access_token_expires_at"]);
        assert!(code == 200 || over, "{body}");
    }
    agent.wait_for_status("ended", |status| {
        status["sessions"].as_array().unwrap().iter().all(|session| session["state"] == "ended")
    });
    let stderr = sandbox.shim(&["--profile", "p0"]).failed_with(3);
    assert!(stderr.contains("ended between") && stderr.contains("earlier refresh was lost"), "{stderr}");
    assert!(stderr.contains("sso-agent login s0") && stderr.lines().count() == 1, "{stderr}");
    // One sign-in, and everything is as before.
    agent.begin_sign_in(&service, "s0");
    assert_eq!(agent.end_of_sign_in("s0")["state"], "signed_in");
    assert_eq!(sandbox.shim(&["--profile", "p0"]).json()["Version"], 1);
}

#[test]
fn a_service_that_acts_and_then_says_it_did_not_is_found_out() {
    let faults = not_processed();
    let service = service();
    let sandbox = sandbox(&service, faults.len());
    let agent = sandbox.start_agent();
    agent.sign_in_to_all(&service, faults.len());
    for fault in &faults {
        service.fault(Operation::CreateTokenRefresh, fault.clone(), When::AfterEffect, Times::Next(1));
    }
    refreshes(&service, faults.len());
    everybody_is_served(&agent, &service, faults.len());
    let status = agent.wait_for_status("refused", |status| {
        status["sessions"].as_array().unwrap().iter().all(|session| session["renewable"] == false)
    });
    for session in status["sessions"].as_array().unwrap() {
        let error = &session["last_error"];
        assert_eq!(error["code"], "sign_in_required", "{session}");
        assert!(error["message"].as_str().unwrap().contains("does not accept the refresh token"), "{session}");
    }
}

#[test]
fn while_a_refresh_hangs_what_is_valid_is_served_and_the_token_is_not_presented_again() {
    let service = service();
    let sandbox = sandbox(&service, 1);
    let agent = sandbox.start_agent();
    agent.sign_in_to_all(&service, 1);
    service.fault(Operation::CreateTokenRefresh, Fault::Hang, When::BeforeEffect, Times::Next(1));
    let call = service.wait_for_calls(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
    everybody_is_served(&agent, &service, 1);
    assert_eq!(sandbox.shim(&["--profile", "p0"]).json()["Version"], 1);
    // Past the moment at which a token of unknown fate would be presented again: this one is still under way.
    agent.wait_until(&service, call[0].at.seconds() + 5);
    assert_eq!(service.count(Operation::CreateTokenRefresh), 1);
    // The roles outlive the access token.
    assert_eq!(sandbox.shim(&["--profile", "p0"]).json()["Version"], 1);
    let (status, problem) = agent.request("GET", "/v1/credentials?profile=p0&timeout=1", "");
    assert_eq!(status, 200, "{problem}");
    service.clear_faults();
    // Closed without an answer, after the token has expired: presented once more, with success.
    assert_eq!(agent.get("/v1/token?session=s0")["session"], "s0");
    assert_eq!((service.refresh_token_reuses(), service.count(Operation::StartDeviceAuthorization)), (0, 1));
}

#[test]
fn an_answer_that_dribbles_in_is_an_answer() {
    for when in [When::BeforeEffect, When::AfterEffect] {
        let service = service();
        let sandbox = sandbox(&service, 1);
        let agent = sandbox.start_agent();
        agent.sign_in_to_all(&service, 1);
        let per_byte = Duration::from_millis(1);
        service.fault(Operation::CreateTokenRefresh, Fault::Dribble { per_byte }, when, Times::Next(1));
        // Before the effect it is a stand-in that means nothing: late rule. After it, it is the real one.
        let wanted = if when == When::BeforeEffect { 2 } else { 1 };
        refreshes(&service, wanted);
        let status = agent.wait_for_status("refreshed", |status| {
            let session = &status["sessions"][0];
            session["last_error"].is_null()
                && seconds(&session["access_token_expires_at"]) > service.now().seconds() + 4
        });
        assert_eq!(status["sessions"][0]["state"], "signed_in");
        assert_eq!(service.refresh_token_reuses(), 0);
    }
}

#[test]
fn without_a_network_the_refresh_waits_for_it() {
    let service = service();
    let sandbox = sandbox(&service, 1);
    let agent = sandbox.start_agent();
    agent.sign_in_to_all(&service, 1);
    service.go_offline();
    let status = agent.wait_for_status("failing", |status| !status["sessions"][0]["last_error"].is_null());
    assert_eq!(status["sessions"][0]["last_error"]["code"], "unavailable", "{status:#}");
    everybody_is_served(&agent, &service, 1);
    let expires = seconds(&status["sessions"][0]["access_token_expires_at"]);
    agent.wait_until(&service, expires + 1);
    let (code, problem) = agent.request("GET", "/v1/token?session=s0", "");
    assert_eq!((code, &problem["code"]), (503, &"unavailable".into()), "{problem}");
    service.go_online();
    assert_eq!(sandbox.shim(&["--profile", "p0"]).json()["Version"], 1);
    assert_eq!((service.refresh_token_reuses(), service.count(Operation::StartDeviceAuthorization)), (0, 1));
}
