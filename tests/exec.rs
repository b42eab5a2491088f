//! `exec`: a command gets credentials that stay fresh, and nothing else of it is different.

pub(crate) mod endpoint;
mod terminal;

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::{AGENT, CORP, Finished, Sandbox};
use endpoint::{Running, answer, get};

#[test]
fn a_command_has_credentials_as_long_as_it_runs_and_nobody_has_them_after_it() {
    let (service, sandbox) = signed_in();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let running = Running::start(&sandbox, &["--profile", "dev"]);
    let served = agent.get("/v1/credentials?profile=dev");
    let got = running.credentials();
    assert_eq!(got["AccessKeyId"], served["AccessKeyId"]);
    assert_eq!(got["SecretAccessKey"], served["SecretAccessKey"]);
    assert_eq!(got["Token"], served["SessionToken"]);
    assert_eq!(got["Expiration"], served["Expiration"]);
    assert_eq!(got["AccountId"], "111122223333");
    let (port, url, token) = (running.port(), running.url.clone(), running.token.clone());
    assert!(url.starts_with("http://127.0.0.1:") && token.len() == 43, "{url}");
    assert!(running.finish().success());
    // Somebody else may have the port by now, but nobody who knows the token.
    let after = answer(port, &[&format!("Host: 127.0.0.1:{port}"), &format!("Authorization: {token}")]);
    assert!(after.is_none_or(|(status, _)| status != 200));
}

#[test]
fn an_agent_that_restarts_does_not_cut_a_command_off_and_one_that_refuses_does() {
    let (service, sandbox) = signed_in();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let running = Running::start(&sandbox, &["--profile", "dev"]);
    let before = running.credentials();
    agent.kill();
    assert_eq!(running.credentials(), before, "the last set, while it is valid");
    let agent = sandbox.start_agent();
    let after = running.credentials();
    assert_ne!(after["AccessKeyId"], before["AccessKeyId"], "asked each time");
    sandbox.cli(&["logout", "corp"]).expect_success();
    let (status, body) = get(running.port(), &running.token).unwrap();
    assert_eq!((status, body["code"].as_str()), (401, Some("sign_in_required")), "{body}");
    assert_eq!((&body["Code"], &body["Message"]), (&body["code"], &body["message"]));
    drop(agent);
    let (status, body) = get(running.port(), &running.token).unwrap();
    assert_eq!(status, 503, "what was refused is not served from memory: {body}");
    assert!(running.finish().success());
}

#[test]
fn who_is_not_signed_in_is_told_so_and_nothing_is_run() {
    let (_service, sandbox) = signed_in();
    let _agent = sandbox.start_agent();
    let ran = sandbox.root().join("ran");
    let finished = sandbox.cli(&["exec", "--profile", "dev", "--", "touch", ran.to_str().unwrap()]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(3), ""));
    assert!(finished.stderr.contains("sso-agent login"), "{finished:?}");
    assert!(!ran.exists());
}

#[test]
fn the_environment_leads_to_these_credentials_and_to_no_others() {
    let (service, sandbox) = signed_in();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let mut variables = vec![("AWS_PROFILE", "dev"), ("MINE", "kept")];
    variables.extend(ELSEWHERE.map(|name| (name, "elsewhere")));
    let environment = exec(&sandbox, &variables, &["env"]).expect_success();
    assert!(!environment.contains("elsewhere") && !environment.contains("AWS_PROFILE"), "{environment}");
    for line in ["MINE=kept", "AWS_REGION=eu-west-1", "AWS_DEFAULT_REGION=eu-west-1", "SSO_AGENT_EXEC=dev"] {
        assert!(environment.lines().any(|known| known == line), "{line} in {environment}");
    }
    variables.push(("AWS_REGION", "us-east-1"));
    let environment = exec(&sandbox, &variables, &["env"]).expect_success();
    assert!(environment.contains("AWS_DEFAULT_REGION=us-east-1\n"), "what is set holds: {environment}");
    let arguments = Running::start(&sandbox, &["--profile", "dev"]);
    let told = std::fs::read_to_string(format!("/proc/{}/cmdline", arguments.pid())).unwrap();
    assert!(!told.contains(&arguments.token), "not for everybody to read");
}

