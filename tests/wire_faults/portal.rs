//! Faults while lists are fetched and while somebody signs out, and what the portal's errors mean for whoever asks.

use std::time::Duration;

use super::{everybody_is_signed_in, not_processed, unclear, unmodelled};
use crate::support::crowd::sessions;
use crate::support::fake::{Exception, FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When};
use crate::support::sandbox::{Finished, Sandbox};

/// What the user sees in the end.
enum Sees {
    /// What was asked for, after so many calls.
    Answer(usize),
    /// A command that fails with this exit code and these words in what it says.
    Failure(i32, &'static [&'static str]),
}

fn errors() -> Vec<(Fault, Sees)> {
    let exception = Fault::Exception;
    let mut table = vec![
        // The token is refreshed once, and the call repeated once.
        (exception(Exception::Unauthorized), Sees::Answer(2)),
        (exception(Exception::InternalServer), Sees::Answer(2)),
        (exception(Exception::Forbidden), Sees::Failure(6, &["ForbiddenException", "sso-agent roles"])),
        (exception(Exception::ResourceNotFound), Sees::Failure(6, &["ResourceNotFoundException", "may not use"])),
        (exception(Exception::InvalidRequest), Sees::Failure(6, &["InvalidRequestException", "ordered by the test"])),
        (exception(Exception::TooManyRequests), Sees::Answer(2)),
    ];
    table.extend(unmodelled().into_iter().map(|(fault, words)| (fault, Sees::Failure(6, words))));
    table
}

/// One session for each fault. Whatever happened, everybody is still signed in and the token is served.
fn play(operation: Operation, table: Vec<(Fault, Sees)>, ask: impl Fn(&Sandbox, usize) -> Finished) {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::new().at(service.url());
    sandbox.write_config(&sessions(table.len()));
    let agent = sandbox.start_agent();
    agent.sign_in_to_all(&service, table.len());
    for (number, (fault, sees)) in table.iter().enumerate() {
        let before = service.count(operation);
        service.fault(operation, fault.clone(), When::BeforeEffect, Times::Next(1));
        let finished = ask(&sandbox, number);
        let calls = service.count(operation) - before;
        match sees {
            Sees::Answer(expected) => {
                assert_eq!((finished.code, calls), (Some(0), *expected), "{fault:?}: {finished:?}");
            }
            Sees::Failure(code, words) => {
                assert_eq!((finished.code, calls), (Some(*code), 1), "{fault:?}: {finished:?}");
                assert_eq!(finished.stdout, "", "{fault:?}");
                for word in *words {
                    assert!(finished.stderr.contains(word), "{fault:?}: {}", finished.stderr);
                }
                // The service's no is remembered for a moment, and nobody asks it again.
                let again = ask(&sandbox, number);
                assert_eq!((again.code, service.count(operation) - before), (Some(*code), 1), "{fault:?}");
            }
        }
    }
    everybody_is_signed_in(&agent, &service, table.len());
}

fn transient() -> Vec<(Fault, Sees)> {
    [unclear(), not_processed()].concat().into_iter().map(|fault| (fault, Sees::Answer(2))).collect()
}

fn role(sandbox: &Sandbox, number: usize) -> Finished {
    sandbox.shim(&["--profile", &format!("p{number}")])
}

fn accounts(sandbox: &Sandbox, number: usize) -> Finished {
    sandbox.cli(&["accounts", &format!("s{number}")])
}

fn roles(sandbox: &Sandbox, number: usize) -> Finished {
    sandbox.cli(&["roles", &format!("s{number}"), "--account", "111122223333"])
}

#[test]
fn every_error_for_a_role_is_told_or_overcome() {
    play(Operation::GetRoleCredentials, errors(), role);
}

#[test]
fn every_fault_for_the_list_of_accounts_is_told_or_overcome() {
    play(Operation::ListAccounts, [transient(), errors()].into_iter().flatten().collect(), accounts);
}

#[test]
fn every_fault_for_the_list_of_roles_is_told_or_overcome() {
    play(Operation::ListAccountRoles, [transient(), errors()].into_iter().flatten().collect(), roles);
}

