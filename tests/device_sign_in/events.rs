//! What `login` shows, and how it ends.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, approved_login, events, members};
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::{Finished, Sandbox};

#[test]
fn the_events_are_exactly_those_of_the_contract() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let _agent = sandbox.start_agent();
    let login = approved_login(&sandbox, &service, &["--json", "--no-browser"]);
    assert_eq!(login.code, Some(0), "{login:?}");
    let events = events(&login);
    let [verification, signed_in] = &events[..] else { panic!("two lines: {login:?}") };
    assert_eq!(
        members(verification),
        ["event", "expires_at", "flow", "session", "user_code", "verification_uri", "verification_uri_complete"]
    );
    assert_eq!((&verification["event"], &verification["flow"]), (&"verification".into(), &"device".into()));
    assert_eq!(verification["session"], "corp");
    let code = verification["user_code"].as_str().unwrap();
    assert_eq!(verification["verification_uri"], format!("{}/device", service.url()));
    assert_eq!(verification["verification_uri_complete"], format!("{}/device?user_code={code}", service.url()));
    assert_eq!(members(signed_in), ["event", "expires_at", "session"]);
    assert_eq!((&signed_in["event"], &signed_in["session"]), (&"signed_in".into(), &"corp".into()));
    let expires = signed_in["expires_at"].as_str().unwrap();
    assert!(expires.ends_with('Z') && !expires.contains('.'), "whole seconds, UTC: {expires}");
}

#[test]
fn people_are_told_where_to_go_and_what_to_compare() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = Sandbox::with_session(service.url());
    sandbox.set("DISPLAY", ":7");
    let _agent = sandbox.start_agent();
    let login = approved_login(&sandbox, &service, &["--no-browser"]);
    assert_eq!((login.code, login.stdout.as_str()), (Some(0), ""), "{login:?}");
    let registered = &service.calls(Operation::RegisterClient)[0];
    assert!(registered.fields["clientName"].as_str().unwrap().starts_with("sso-agent user@"), "names the machine");
    for part in ["To sign in to corp, open:", "/device?user_code=", "Approve only if the page shows this code"] {
        assert!(login.stderr.contains(part), "{}", login.stderr);
    }
    assert!(login.stderr.contains("signed in to corp, access token until "), "{}", login.stderr);
    assert!(!login.stderr.contains('\u{1b}') && !login.stderr.contains("browser"), "{}", login.stderr);

    let again = sandbox.cli(&["login"]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), ""));
    assert!(again.stderr.starts_with("already signed in to corp"), "{}", again.stderr);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);
    let forced = approved_login(&sandbox, &service, &["--force", "--no-browser"]);
    assert_eq!(forced.code, Some(0), "{forced:?}");
    assert_eq!((service.count(Operation::StartDeviceAuthorization), service.count(Operation::RegisterClient)), (2, 1));
}

#[test]
fn the_page_opens_in_the_users_browser() {
    if ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| std::path::Path::new(mark).exists()) {
        // In a container no browser is likely to reach anybody's eyes, and none is opened.
        return;
    }
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = Sandbox::with_session(service.url());
    let opener = sandbox.write("bin/xdg-open", "#!/bin/sh\nexec /usr/bin/curl -s -o /dev/null \"$1\"\n");
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.set("PATH", &format!("{}:/usr/bin:/bin", opener.parent().unwrap().display()));
    {
        let _agent = sandbox.start_agent();
        // Without a display there is nobody to see it.
        let login = approved_login(&sandbox, &service, &["--json"]);
        assert_eq!((login.code, service.count(Operation::DevicePage)), (Some(0), 0), "{login:?}");
    }
    sandbox.set("DISPLAY", ":7");
    let _agent = sandbox.start_agent();
    let login = sandbox.spawn_cli(&["login", "--force", "--json"]);
    let visits = service.wait_for_calls(Operation::DevicePage, 1, PATIENCE).unwrap();
    let code = service.wait_for_user_code(PATIENCE).unwrap();
    assert!(visits[0].request.target.ends_with(&format!("?user_code={code}")), "{visits:?}");
    assert!(service.approve(&code));
    assert_eq!(Finished::awaited(login).code, Some(0));
}

