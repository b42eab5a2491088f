//! What every error that the service names means in each step of a sign-in and for a refresh.

use std::time::Duration;

use serde_json::Value;

use super::{PATIENCE, everybody_is_signed_in, unmodelled};
use crate::support::crowd::{seconds, sessions};
use crate::support::fake::{Exception, FakeConfig, FakeIdentityCenter, Fault, Operation, Outcome, Times, When};
use crate::support::sandbox::{Agent, Sandbox};

fn start(config: FakeConfig, count: usize) -> (FakeIdentityCenter, Sandbox) {
    let service = FakeIdentityCenter::start(config);
    let sandbox = Sandbox::new().at(service.url());
    sandbox.write_config(&sessions(count));
    (service, sandbox)
}

fn login(agent: &Agent<'_>, number: usize) -> (u16, Value) {
    let path = format!("/v1/sessions/s{number}/login");
    agent.request("POST", &path, r#"{"flow":"device","started_by":"cli"}"#)
}

/// Every error at the first call of a sign-in: what is said, and that the next one works.
fn errors_at(operation: Operation, table: Vec<(Fault, Option<(&str, u16)>)>) {
    let (service, sandbox) = start(FakeConfig::default(), table.len());
    let agent = sandbox.start_agent();
    for (number, (fault, sees)) in table.iter().enumerate() {
        service.fault(operation, fault.clone(), When::BeforeEffect, Times::Next(1));
        let before = service.count(operation);
        let (status, body) = login(&agent, number);
        match sees {
            Some((code, expected)) => {
                assert_eq!((status, &body["code"]), (*expected, &Value::from(*code)), "{fault:?}: {body}");
                assert_eq!(service.count(operation), before + 1, "{fault:?}");
            }
            // Overcome: a client that is not known is registered again, once.
            None => assert_eq!(status, 202, "{fault:?}: {body}"),
        }
    }
    agent.sign_in_to_all(&service, table.len());
    everybody_is_signed_in(&agent, &service, table.len());
}

#[test]
fn every_error_while_registering_or_starting_is_told_or_overcome() {
    let refused = Some(("refused", 502));
    let table = |exceptions: &[Exception]| {
        let mut table: Vec<_> = exceptions.iter().map(|name| (Fault::Exception(*name), refused)).collect();
        table.extend(unmodelled().into_iter().map(|(fault, _)| (fault, refused)));
        table.push((Fault::Exception(Exception::InternalServer), Some(("unavailable", 503))));
        table.push((Fault::Exception(Exception::SlowDown), Some(("throttled", 503))));
        table
    };
    let of_registering = [
        Exception::InvalidRequest,
        Exception::InvalidScope,
        Exception::InvalidClientMetadata,
        Exception::InvalidRedirectUri,
        Exception::UnsupportedGrantType,
    ];
    errors_at(Operation::RegisterClient, table(&of_registering));
    let mut of_starting = table(&[Exception::InvalidRequest]);
    of_starting.push((Fault::Exception(Exception::InvalidClient), None));
    of_starting.push((Fault::Exception(Exception::UnauthorizedClient), None));
    errors_at(Operation::StartDeviceAuthorization, of_starting);
}

#[test]
fn every_error_of_a_poll_means_what_the_service_says() {
    let mut table: Vec<(Fault, &str)> = [
        (Exception::AuthorizationPending, "signed_in"),
        (Exception::InternalServer, "signed_in"),
        (Exception::SlowDown, "signed_in"),
        (Exception::ExpiredToken, "sign_in_expired"),
        (Exception::AccessDenied, "sign_in_denied"),
        (Exception::InvalidRequest, "refused"),
        (Exception::InvalidClient, "refused"),
        (Exception::InvalidGrant, "refused"),
        (Exception::UnauthorizedClient, "refused"),
        (Exception::UnsupportedGrantType, "refused"),
        (Exception::InvalidScope, "refused"),
    ]
    .map(|(exception, ends)| (Fault::Exception(exception), ends))
    .into();
    table.extend(unmodelled().into_iter().map(|(fault, _)| (fault, "refused")));
    let (service, sandbox) = start(FakeConfig::default(), table.len());
    let agent = sandbox.start_agent();
    for (fault, _) in &table {
        service.fault(Operation::CreateTokenDeviceCode, fault.clone(), When::BeforeEffect, Times::Next(1));
    }
    (0..table.len()).for_each(|number| agent.begin_sign_in(&service, &format!("s{number}")));
    for number in 0..table.len() {
        let session = format!("s{number}");
        let state = agent.end_of_sign_in(&session);
        let end = if state["state"] == "signed_in" { &state["state"] } else { &state["code"] };
        // Struck once, as a rule; whoever was struck more often ended with the first that ends a sign-in.
        let struck = struck(&service, number);
        let ends = struck.iter().map(|fault| table.iter().find(|(known, _)| known == fault).unwrap().1);
        let expected = ends.clone().find(|end| *end != "signed_in").unwrap_or("signed_in");
        assert_eq!(end, expected, "{struck:?}: {state}");
        if expected != "signed_in" {
            agent.begin_sign_in(&service, &session);
        }
    }
    for number in 0..table.len() {
        assert_eq!(agent.end_of_sign_in(&format!("s{number}"))["state"], "signed_in");
    }
    everybody_is_signed_in(&agent, &service, table.len());
    // Two of them were about the client.
    assert_eq!(service.count(Operation::RegisterClient), table.len() + 2);
}

/// The faults that struck the polls of the session with this number.
fn struck(service: &FakeIdentityCenter, number: usize) -> Vec<Fault> {
    let start_url = format!("https://s{number}.awsapps.com/start");
    let starts = service.calls(Operation::StartDeviceAuthorization);
    let clients = starts.iter().filter(|call| call.fields["startUrl"] == start_url.as_str());
    let clients: Vec<&Value> = clients.map(|call| &call.fields["clientId"]).collect();
    let polls = service.calls(Operation::CreateTokenDeviceCode);
    polls
        .iter()
        .filter(|call| clients.contains(&&call.fields["clientId"]))
        .filter_map(|call| match &call.outcome {
            Outcome::Struck { fault, .. } => Some(fault.clone()),
            _ => None,
        })
        .collect()
}

/// A refresh is due after two thirds, and the gap between two is a fifth.
const LIFETIME: Duration = Duration::from_secs(12);

#[test]
fn an_error_of_a_refresh_that_is_not_about_the_grant_keeps_the_session() {
    let mut faults: Vec<Fault> = [
        Exception::InvalidRequest,
        Exception::UnauthorizedClient,
        Exception::UnsupportedGrantType,
        Exception::InvalidScope,
        Exception::AccessDenied,
        Exception::AuthorizationPending,
    ]
    .map(Fault::Exception)
    .into();
    faults.extend(unmodelled().into_iter().map(|(fault, _)| fault));
    let (service, sandbox) = start(FakeConfig::with_tokens_of(LIFETIME), faults.len());
    let agent = sandbox.start_agent();
    agent.sign_in_to_all(&service, faults.len());
    for fault in &faults {
        service.fault(Operation::CreateTokenRefresh, fault.clone(), When::BeforeEffect, Times::Next(1));
    }
    let status = agent.wait_for_status("refused", |status| {
        status["sessions"].as_array().unwrap().iter().all(|session| session["last_error"]["code"] == "refused")
    });
    assert_eq!(service.count(Operation::CreateTokenRefresh), faults.len(), "once each");
    for session in status["sessions"].as_array().unwrap() {
        assert_eq!((&session["state"], &session["renewable"]), (&"signed_in".into(), &true.into()), "{session}");
        assert!(!session["last_error"]["retry_at"].is_null(), "it is tried again in five minutes: {session}");
    }
    // A person need not wait for that.
    for number in 0..faults.len() {
        let ends = seconds(&status["sessions"][number]["access_token_expires_at"]);
        agent.wait_until(&service, ends);
        sandbox.cli(&["refresh", &format!("s{number}")]).expect_success();
    }
    everybody_is_signed_in(&agent, &service, faults.len());
    assert_eq!(service.refresh_token_reuses(), 0);
}

#[test]
fn an_error_of_a_refresh_about_the_grant_ends_the_session_with_its_reason() {
    let table = [
        (Exception::InvalidGrant, "does not accept the refresh token any more"),
        (Exception::ExpiredToken, "the refresh token has expired"),
        (Exception::InvalidClient, "does not know this client any more"),
    ];
    let (service, sandbox) = start(FakeConfig::with_tokens_of(LIFETIME), table.len());
    let agent = sandbox.start_agent();
    agent.sign_in_to_all(&service, table.len());
    for (exception, _) in table {
        service.fault(Operation::CreateTokenRefresh, Fault::Exception(exception), When::BeforeEffect, Times::Next(1));
    }
    service.wait_for_answers(Operation::CreateTokenRefresh, table.len(), PATIENCE).unwrap();
    agent.wait_for_status("ended", |status| {
        status["sessions"].as_array().unwrap().iter().all(|session| session["state"] == "ended")
    });
    let mut said = Vec::new();
    for number in 0..table.len() {
        let stderr = sandbox.shim(&["--profile", &format!("p{number}")]).failed_with(3);
        assert!(stderr.contains(&format!("sso-agent login s{number}")) && stderr.lines().count() == 1, "{stderr}");
        assert!(!stderr.contains("earlier refresh"), "no answer was lost: {stderr}");
        said.push(stderr);
    }
    for (_, words) in table {
        assert!(said.iter().any(|stderr| stderr.contains(words)), "{words}: {said:?}");
    }
    assert_eq!(service.count(Operation::CreateTokenRefresh), table.len(), "a definite no is not asked for twice");
    agent.sign_in_to_all(&service, table.len());
    assert_eq!(service.count(Operation::RegisterClient), table.len() + 1, "only the client that is not known any more");
}

#[test]
fn a_client_that_is_forgotten_in_mid_session_is_registered_again_once_by_the_next_sign_in() {
    let (service, sandbox) = start(FakeConfig::with_tokens_of(LIFETIME), 1);
    let agent = sandbox.start_agent();
    agent.sign_in_to_all(&service, 1);
    service.revoke_registrations();
    agent.wait_for_status("refused", |status| status["sessions"][0]["renewable"] == false);
    agent.get("/v1/token?session=s0");
    agent.wait_for_status("ended", |status| status["sessions"][0]["state"] == "ended");
    let stderr = sandbox.shim(&["--profile", "p0"]).failed_with(3);
    assert!(stderr.contains("client registration") && stderr.contains("no longer valid"), "{stderr}");
    assert_eq!(service.count(Operation::CreateTokenRefresh), 1);
    agent.sign_in_to_all(&service, 1);
    assert_eq!(service.count(Operation::RegisterClient), 2);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 2, "without trying the old client first");
    sandbox.shim(&["--profile", "p0"]).expect_success();
}
