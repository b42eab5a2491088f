//! SIGKILL at bad moments: the next agent serves without a sign-in, and knows what it cannot know.
//!
//! Here are the moments with a story of their own. `refreshes` and `sign_ins` are the crash matrix: hundreds of agents
//! killed at every step and at random, each followed by one that must make up for it.

#[cfg(target_os = "linux")]
mod matrix;
#[cfg(target_os = "linux")]
mod refreshes;
#[cfg(target_os = "linux")]
mod sign_ins;
#[cfg(target_os = "linux")]
mod window;

use std::time::Duration;

use crate::support::crowd::seconds;
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When};
use crate::support::sandbox::Sandbox;

const PATIENCE: Duration = Duration::from_secs(40);

/// A refresh is due at 8 s, and where its fate is unknown again at 11 s; less jitter, and less up to a second for what a
/// record rounds down.
const LIFETIME: Duration = Duration::from_secs(12);

fn service() -> FakeIdentityCenter {
    FakeIdentityCenter::start(FakeConfig { access_token_lifetime: LIFETIME, ..FakeConfig::default() })
}

#[test]
fn killed_after_each_refresh_it_never_needs_the_user() {
    let service = FakeIdentityCenter::start(FakeConfig::with_tokens_of(Duration::from_secs(6)));
    let sandbox = Sandbox::with_session(service.url());
    let mut agent = sandbox.start_agent();
    agent.sign_in(&service);
    let mut expires = 0;
    for _ in 0..3 {
        agent.kill();
        agent = sandbox.start_agent();
        assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
        // Fresh tokens are saved before they are shown.
        let status = agent.wait_for_status("refreshed", |status| {
            seconds(&status["sessions"][0]["access_token_expires_at"]) > expires
        });
        expires = seconds(&status["sessions"][0]["access_token_expires_at"]);
    }
    agent.kill();
    let _agent = sandbox.start_agent();
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    assert_eq!((service.refresh_token_reuses(), service.count(Operation::StartDeviceAuthorization)), (0, 1));
    assert_eq!(service.count(Operation::RegisterClient), 1);
}

#[test]
fn killed_while_a_refresh_hangs_before_its_effect_it_presents_the_token_once_more_and_late() {
    let service = service();
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    service.fault(Operation::CreateTokenRefresh, Fault::Hang, When::BeforeEffect, Times::Next(1));
    let first = service.wait_for_calls(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
    agent.kill();
    let agent = sandbox.start_agent();
    assert_eq!(agent.get("/v1/token?session=corp")["token_type"], "Bearer");
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    // The mark says that the fate is unknown: nobody's haste presents the token now.
    let (status, problem) = agent.request("POST", "/v1/sessions/corp/refresh", "");
    assert_eq!((status, &problem["code"]), (503, &"unavailable".into()), "{problem}");
    agent.get("/v1/token?session=corp&min_validity=3600");
    assert_eq!(service.count(Operation::CreateTokenRefresh), 1);
    let calls = service.wait_for_answers(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
    assert_eq!(calls.len(), 1);
    let calls = service.wait_for_calls(Operation::CreateTokenRefresh, 2, PATIENCE).unwrap();
    let pause = calls[1].at.since(first[0].at);
    assert!(pause >= Duration::from_millis(1600), "presented again after {pause:?}");
    agent.wait_for_status("refreshed", |status| {
        seconds(&status["sessions"][0]["access_token_expires_at"]) > service.now().seconds() + 6
    });
    assert_eq!((service.refresh_token_reuses(), service.count(Operation::StartDeviceAuthorization)), (0, 1));
}

#[test]
fn killed_after_the_effect_it_serves_what_is_valid_and_says_what_was_lost() {
    let service = service();
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    service.fault(Operation::CreateTokenRefresh, Fault::Hang, When::AfterEffect, Times::Next(1));
    let first = service.wait_for_calls(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
    agent.kill();
    let agent = sandbox.start_agent();
    assert_eq!(agent.get("/v1/token?session=corp")["token_type"], "Bearer");
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    assert_eq!(service.refresh_token_reuses(), 0, "nothing is presented twice in a hurry");
    let calls = service.wait_for_calls(Operation::CreateTokenRefresh, 2, PATIENCE).unwrap();
    assert!(calls[1].at.since(first[0].at) >= Duration::from_millis(1600));
    let status = agent.wait_for_status("refused", |status| status["sessions"][0]["renewable"] == false);
    let message = status["sessions"][0]["last_error"]["message"].as_str().unwrap();
    assert!(message.contains("the answer to an earlier refresh was lost"), "{message}");
    agent.wait_for_status("ended", |status| status["sessions"][0]["state"] == "ended");
    // What the service said survives the next crash too.
    agent.kill();
    let agent = sandbox.start_agent();
    let (code, problem) = agent.request("GET", "/v1/token?session=corp", "");
    assert_eq!(code, 401, "{problem}");
    assert!(problem.to_string().contains("the answer to an earlier refresh was lost"), "{problem}");
    assert_eq!(service.count(Operation::CreateTokenRefresh), 2);
}

#[test]
fn a_person_may_force_what_the_agent_does_not_dare() {
    let service =
        FakeIdentityCenter::start(FakeConfig { access_token_lifetime: LIFETIME * 2, ..FakeConfig::default() });
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    service.fault(Operation::CreateTokenRefresh, Fault::Hang, When::BeforeEffect, Times::Next(1));
    service.wait_for_calls(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
    agent.kill();
    let _agent = sandbox.start_agent();
    let stderr = sandbox.cli(&["refresh"]).failed_with(7);
    assert!(stderr.contains("--force"), "{stderr}");
    sandbox.cli(&["refresh", "--force"]).expect_success();
    assert_eq!((service.count(Operation::CreateTokenRefresh), service.refresh_token_reuses()), (2, 0));
}

#[test]
fn agents_that_die_again_and_again_burn_no_refresh_tokens() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    // Records tell whole seconds, and the refresh is to be later than the sign-in.
    agent.wait_until(&service, service.now().seconds() + 1);
    agent.kill();
    for life in 0..5 {
        // The portal rejects what was issued a moment ago: a reason to refresh, once a minute.
        service.expire_access_tokens();
        let agent = sandbox.start_agent();
        let shim = sandbox.shim(&["--profile", "dev", "--timeout", "2"]);
        assert_eq!(shim.code, Some(if life == 0 { 0 } else { 7 }), "{shim:?}");
        agent.kill();
    }
    assert_eq!((service.count(Operation::CreateTokenRefresh), service.refresh_token_reuses()), (1, 0));
}

#[test]
fn killed_in_the_middle_of_a_sign_in_it_needs_another_one_and_no_other_client() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    let (status, body) = agent.request("POST", "/v1/sessions/corp/login", r#"{"flow":"device","started_by":"cli"}"#);
    assert_eq!(status, 202, "{body}");
    agent.wait_for_status("saved", |status| {
        let session = &status["sessions"][0];
        session["saved"] == true && !session["registrations"].as_array().unwrap().is_empty()
    });
    agent.kill();
    let agent = sandbox.start_agent();
    assert_eq!(agent.get("/v1/sessions/corp/login")["state"], "idle");
    agent.sign_in(&service);
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    assert_eq!(service.count(Operation::RegisterClient), 1, "the user sees no second new client");
}
