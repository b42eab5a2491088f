//! A clock of ours that is hours wrong, seen from the service: at sign-in, at refresh, at restart, and when it is put right.

use std::time::Duration;

use super::PATIENCE;
use crate::support::crowd::{at_once, seconds};
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::{Agent, Sandbox};

/// Due after two thirds, at 8 s.
const LIFETIME: Duration = Duration::from_secs(12);

/// Served, and with an end on the service's clock.
fn token(agent: &Agent<'_>, service: &FakeIdentityCenter) -> u64 {
    let now = service.now().seconds();
    let ends = seconds(&agent.get("/v1/token?session=corp")["expires_at"]);
    assert!((now..=now + LIFETIME.as_secs() + 1).contains(&ends), "{ends} at {now}");
    ends
}

/// So are role credentials.
fn served(agent: &Agent<'_>, service: &FakeIdentityCenter) -> u64 {
    let now = service.now().seconds();
    let ends = token(agent, service);
    let document = agent.get("/v1/credentials?profile=dev");
    let ends_too = seconds(&document["Expiration"]);
    assert!((now..=now + 3601).contains(&ends_too), "{document}");
    ends
}

#[test]
fn hours_between_the_clocks_cost_nothing_at_sign_in_refresh_or_restart() {
    at_once(2, |number| {
        let hours = [5, -5][number];
        let service = FakeIdentityCenter::start(FakeConfig {
            clock_ahead_seconds: hours * 3600,
            ..FakeConfig::with_tokens_of(LIFETIME)
        });
        let sandbox = Sandbox::with_session(service.url());
        let agent = sandbox.start_agent();
        agent.sign_in(&service);
        let first = served(&agent, &service);
        agent.kill();
        let agent = sandbox.start_agent();
        assert_eq!(served(&agent, &service), first, "{hours}: the same token");
        assert_eq!(service.count(Operation::CreateTokenRefresh), 0, "{hours}: nothing was due");
        service.wait_for_answers(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
        agent.wait_for_status("refreshed", |status| seconds(&status["sessions"][0]["access_token_expires_at"]) > first);
        served(&agent, &service);
        // One of the clocks is put right.
        service.set_clock_ahead(0);
        let refreshed = service.count(Operation::CreateTokenRefresh);
        sandbox.cli(&["accounts"]).expect_success();
        sandbox.cli(&["accounts"]).expect_success();
        service.wait_for_answers(Operation::CreateTokenRefresh, refreshed + 1, PATIENCE).unwrap();
        token(&agent, &service);
        sandbox.shim(&["--profile", "dev"]).expect_success();
        assert_eq!(service.count(Operation::StartDeviceAuthorization), 1, "{hours}");
        assert_eq!(service.refresh_token_reuses(), 0, "{hours}");
    });
}