#[test]
fn a_default_profile_with_credentials_of_its_own_does_not_come_first() {
    let (service, sandbox) = signed_in();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    sandbox.write_config(&format!("[default]\nregion = eu-west-3\ncredential_process = /bin/false\n\n{CORP}"));
    sandbox.write("home/.aws/credentials", "[default]\naws_access_key_id = AKIAWRONG\n[mine]\naws_access_key_id = x\n");
    let script = "echo $AWS_CONFIG_FILE; cat $AWS_CONFIG_FILE $AWS_SHARED_CREDENTIALS_FILE";
    let shown = sandbox.cli(&["exec", "--profile", "dev", "--", "sh", "-c", script]).expect_success();
    assert!(!shown.contains("/bin/false") && !shown.contains("AKIAWRONG"), "{shown}");
    assert!(shown.contains("region = eu-west-3") && shown.contains("[mine]") && shown.contains("[profile dev]"));
    let copy = shown.lines().next().unwrap();
    let places = [sandbox.state(), sandbox.socket().parent().unwrap().to_owned()];
    assert!(places.iter().any(|place| copy.starts_with(place.to_str().unwrap())), "{copy}");
    assert!(!std::path::Path::new(copy).exists(), "{copy}");
}

#[test]
fn a_killed_exec_leaves_no_secret_on_a_disk_and_nothing_at_all_when_another_one_has_run() {
    let (service, sandbox) = signed_in();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let keys = "[default]\naws_access_key_id = AKIAWRONG\n[mine]\naws_secret_access_key = s3cr3t\n";
    let credentials = sandbox.write("home/.aws/credentials", keys);
    let running = Running::start(&sandbox, &["--profile", "dev"]);
    kill_process(Pid::from_raw(i32::try_from(running.pid()).unwrap()).unwrap(), Signal::KILL).unwrap();
    drop(running);
    let left = || {
        let on_disk = std::fs::read_dir(sandbox.state().join("exec")).into_iter().flatten();
        on_disk.map(|entry| entry.unwrap().path().join("credentials")).collect::<Vec<_>>()
    };
    for copy in left() {
        assert!(!std::fs::read_to_string(copy).unwrap().contains("s3cr3t"));
    }
    std::fs::remove_file(credentials).unwrap();
    sandbox.cli(&["exec", "--profile", "dev", "--mode", "env", "--", "true"]).expect_success();
    assert_eq!(left(), Vec::<std::path::PathBuf>::new(), "though it needed none");
}

#[test]
fn without_a_home_no_other_home_is_looked_into() {
    let (service, sandbox) = signed_in();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let mut exec = sandbox.command(AGENT);
    exec.env_remove("HOME").args(["exec", "--profile", "dev", "--", "env"]);
    let environment = Finished::of(&mut exec).expect_success();
    for line in ["AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null"] {
        assert!(environment.lines().any(|known| known == line), "{environment}");
    }
    // Nobody writes to it, so whoever reads it waits for ever.
    let fifo = sandbox.root().join("fifo");
    Finished::of(sandbox.command("mkfifo").arg(&fifo)).expect_success();
    exec_with_config(&sandbox, &fifo).expect_success();
    // An empty name of a shell is none.
    Finished::of(sandbox.command(AGENT).env("SHELL", "").args(["exec", "--profile", "dev"])).expect_success();
}

