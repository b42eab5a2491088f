//! A person locks the agent: nothing is handed out until it is unlocked, whatever is done to the agent meanwhile.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::containers;
use crate::exec::endpoint::{self, Running};
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::{AGENT, Finished, Sandbox, request};

/// Our command line with this on its standard input.
fn cli_with_input(sandbox: &Sandbox, arguments: &[&str], input: &str) -> Finished {
    let mut command: Command = sandbox.command(AGENT);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

const EVERYTHING_ELSE: [(&str, &str); 13] = [
    ("GET", "/v1/credentials?profile=dev"),
    ("GET", "/v1/token?session=corp"),
    ("POST", "/v1/console?profile=dev"),
    ("POST", "/v1/sessions/corp/login"),
    ("GET", "/v1/sessions/corp/login"),
    ("POST", "/v1/sessions/corp/refresh"),
    ("POST", "/v1/sessions/corp/adopt"),
    ("DELETE", "/v1/sessions/corp"),
    ("GET", "/v1/sessions/corp/accounts"),
    ("GET", "/v1/sessions/corp/accounts/111122223333/roles"),
    ("POST", "/v1/reload"),
    ("GET", "/v1/storage"),
    ("POST", "/v1/storage/unlock"),
];

#[test]
fn a_locked_agent_hands_nothing_out_and_names_nothing_also_after_sigkill() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    // So that an answer lies ready.
    sandbox.shim(&["--profile", "dev"]).json();
    sandbox.shim(&["--profile", "dev"]).json();
    sandbox.cli(&["lock"]).expect_success();
    agent.kill();
    let agent = sandbox.start_agent();
    for (method, path) in EVERYTHING_ELSE {
        let (status, problem) = agent.request(method, path, "");
        assert_eq!((status, problem["code"].as_str()), (423, Some("locked")), "{method} {path}: {problem}");
        assert!(!problem.to_string().contains("corp"), "{problem}");
    }
    let shim = sandbox.shim(&["--profile", "dev"]);
    assert_eq!((shim.code, shim.stdout.as_str(), shim.stderr.lines().count()), (Some(8), "", 1), "{shim:?}");
    assert!(shim.stderr.contains("sso-agent unlock"), "{}", shim.stderr);
    assert_eq!(sandbox.cli(&["token"]).code, Some(8));
    assert_eq!(sandbox.cli(&["status", "--check"]).code, Some(8));
    assert!(sandbox.cli(&["status"]).expect_success().starts_with("the agent is locked since "));
    let status = agent.get("/v1/status");
    assert_eq!(status["locked"], true);
    for name in ["corp", "dev", "111122223333", "awsapps"] {
        assert!(!status.to_string().contains(name), "{name} in {status}");
    }
    agent.get("/v1/health");
    sandbox.cli(&["lock"]).expect_success();
    sandbox.cli(&["unlock"]).expect_success();
    assert_eq!(sandbox.cli(&["unlock"]).stderr, "the agent was not locked\n");
    sandbox.shim(&["--profile", "dev"]).json();
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1, "nobody had to sign in again");
    agent.kill();
    let agent = sandbox.start_agent();
    assert_eq!(agent.get("/v1/status")["locked"], false, "unlocked is unlocked, too");
}

#[test]
fn a_locked_agent_is_locked_at_every_door() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let (container, instance) = (containers::place(9911), containers::place(9912));
    let door = sandbox.root().join("doors/box/agent.sock");
    let settings = format!(
        "[container]\nlisten = [\"{container}\"]\n[imds]\nlisten = \"{instance}\"\ntarget = \"dev\"\n\
         [serve.box]\nsocket = {door:?}\ntargets = [\"dev\"]\n"
    );
    sandbox.write("home/.config/sso-agent/config.toml", &settings);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let token = containers::token(&sandbox, &["--profile", "dev"]);
    let running = Running::start(&sandbox, &["--profile", "dev"]);
    let asked = || {
        let (of_instance, body) = containers::get_as_instance(instance);
        let at_doors = [
            containers::get(container, &token),
            (of_instance, serde_json::from_str::<Value>(&body).unwrap()),
            request(&door, "GET", "/v1/credentials?profile=dev", ""),
            endpoint::get(running.port(), &running.token).unwrap(),
        ];
        at_doors.map(|(status, body)| (status, body["code"].as_str().unwrap_or_default().to_owned()))
    };
    let all = |status: u16, code: &str| [(); 4].map(|()| (status, code.to_owned()));
    // Twice, so that an answer lies ready.
    for _ in 0..2 {
        assert_eq!(asked(), all(200, ""));
    }
    sandbox.cli(&["lock"]).expect_success();
    assert_eq!(asked(), all(423, "locked"));
    agent.kill();
    let _agent = sandbox.start_agent();
    assert_eq!(asked(), all(423, "locked"));
    sandbox.cli(&["unlock"]).expect_success();
    assert_eq!(asked(), all(200, ""));
}

