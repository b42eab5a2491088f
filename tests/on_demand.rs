//! Sign-ins that a program's request starts, where the user has turned that on: one, shown once, and then silence.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::keyring::Keyring;
use crate::support::notifications::Screen;
use crate::support::sandbox::{Agent, Finished, Sandbox};

/// A service, a desktop with its bus, and a home whose session `corp` is signed in to on demand.
fn house(settings: &str) -> (FakeIdentityCenter, Keyring, Screen, Sandbox) {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let bus = Keyring::absent();
    let screen = Screen::start(&bus.address(), &["body", "body-markup", "actions"]);
    let mut sandbox = Sandbox::with_session(service.url());
    sandbox.set("DBUS_SESSION_BUS_ADDRESS", &bus.address());
    sandbox.write("home/.config/sso-agent/config.toml", settings);
    (service, bus, screen, sandbox)
}

fn corp(agent: &Agent<'_>) -> Value {
    agent.get("/v1/status")["sessions"][0].clone()
}

fn starts(service: &FakeIdentityCenter) -> usize {
    service.count(Operation::StartDeviceAuthorization)
}

#[test]
fn fifty_programs_wait_for_one_sign_in_that_is_shown_once() {
    let (service, _bus, screen, sandbox) = house(ON_DEMAND);
    let agent = sandbox.start_agent();
    assert_eq!(corp(&agent)["sign_in"], "on-demand");
    let shims: Vec<_> = (0..50).map(|_| sandbox.spawn_shim(&["--profile", "dev"])).collect();
    let code = service.wait_for_user_code(PATIENCE).unwrap();
    let shown = screen.wait_for(1).remove(0);
    assert_eq!(shown.title, "Sign in to corp");
    assert!(shown.body.contains("sso-agent login corp") && !shown.body.contains(&code), "{shown:?}");
    assert_eq!(shown.actions, ["open", "Open the sign-in page"]);
    assert!(service.approve(&code));
    for shim in shims {
        assert_eq!(Finished::awaited(shim).json()["Version"], 1);
    }
    screen.wait_until_closed(shown.id);
    assert_eq!((starts(&service), screen.shown().len()), (1, 1));
    assert_eq!(service.count(Operation::GetRoleCredentials), 1);
}

#[test]
fn the_button_opens_the_page_with_the_sessions_browser_and_only_when_it_is_pressed() {
    let browser = "[session.corp]\nsign_in = \"on-demand\"\nflow = \"device\"\nbrowser = \"BROWSER -x {url}\"\n";
    let (service, _bus, screen, sandbox) = house("");
    let opened = sandbox.root().join("opened");
    // A pipe: whoever reads it waits until there is something.
    let made = Finished::of(sandbox.command("mkfifo").arg(&opened));
    assert_eq!(made.code, Some(0), "{made:?}");
    let script = sandbox.write("bin/browser", &format!("#!/bin/sh\necho \"$@\" > {}\n", opened.display()));
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    let settings = browser.replace("BROWSER", script.to_str().unwrap());
    sandbox.write("home/.config/sso-agent/config.toml", &settings);
    let _agent = sandbox.start_agent();
    let shim = sandbox.spawn_shim(&["--profile", "dev"]);
    let shown = screen.wait_for(1).remove(0);
    let code = service.wait_for_user_code(PATIENCE).unwrap();
    screen.press(shown.id, "default");
    screen.press(shown.id, "open");
    let arguments = std::fs::read_to_string(&opened).unwrap();
    assert!(arguments.starts_with(&format!("-x {}", service.url())) && arguments.contains(&code), "{arguments}");
    assert!(service.approve(&code));
    assert_eq!(Finished::awaited(shim).json()["Version"], 1);
}

#[test]
fn one_that_is_denied_is_followed_by_silence_that_outlives_the_agent_and_ends_with_a_login() {
    let (service, _bus, screen, sandbox) = house(ON_DEMAND);
    let agent = sandbox.start_agent();
    let shim = sandbox.spawn_shim(&["--profile", "dev"]);
    let code = service.wait_for_user_code(PATIENCE).unwrap();
    assert!(service.deny(&code));
    let said = Finished::awaited(shim).failed_with(3);
    assert!(said.contains("no other is started by itself before"), "{said}");
    assert!(corp(&agent)["sign_in_quiet_until"].is_string());
    let table = sandbox.cli(&["status"]).expect_success();
    assert!(table.contains("sign-in not offered before"), "{table}");
    assert!(agent.stop().success());
    let agent = sandbox.start_agent();
    let said = sandbox.shim(&["--profile", "dev"]).failed_with(3);
    assert!(said.contains("no other is started by itself before") && said.contains("sso-agent login corp"), "{said}");
    assert_eq!((starts(&service), screen.shown().len()), (1, 1));
    agent.sign_in(&service);
    assert_eq!(corp(&agent)["sign_in_quiet_until"], Value::Null);
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    assert_eq!(screen.shown().len(), 1);
}

