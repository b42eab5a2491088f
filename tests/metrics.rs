//! Metrics: what has happened and how things are, in a form that Prometheus reads.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When};
use crate::support::sandbox::{Sandbox, exchange};

#[test]
fn what_happened_is_counted_and_a_prometheus_parser_reads_it() {
    let service = FakeIdentityCenter::start(FakeConfig { access_token_lifetime: LIFETIME, ..FakeConfig::default() });
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let credentials = "/v1/credentials?account=111122223333&role=ReadOnly";
    for _ in 0..3 {
        agent.get(credentials);
    }
    let first = agent.get("/v1/status")["sessions"][0]["access_token_expires_at"].clone();
    agent.wait_for_status("a refresh", |status| status["sessions"][0]["access_token_expires_at"] != first);
    assert_eq!(agent.request("GET", "/v1/nope", "").0, 404);

    let metrics = read(&sandbox);
    assert_eq!(metrics.of("sso_agent_credentials_total", &[("from", "service")]), Some(1.0));
    assert_eq!(metrics.of("sso_agent_credentials_total", &[("from", "cache")]), Some(2.0));
    assert!(metrics.of("sso_agent_refreshes_total", &[("outcome", "refreshed")]).unwrap() >= 1.0);
    assert_eq!(metrics.of("sso_agent_sessions", &[("state", "signed_in")]), Some(1.0));
    assert_eq!(metrics.of("sso_agent_sessions", &[("state", "ended")]), Some(0.0));
    assert_eq!(metrics.of("sso_agent_warm_targets", &[]), Some(1.0));
    let one = [("operation", "GetRoleCredentials"), ("outcome", "ok")];
    assert_eq!(metrics.of("sso_agent_call_seconds_count", &one), Some(1.0));
    assert_eq!(
        metrics.of("sso_agent_request_seconds_count", &[("route", "credentials"), ("status", "200")]),
        Some(3.0)
    );
    assert_eq!(metrics.of("sso_agent_request_seconds_count", &[("route", "none"), ("status", "404")]), Some(1.0));
    let remaining = metrics.of("sso_agent_access_token_remaining_seconds", &[("session", "corp")]).unwrap();
    assert!(remaining > 0.0, "{remaining}");
    assert_eq!(metrics.0["sso_agent_call_seconds"]["type"], "histogram");
    assert_eq!(metrics.0["sso_agent_call_seconds"]["unit"], "seconds");
}

#[test]
fn failures_are_counted_by_kind() {
    let service = FakeIdentityCenter::start(FakeConfig { access_token_lifetime: LIFETIME, ..FakeConfig::default() });
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    service.fault(Operation::CreateTokenRefresh, Fault::status(500), When::BeforeEffect, Times::Next(1));
    agent.wait_for_status("a failed refresh", |status| !status["sessions"][0]["last_error"].is_null());
    let metrics = read(&sandbox);
    assert_eq!(metrics.of("sso_agent_refreshes_total", &[("outcome", "server_error")]), Some(1.0));
    assert_eq!(metrics.of("sso_agent_refreshes_total", &[("outcome", "refreshed")]), None);
}

/// So short that it is refreshed while the test looks.
const LIFETIME: Duration = Duration::from_secs(6);

/// The families, as Prometheus's own parser reads them.
struct Metrics(Value);

impl Metrics {
    fn of(&self, sample: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let families = self.0.as_object().unwrap().values();
        let mut samples = families.flat_map(|family| family["samples"].as_array().unwrap());
        let found =
            samples.find(|found| found[0] == sample && labels.iter().all(|(label, value)| found[1][*label] == *value));
        found.map(|found| found[2].as_f64().unwrap())
    }
}

fn read(sandbox: &Sandbox) -> Metrics {
    let answer = exchange(&sandbox.socket(), "GET", "/v1/metrics", "").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    let clients = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new(clients.join("target/test-clients/python/bin/python"))
        .arg(clients.join("tests/clients/read_metrics.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tests/all installs it");
    python.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let read = python.wait_with_output().unwrap();
    assert!(read.status.success(), "{body}");
    Metrics(serde_json::from_slice(&read.stdout).unwrap())
}
