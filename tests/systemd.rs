//! The units, under a real `systemd --user`: the socket starts the agent, and no sign-in and no call is lost by anything
//! that is done to the service.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::{AGENT, CORP, Finished, Sandbox};
use crate::support::systemd::{USER, UserManager};

const SERVICE: &str = "sso-agent.service";
const SOCKET: &str = "sso-agent.socket";

const SETTINGS: &str = "home/.config/sso-agent/config.toml";
/// There is no keyring here.
const FILE_KEY: &str = "[storage]\nkey = \"file\"\n";

/// A service where everybody is let in.
fn identity_center() -> FakeIdentityCenter {
    FakeIdentityCenter::start(FakeConfig { auto_approve: true, ..FakeConfig::default() })
}

/// The home of the user whose manager it is.
fn home(service: &FakeIdentityCenter) -> Option<Sandbox> {
    let sandbox = Sandbox::with_session(service.url());
    sandbox.write(SETTINGS, FILE_KEY);
    Some(if rustix::process::geteuid().is_root() { sandbox.of_user(USER) } else { sandbox })
}

/// A manager with the units installed, and the socket enabled.
fn installed<'a>(sandbox: &'a Sandbox, service_lines: &str) -> Option<UserManager<'a>> {
    let manager = UserManager::start(sandbox)?;
    manager.install(service_lines);
    manager.systemctl(&["enable", "--now", SOCKET]).expect_success();
    Some(manager)
}

fn signed_in<'a>(sandbox: &'a Sandbox, service_lines: &str) -> Option<UserManager<'a>> {
    let manager = installed(sandbox, service_lines)?;
    manager.cli(&["login", "--no-browser"]).expect_success();
    Some(manager)
}

fn credentials(manager: &UserManager<'_>) -> Value {
    manager.shim(&["--profile", "dev"]).json()
}

#[test]
fn the_first_call_starts_the_agent_and_is_answered() {
    let service = identity_center();
    let Some(sandbox) = home(&service) else { return };
    let Some(manager) = installed(&sandbox, "") else { return };
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    let socket = sandbox.socket();
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    assert_eq!(manager.property(SERVICE, "ActiveState"), "inactive", "nobody has called yet");

    let refused = manager.shim(&["--profile", "dev"]);
    assert_eq!(refused.code, Some(3), "{refused:?}\n{}", manager.log());
    assert_eq!(manager.property(SERVICE, "ActiveState"), "active");
    assert!(manager.wait_for_property("StatusText", |text| !text.is_empty()).starts_with("nobody is signed in"));
    manager.cli(&["login", "--no-browser"]).expect_success();
    assert_eq!(credentials(&manager)["AccountId"], "111122223333");

    let line = manager.wait_for_property("StatusText", |text| text.starts_with("1 session signed in"));
    assert!(line.contains("next refresh "), "{line}");
    let shown = manager.systemctl(&["status", SERVICE]);
    assert!(shown.stdout.contains(&format!("Status: \"{line}\"")), "{shown:?}");
    let status = manager.cli(&["status", "--json"]).json();
    assert_eq!(status["socket"].as_str(), socket.to_str(), "the manager's socket is the agent's");
    assert_eq!(manager.property(SERVICE, "NRestarts"), "0");
}

#[test]
fn installing_the_service_is_all_it_takes_and_uninstalling_leaves_nothing_but_the_sign_ins() {
    let service = identity_center();
    let Some(sandbox) = home(&service) else { return };
    let Some(manager) = UserManager::start(&sandbox) else { return };
    manager.install("");
    let again = manager.cli(&["service", "install"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stderr.contains("unchanged:"), "{again:?}");
    let enabled = || manager.systemctl(&["is-enabled", SOCKET]).stdout;
    assert_eq!((enabled().trim(), manager.property(SOCKET, "ActiveState").as_str()), ("enabled", "active"));
    manager.cli(&["login", "--no-browser"]).expect_success();
    assert_eq!(credentials(&manager)["Version"], 1);
    let status = manager.cli(&["service", "status", "--json"]).json();
    assert_eq!(status["running"]["pid"], manager.main_pid());
    assert_eq!(status["environment"]["differences"], serde_json::json!([]));

    manager.cli(&["service", "uninstall"]).expect_success();
    assert_eq!(manager.cli(&["service", "status"]).code, Some(4));
    assert!(!sandbox.socket().exists() && !sandbox.state().join("env").exists());
    manager.cli(&["service", "install"]).expect_success();
    assert_eq!(credentials(&manager)["Version"], 1);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1, "nobody had to sign in again");
}