#[test]
fn a_program_that_has_waited_long_enough_is_told_that_a_sign_in_waits() {
    let (service, _bus, _screen, sandbox) = house(ON_DEMAND);
    let agent = sandbox.start_agent();
    let said = sandbox.shim(&["--profile", "dev", "--timeout", "2"]).failed_with(3);
    assert!(said.contains("waiting for you") && said.contains("sso-agent login corp"), "{said}");
    // It waits on although nobody waits for it.
    assert_eq!(corp(&agent)["state"], "pending");
    assert!(service.approve(&service.wait_for_user_code(PATIENCE).unwrap()));
    agent.wait_for_status("signed in", |status| status["sessions"][0]["state"] == "signed_in");
}

#[test]
fn a_login_at_a_terminal_takes_its_place_and_serves_whoever_waits() {
    let (service, _bus, screen, sandbox) = house(ON_DEMAND);
    let _agent = sandbox.start_agent();
    let shim = sandbox.spawn_shim(&["--profile", "dev"]);
    let first = service.wait_for_user_code(PATIENCE).unwrap();
    let shown = screen.wait_for(1).remove(0);
    let login = sandbox.spawn_cli(&["login", "corp", "--flow", "device", "--no-browser"]);
    service.wait_for_answers(Operation::StartDeviceAuthorization, 2, PATIENCE).unwrap();
    screen.wait_until_closed(shown.id);
    let second = service.pending_user_codes().into_iter().find(|code| *code != first).unwrap();
    assert!(service.approve(&second));
    let login = Finished::awaited(login);
    assert!(login.code == Some(0) && login.stderr.contains("this replaces another sign-in"), "{login:?}");
    assert_eq!(Finished::awaited(shim).json()["Version"], 1);
    assert_eq!(screen.shown().len(), 1, "what a person does at a terminal needs no notification");
}

#[test]
fn without_the_setting_a_program_starts_nothing_and_nothing_is_shown() {
    let (service, _bus, screen, sandbox) = house("");
    let agent = sandbox.start_agent();
    assert_eq!(corp(&agent)["sign_in"], "manual");
    for _ in 0..3 {
        sandbox.shim(&["--profile", "dev"]).failed_with(3);
    }
    for path in ["/v1/token", "/v1/sessions/corp/accounts", "/v1/sessions/corp/accounts/111122223333/roles"] {
        assert_eq!(agent.request("GET", path, "").1["code"], "sign_in_required", "{path}");
    }
    assert!(agent.stop().success());
    assert_eq!((service.all_calls().len(), screen.shown().len()), (0, 0));
}

#[test]
fn without_notifications_it_is_only_not_shown() {
    let (service, _bus, screen, sandbox) = house(&format!("notifications = false\n{ON_DEMAND}"));
    let _agent = sandbox.start_agent();
    let shim = sandbox.spawn_shim(&["--profile", "dev"]);
    assert!(service.approve(&service.wait_for_user_code(PATIENCE).unwrap()));
    assert_eq!(Finished::awaited(shim).json()["Version"], 1);
    assert_eq!(screen.shown().len(), 0);
}

#[test]
fn a_session_that_is_renewed_no_more_is_shown_once_and_so_is_its_end() {
    let (service, _bus, screen, sandbox) = house("");
    service.configure(|config| config.access_token_lifetime = Duration::from_secs(9));
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    service.end_sessions();
    let shown = screen.wait_for(2);
    assert!(shown[0].title.starts_with("corp ends at ") && shown[0].body.contains("sso-agent login corp"), "{shown:?}");
    assert_eq!((shown[1].title.as_str(), shown[1].replaces), ("corp has ended", shown[0].id));
    assert!(agent.stop().success());
    let agent = sandbox.start_agent();
    assert_eq!(corp(&agent)["state"], "ended");
    assert!(agent.stop().success());
    assert_eq!(screen.shown().len(), 2);
}

const PATIENCE: Duration = Duration::from_secs(30);
const ON_DEMAND: &str = "[session.corp]\nsign_in = \"on-demand\"\nflow = \"device\"\n";
