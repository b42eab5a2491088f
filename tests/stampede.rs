//! Many callers at once cost as much as one, and none of them fails.

use std::sync::Mutex;
use std::time::Duration;

use crate::support::crowd::{at_once, seconds};
use crate::support::fake::{Exception, FakeAccount, FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When};
use crate::support::sandbox::{Agent, Finished, Sandbox};

const PATIENCE: Duration = Duration::from_secs(30);
const SHIMS: usize = 50;

/// Connections the agent has open, to callers and to the service.
fn sockets(agent: &Agent<'_>) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap();
    let is_socket = |entry: std::io::Result<std::fs::DirEntry>| {
        let target = entry.and_then(|entry| std::fs::read_link(entry.path()));
        target.is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    };
    descriptors.map(is_socket).filter(|is_socket| *is_socket).count()
}

/// Starts shims, waits until all of them stand before the agent, lets the service go on, and collects what they say.
fn gathered(sandbox: &Sandbox, agent: &Agent<'_>, service: &FakeIdentityCenter) -> Vec<Finished> {
    let before = sockets(agent);
    let shims: Vec<_> = (0..SHIMS).map(|_| sandbox.spawn_shim(&["--profile", "dev"])).collect();
    let mut looks = 0;
    while sockets(agent) < before + SHIMS {
        looks += 1;
        assert!(looks < 100_000, "{} of {SHIMS} shims arrived", sockets(agent) - before);
        agent.get("/v1/health");
    }
    service.clear_faults();
    shims.into_iter().map(Finished::awaited).collect()
}

#[test]
fn fifty_shims_on_a_cold_target_cost_one_call() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    service.fault(Operation::GetRoleCredentials, Fault::Hold, When::BeforeEffect, Times::Next(1));
    let mut documents: Vec<String> =
        gathered(&sandbox, &agent, &service).into_iter().map(Finished::expect_success).collect();
    documents.dedup();
    assert_eq!(documents.len(), 1, "all got the same set");
    assert_eq!(service.count(Operation::GetRoleCredentials), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_hundred_shims_without_an_agent_start_one_and_cost_one_call() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::on_demand(service.url());
    sandbox.sign_in_on_demand(&service);
    assert_eq!(sandbox.cli(&["stop"]).code, Some(0));
    assert_eq!(sandbox.in_background(), None);
    let before = sandbox.background_log().matches("ready version=").count();
    let shims: Vec<_> = (0..100).map(|_| sandbox.spawn_shim(&["--profile", "dev"])).collect();
    let mut documents: Vec<String> = shims.into_iter().map(|shim| Finished::awaited(shim).expect_success()).collect();
    documents.dedup();
    assert_eq!(documents.len(), 1, "all got the same set");
    assert_eq!(service.count(Operation::GetRoleCredentials), 1);
    assert_eq!((service.count(Operation::StartDeviceAuthorization), service.refresh_token_reuses()), (1, 0));
    assert_eq!(sandbox.background_log().matches("ready version=").count(), before + 1, "one agent");
    assert!(sandbox.in_background().is_some());
}

#[test]
fn fifty_shims_on_an_expired_access_token_cost_one_refresh() {
    let service = FakeIdentityCenter::start(FakeConfig::with_tokens_of(Duration::from_secs(6)));
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    service.fault(Operation::CreateTokenRefresh, Fault::Hold, When::BeforeEffect, Times::Next(1));
    service.wait_for_calls(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
    let expires = seconds(&agent.get("/v1/status")["sessions"][0]["access_token_expires_at"]);
    agent.wait_until(&service, expires + 1);
    // What comes now lives long, so that whatever is counted below belongs to the crowd.
    service.configure(|config| config.access_token_lifetime = Duration::from_secs(3600));
    for finished in gathered(&sandbox, &agent, &service) {
        assert_eq!(finished.json()["Version"], 1);
    }
    assert_eq!(service.count(Operation::CreateTokenRefresh), 1);
    assert_eq!(service.count(Operation::GetRoleCredentials), 1);
    assert_eq!(service.refresh_token_reuses(), 0);
}

#[test]
fn fifty_shims_on_a_token_that_the_portal_rejects_cost_one_refresh() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    service.expire_access_tokens();
    service.fault(Operation::GetRoleCredentials, Fault::Hold, When::BeforeEffect, Times::Next(1));
    for finished in gathered(&sandbox, &agent, &service) {
        assert_eq!(finished.json()["Version"], 1);
    }
    assert_eq!(service.count(Operation::CreateTokenRefresh), 1);
    assert_eq!(service.count(Operation::GetRoleCredentials), 2);
}

/// A service with so many accounts of ten roles each, and the target of each number.
fn many_targets(accounts: usize, throttle: Option<u32>) -> (FakeIdentityCenter, impl Fn(usize) -> String + Sync) {
    let roles: Vec<String> = (0..10).map(|number| format!("Role{number}")).collect();
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    let id = |number: usize| format!("{:012}", 100_000_000_000_usize + number);
    let service = FakeIdentityCenter::start(FakeConfig {
        accounts: (0..accounts).map(|number| FakeAccount::new(&id(number), "Many", &roles)).collect(),
        portal_calls_per_second: throttle,
        ..FakeConfig::default()
    });
    let path =
        move |number: usize| format!("/v1/credentials?account={}&role=Role{}&timeout=90", id(number / 10), number % 10);
    (service, path)
}

#[test]
fn a_hundred_callers_outlast_a_service_that_throttles() {
    let (service, path) = many_targets(2, None);
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    for fault in [Fault::status(429), Fault::retry_after(429, 1), Fault::Exception(Exception::TooManyRequests)] {
        service.fault(Operation::GetRoleCredentials, fault, When::BeforeEffect, Times::Next(2));
    }
    // Fifty at a time: more connections are not one process's due.
    for _ in 0..2 {
        for document in at_once(50, |number| agent.get(&path(number % 20))) {
            assert_eq!(document["Version"], 1);
        }
    }
    let calls = service.count(Operation::GetRoleCredentials);
    assert!((20..=26).contains(&calls), "one for each target, and what was throttled: {calls}");
}

#[test]
fn six_hundred_targets_finish_under_throttling() {
    let (service, path) = many_targets(60, Some(60));
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let next = Mutex::new(0..600);
    let served: usize = at_once(40, |_| {
        let mut served = 0;
        loop {
            let Some(number) = next.lock().unwrap().next() else { return served };
            assert_eq!(agent.get(&path(number))["Version"], 1);
            served += 1;
        }
    })
    .into_iter()
    .sum();
    assert_eq!(served, 600);
    assert_eq!(agent.get("/v1/status")["targets"].as_array().unwrap().len(), 600);
}