#[test]
fn a_reload_by_the_manager_is_over_when_it_returns_and_says_why_it_failed() {
    let service = identity_center();
    let Some(sandbox) = home(&service) else { return };
    let Some(manager) = signed_in(&sandbox, "") else { return };
    let pid = manager.main_pid();
    let ops = CORP.replace("profile dev", "profile ops").split_once("\n\n").unwrap().1.to_owned();
    sandbox.write_config(&format!("{CORP}\n{ops}"));
    manager.systemctl(&["reload", SERVICE]).expect_success();
    assert_eq!(manager.shim(&["--profile", "ops"]).json()["Version"], 1);
    assert_eq!(manager.wait_for_property("ActiveState", |state| state != "reloading"), "active");

    sandbox.write(SETTINGS, "notifications = \"often\"\n");
    assert_ne!(manager.systemctl(&["reload", SERVICE]).code, Some(0));
    assert_eq!(credentials(&manager)["Version"], 1, "a bad configuration never replaces a good one");
    assert_eq!((manager.main_pid(), manager.property(SERVICE, "ActiveState")), (pid, "active".to_owned()));
}

#[test]
fn a_new_binary_takes_over_with_the_session_and_no_call_is_lost() {
    let service = identity_center();
    let Some(sandbox) = home(&service) else { return };
    let Some(manager) = signed_in(&sandbox, "") else { return };
    let before = manager.main_pid();
    manager.replace_binary(AGENT, "sso-agent");
    let answered = while_calling(&manager, |manager| {
        manager.systemctl(&["restart", SERVICE]).expect_success();
    });
    assert!(answered.iter().all(|finished| finished.code == Some(0)), "{answered:?}");
    assert_ne!(before, manager.main_pid());
    assert_eq!(manager.inode_of_agent(), std::fs::metadata(manager.binary("sso-agent")).unwrap().ino());
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1, "nobody had to sign in again");
    assert_eq!(service.refresh_token_reuses(), 0);
}

#[test]
fn an_agent_that_is_killed_is_started_again_with_the_session() {
    let service = identity_center();
    let Some(sandbox) = home(&service) else { return };
    let Some(manager) = signed_in(&sandbox, "RestartSec=100ms") else { return };
    manager.systemctl(&["kill", "--kill-whom=main", "--signal=KILL", SERVICE]).expect_success();
    assert_eq!(credentials(&manager)["Version"], 1, "whoever calls meanwhile waits at the socket");
    assert_eq!(manager.property(SERVICE, "NRestarts"), "1");
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1, "nobody had to sign in again");
}

#[test]
fn a_service_that_was_stopped_is_started_by_the_next_call_and_nothing_is_lost() {
    let service = identity_center();
    let Some(sandbox) = home(&service) else { return };
    let Some(manager) = signed_in(&sandbox, "") else { return };
    let answered = while_calling(&manager, |manager| {
        manager.systemctl(&["stop", SERVICE]).expect_success();
    });
    assert!(answered.iter().all(|finished| finished.code == Some(0)), "{answered:?}");
    manager.systemctl(&["stop", SERVICE]).expect_success();
    assert_eq!(manager.property(SERVICE, "Result"), "success");
    assert_eq!(manager.property(SOCKET, "ActiveState"), "active", "callers still find it");
    assert_eq!(credentials(&manager)["Version"], 1);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1, "nobody had to sign in again");

    manager.systemctl(&["stop", SOCKET]).expect_success();
    assert_eq!(manager.property(SERVICE, "ActiveState"), "inactive", "without a socket there is no service");
    assert!(!sandbox.socket().exists());
}

#[test]
fn an_agent_that_nobody_needs_ends_and_the_call_of_that_moment_is_answered() {
    let service = identity_center();
    let Some(sandbox) = home(&service) else { return };
    sandbox.write(SETTINGS, &format!("exit_after_idle = \"1s\"\n{FILE_KEY}"));
    let Some(manager) = installed(&sandbox, "") else { return };
    let mut agents = Vec::new();
    for _ in 0..3 {
        // The first answer after the end of the one before.
        let refused = manager.shim(&["--profile", "dev"]);
        assert_eq!(refused.code, Some(3), "{refused:?}\n{}", manager.log());
        let agent = manager.main_pid();
        assert!(ends_within(&manager, agent, "30"), "{}", manager.log());
        agents.push(agent);
    }
    agents.dedup();
    assert_eq!(agents.len(), 3);
    manager.wait_for_property("ActiveState", |state| state == "inactive");
    assert_eq!(manager.property(SERVICE, "Result"), "success");
    assert_eq!(manager.property(SERVICE, "NRestarts"), "0");

    manager.cli(&["login", "--no-browser"]).expect_success();
    let agent = manager.main_pid();
    assert!(!ends_within(&manager, agent, "2.5"), "it has a session to keep");
}