#[test]
fn a_denied_sign_in_is_exit_code_3() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let _agent = sandbox.start_agent();
    for json in [true, false] {
        let login = sandbox.spawn_cli(if json { &["login", "--json"] } else { &["login", "--no-browser"] });
        assert!(service.deny(&service.wait_for_user_code(PATIENCE).unwrap()));
        let login = Finished::awaited(login);
        assert_eq!(login.code, Some(3), "{login:?}");
        if json {
            let events = events(&login);
            assert_eq!(members(&events[1]), ["code", "event", "message"]);
            assert_eq!((&events[1]["event"], &events[1]["code"]), (&"failed".into(), &"sign_in_denied".into()));
        } else {
            assert!(login.stderr.contains("the sign-in was denied"), "{}", login.stderr);
            assert!(login.stderr.contains("sso-agent login corp"), "{}", login.stderr);
        }
    }
    assert_eq!(sandbox.cli(&["status", "--check"]).code, Some(3));
}

#[test]
fn a_code_nobody_approves_expires() {
    let service =
        FakeIdentityCenter::start(FakeConfig { device_code_lifetime: Duration::from_secs(3), ..FakeConfig::default() });
    let sandbox = Sandbox::with_session(service.url());
    let _agent = sandbox.start_agent();
    let login = sandbox.cli(&["login", "--json"]);
    assert_eq!((login.code, &events(&login)[1]["code"]), (Some(3), &"sign_in_expired".into()), "{login:?}");
}

#[test]
fn who_gives_up_cancels_what_was_started_and_leaves_what_was_joined() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    let first = sandbox.spawn_cli(&["login", "--json"]);
    let code = service.wait_for_user_code(PATIENCE).unwrap();
    service.wait_for_answers(Operation::CreateTokenDeviceCode, 1, PATIENCE).unwrap();
    // A second one joins, shows the same code, and goes away without harm.
    let second = sandbox.cli(&["login", "--no-browser", "--timeout", "1"]);
    assert_eq!(second.code, Some(7), "{second:?}");
    assert!(second.stderr.contains("joined the sign-in that is already pending"), "{}", second.stderr);
    assert!(second.stderr.contains(&code) && second.stderr.contains("goes on"), "{}", second.stderr);
    assert_eq!(agent.get("/v1/sessions/corp/login")["state"], "pending");

    kill_process(Pid::from_child(&first), Signal::INT).unwrap();
    let first = Finished::awaited(first);
    assert_eq!((first.code, &events(&first)[1]["code"]), (Some(3), &"sign_in_cancelled".into()), "{first:?}");
    let state = agent.get("/v1/sessions/corp/login");
    assert_eq!((&state["state"], &state["code"]), (&"failed".into(), &"sign_in_cancelled".into()), "{state}");
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);

    // An impatient one cancels its own.
    let third = sandbox.cli(&["login", "--json", "--timeout", "1"]);
    assert_eq!((third.code, &events(&third)[1]["code"]), (Some(3), &"sign_in_cancelled".into()), "{third:?}");
}

#[test]
fn two_who_wait_for_one_sign_in_both_get_it() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let _agent = sandbox.start_agent();
    let first = sandbox.spawn_cli(&["login", "--json"]);
    let code = service.wait_for_user_code(PATIENCE).unwrap();
    let second = sandbox.spawn_cli(&["login", "--json"]);
    service.wait_for_answers(Operation::CreateTokenDeviceCode, 2, PATIENCE).unwrap();
    assert!(service.approve(&code));
    let codes = [first, second].map(|login| {
        let finished = Finished::awaited(login);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let events = events(&finished);
        assert_eq!(events.last().unwrap()["event"], "signed_in");
        events[0]["user_code"].clone()
    });
    assert!(codes[0] == code.as_str() && (codes[1] == code.as_str() || codes[1].is_null()), "{codes:?}");
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);
}
