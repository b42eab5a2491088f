//! The log: one line for each decision, with what it was decided by, in the form that whoever reads it expects.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use serde_json::Value;

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When};
use crate::support::sandbox::Sandbox;

const PATIENCE: Duration = Duration::from_secs(30);

/// The fields of every line that tells a decision, by decision.
fn decisions(sandbox: &Sandbox) -> BTreeMap<String, Vec<Value>> {
    let mut decisions: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in sandbox.log().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for member in ["timestamp", "level", "target"] {
            assert!(line[member].is_string(), "{line}");
        }
        let fields = &line["fields"];
        assert!(fields["message"].is_string(), "{line}");
        if let Some(decision) = fields["decision"].as_str() {
            decisions.entry(decision.to_owned()).or_default().push(line.clone());
        }
    }
    decisions
}

#[test]
fn every_decision_is_a_line_with_its_inputs() {
    let service = FakeIdentityCenter::start(FakeConfig {
        access_token_lifetime: Duration::from_secs(9),
        ..FakeConfig::default()
    });
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent_with(&["--log-format", "json"]);
    agent.sign_in(&service);
    let (_, already) = agent.request("POST", "/v1/sessions/corp/login", r#"{"flow":"device","started_by":"cli"}"#);
    assert_eq!(already["state"], "signed_in");
    for _ in 0..2 {
        assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    }
    agent.get("/v1/token?session=corp&min_validity=1");
    service.wait_for_answers(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
    // Nobody may use this role, and throttling concerns everybody.
    agent.request("GET", "/v1/credentials?session=corp&account=111122223333&role=Nobody", "");
    service.fault(Operation::ListAccounts, Fault::status(429), When::BeforeEffect, Times::Next(1));
    agent.get("/v1/sessions/corp/accounts");
    // An answer that is lost: the late rule.
    service.fault(Operation::CreateTokenRefresh, Fault::Reset, When::AfterEffect, Times::Next(1));
    agent.wait_for_status("unknown", |status| status["sessions"][0]["last_error"]["code"] == "unavailable");
    drop(service);
    agent.request("GET", "/v1/credentials?session=corp&account=111122223333&role=Other&timeout=2", "");
    assert!(agent.stop().success());

    let told = decisions(&sandbox);
    for (decision, level, inputs) in [
        ("sign-in", "INFO", &["flow", "flow_chosen_by", "started_by", "new_session"][..]),
        ("no sign-in", "INFO", &["started_by", "force", "pending", "remaining_s", "program_sign_ins"]),
        (
            "refresh",
            "INFO",
            &[
                "wanted",
                "remaining_s",
                "lifetime_s",
                "margin_s",
                "jitter_s",
                "late_margin_s",
                "fate",
                "marked",
                "failures",
                "outage_failures",
            ],
        ),
        (
            "refresh later",
            "DEBUG",
            &["remaining_s", "refresh_at_s", "gap_s", "pause_s", "outage_s", "fate", "renewable", "unmarkable"],
        ),
        ("refresh failed", "WARN", &["code", "remaining_s", "fate", "failures", "pause_s", "outage_s"]),
        ("late rule", "INFO", &["remaining_when_sent_s", "margin_s", "late_margin_s", "fate", "wait_s"]),
        ("fetch", "INFO", &["target", "cause", "waiters", "last_asked_s", "keep_warm_s", "failures", "timeout_s"]),
        ("answer", "DEBUG", &[]),
        ("refused", "WARN", &["target", "code", "remembered_s"]),
        ("pause", "WARN", &["target", "code", "pause_ms", "everybody", "failures", "lane_failures"]),
        ("outage", "INFO", &["way", "failures", "pause_ms"]),
    ] {
        let lines = told.get(decision).unwrap_or_else(|| panic!("no {decision}: {}", sandbox.log()));
        for line in lines {
            assert_eq!(line["level"], level, "{line}");
            for input in inputs {
                assert!(!line["fields"][input].is_null(), "{decision} without {input}: {line}");
            }
        }
    }
    let from_cache =
        |line: &&Value| line["fields"]["good_for_s"].is_number() && line["fields"]["remaining_s"].is_number();
    let laid_out = |line: &&Value| line["fields"]["left_s"].is_number();
    assert!(told["answer"].iter().any(|line| from_cache(&line) || laid_out(&line)), "{:#?}", told["answer"]);
    let token = |line: &&Value| line["fields"]["target"] == "the access token" && line["fields"]["min_validity_s"] == 1;
    assert!(told["answer"].iter().any(|line| token(&line)), "{:#?}", told["answer"]);
}

#[test]
fn a_log_that_goes_to_the_journal_has_its_levels_and_no_times() {
    let mut sandbox = Sandbox::with_session("http://127.0.0.1:9");
    let log = sandbox.write("agent.log", "");
    let found = std::fs::metadata(&log).unwrap();
    sandbox.set("JOURNAL_STREAM", &format!("{}:{}", found.dev(), found.ino()));
    let agent = sandbox.start_agent();
    sandbox.write_config("[broken");
    let warned = |status: &Value| !status["warnings"].as_array().unwrap().is_empty();
    agent.wait_for_status("read again", warned);
    assert!(agent.stop().success());
    let text = sandbox.log();
    assert!(text.lines().any(|line| line.starts_with("<6>ready version=")), "{text}");
    for line in text.lines() {
        let level = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        assert!(level.is_some_and(|(level, rest)| ["3", "4", "6", "7"].contains(&level) && !rest.is_empty()), "{line}");
    }
    // The stream of somebody else is not the journal for us.
    sandbox.set("JOURNAL_STREAM", "1:1");
    assert!(sandbox.start_agent().stop().success());
    let rest = sandbox.log().split_off(text.len());
    assert!(rest.lines().all(|line| line.starts_with("20")), "{rest}");
}
