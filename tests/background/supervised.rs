//! Where systemd has a unit for the agent, it is systemd that starts and stops it.

use std::process::Command;

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::{Finished, Sandbox};
use crate::support::systemd::{USER, UserManager};

const SERVICE: &str = "sso-agent.service";
const SOCKET: &str = "sso-agent.socket";

/// A program of ours as a user's shell has it: no place is named, so that the unit's are the ones.
fn in_a_shell(manager: &UserManager<'_>, program: &str) -> Command {
    let mut command = manager.command(manager.binary(program));
    command.env_remove("SSO_AGENT_STATE_DIR").env_remove("SSO_AGENT_AUTOSTART");
    command
}

#[test]
fn an_installed_unit_is_started_instead_and_stop_and_restart_ask_its_manager() {
    let service = FakeIdentityCenter::start(FakeConfig { auto_approve: true, ..FakeConfig::default() });
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can start a systemd of its own");
        return;
    }
    let mut sandbox = Sandbox::with_session(service.url());
    sandbox.write("home/.config/sso-agent/config.toml", "[storage]\nkey = \"file\"\n");
    // Where both the unit and a shell look for it.
    let state = sandbox.home().join(".local/state/sso-agent");
    sandbox.set("SSO_AGENT_STATE_DIR", state.to_str().unwrap());
    let sandbox = sandbox.of_user(USER);
    let Some(manager) = UserManager::start(&sandbox) else { return };
    manager.install("");
    let run = |arguments: &[&str]| Finished::of(in_a_shell(&manager, "sso-agent").args(arguments));

    // Neither socket nor service is there, and the unit is known.
    assert_eq!(manager.property(SOCKET, "ActiveState"), "inactive");
    let shim = Finished::of(in_a_shell(&manager, "sso-credential-process").args(["--profile", "dev"]));
    shim.failed_with(3);
    let first = manager.main_pid();
    assert!(first != 0 && manager.property(SOCKET, "ActiveState") == "active");
    assert!(!state.join("agent.log").exists(), "the journal is its log");
    assert_eq!(run(&["login", "--flow", "device"]).code, Some(0));
    let started = run(&["start"]);
    assert!(started.code == Some(0) && started.stderr.contains(&format!("already: pid {first}")), "{started:?}");

    let restarted = run(&["restart"]);
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    let second = manager.main_pid();
    assert!(![0, first].contains(&second) && restarted.stderr.contains(&format!("pid {second}")), "{restarted:?}");
    assert_eq!(manager.property(SERVICE, "NRestarts"), "0", "it was asked and not surprised");

    let stopped = run(&["stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert!(stopped.stderr.contains("systemctl --user stop sso-agent.socket"), "{stopped:?}");
    assert_eq!((manager.main_pid(), manager.property(SERVICE, "Result")), (0, "success".to_owned()));
    // Started by hand: again the unit.
    let started = run(&["start"]);
    assert!(started.code == Some(0) && !started.stderr.contains("agent.log"), "{started:?}");
    assert_ne!(manager.main_pid(), 0);
    assert_eq!(run(&["credentials", "--profile", "dev"]).json()["Version"], 1);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1, "nobody had to sign in again");
}

#[test]
fn a_unit_that_was_made_for_a_named_place_is_started_for_that_place_and_for_no_other() {
    let service = FakeIdentityCenter::start(FakeConfig { auto_approve: true, ..FakeConfig::default() });
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can start a systemd of its own");
        return;
    }
    let mut sandbox = Sandbox::with_session(service.url());
    sandbox.write("home/.config/sso-agent/config.toml", "[storage]\nkey = \"file\"\n");
    let socket = sandbox.root().join("run/my agent/agent.sock");
    sandbox.set("SSO_AGENT_SOCK", socket.to_str().unwrap());
    sandbox.set("SSO_AGENT_AUTOSTART", "");
    let sandbox = sandbox.of_user(USER);
    let Some(manager) = UserManager::start(&sandbox) else { return };
    manager.install("");
    let started = manager.cli(&["start"]);
    assert_eq!(started.code, Some(0), "{started:?}");
    let agent = manager.main_pid();
    assert_ne!(agent, 0, "it is the unit's");
    assert!(started.stderr.contains("my agent"), "{started:?}");

    let elsewhere = |arguments: &[&str]| {
        let mut command = manager.command(manager.binary("sso-agent"));
        command.env_remove("SSO_AGENT_SOCK").env("SSO_AGENT_STATE_DIR", sandbox.home().join("other"));
        Finished::of(command.args(arguments))
    };
    let started = elsewhere(&["start", "--json"]).json();
    assert_eq!((started["started"].as_bool(), started["log"].is_string()), (Some(true), true), "{started}");
    assert_eq!(manager.main_pid(), agent);
    assert_eq!(elsewhere(&["stop"]).code, Some(0));
    assert_eq!(manager.main_pid(), agent, "the other one goes on");
}