#[test]
fn static_variables_are_for_who_asks_for_them_and_it_is_said_until_when() {
    let (service, sandbox) = signed_in();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let finished = sandbox.cli(&["exec", "--profile", "dev", "--mode", "env", "--", "env"]);
    assert!(finished.stderr.contains("valid until") && finished.stderr.contains("not renewed"), "{finished:?}");
    let environment = finished.expect_success();
    let served = agent.get("/v1/credentials?profile=dev");
    for (name, member) in [
        ("AWS_ACCESS_KEY_ID", "AccessKeyId"),
        ("AWS_SECRET_ACCESS_KEY", "SecretAccessKey"),
        ("AWS_SESSION_TOKEN", "SessionToken"),
        ("AWS_CREDENTIAL_EXPIRATION", "Expiration"),
    ] {
        let line = format!("{name}={}", served[member].as_str().unwrap());
        assert!(environment.lines().any(|known| known == line), "{name}: {environment}");
    }
    assert!(!environment.contains("AWS_CONTAINER"), "{environment}");
}

#[test]
fn a_command_of_exec_does_not_become_one_for_something_else_by_accident() {
    let (service, sandbox) = signed_in();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let within = |outer, arguments: &[&str]| exec(&sandbox, &[("SSO_AGENT_EXEC", outer)], arguments);
    let refused = within("prod", &["--profile", "dev", "--", "true"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("prod") && refused.stderr.contains("--nested"), "{refused:?}");
    let refused = within("prod", &["true"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("prod"), "{refused:?}");
    within("prod", &["--profile", "dev", "--nested", "--", "true"]).expect_success();
    within("dev", &["--profile", "dev", "true"]).expect_success();
}

#[test]
fn without_a_command_it_is_a_shell() {
    let (service, sandbox) = signed_in();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let mut child = sandbox.command(AGENT);
    child
        .env("SHELL", "/bin/sh")
        .args(["exec", "--profile", "dev"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"echo for $SSO_AGENT_EXEC\nexit 5\n").unwrap();
    let finished = Finished::from(child.wait_with_output().unwrap());
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(5), "for dev\n"));
    assert!(finished.stderr.contains("/bin/sh with credentials for dev"), "{finished:?}");
}

#[test]
fn it_ends_as_its_command_ended() {
    let (service, sandbox) = signed_in();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let ended = |command: &[&str], mode: &str| -> ExitStatus {
        let mut exec = sandbox.command(AGENT);
        exec.args(["exec", "--profile", "dev", "--mode", mode, "--"]).args(command);
        exec.stderr(Stdio::null()).status().unwrap()
    };
    for mode in ["container", "env"] {
        for code in [0, 1, 3, 42, 255] {
            assert_eq!(ended(&["sh", "-c", &format!("exit {code}")], mode).code(), Some(code), "{mode}");
        }
        for (name, signal) in [("TERM", 15), ("KILL", 9), ("INT", 2), ("SEGV", 11), ("USR1", 10), ("PIPE", 13)] {
            let status = ended(&["sh", "-c", &format!("kill -{name} $$")], mode);
            assert_eq!(status.signal(), Some(signal), "{mode} {name}: {status}");
        }
        assert_eq!(ended(&["no-such-command"], mode).code(), Some(127), "{mode}");
        assert_eq!(ended(&["/etc/passwd"], mode).code(), Some(126), "{mode}");
    }
}

#[test]
fn signals_that_are_sent_to_it_reach_the_command() {
    let (service, sandbox) = signed_in();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    for (name, signal) in [
        ("TERM", Signal::TERM),
        ("HUP", Signal::HUP),
        ("INT", Signal::INT),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
    ] {
        let script =
            format!("trap 'echo got {name}; exit 7' {name}; echo ready; while :; do read line || exit 9; done");
        // In a session of its own no terminal tells its keys. It forks only where it must, so the process is ours.
        let mut exec = sandbox.command("setsid");
        exec.args([AGENT, "exec", "--profile", "dev", "--", "sh", "-c", &script]);
        let mut exec = exec.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        exec.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        // Its end would be one of the command's as well.
        let stdin = exec.stdin.take();
        kill_process(Pid::from_child(&exec), signal).unwrap();
        let finished = Finished::from(exec.wait_with_output().unwrap());
        assert_eq!((finished.code, finished.stdout.trim()), (Some(7), format!("got {name}").as_str()), "{finished:?}");
        drop(stdin);
    }
}

#[test]
fn what_it_was_started_to_ignore_the_command_ignores_too() {
    let (service, sandbox) = signed_in();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let mut nohup = sandbox.command("sh");
    // What a shell ignores, it cannot trap, and what it starts ignores it as well.
    nohup.args(["-c", "trap '' HUP; exec \"$@\"", "sh", AGENT, "exec", "--profile", "dev", "--"]);
    nohup.args(["sh", "-c", "kill -HUP $PPID; kill -HUP $$; echo still here"]);
    assert_eq!(Finished::of(&mut nohup).expect_success(), "still here\n");
}

#[test]
fn whoever_is_not_the_command_gets_nothing() {
    let (service, sandbox) = signed_in();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let running = Running::start(&sandbox, &["--profile", "dev"]);
    let (port, token) = (running.port(), running.token.clone());
    let (host, right) = (format!("Host: 127.0.0.1:{port}"), format!("Authorization: {token}"));
    let status = |headers: &[&str]| answer(port, headers).map(|(status, _)| status);
    // A page whose name was made to mean this machine.
    for host in [format!("Host: evil.example:{port}"), format!("Host: localhost:{port}"), "Host: 127.0.0.1".to_owned()]
    {
        assert_eq!(status(&[&host, &right]), Some(403), "{host}");
    }
    for relayed in
        ["Origin: null", "Referer: x", "Sec-Fetch-Mode: cors", "X-Forwarded-For: x", "Forwarded: x", "Via: x"]
    {
        let told = answer(port, &[&host, &right, relayed]).unwrap();
        assert_eq!(told.0, 403, "{relayed}");
        assert!(!told.1.contains("Secret"), "{told:?}");
    }
    let asked = endpoint::raw(port, &format!("OPTIONS /credentials HTTP/1.1\r\n{host}\r\nOrigin: x\r\n\r\n")).unwrap();
    assert!(asked.starts_with("HTTP/1.1 405 ") && !asked.to_lowercase().contains("access-control"), "{asked}");
    // Another program of this machine, of whatever user, that looks for tokens.
    for _ in 0..20 {
        assert_eq!(status(&[&host, "Authorization: guess"]), Some(401));
    }
    assert_eq!(status(&[&host]), Some(429));
    assert_eq!(status(&[&host, &right]), Some(200), "the command is not disturbed by that");
}

#[test]
fn credentials_are_renewed_while_the_command_runs() {
    let service = FakeIdentityCenter::start(FakeConfig {
        role_credentials_lifetime: Duration::from_secs(15),
        ..FakeConfig::default()
    });
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let running = Running::start(&sandbox, &["--profile", "dev"]);
    let before = running.credentials();
    let known = service.count(Operation::GetRoleCredentials);
    service.wait_for_answers(Operation::GetRoleCredentials, known + 1, Duration::from_secs(30)).unwrap();
    agent.wait_for_status("renewed", |_| running.credentials()["AccessKeyId"] != before["AccessKeyId"]);
}

fn signed_in() -> (FakeIdentityCenter, Sandbox) {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    (service, sandbox)
}

/// `exec` where the AWS configuration is this file.
fn exec_with_config(sandbox: &Sandbox, file: &std::path::Path) -> Finished {
    exec(sandbox, &[("AWS_CONFIG_FILE", file.to_str().unwrap())], &["--profile", "dev", "--", "true"])
}

/// `exec` with these variables as well.
fn exec(sandbox: &Sandbox, variables: &[(&str, &str)], arguments: &[&str]) -> Finished {
    Finished::of(sandbox.command(AGENT).envs(variables.iter().copied()).arg("exec").args(arguments))
}

const ELSEWHERE: [&str; 12] = [
    "AMAZON_ACCESS_KEY_ID",
    "AWS_ACCESS_KEY_ID",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CREDENTIAL_PROFILES_FILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];