/// Signs everybody out, one fault each, and in again.
fn play_logout(when: When) {
    let mut faults = [unclear(), not_processed()].concat();
    let exceptions = [Exception::Unauthorized, Exception::InvalidRequest, Exception::TooManyRequests];
    faults.extend(exceptions.map(Fault::Exception));
    faults.extend(unmodelled().into_iter().map(|(fault, _)| fault));
    faults.push(Fault::Dribble { per_byte: Duration::from_millis(1) });
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::new().at(service.url());
    sandbox.write_config(&sessions(faults.len()));
    let agent = sandbox.start_agent();
    agent.sign_in_to_all(&service, faults.len());
    for (number, fault) in faults.iter().enumerate() {
        let session = format!("s{number}");
        service.fault(Operation::Logout, fault.clone(), when, Times::Next(1));
        let done = sandbox.cli(&["logout", &session]);
        assert_eq!(done.code, Some(0), "{fault:?}: {done:?}");
        assert!(done.stderr.contains("signed out"), "{fault:?}: {}", done.stderr);
        // There is nothing in the answer to a logout: any JSON object will do.
        let is_an_answer = matches!(fault, Fault::Dribble { .. } | Fault::MissingFields200);
        assert_eq!(!done.stderr.contains("did not confirm"), is_an_answer, "{fault:?}: {}", done.stderr);
        assert_eq!(service.count(Operation::Logout), number + 1, "{fault:?}: asked once");
        sandbox.shim(&["--profile", &format!("p{number}")]).failed_with(3);
    }
    let left = std::fs::read_dir(sandbox.state().join("records")).unwrap();
    let left: Vec<String> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| name.starts_with("client-")), "nothing to sign in with is left: {left:?}");
    agent.sign_in_to_all(&service, faults.len());
    everybody_is_signed_in(&agent, &service, faults.len());
    assert_eq!(service.count(Operation::RegisterClient), faults.len(), "with the clients that were known");
}

#[test]
fn whatever_happens_to_a_sign_out_nothing_is_left_here_and_the_user_is_told() {
    play_logout(When::BeforeEffect);
    play_logout(When::AfterEffect);
}

#[test]
fn a_service_that_accepts_and_never_answers_keeps_nobody_for_good() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::new().at(service.url());
    sandbox.write_config(&sessions(4));
    let agent = sandbox.start_agent();
    agent.sign_in_to_all(&service, 2);
    for operation in [Operation::Logout, Operation::RegisterClient, Operation::StartDeviceAuthorization] {
        service.fault(operation, Fault::Hang, When::BeforeEffect, Times::Next(1));
    }
    // One that answers a byte a second is none that answers.
    let slow = Fault::Dribble { per_byte: Duration::from_secs(1) };
    service.fault(Operation::GetRoleCredentials, slow, When::AfterEffect, Times::Next(1));
    let login = |session: &str| {
        let path = format!("/v1/sessions/{session}/login");
        agent.request("POST", &path, r#"{"flow":"device","started_by":"cli"}"#)
    };
    // All at once: each is given up after ten seconds.
    std::thread::scope(|scope| {
        let logout = scope.spawn(|| sandbox.cli(&["logout", "s0"]));
        let role = scope.spawn(|| agent.get("/v1/credentials?profile=p1&timeout=20"));
        let registering = scope.spawn(|| login("s2"));
        let starting = scope.spawn(|| {
            service.wait_for_calls(Operation::RegisterClient, 3, super::PATIENCE).unwrap();
            login("s3")
        });
        for (status, problem) in [registering.join().unwrap(), starting.join().unwrap()] {
            assert_eq!((status, &problem["code"]), (503, &"unavailable".into()), "{problem}");
            assert!(problem["caused_by"][0].as_str().unwrap().contains("did not answer in time"), "{problem}");
        }
        assert_eq!(role.join().unwrap()["Version"], 1, "by a second call");
        let logout = logout.join().unwrap();
        assert!(logout.stderr.contains("did not confirm"), "{logout:?}");
    });
    for session in ["s0", "s2", "s3"] {
        agent.begin_sign_in(&service, session);
        assert_eq!(agent.end_of_sign_in(session)["state"], "signed_in");
    }
    everybody_is_signed_in(&agent, &service, 4);
}
