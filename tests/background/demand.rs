//! Programs that find no agent start one: the right one, where they may, and only for what needs it.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use crate::support::background::kill;
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation, found_in};
use crate::support::sandbox::{AGENT, Finished, SHIM, Sandbox};

#[test]
fn an_agent_that_was_killed_is_started_anew_by_the_next_caller_and_the_session_survives() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::on_demand(service.url());
    let mut last = sandbox.sign_in_on_demand(&service);
    for _ in 0..2 {
        kill(last);
        assert!(sandbox.socket().exists(), "nobody has cleaned up");
        assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
        let next = sandbox.in_background().unwrap();
        assert_ne!(next, last);
        last = next;
    }
    kill(last);
    assert_eq!(sandbox.cli(&["credentials", "--profile", "dev"]).json()["Version"], 1);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);
}

#[test]
fn only_commands_that_need_an_agent_start_one() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::on_demand(service.url());
    for command in [
        &["status"][..],
        &["status", "--check"],
        &["status", "--json"],
        &["logout"],
        &["reload"],
        &["storage", "status"],
    ] {
        assert_eq!(sandbox.cli(command).code, Some(4), "{command:?}");
        assert_eq!(sandbox.in_background(), None, "{command:?}");
    }
    for command in [&["stop"][..], &["audit"]] {
        assert_eq!(sandbox.cli(command).code, Some(0), "{command:?}");
        assert_eq!(sandbox.in_background(), None, "{command:?}");
    }
    // Locked is what every agent after this one is.
    for (command, locked) in [("lock", true), ("unlock", false)] {
        let finished = sandbox.cli(&[command]);
        assert_eq!(finished.code, Some(0), "{command}: {finished:?}");
        assert_eq!(sandbox.status()["locked"], locked);
        kill(sandbox.in_background().unwrap_or_else(|| panic!("{command}")));
    }
    for command in [
        &["credentials", "--profile", "dev"][..],
        &["token"],
        &["accounts"],
        &["roles", "--account", "111122223333"],
        &["refresh"],
        &["adopt"],
        &["console", "--profile", "dev", "--print"],
    ] {
        let finished = sandbox.cli(command);
        assert_eq!(finished.code, Some(3), "it wants a sign-in: {command:?}: {finished:?}");
        kill(sandbox.in_background().unwrap_or_else(|| panic!("{command:?}")));
    }
}

#[test]
fn a_program_that_others_can_write_is_not_started_and_the_message_mends_it() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::on_demand(service.url());
    let (agent, shim) = sandbox.installed("bin");
    let asked = || Finished::of(sandbox.command(&shim).args(["--profile", "dev"]));
    for mode in [0o775, 0o757] {
        std::fs::set_permissions(&agent, PermissionsExt::from_mode(mode)).unwrap();
        let stderr = asked().failed_with(4);
        assert!(stderr.lines().count() == 1 && stderr.contains("; chmod go-w "), "{stderr}");
        let stderr = Finished::of(sandbox.command(&agent).arg("accounts")).failed_with(4);
        assert!(stderr.contains("chmod go-w "), "{stderr}");
        assert_eq!(sandbox.in_background(), None);
    }
    let stderr = asked().stderr;
    let (_, command) = stderr.trim_end().rsplit_once("; ").unwrap();
    assert_eq!(Finished::of(sandbox.command("sh").args(["-c", command])).code, Some(0), "{command}");
    let stderr = asked().failed_with(3);
    assert!(stderr.contains("sso-agent login"), "{stderr}");
    assert!(sandbox.in_background().is_some());
}

#[test]
fn neither_path_nor_directory_nor_name_leads_to_another_program() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = Sandbox::on_demand(service.url());
    let marker = sandbox.root().join("marker");
    let trap = format!("#!/bin/sh\ntouch '{}'\n", marker.display());
    for place in ["evil/sso-agent", "sso-agent"] {
        let path = sandbox.write(place, &trap);
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let link = sandbox.root().join("evil/sso-credential-process");
    std::os::unix::fs::symlink(SHIM, &link).unwrap();
    sandbox.set("PATH", &format!("{}:/usr/bin:/bin", sandbox.root().join("evil").display()));
    let mut shim = sandbox.command(&link);
    shim.arg0(sandbox.root().join("evil/sso-credential-process")).args(["--profile", "dev"]);
    Finished::of(&mut shim).failed_with(3);
    assert!(!marker.exists());
    let program = std::fs::read_link(format!("/proc/{}/exe", sandbox.in_background().unwrap().as_raw_nonzero()));
    if rustix::process::geteuid().is_root() {
        assert_eq!(program.unwrap(), std::fs::canonicalize(AGENT).unwrap());
    }
}

