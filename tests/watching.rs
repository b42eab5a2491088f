//! `status --watch` against the real agent, at a real terminal and without one.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::fake::{FakeConfig, FakeIdentityCenter};
use crate::support::sandbox::{AGENT, Sandbox};
use crate::support::terminal::Terminal;

#[test]
fn at_a_terminal_it_follows_the_agent_through_its_restart_and_leaves_no_trace() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    let mut terminal = Terminal::run(&sandbox, &["status", "--watch"]);
    terminal.wait_for("\x1b[?1049h\x1b[?25l");
    terminal.wait_for("signed out");
    agent.sign_in(&service);
    terminal.wait_for("signed in");
    terminal.resize(40, 20);
    let narrow = terminal.wait_for("corp\x1b[0m  \x1b[32msigned in");
    assert!(!narrow.contains("SESSION"), "{narrow:?}");
    agent.kill();
    terminal.wait_for("the agent is not running");
    let agent = sandbox.start_agent();
    let drawn = terminal.wait_for(&format!("pid {}", agent.pid()));
    assert!(drawn.ends_with(&format!("pid {}", agent.pid())));
    let (_, body) = agent.request("DELETE", "/v1/sessions/corp", "");
    assert_eq!(body["revoked"], true);
    terminal.wait_for("signed out");
    terminal.master.write_all(b"\x03").unwrap();
    let left = terminal.wait_for("\x1b[?25h\x1b[?1049l");
    assert!(!left.contains("error"), "{left:?}");
    terminal.wait_for("signed out");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
    assert!(terminal.echoes());
}

#[test]
fn as_json_every_change_is_a_line_also_over_a_restart() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    let mut command = sandbox.command(AGENT);
    let mut child =
        command.args(["status", "--watch", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |what: &str, satisfied: &dyn Fn(&Value) -> bool| {
        for line in lines.by_ref() {
            let status: Value = serde_json::from_str(&line.unwrap()).expect("one object a line");
            if satisfied(&status) {
                return;
            }
        }
        panic!("never {what}");
    };
    until("signed out", &|status| status["sessions"][0]["state"] == "signed_out");
    agent.sign_in(&service);
    until("signed in", &|status| status["sessions"][0]["state"] == "signed_in");
    assert!(agent.stop().success());
    let agent = sandbox.start_agent();
    until("the new one", &|status| status["pid"] == agent.pid());
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_session_that_is_not_configured_any_more_is_shown_and_signed_out_with_all() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    sandbox.write_config("[sso-session other]\nsso_start_url = https://o.awsapps.com/start\nsso_region = eu-west-1\n");
    assert_eq!(agent.request("POST", "/v1/reload", "").0, 200);
    let text = sandbox.cli(&["status"]).expect_success();
    assert!(text.contains("not in the configuration") && text.contains("sso-agent logout corp"), "{text}");
    let done = sandbox.cli(&["logout", "--all", "--json"]).json();
    assert_eq!(done["sessions"][0]["session"], "corp", "{done}");
    let text = sandbox.cli(&["status"]).expect_success();
    assert!(!text.contains("corp"), "{text}");
}
