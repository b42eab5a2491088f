//! What is typed wrong, and what is typed while no agent runs.

use crate::support::crowd::at_once;
use crate::support::fake::{FakeConfig, FakeIdentityCenter};
use crate::support::sandbox::{CORP, Sandbox};

/// Every command that asks an agent.
const ASKING: &[&[&str]] = &[
    &["login"],
    &["logout"],
    &["logout", "--all"],
    &["status"],
    &["status", "--json"],
    &["status", "--check"],
    &["credentials", "--profile", "dev"],
    &["token"],
    &["accounts"],
    &["roles"],
    &["refresh"],
    &["reload"],
];

#[test]
fn wrong_flags_of_the_shim_cost_one_line_and_exit_code_2() {
    let sandbox = Sandbox::new();
    for wrong in [
        &[][..],
        &["--profile"],
        &["--profle", "dev"],
        &["--profile", "dev", "--role", "R"],
        &["--account", "12", "--role", "R"],
        &["--account", "111122223333", "--role", "R;id"],
        &["--profile", "dev", "--timeout", "never"],
        &["--profile", "dev", "--min-validity", "-1"],
        &["dev"],
    ] {
        let stderr = sandbox.shim(wrong).failed_with(2);
        assert_eq!(stderr.lines().count(), 1, "{wrong:?}: {stderr}");
        assert!(stderr.starts_with("sso-credential-process: ") && stderr.contains("--help"), "{stderr}");
    }
}

#[test]
fn wrong_flags_of_the_command_line_cost_exit_code_2() {
    let sandbox = Sandbox::new();
    for wrong in [
        &[][..],
        &["lgoin"],
        &["login", "--flow", "magic"],
        &["login", "--timeout", "tomorrow"],
        &["status", "--min-validity", "1h"],
        &["logout", "corp", "--all"],
        &["credentials", "--account", "1", "--role", "R"],
        &["credentials", "--format", "cmd"],
        &["credentials"],
        &["run", "--frobnicate"],
    ] {
        let stderr = sandbox.cli(wrong).failed_with(2);
        assert!(!stderr.is_empty(), "{wrong:?}");
    }
    assert!(sandbox.cli(&["lgoin"]).stderr.contains("login"), "a similar command is named");
}

#[test]
fn without_an_agent_every_command_says_so_with_exit_code_4() {
    let sandbox = Sandbox::new();
    sandbox.write_config(CORP);
    for command in ASKING {
        let finished = sandbox.cli(command);
        assert_eq!(finished.code, Some(4), "{command:?}: {finished:?}");
        let silent = command.contains(&"--check");
        assert_eq!(finished.stderr.contains("the agent is not running"), !silent, "{command:?}: {finished:?}");
        assert_eq!(finished.stderr.contains("sso-agent start"), !silent, "{command:?}: {finished:?}");
    }
    let stderr = sandbox.shim(&["--profile", "dev"]).failed_with(4);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("sso-agent start"), "{stderr}");
    let events = sandbox.cli(&["login", "--json"]);
    let event: serde_json::Value = serde_json::from_str(events.stdout.trim()).unwrap();
    assert_eq!((events.code, &event["event"]), (Some(4), &"failed".into()));
}

#[test]
fn a_lock_file_and_a_socket_that_outlived_their_agent_are_no_agent() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    agent.kill();
    assert!(sandbox.state().join("lock").exists() && sandbox.socket().exists());
    // Together, because each gives an agent that is being restarted a few seconds.
    for (number, finished) in at_once(ASKING.len(), |number| sandbox.cli(ASKING[number])).into_iter().enumerate() {
        assert_eq!(finished.code, Some(4), "{:?}: {finished:?}", ASKING[number]);
    }
    assert_eq!(sandbox.shim(&["--profile", "dev", "--timeout", "2"]).failed_with(4).lines().count(), 1);
    let _agent = sandbox.start_agent();
    assert_eq!(sandbox.cli(&["status", "--check"]).code, Some(0));
}

#[test]
fn unknown_names_are_answered_with_the_nearest_one() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);

    let stderr = sandbox.shim(&["--profile", "dve"]).failed_with(5);
    assert!(stderr.contains("did you mean dev?") && stderr.lines().count() == 1, "{stderr}");
    let stderr = sandbox.shim(&["--session", "crop", "--account", "111122223333", "--role", "R"]).failed_with(5);
    assert!(stderr.contains("did you mean corp?") && stderr.lines().count() == 1, "{stderr}");
    for (command, near) in [
        (&["credentials", "--profile", "dve"][..], "did you mean dev?"),
        (&["login", "crop"], "did you mean corp?"),
        (&["token", "crop"], "did you mean corp?"),
        (&["refresh", "crop"], "did you mean corp?"),
        (&["logout", "crop"], "did you mean corp?"),
        (&["accounts", "crop"], "did you mean corp?"),
        (&["status", "crop"], "sessions the agent knows: corp"),
    ] {
        let stderr = sandbox.cli(command).failed_with(5);
        assert!(stderr.contains(near), "{command:?}: {stderr}");
    }
    let (status, problem) = agent.request("GET", "/v1/token?session=crop", "");
    assert_eq!((status, &problem["code"]), (404, &"unknown_session".into()));
    let (status, problem) = agent.request("GET", "/v1/credentials?profile=dve", "");
    assert_eq!((status, &problem["code"]), (404, &"unknown_profile".into()));

    // A role the user does not have is AWS's word, not ours.
    let stderr = sandbox.shim(&["--account", "111122223333", "--role", "Nobody"]).failed_with(6);
    assert!(stderr.lines().count() == 1 && stderr.contains("Nobody"), "{stderr}");
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
}

#[test]
fn signed_out_is_exit_code_3_with_the_command_that_helps() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let _agent = sandbox.start_agent();
    let stderr = sandbox.shim(&["--profile", "dev"]).failed_with(3);
    assert!(stderr.lines().count() == 1 && stderr.contains("sso-agent login corp"), "{stderr}");
    for command in [&["token"][..], &["accounts"], &["refresh"], &["credentials", "--profile", "dev"]] {
        assert!(sandbox.cli(command).failed_with(3).contains("sso-agent login corp"), "{command:?}");
    }
    assert!(service.all_calls().is_empty(), "nobody asked for a sign-in");
}
