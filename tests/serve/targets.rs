//! What comes out of a restricted socket, and what is written down of it.

use serde_json::Value;

use super::scene::{Caller, sandbox, section, settings, socket};
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::{Sandbox, request};

fn log(sandbox: &Sandbox) -> Vec<Value> {
    let text = sandbox.cli(&["audit", "--json"]).expect_success();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const ADMIN: &str = "/v1/credentials?session=corp&account=111122223333&role=Administrator";

#[test]
fn a_restricted_socket_hands_out_its_targets_and_refuses_everything_else() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = sandbox(service.url());
    settings(&sandbox, &[section(&sandbox, "box", &["dev", "corp/444455556666/Developer"], "")]);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let door = socket(&sandbox, "box");

    let (status, document) = request(&door, "GET", "/v1/credentials?profile=dev", "");
    assert_eq!((status, &document["Version"]), (200, &Value::from(1)));
    // The target is what counts, and not what it is called.
    for name in ["profile=same", "profile=lab", "session=corp&account=111122223333&role=ReadOnly"] {
        assert_eq!(request(&door, "GET", &format!("/v1/credentials?{name}"), "").0, 200, "{name}");
    }
    assert_eq!(request(&door, "GET", "/v1/health", "").0, 200);
    let mut shim = sandbox.command(crate::support::sandbox::SHIM);
    shim.args(["--profile", "dev"]).env("SSO_AGENT_SOCK", &door);
    assert_eq!(crate::support::sandbox::Finished::of(&mut shim).json(), document, "the shim needs nothing else");

    let asked_before = service.count(Operation::GetRoleCredentials);
    for (method, path, body) in [
        ("GET", "/v1/credentials?profile=admin", ""),
        ("GET", ADMIN, ""),
        ("GET", "/v1/credentials?profile=nobody", ""),
        ("GET", "/v1/credentials?account=111122223333&role=Administrator", ""),
        ("GET", "/v1/token?session=corp", ""),
        ("GET", "/v1/token", ""),
        ("GET", "/v1/status", ""),
        ("GET", "/v1/storage", ""),
        ("GET", "/v1/metrics", ""),
        ("GET", "/v1/sessions/corp/accounts", ""),
        ("GET", "/v1/sessions/corp/login", ""),
        ("POST", "/v1/sessions/corp/login", "{}"),
        ("POST", "/v1/sessions/corp/refresh", ""),
        ("POST", "/v1/console?profile=dev", ""),
        ("POST", "/v1/reload", ""),
        ("POST", "/v1/lock", ""),
        ("POST", "/v1/unlock", ""),
        ("DELETE", "/v1/sessions/corp", ""),
        ("POST", "/v1/credentials?profile=dev", ""),
        ("HEAD", "/v1/status?x", ""),
        ("GET", "/v1/credentials/../status", ""),
        ("GET", "/v1/nothing", ""),
    ] {
        if method == "HEAD" {
            continue;
        }
        let (status, problem) = request(&door, method, path, body);
        assert_eq!((status, problem["code"].as_str()), (403, Some("not_allowed")), "{method} {path}: {problem}");
    }
    assert_eq!(service.count(Operation::GetRoleCredentials), asked_before, "nobody asked AWS for what is refused");
    assert_eq!(agent.get("/v1/status")["sessions"][0]["state"], "signed_in");
    assert_eq!(agent.get("/v1/credentials?profile=admin")["Version"], 1, "the main socket has it all");
}

#[test]
fn what_was_laid_out_for_the_main_socket_does_not_leave_through_a_restricted_one() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = sandbox(service.url());
    settings(&sandbox, &[section(&sandbox, "box", &["dev"], "")]);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let mut caller = Caller::connect(&socket(&sandbox, "box"));
    let mut person = Caller::connect(&sandbox.socket());
    for path in [ADMIN, "/v1/credentials?profile=admin", "/v1/credentials?profile=dev"] {
        // The same words three times: the second and third answer lie ready.
        let answers = [person.get(path), person.get(path), person.get(path)];
        assert!(answers.iter().all(|(status, _)| *status == 200), "{path}");
        let (status, body) = caller.get(path);
        assert_eq!(status, if path.contains("dev") { 200 } else { 403 }, "{path}: {body}");
        assert_eq!(person.get(path).0, 200, "a refusal changes nothing for others");
    }
}

#[test]
fn a_refusal_does_not_tell_what_there_is() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = sandbox(service.url());
    settings(&sandbox, &[section(&sandbox, "box", &["dev"], "")]);
    let _agent = sandbox.start_agent();
    let door = socket(&sandbox, "box");
    let (_, refused) = request(&door, "GET", "/v1/credentials?profile=admin", "");
    for name in ["profile=admim", "profile=nobody", "session=crop&account=111122223333&role=ReadOnly"] {
        let (status, body) = request(&door, "GET", &format!("/v1/credentials?{name}"), "");
        assert_eq!((status, &body), (403, &refused), "{name}");
    }
    let (status, body) = request(&door, "GET", "/v1/credentials?profile=dev", "");
    assert_eq!((status, body["code"].as_str()), (401, Some("sign_in_required")), "its own target's trouble it is told");
}

#[test]
fn what_comes_through_a_restricted_socket_is_in_the_log_with_its_name() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = sandbox(service.url());
    settings(&sandbox, &[section(&sandbox, "box", &["dev"], "")]);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let mut caller = Caller::connect(&socket(&sandbox, "box"));
    assert_eq!(caller.get("/v1/credentials?profile=dev").0, 200);
    for _ in 0..3 {
        assert_eq!(caller.get("/v1/credentials?profile=admin").0, 403);
    }
    assert_eq!(caller.get("/v1/token?session=corp").0, 403);
    agent.get("/v1/credentials?profile=dev");
    let lines = log(&sandbox);
    let told = |line: &Value| {
        let text = |member: &str| line[member].as_str().map(str::to_owned);
        (text("what").unwrap(), text("via"), text("refused"), text("asked"))
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        lines.iter().map(told).collect::<Vec<_>>(),
        [
            ("credentials".to_owned(), text("box"), None, None),
            ("credentials".to_owned(), text("box"), text("serve"), text("admin")),
            ("request".to_owned(), text("box"), text("serve"), text("GET /v1/token")),
            ("credentials".to_owned(), None, None, None),
        ]
    );
    assert_eq!((&lines[1]["key_id"], &lines[1]["expires_at"]), (&Value::Null, &Value::Null));
    assert!(lines[0]["key_id"].is_string());
    drop(caller);
    assert!(agent.stop().success());
    let repeats: Vec<u64> = log(&sandbox).iter().map(|line| line["repeats"].as_u64().unwrap()).collect();
    assert_eq!(repeats.iter().sum::<u64>(), 2, "no count is lost: {repeats:?}");
}