#[test]
fn a_locked_agent_that_is_gone_is_locked_all_the_same() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let running = Running::start(&sandbox, &["--profile", "dev"]);
    let asked = || endpoint::get(running.port(), &running.token).unwrap();
    assert_eq!(asked().0, 200);
    sandbox.cli(&["lock"]).expect_success();
    // Nobody has asked since, so the command's endpoint knows nothing of it but what lies in the state directory.
    agent.kill();
    let (status, body) = asked();
    assert_eq!((status, body["code"].as_str()), (423, Some("locked")), "{body}");
}

#[test]
fn a_passphrase_is_needed_after_a_restart_too_and_is_nowhere_on_disk() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let short = cli_with_input(&sandbox, &["lock", "--passphrase"], "1234567\n");
    assert_eq!(short.code, Some(2), "{short:?}");
    cli_with_input(&sandbox, &["lock", "--passphrase"], "correct horse\n").expect_success();
    // Without a passphrase it stays what it is.
    sandbox.cli(&["lock"]).expect_success();
    let (status, problem) = agent.request("POST", "/v1/unlock", "");
    assert_eq!((status, problem["code"].as_str()), (423, Some("locked")));
    let (status, problem) = agent.request("POST", "/v1/lock", r#"{"passphrase":"another horse"}"#);
    assert_eq!(status, 423, "{problem}");
    let wrong = cli_with_input(&sandbox, &["unlock"], "battery staple\n");
    assert_eq!(wrong.code, Some(8), "{wrong:?}");
    assert!(wrong.stderr.contains("not the passphrase") && !wrong.stderr.contains("battery"), "{}", wrong.stderr);
    let file = std::fs::read_to_string(sandbox.state().join("locked")).unwrap();
    assert!(file.contains(r#""failures":1"#), "counted for the next agent: {file}");
    agent.kill();
    let agent = sandbox.start_agent();
    assert_eq!(agent.get("/v1/status")["lock"]["passphrase"], true);
    assert_eq!(sandbox.shim(&["--profile", "dev"]).code, Some(8));
    cli_with_input(&sandbox, &["unlock"], "correct horse\n").expect_success();
    sandbox.shim(&["--profile", "dev"]).json();
    assert!(!sandbox.state().join("locked").exists());
    let log = sandbox.log();
    assert!(!log.contains("correct horse") && !log.contains("battery") && !file.contains("horse"));
}

#[test]
fn a_damaged_lock_is_a_lock_and_says_what_helps() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let file = sandbox.write("state/locked", "{\"version\":1,\"si");
    let agent = sandbox.start_agent();
    assert_eq!(sandbox.shim(&["--profile", "dev"]).code, Some(8));
    let unlock = sandbox.cli(&["unlock"]);
    assert_eq!(unlock.code, Some(8), "{unlock:?}");
    assert!(unlock.stderr.contains(&format!("remove {}", file.display())), "{}", unlock.stderr);
    assert!(agent.stop().success());
    std::fs::remove_file(file).unwrap();
    let agent = sandbox.start_agent();
    assert_eq!(agent.get("/v1/status")["locked"], false);
}

#[test]
fn a_lock_that_cannot_be_saved_is_said_and_holds_meanwhile() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let in_the_way = sandbox.state().join("locked/not empty");
    std::fs::create_dir_all(&in_the_way).unwrap();
    let lock = sandbox.cli(&["lock"]);
    assert_eq!(lock.code, Some(9), "{lock:?}");
    assert!(lock.stderr.contains("a restart would open it"), "{}", lock.stderr);
    assert_eq!(sandbox.shim(&["--profile", "dev"]).code, Some(8), "locked all the same");
    assert_eq!(agent.get("/v1/status")["lock"]["saved"], false);
    std::fs::remove_dir_all(sandbox.state().join("locked")).unwrap();
    sandbox.cli(&["lock"]).expect_success();
    assert_eq!(agent.get("/v1/status")["lock"]["saved"], true, "tried again");
}

#[test]
fn who_waits_for_a_sign_in_is_told_and_the_sign_in_is_over() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    let (status, body) = agent.request("POST", "/v1/sessions/corp/login", r#"{"flow":"device","started_by":"cli"}"#);
    assert_eq!(status, 202, "{body}");
    sandbox.cli(&["lock"]).expect_success();
    service.approve(body["user_code"].as_str().unwrap());
    sandbox.cli(&["unlock"]).expect_success();
    let status = agent.get("/v1/status");
    assert_eq!(status["sessions"][0]["state"], "signed_out", "{status}");
}
