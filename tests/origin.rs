//! A secret goes to where it came from, or nowhere: configuration leads a session elsewhere, and nothing follows.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation, SilentListener};
use crate::support::sandbox::{Agent, CORP, Sandbox};

const PATIENCE: Duration = Duration::from_secs(30);

/// Short enough that the agent would refresh on its own, had it not been led elsewhere.
const LIFETIME: Duration = Duration::from_secs(6);

fn service() -> FakeIdentityCenter {
    FakeIdentityCenter::start(FakeConfig { access_token_lifetime: LIFETIME, ..FakeConfig::default() })
}

/// Everything a caller can ask for is refused, and says where the session was and where it would go now.
fn nothing_is_served(agent: &Agent<'_>, sandbox: &Sandbox, old: &str, new: &str) {
    let refused = |(status, problem): (u16, Value)| {
        assert_eq!((status, &problem["code"]), (422, &"invalid_config".into()), "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(old) && detail.contains(new), "both are named: {problem}");
    };
    refused(agent.request("GET", "/v1/credentials?profile=dev", ""));
    refused(agent.request("GET", "/v1/token?session=corp", ""));
    refused(agent.request("POST", "/v1/sessions/corp/refresh", ""));
    refused(agent.request("GET", "/v1/sessions/corp/accounts", ""));
    refused(agent.request("GET", "/v1/sessions/corp/accounts/111122223333/roles", ""));
    let stderr = sandbox.shim(&["--profile", "dev"]).failed_with(5);
    assert!(stderr.contains(old) && stderr.contains(new) && stderr.lines().count() == 1, "{stderr}");
    let status = agent.get("/v1/status");
    let error = &status["sessions"][0]["last_error"];
    assert_eq!(error["code"], "invalid_config", "{status:#}");
    // The time at which it would have been refreshed goes by.
    assert!(status["sessions"][0]["next_refresh_at"].is_null(), "{status:#}");
}

/// The whole attack: led elsewhere, waited out, put back.
fn play(sandbox: &Sandbox, service: &FakeIdentityCenter, elsewhere: &SilentListener, moved: &str, home: &str) {
    sandbox.write_config(home);
    let agent = sandbox.start_agent();
    agent.sign_in(service);
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    sandbox.write_config(moved);
    sandbox.cli(&["reload"]).expect_success();
    let refreshes = service.count(Operation::CreateTokenRefresh);
    nothing_is_served(&agent, sandbox, service.url(), &elsewhere.url());
    agent.wait_until(service, service.now().seconds() + LIFETIME.as_secs() + 1);
    nothing_is_served(&agent, sandbox, service.url(), &elsewhere.url());
    assert_eq!(service.count(Operation::CreateTokenRefresh), refreshes, "nothing goes to the old place either");

    // A restart in between changes nothing.
    agent.kill();
    let agent = sandbox.start_agent();
    nothing_is_served(&agent, sandbox, service.url(), &elsewhere.url());
    assert_eq!((elsewhere.connections(), elsewhere.received().len()), (0, 0));
    assert!(elsewhere.secrets_received(&service.issued_secrets()).is_empty());

    // Put back, it is usable without a sign-in.
    sandbox.write_config(home);
    agent.signal(Signal::HUP);
    agent.wait_for_status("back", |status| status["sessions"][0]["last_error"].is_null());
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    service.wait_for_answers(Operation::CreateTokenRefresh, refreshes + 1, PATIENCE).unwrap();
    assert_eq!((service.count(Operation::StartDeviceAuthorization), service.refresh_token_reuses()), (1, 0));
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn an_endpoint_url_in_the_profile_moves_nothing() {
    let (service, elsewhere) = (service(), SilentListener::start());
    let at = |url: &str| format!("{CORP}endpoint_url = {url}\n");
    play(&Sandbox::new(), &service, &elsewhere, &at(&elsewhere.url()), &at(service.url()));
}

#[test]
fn a_services_section_moves_nothing() {
    let (service, elsewhere) = (service(), SilentListener::start());
    // Only one of the two services is led away: that is enough for the whole session.
    for key in ["sso_oidc", "sso"] {
        let service = if key == "sso" {
            self::service()
        } else {
            FakeIdentityCenter::start(FakeConfig { access_token_lifetime: LIFETIME, ..FakeConfig::default() })
        };
        let at = |name: &str, url: &str| {
            let part = |service_name: &str, url: &str| format!("{service_name} =\n  endpoint_url = {url}\n");
            let other = if name == "sso" { "sso_oidc" } else { "sso" };
            format!("{CORP}services = ours\n[services ours]\n{}{}", part(name, url), part(other, service.url()))
        };
        play(&Sandbox::new(), &service, &elsewhere, &at(key, &elsewhere.url()), &at(key, service.url()));
    }
    drop(service);
}

#[test]
fn the_environment_of_a_restart_moves_nothing() {
    let (service, elsewhere) = (service(), SilentListener::start());
    for variable in ["AWS_ENDPOINT_URL_SSO_OIDC", "AWS_ENDPOINT_URL_SSO", "AWS_ENDPOINT_URL"] {
        let mut sandbox = Sandbox::with_session(service.url());
        let before = service.count(Operation::StartDeviceAuthorization);
        {
            let agent = sandbox.start_agent();
            agent.sign_in(&service);
            assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
            assert!(agent.stop().success());
        }
        let led_away = variable.to_owned();
        if variable == "AWS_ENDPOINT_URL" {
            sandbox.unset("AWS_ENDPOINT_URL_SSO_OIDC");
            sandbox.unset("AWS_ENDPOINT_URL_SSO");
        }
        sandbox.set(&led_away, &elsewhere.url());
        {
            let agent = sandbox.start_agent();
            nothing_is_served(&agent, &sandbox, service.url(), &elsewhere.url());
            let problem = agent.request("GET", "/v1/token?session=corp", "").1;
            assert!(problem.to_string().contains(variable), "the variable is named: {problem}");
            agent.wait_until(&service, service.now().seconds() + LIFETIME.as_secs());
            nothing_is_served(&agent, &sandbox, service.url(), &elsewhere.url());
            assert!(agent.stop().success());
        }
        assert_eq!((elsewhere.connections(), elsewhere.received().len()), (0, 0), "{variable}");
        let sandbox = sandbox.at(service.url());
        let _agent = sandbox.start_agent();
        assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
        assert_eq!(service.count(Operation::StartDeviceAuthorization), before + 1);
    }
    assert_eq!(service.refresh_token_reuses(), 0);
}

#[test]
fn another_region_or_start_url_is_another_place() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    let calls = service.all_calls().len();
    for (old, new) in [
        ("sso_region = eu-west-1", "sso_region = us-east-2"),
        ("https://corp.awsapps.com/start", "https://crop.awsapps.com/start"),
    ] {
        sandbox.write_config(&CORP.replace(old, new));
        sandbox.cli(&["reload"]).expect_success();
        let part = |text: &'static str| text.rsplit(' ').next().unwrap();
        nothing_is_served(&agent, &sandbox, part(old), part(new));
        sandbox.write_config(CORP);
        sandbox.cli(&["reload"]).expect_success();
        assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1, "back again, without a sign-in");
    }
    assert_eq!(service.all_calls()[calls..].len(), 0, "nothing was asked of the service meanwhile");
}

