//! From nothing to a working agent: sign in once, and credentials flow.

use std::time::Duration;

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::{CORP, Sandbox};

#[test]
fn a_person_signs_in_once_and_credentials_flow() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);

    let document = sandbox.shim(&["--profile", "dev"]).json();
    assert_eq!(document["Version"], 1);
    assert_eq!(document["AccountId"], "111122223333");
    assert!(document["AccessKeyId"].as_str().unwrap().starts_with("ASIA"));
    let direct = sandbox.shim(&["--session", "corp", "--account", "111122223333", "--role", "ReadOnly"]).json();
    assert_eq!(direct, document, "the same target is the same set");
    assert_eq!(service.count(Operation::GetRoleCredentials), 1);
    assert!(agent.stop().success());
}

#[test]
fn the_agent_refreshes_on_its_own_before_the_token_expires() {
    let service = FakeIdentityCenter::start(FakeConfig::with_tokens_of(Duration::from_secs(6)));
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    service.wait_for_answers(Operation::CreateTokenRefresh, 2, Duration::from_secs(30)).unwrap();
    assert_eq!(service.refresh_token_reuses(), 0);
    agent.wait_for_status("signed in", |status| status["sessions"][0]["state"] == "signed_in");
}

#[test]
fn a_crash_does_not_cost_the_sign_in() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    agent.kill();
    let agent = sandbox.start_agent();
    let document = sandbox.shim(&["--profile", "dev"]).json();
    assert_eq!(document["Version"], 1);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1, "nobody had to sign in again");
    drop(agent);
}

#[test]
fn an_answer_laid_out_is_taken_away_by_whatever_happens() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let credentials = "/v1/credentials?profile=dev";
    let first = agent.get(credentials);
    assert_eq!(agent.get(credentials), first);
    assert_eq!(agent.get(credentials), first);
    let (status, body) = agent.request("DELETE", "/v1/sessions/corp", "");
    assert_eq!((status, &body["revoked"]), (200, &serde_json::Value::Bool(true)));
    let (status, body) = agent.request("GET", credentials, "");
    assert_eq!((status, body["code"].as_str()), (401, Some("sign_in_required")));

    agent.sign_in(&service);
    let again = agent.get(credentials);
    assert_ne!(again, first, "a sign-out empties the cache");
    assert_eq!(agent.get(credentials), again);
    sandbox.write_config(&CORP.replace("ReadOnly", "Administrator"));
    assert_eq!(agent.request("POST", "/v1/reload", "").0, 200);
    assert_ne!(agent.get(credentials), again, "the profile means another role now");
}
