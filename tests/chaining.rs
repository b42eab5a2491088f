//! Roles that are assumed with what the user gets from IAM Identity Center, by a profile with `role_arn`.

use std::time::Duration;

use serde_json::json;

use crate::support::crowd::at_once;
use crate::support::fake::{FakeConfig, FakeIdentityCenter, FakeRole, Fault, Operation, Times, When, found_in};
use crate::support::sandbox::{CORP, SHIM, Sandbox};

const ARN: &str = "arn:aws:iam::444455556666:role/teams/Operator";
const PATIENCE: Duration = Duration::from_secs(30);

/// A service whose role asks for an external id, and a home with profiles that are chained to `dev`.
fn set_up(change: impl FnOnce(&mut FakeConfig)) -> (FakeIdentityCenter, Sandbox) {
    let role = FakeRole { external_id: Some("our/secret:word".to_owned()), ..FakeRole::new(ARN) };
    let mut config = FakeConfig { roles: vec![role], ..FakeConfig::default() };
    change(&mut config);
    let service = FakeIdentityCenter::start(config);
    let mut sandbox = Sandbox::with_session(service.url());
    sandbox.set("AWS_ENDPOINT_URL_STS", service.url());
    sandbox.set("USER", "alice");
    let chained = format!(
        "{CORP}
[profile ops]
role_arn = {ARN}
source_profile = dev
external_id = our/secret:word
region = eu-central-1

[profile again]
role_arn = {ARN}
source_profile = ops
external_id = our/secret:word
role_session_name = second@hop
duration_seconds = 900

[profile wrong]
role_arn = {ARN}
source_profile = dev
external_id = a-guess

[profile long]
role_arn = {ARN}
source_profile = dev
external_id = our/secret:word
duration_seconds = 7200

[profile code]
role_arn = {ARN}
source_profile = dev
mfa_serial = arn:aws:iam::444455556666:mfa/alice

[profile served]
credential_process = {SHIM} --profile ops
"
    );
    sandbox.write_config(&chained);
    (service, sandbox)
}

#[test]
fn a_chained_profile_is_served_by_shim_and_socket_and_signed_as_sts_wants_it() {
    let (service, sandbox) = set_up(|_| {});
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let document = sandbox.shim(&["--profile", "ops"]).json();
    assert_eq!(document["AccountId"], "444455556666");
    assert_eq!(agent.get("/v1/credentials?profile=served"), document, "through another profile's shim");
    let deep = agent.get("/v1/credentials?profile=again");
    assert_ne!(deep["AccessKeyId"], document["AccessKeyId"]);

    let calls = service.calls(Operation::AssumeRole);
    assert_eq!((service.count(Operation::GetRoleCredentials), calls.len()), (1, 2));
    let body = |number: usize| String::from_utf8(calls[number].request.body.clone()).unwrap();
    assert!(body(0).contains("RoleSessionName=sso-agent-alice") && !body(0).contains("Duration"), "{}", body(0));
    assert!(body(1).contains("RoleSessionName=second%40hop&DurationSeconds=900"), "{}", body(1));
    let authorization = calls[0].request.header("authorization").unwrap();
    assert!(authorization.contains("/eu-central-1/sts/aws4_request"), "{authorization}");

    let rows = agent.get("/v1/status")["targets"].clone();
    let row = rows.as_array().unwrap().iter().find(|row| row["profile"] == "ops").unwrap();
    assert_eq!((&row["account"], &row["role"]), (&json!("444455556666"), &json!("Operator")));
    let audit = sandbox.cli(&["audit", "--json"]).expect_success();
    assert!(audit.contains(&format!("\"role_arn\":\"{ARN}\"")), "{audit}");
    let secrets: Vec<String> = service.issued_secrets();
    assert_eq!(found_in(audit.as_bytes(), &secrets), Vec::<String>::new());
}

#[test]
fn a_request_is_signed_by_the_services_clock_where_ours_is_wrong() {
    let (service, sandbox) = set_up(|config| config.clock_ahead_seconds = 3 * 3600);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    assert_eq!(agent.get("/v1/credentials?profile=ops")["Version"], 1);
    assert_eq!(service.count(Operation::AssumeRole), 1);
}

#[test]
fn fifty_callers_of_a_chained_profile_cost_one_call_to_each_service() {
    let (service, sandbox) = set_up(|_| {});
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    service.set_latency(Operation::AssumeRole, Duration::from_millis(300));
    let documents = at_once(50, |_| agent.get("/v1/credentials?profile=ops"));
    assert!(documents.iter().all(|document| *document == documents[0] && document["Version"] == 1));
    assert_eq!((service.count(Operation::GetRoleCredentials), service.count(Operation::AssumeRole)), (1, 1));
}

#[test]
fn what_is_in_use_is_assumed_anew_before_its_end_and_served_while_sts_is_away() {
    let (service, sandbox) = set_up(|config| config.roles[0].lifetime = Duration::from_secs(12));
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let first = agent.get("/v1/credentials?profile=ops");
    service.fault(Operation::AssumeRole, Fault::status(503), When::BeforeEffect, Times::Next(1));
    service.wait_for_answers(Operation::AssumeRole, 2, PATIENCE).unwrap();
    assert_eq!(agent.get("/v1/credentials?profile=ops"), first, "the valid set is served");
    service.wait_for_answers(Operation::AssumeRole, 3, PATIENCE).unwrap();
    service.settle_answers(&agent, &first);
    assert_eq!(service.count(Operation::GetRoleCredentials), 1);
}

impl FakeIdentityCenter {
    /// Until the agent serves something else than this.
    fn settle_answers(&self, agent: &crate::support::sandbox::Agent<'_>, old: &serde_json::Value) {
        let mut looks = 0;
        while agent.get("/v1/credentials?profile=ops") == *old {
            looks += 1;
            assert!(looks < 20_000, "nothing new is served");
        }
    }
}

#[test]
fn whoever_is_refused_is_told_by_whom_and_what_to_look_at() {
    let (service, sandbox) = set_up(|_| {});
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let wrong = sandbox.shim(&["--profile", "wrong"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(6), ""), "{}", wrong.stderr);
    for words in [ARN, "role ReadOnly in account 111122223333 may not assume", "AccessDenied", "external_id"] {
        assert!(wrong.stderr.contains(words), "{words}: {}", wrong.stderr);
    }
    let long = sandbox.shim(&["--profile", "long"]);
    assert_eq!(long.code, Some(6), "{}", long.stderr);
    for words in ["ValidationError", "1 hour session limit", "duration_seconds = 3600"] {
        assert!(long.stderr.contains(words), "{words}: {}", long.stderr);
    }
    let code = sandbox.shim(&["--profile", "code"]);
    assert_eq!(code.code, Some(5), "{}", code.stderr);
    assert!(code.stderr.contains("mfa_serial"), "{}", code.stderr);
    assert_eq!(service.count(Operation::AssumeRole), 2, "neither is asked again at once, the third never");
}