#[test]
fn an_agent_that_hangs_is_replaced() {
    let service = identity_center();
    let Some(sandbox) = home(&service) else { return };
    let Some(manager) = signed_in(&sandbox, "WatchdogSec=2\nRestartSec=100ms") else { return };
    let first_sign = manager.property(SERVICE, "WatchdogTimestampMonotonic");
    manager.wait_for_property("WatchdogTimestampMonotonic", |sign| sign != first_sign);
    let agent = manager.main_pid();
    manager.systemctl(&["kill", "--kill-whom=main", "--signal=STOP", SERVICE]).expect_success();
    assert_eq!(credentials(&manager)["Version"], 1);
    assert_ne!(manager.main_pid(), agent);
}

#[test]
fn what_the_unit_forbids_is_not_what_the_keyring_takes() {
    let service = identity_center();
    let Some(mut sandbox) = home(&service) else { return };
    sandbox.write(SETTINGS, "[storage]\nkey = \"keyring\"\n");
    let bus = sandbox.root().join("run/bus");
    sandbox.set("DBUS_SESSION_BUS_ADDRESS", &format!("unix:path={}", bus.display()));
    let Some(manager) = installed(&sandbox, "") else { return };
    manager.start_keyring();
    manager.cli(&["login", "--no-browser"]).expect_success();
    let status = manager.cli(&["status", "--json"]).json();
    assert_eq!(
        (&status["storage"]["key"], &status["storage"]["saved"]),
        (&"keyring".into(), &true.into()),
        "{status:#}"
    );
    manager.systemctl(&["restart", SERVICE]).expect_success();
    assert_eq!(credentials(&manager)["Version"], 1);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1, "the key was read again");
}

#[test]
fn a_socket_that_others_could_open_is_refused() {
    let service = identity_center();
    let Some(sandbox) = home(&service) else { return };
    let Some(manager) = UserManager::start(&sandbox) else { return };
    manager.install("Restart=no");
    manager.drop_in(SOCKET, "[Socket]\nSocketMode=0660\n");
    assert_ne!(manager.systemctl(&["start", SERVICE]).code, Some(0));
    assert_eq!(manager.property(SERVICE, "ExecMainStatus"), "4");
    assert!(sandbox.log().contains("SocketMode=0600"), "{}", sandbox.log());
}

#[test]
fn the_units_say_nothing_that_systemd_does_not_understand() {
    let sandbox = Sandbox::new();
    let mut paths = Vec::new();
    for unit in [SOCKET, SERVICE] {
        let text =
            std::fs::read_to_string(Path::new("systemd").join(unit)).unwrap().replace("/usr/bin/sso-agent", AGENT);
        paths.push(sandbox.write(unit, &text));
    }
    let mut verify = Command::new("systemd-analyze");
    let verified = Finished::of(
        verify.args(["--user", "--man=no", "verify"]).args(paths).env("XDG_RUNTIME_DIR", sandbox.root().join("run")),
    );
    assert_eq!((verified.code, verified.stderr.as_str()), (Some(0), ""));
}

/// What callers hear while something is done to the service: some before it, some meanwhile, some after.
fn while_calling(manager: &UserManager<'_>, work: impl FnOnce(&UserManager<'_>)) -> Vec<Finished> {
    let shim = manager.binary("sso-credential-process");
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let calls = || {
                    let call = |_| Finished::of(manager.command(&shim).args(["--profile", "dev"]));
                    (0..6).map(call).collect::<Vec<_>>()
                };
                scope.spawn(calls)
            })
            .collect();
        work(manager);
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    })
}

/// Whether this process has ended before so many seconds are over.
fn ends_within(manager: &UserManager<'_>, pid: u32, seconds: &str) -> bool {
    // `tail` watches the process itself.
    let mut wait = manager.command("timeout");
    let waited = Finished::of(wait.args([seconds, "tail", "-s", "0.05", "-f", &format!("--pid={pid}"), "/dev/null"]));
    waited.code == Some(0)
}