#[test]
fn a_shim_without_an_agent_beside_it_says_that_none_is_running() {
    let sandbox = Sandbox::on_demand("http://127.0.0.1:1");
    let shim = sandbox.root().join("sso-credential-process");
    Finished::of(sandbox.command("cp").arg(SHIM).arg(&shim)).expect_success();
    let stderr = Finished::of(sandbox.command(&shim).args(["--profile", "dev"])).failed_with(4);
    assert!(stderr.contains("there is no socket") && stderr.contains("sso-agent start"), "{stderr}");
}

#[test]
fn who_forbids_it_is_obeyed_and_named() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = Sandbox::on_demand(service.url());
    sandbox.write("home/.config/sso-agent/config.toml", "autostart = false\n");
    for finished in
        [sandbox.shim(&["--profile", "dev"]), sandbox.cli(&["accounts"]), sandbox.cli(&["start", "--quiet"])]
    {
        let stderr = finished.failed_with(4);
        assert!(stderr.lines().count() == 1 && stderr.contains("autostart in /"), "{stderr}");
        assert!(stderr.contains("; sso-agent start"), "{stderr}");
    }
    assert_eq!(sandbox.in_background(), None);
    // Whoever starts it by hand means it.
    assert_eq!(sandbox.cli(&["start"]).code, Some(0));
    assert_eq!(sandbox.cli(&["stop"]).code, Some(0));

    sandbox.write("home/.config/sso-agent/config.toml", "");
    sandbox.set("SSO_AGENT_AUTOSTART", "0");
    let stderr = sandbox.shim(&["--profile", "dev"]).failed_with(4);
    assert!(stderr.contains("there is no socket"), "{stderr}");
    sandbox.cli(&["accounts"]).failed_with(4);
    let stderr = sandbox.cli(&["start", "--quiet"]).failed_with(4);
    assert!(stderr.contains("SSO_AGENT_AUTOSTART forbids"), "{stderr}");
    assert_eq!(sandbox.in_background(), None);
}

#[test]
fn an_agent_that_cannot_start_is_explained_in_one_line() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::on_demand(service.url());
    sandbox.write("home/.config/sso-agent/config.toml", "colour = 1\n");
    let stderr = sandbox.shim(&["--profile", "dev"]).failed_with(4);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for part in ["could not be started", "config.toml:1", "colour"] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    let stderr = sandbox.cli(&["accounts"]).failed_with(4);
    assert!(stderr.contains("colour"), "{stderr}");
    // By hand: the agent's own lines, and its own code.
    let stderr = sandbox.cli(&["start"]).failed_with(5);
    assert!(stderr.starts_with("error: ") && stderr.contains("colour"), "{stderr}");
    assert!(sandbox.background_log().contains("colour"), "{}", sandbox.background_log());
    // The next one is not held up by what is left of these.
    sandbox.write("home/.config/sso-agent/config.toml", "");
    assert_eq!(sandbox.shim(&["--profile", "dev"]).code, Some(3));
}

#[test]
fn a_socket_in_a_place_that_others_can_enter_starts_nothing() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::on_demand(service.url());
    let directory = sandbox.socket().parent().unwrap().to_owned();
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o777)).unwrap();
    for finished in [sandbox.shim(&["--profile", "dev"]), sandbox.cli(&["accounts"]), sandbox.cli(&["start"])] {
        let stderr = finished.failed_with(4);
        assert!(stderr.contains("chmod 700 "), "{stderr}");
        assert_eq!(sandbox.in_background(), None);
    }
}

#[test]
fn the_log_of_an_agent_in_the_background_is_its_owners_and_holds_no_secret() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = Sandbox::on_demand(service.url());
    sandbox.set("RUST_LOG", "trace");
    sandbox.sign_in_on_demand(&service);
    for _ in 0..2 {
        assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
        assert_eq!(sandbox.cli(&["token"]).code, Some(0));
        assert_eq!(sandbox.cli(&["restart"]).code, Some(0));
    }
    let path = sandbox.state().join("agent.log");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let log = sandbox.background_log();
    assert!(log.contains("DEBUG") && log.matches("ready version=").count() == 3, "{log}");
    let secrets = service.issued_secrets();
    assert!(secrets.len() > 4);
    assert_eq!(found_in(log.as_bytes(), &secrets), [""; 0]);
}