#[test]
fn a_login_at_the_new_place_binds_the_session_there() {
    let (first, second) = (service(), service());
    let at = |url: &str| format!("{CORP}endpoint_url = {url}\n");
    let sandbox = Sandbox::new();
    sandbox.write_config(&at(first.url()));
    let agent = sandbox.start_agent();
    agent.sign_in(&first);
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    sandbox.write_config(&at(second.url()));
    sandbox.cli(&["reload"]).expect_success();
    nothing_is_served(&agent, &sandbox, first.url(), second.url());
    agent.sign_in(&second);
    let document = sandbox.shim(&["--profile", "dev"]).json();
    let secret = document["SecretAccessKey"].as_str().unwrap().to_owned();
    assert!(second.issued_secrets().contains(&secret), "the credentials are the new place's");
    second.wait_for_answers(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
    assert!(second.secrets_received(&first.issued_secrets()).is_empty(), "the old place's secrets stay there");
    assert!(first.secrets_received(&second.issued_secrets()).is_empty());
    assert_eq!((first.refresh_token_reuses(), second.refresh_token_reuses()), (0, 0));
}

#[test]
fn signing_out_of_a_session_that_was_led_away_tells_nobody() {
    let (service, elsewhere) = (service(), SilentListener::start());
    let at = |url: &str| format!("{CORP}endpoint_url = {url}\n");
    let sandbox = Sandbox::new();
    sandbox.write_config(&at(service.url()));
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    sandbox.write_config(&at(&elsewhere.url()));
    sandbox.cli(&["reload"]).expect_success();
    let (status, body) = agent.request("DELETE", "/v1/sessions/corp", "");
    assert_eq!((status, &body["revoked"]), (200, &false.into()), "{body}");
    assert_eq!((elsewhere.connections(), service.count(Operation::Logout)), (0, 0));
    assert_eq!(agent.get("/v1/status")["sessions"][0]["state"], "signed_out");
}
