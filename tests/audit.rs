//! Who was handed what is written down, by whichever way it was handed out.

use serde_json::Value;

use crate::support::fake::{FakeConfig, FakeIdentityCenter};
use crate::support::sandbox::{AGENT, Finished, SHIM, Sandbox};

/// The lines of the log, as the command prints them.
fn lines(sandbox: &Sandbox) -> Vec<Value> {
    let text = sandbox.cli(&["audit", "--json"]).expect_success();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn what(lines: &[Value]) -> Vec<(&str, u64)> {
    lines.iter().map(|line| (line["what"].as_str().unwrap(), line["repeats"].as_u64().unwrap())).collect()
}

#[test]
fn every_hand_out_is_in_the_log_with_the_program_that_asked() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    assert_eq!(lines(&sandbox), [] as [Value; 0], "a sign-in hands nothing out");

    let document = sandbox.shim(&["--profile", "dev"]).json();
    // As the SDKs do it: the shim in a shell, of a program that is neither.
    let script = format!("{SHIM} --profile dev; :");
    Finished::of(sandbox.command("sh").args(["-c", &script])).expect_success();
    sandbox.cli(&["token"]).expect_success();
    sandbox.cli(&["credentials", "--profile", "dev"]).expect_success();
    for path in ["/v1/status", "/v1/sessions/corp/accounts", "/v1/credentials?profile=nobody"] {
        agent.request("GET", path, "");
    }
    let lines = lines(&sandbox);
    assert_eq!(what(&lines), [("credentials", 0), ("credentials", 0), ("token", 0), ("credentials", 0)]);
    for line in [&lines[0], &lines[1], &lines[3]] {
        assert_eq!(line["key_id"], document["AccessKeyId"]);
        assert_eq!(line["expires_at"], document["Expiration"]);
        assert_eq!((&line["session"], &line["account"]), (&"corp".into(), &"111122223333".into()));
        assert_eq!(line["role"], "ReadOnly");
    }
    assert_eq!(
        (&lines[2]["session"], &lines[2]["role"], &lines[2]["key_id"]),
        (&"corp".into(), &Value::Null, &Value::Null)
    );
    let (shim, cli) = (std::fs::canonicalize(SHIM).unwrap(), std::fs::canonicalize(AGENT).unwrap());
    let test = std::env::current_exe().unwrap();
    for (line, program) in lines.iter().zip([&shim, &shim, &cli, &cli]) {
        assert_eq!(line["peer"]["uid"], rustix::process::geteuid().as_raw());
        // An old kernel cannot tell who has connected; then nothing is guessed.
        if line["peer"]["exe"] != "unknown" {
            assert_eq!(line["peer"]["exe"].as_str(), program.to_str());
            assert_eq!(line["caller"]["exe"].as_str(), test.to_str(), "neither shim, nor command line, nor shell");
            assert_eq!(line["caller"]["pid"], std::process::id());
        }
    }
    let table = sandbox.cli(&["audit", "--last", "2"]).expect_success();
    assert_eq!(table.lines().count(), 3, "{table}");
}

/// Root may look at everything; an ordinary user's agent cannot look at a process that has closed itself to inspection,
/// as our command line does before it reads a secret.
#[test]
fn the_command_line_is_known_to_an_ordinary_users_agent_too() {
    let service = FakeIdentityCenter::start(FakeConfig { auto_approve: true, ..FakeConfig::default() });
    let mut sandbox = Sandbox::with_session(service.url());
    if rustix::process::geteuid().is_root() {
        sandbox = sandbox.of_user(61_234);
    }
    let agent = sandbox.start_agent();
    sandbox.cli(&["login", "--no-browser"]).expect_success();
    sandbox.cli(&["token"]).expect_success();
    sandbox.shim(&["--profile", "dev"]).json();
    let lines = lines(&sandbox);
    for (line, program) in lines.iter().zip([AGENT, SHIM]) {
        if line["peer"]["pid"].is_null() {
            continue;
        }
        assert_eq!(line["peer"]["exe"].as_str(), std::fs::canonicalize(program).unwrap().to_str());
    }
    assert_eq!(lines.len(), 2);
    assert!(agent.stop().success());
}

#[test]
fn repeats_are_counted_and_no_count_is_lost_when_the_agent_is_told_to_stop() {
    use std::io::{Read, Write};
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    // One connection, so that most answers come from the shelf.
    let mut stream = std::os::unix::net::UnixStream::connect(sandbox.socket()).unwrap();
    for _ in 0..20 {
        stream.write_all(b"GET /v1/credentials?profile=dev HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\"}") {
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes).unwrap();
            assert!(length > 0, "the agent answers");
            answer.extend_from_slice(&bytes[..length]);
        }
    }
    assert_eq!(what(&lines(&sandbox)), [("credentials", 0)]);
    assert!(agent.stop().success());
    assert_eq!(what(&lines(&sandbox)), [("credentials", 0), ("credentials", 19)]);
}

#[test]
fn a_log_that_is_required_and_cannot_be_written_stops_hand_outs_until_the_setting_is_changed() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    sandbox.write("home/.config/sso-agent/config.toml", "audit = \"required\"\n");
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let in_the_way = sandbox.state().join("audit.log");
    std::fs::create_dir(&in_the_way).unwrap();

    let (status, problem) = agent.request("GET", "/v1/credentials?profile=dev", "");
    assert_eq!((status, problem["code"].as_str()), (507, Some("storage")), "{problem}");
    let token = sandbox.cli(&["token"]);
    assert_eq!((token.code, token.stdout.as_str()), (Some(9), ""), "{token:?}");
    let hint = token.stderr.lines().find(|line| line.starts_with("hint: ")).unwrap_or_default();
    assert!(token.stderr.contains("audit log") && hint.ends_with("then: sso-agent reload"), "{}", token.stderr);
    let audit = serde_json::json!({"mode": "required", "failed": 2});
    assert_eq!(agent.get("/v1/status")["audit"], audit);
    assert!(sandbox.cli(&["status"]).expect_success().contains("refused 2 times"));

    sandbox.write("home/.config/sso-agent/config.toml", "audit = \"best-effort\"\n");
    assert_eq!(sandbox.cli(&["reload"]).stderr, "changed: setting audit\n");
    sandbox.shim(&["--profile", "dev"]).json();
    assert_eq!(agent.get("/v1/status")["audit"], serde_json::json!({"mode": "best-effort", "failed": 3}));

    std::fs::remove_dir(&in_the_way).unwrap();
    sandbox.write("home/.config/sso-agent/config.toml", "audit = \"off\"\n");
    agent.request("POST", "/v1/reload", "");
    sandbox.shim(&["--profile", "dev"]).json();
    assert_eq!(lines(&sandbox), [] as [Value; 0]);
}
