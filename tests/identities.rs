//! Two identities behind one start URL, and a session that is begun anew: what belongs to one stays with it.

use std::time::Duration;

use serde_json::Value;

use crate::support::fake::{Exception, FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When};
use crate::support::sandbox::{Agent, Finished, Sandbox};

/// Sessions `me` and `admin` at one start URL, with a profile each for the same account and role.
fn house() -> (FakeIdentityCenter, Sandbox) {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::new();
    let of = |name: &str| {
        format!(
            "[sso-session {name}]\nsso_start_url = https://corp.awsapps.com/start\nsso_region = eu-west-1\n\
             sso_registration_scopes = sso:account:access\n[profile p-{name}]\nsso_session = {name}\n\
             sso_account_id = 111122223333\nsso_role_name = ReadOnly\n"
        )
    };
    sandbox.write_config(&format!("{}{}", of("me"), of("admin")));
    let sandbox = sandbox.at(service.url());
    (service, sandbox)
}

fn sign_in(agent: &Agent<'_>, service: &FakeIdentityCenter, session: &str) {
    let path = format!("/v1/sessions/{session}/login");
    let (status, body) = agent.request("POST", &path, r#"{"flow":"device","started_by":"cli"}"#);
    assert_eq!(status, 202, "{body}");
    assert!(service.approve_as(body["user_code"].as_str().unwrap(), session));
    assert_eq!(agent.end_of_sign_in(session)["state"], "signed_in");
}

fn token(agent: &Agent<'_>, session: &str) -> Value {
    agent.get(&format!("/v1/token?session={session}"))["access_token"].clone()
}

fn state(agent: &Agent<'_>, session: &str) -> Value {
    let status = agent.get("/v1/status");
    let sessions = status["sessions"].as_array().unwrap();
    sessions.iter().find(|entry| entry["session"] == session).unwrap()["state"].clone()
}

fn key(sandbox: &Sandbox, profile: &str) -> Value {
    sandbox.shim(&["--profile", profile]).json()["AccessKeyId"].clone()
}

#[test]
fn two_sessions_of_one_start_url_have_nothing_in_common() {
    let (service, sandbox) = house();
    let agent = sandbox.start_agent();
    sign_in(&agent, &service, "me");
    assert_eq!(state(&agent, "admin"), "signed_out");
    let said = sandbox.shim(&["--profile", "p-admin"]).failed_with(3);
    assert!(said.contains("session admin") && said.contains("sso-agent login admin"), "{said}");
    sign_in(&agent, &service, "admin");
    assert_eq!(service.count(Operation::RegisterClient), 2, "each has a client of its own");
    let (mine, theirs) = (token(&agent, "me"), token(&agent, "admin"));
    assert_ne!(mine, theirs);
    let (my_key, their_key) = (key(&sandbox, "p-me"), key(&sandbox, "p-admin"));
    assert_ne!(my_key, their_key, "the same account and role, by another user");
    // One is signed out, the other does not notice.
    sandbox.cli(&["logout", "admin"]).expect_success();
    assert_eq!((state(&agent, "me"), state(&agent, "admin")), ("signed_in".into(), "signed_out".into()));
    assert_eq!((token(&agent, "me"), key(&sandbox, "p-me")), (mine.clone(), my_key));
    sandbox.shim(&["--profile", "p-admin"]).failed_with(3);
    assert!(agent.stop().success());
    let agent = sandbox.start_agent();
    assert_eq!((state(&agent, "me"), state(&agent, "admin")), ("signed_in".into(), "signed_out".into()));
    assert_eq!(token(&agent, "me"), mine, "what is stored is stored apart");
}

#[test]
fn on_demand_is_for_the_session_that_it_was_turned_on_for() {
    let (service, sandbox) = house();
    sandbox.write("home/.config/sso-agent/config.toml", "[session.admin]\nsign_in = \"on-demand\"\n");
    let agent = sandbox.start_agent();
    let shim = sandbox.spawn_shim(&["--profile", "p-admin"]);
    let code = service.wait_for_user_code(PATIENCE).unwrap();
    sandbox.shim(&["--profile", "p-me"]).failed_with(3);
    assert!(service.approve_as(&code, "admin"));
    assert_eq!(Finished::awaited(shim).json()["Version"], 1);
    sandbox.shim(&["--profile", "p-me"]).failed_with(3);
    assert_eq!(state(&agent, "me"), "signed_out");
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);
}

#[test]
fn a_session_begun_anew_goes_on_serving_what_was_issued_and_says_so_when_it_is_given_up() {
    let (service, sandbox) = house();
    let agent = sandbox.start_agent();
    sign_in(&agent, &service, "me");
    let before = key(&sandbox, "p-me");
    let login = r#"{"flow":"device","started_by":"cli","new_session":true}"#;
    let (status, body) = agent.request("POST", "/v1/sessions/me/login", login);
    assert_eq!((status, service.count(Operation::Logout)), (202, 1), "{body}");
    assert_eq!((state(&agent, "me"), key(&sandbox, "p-me")), ("pending".into(), before.clone()));
    assert_eq!(agent.request("DELETE", "/v1/sessions/me/login", "").0, 204);
    let ended = agent.get("/v1/sessions/me/login");
    assert!(ended["message"].as_str().unwrap().contains("nobody is signed in any more"), "{ended}");
    assert_eq!((state(&agent, "me"), key(&sandbox, "p-me")), ("signed_out".into(), before.clone()));
    // Another time it succeeds.
    sign_in(&agent, &service, "me");
    assert_eq!(key(&sandbox, "p-me"), before, "nothing is asked for that is there");
    assert_eq!(service.count(Operation::GetRoleCredentials), 1);
}

#[test]
fn a_session_that_cannot_be_ended_is_kept() {
    let (service, sandbox) = house();
    let agent = sandbox.start_agent();
    sign_in(&agent, &service, "me");
    let before = token(&agent, "me");
    for fault in [Fault::status(500), Fault::Reset, Fault::Exception(Exception::TooManyRequests)] {
        service.fault(Operation::Logout, fault, When::BeforeEffect, Times::Next(1));
        let login = sandbox.cli(&["login", "me", "--new-session", "--flow", "device", "--no-browser"]);
        assert_ne!(login.code, Some(0), "{login:?}");
        assert_eq!((state(&agent, "me"), token(&agent, "me")), ("signed_in".into(), before.clone()));
    }
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1, "no other sign-in was begun");
}

const PATIENCE: Duration = Duration::from_secs(30);
