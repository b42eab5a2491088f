//! The agent is told to stop: whoever waits is answered, what is under way is saved, the socket goes.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When};
use crate::support::sandbox::{Sandbox, request};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn callers_that_wait_are_answered_and_the_socket_is_gone() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    for signal in [Signal::TERM, Signal::INT] {
        let agent = sandbox.start_agent();
        if service.sessions().is_empty() {
            agent.sign_in(&service);
        }
        let before = service.count(Operation::GetRoleCredentials);
        service.fault(Operation::GetRoleCredentials, Fault::Hang, When::BeforeEffect, Times::UntilCleared);
        thread::scope(|scope| {
            let socket = sandbox.socket();
            let ask = |path: &'static str| {
                let socket = socket.clone();
                scope.spawn(move || request(&socket, "GET", path, ""))
            };
            let credentials = ask("/v1/credentials?profile=dev&timeout=60");
            service.wait_for_calls(Operation::GetRoleCredentials, before + 1, PATIENCE).unwrap();
            let status = agent.get("/v1/status");
            assert_eq!(status["pid"], agent.pid());
            agent.signal(signal);
            // A second one changes nothing.
            agent.signal(signal);
            let (status, problem) = credentials.join().unwrap();
            assert_eq!((status, &problem["code"]), (503, &"shutting_down".into()), "{problem}");
        });
        assert_eq!(agent.wait().code(), Some(0));
        assert!(!sandbox.socket().exists());
        service.clear_faults();
        assert_eq!(sandbox.cli(&["status"]).code, Some(4));
    }
    let _agent = sandbox.start_agent();
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);
}

#[test]
fn a_refresh_under_way_is_finished_and_saved_before_the_end() {
    let service = FakeIdentityCenter::start(FakeConfig::with_tokens_of(Duration::from_secs(6)));
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    service.fault(Operation::CreateTokenRefresh, Fault::Hold, When::AfterEffect, Times::Next(1));
    service.wait_for_calls(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
    agent.signal(Signal::TERM);
    // The doors close while it waits for the answer.
    while std::os::unix::net::UnixStream::connect(sandbox.socket()).is_ok() {
        thread::yield_now();
    }
    assert_eq!(sandbox.run_in_vain(&[]).code, Some(4), "it still holds the lock");
    service.clear_faults();
    assert_eq!(agent.wait().code(), Some(0));

    let agent = sandbox.start_agent();
    service.wait_for_answers(Operation::CreateTokenRefresh, 2, PATIENCE).unwrap();
    agent.wait_for_status("signed in", |status| status["sessions"][0]["state"] == "signed_in");
    assert_eq!((service.refresh_token_reuses(), service.count(Operation::StartDeviceAuthorization)), (0, 1));
}

#[test]
fn a_sign_in_that_is_pending_is_answered_at_the_end() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    let login = sandbox.spawn_cli(&["login", "--no-browser", "--json"]);
    service.wait_for_user_code(PATIENCE).unwrap();
    service.wait_for_answers(Operation::CreateTokenDeviceCode, 1, PATIENCE).unwrap();
    assert!(agent.stop().success());
    let login = crate::support::sandbox::Finished::awaited(login);
    let code = login.code.unwrap();
    assert!(matches!(code, 3 | 4 | 7), "{login:?}");
    let last: serde_json::Value = serde_json::from_str(login.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "failed", "{login:?}");
}
