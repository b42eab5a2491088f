//! What one does with a sign-in: look, take, refresh, sign out.

use std::time::Duration;

use super::approved_login;
use crate::support::crowd::sessions;
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation, RefreshTokens};
use crate::support::sandbox::{AGENT, Finished, Sandbox};

#[test]
fn logout_revokes_and_forgets_and_keeps_the_registration() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let _agent = sandbox.start_agent();
    approved_login(&sandbox, &service, &["--no-browser"]).expect_success();
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    let answer = sandbox.cli(&["logout", "--json"]).json();
    assert_eq!(answer, serde_json::json!({ "was_signed_in": true, "revoked": true }));
    assert_eq!(service.count(Operation::Logout), 1);
    let again = sandbox.cli(&["logout"]);
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), "nobody was signed in\n"));
    sandbox.shim(&["--profile", "dev"]).failed_with(3);

    // Without a network only the local half can be done, and that is said.
    approved_login(&sandbox, &service, &["--no-browser"]).expect_success();
    assert_eq!(service.count(Operation::RegisterClient), 1);
    service.go_offline();
    let offline = sandbox.cli(&["logout"]);
    assert_eq!(offline.code, Some(0), "{offline:?}");
    assert!(offline.stderr.contains("signed out") && offline.stderr.contains("did not confirm"), "{}", offline.stderr);
    service.go_online();
    sandbox.shim(&["--profile", "dev"]).failed_with(3);
    let tokens = std::fs::read_dir(sandbox.state().join("records")).unwrap();
    let names: Vec<_> = tokens.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.len() == 1 && names[0].starts_with("client-"), "{names:?}");
}

#[test]
fn logout_of_all_ends_every_session() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::new().at(service.url());
    sandbox.write_config(&sessions(3));
    let agent = sandbox.start_agent();
    for session in ["s0", "s2"] {
        agent.begin_sign_in(&service, session);
        assert_eq!(agent.end_of_sign_in(session)["state"], "signed_in");
    }
    let done = sandbox.cli(&["logout", "--all", "--json"]).json();
    let expected = serde_json::json!({ "sessions": [
        { "session": "s0", "revoked": true },
        { "session": "s2", "revoked": true },
    ]});
    assert_eq!(done, expected);
    let again = sandbox.cli(&["logout", "--all"]);
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), "no session is signed in\n"));
}

#[test]
fn status_tells_people_and_scripts() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    assert_eq!(sandbox.cli(&["status", "--check"]).code, Some(4));
    let agent = sandbox.start_agent();
    assert_eq!(sandbox.cli(&["status", "--check"]).failed_with(3), "");
    assert!(sandbox.cli(&["status"]).expect_success().contains("signed out"));
    agent.sign_in(&service);
    sandbox.shim(&["--profile", "dev"]).expect_success();
    let table = sandbox.cli(&["status"]).expect_success();
    for part in
        ["SESSION", "corp", "signed in", "min left (until ", "ReadOnly", "111122223333", "storage: key in a file"]
    {
        assert!(table.contains(part), "{part}: {table}");
    }
    for (arguments, code) in [
        (&["status", "--check"][..], 0),
        (&["status", "corp", "--check"], 0),
        (&["status", "--check", "--min-validity", "30m"], 0),
        (&["status", "--check", "--min-validity", "2h"], 3),
        (&["status", "--check", "nobody"], 5),
    ] {
        assert_eq!(sandbox.cli(arguments).code, Some(code), "{arguments:?}");
    }
    let json = sandbox.cli(&["status", "--json"]).json();
    assert_eq!(json["sessions"][0]["registrations"][0]["flow"], "device");
    assert_eq!(json["targets"][0]["role"], "ReadOnly");
    sandbox.write_config("");
    sandbox.cli(&["logout"]).expect_success();
    sandbox.cli(&["reload"]).expect_success();
    assert_eq!(sandbox.cli(&["status", "--check"]).code, Some(5), "none is configured");
}

#[test]
fn credentials_come_in_every_format_and_a_shell_takes_them() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    drop(agent);
    sandbox.set("AWS_PROFILE", "dev");
    let _agent = sandbox.start_agent();
    let document = sandbox.cli(&["credentials", "--format", "process"]).json();
    assert_eq!(document, sandbox.shim(&["--profile", "dev"]).json());
    let text = |name: &str| document[name].as_str().unwrap().to_owned();
    let expected = format!(
        "{} {} {} {}\n",
        text("AccessKeyId"),
        text("SecretAccessKey"),
        text("SessionToken"),
        text("Expiration").replace('Z', "+00:00")
    );
    let names = "$AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY $AWS_SESSION_TOKEN $AWS_CREDENTIAL_EXPIRATION";
    for (format, export) in [("env", "export AWS_"), ("env-no-export", "AWS_")] {
        let script = format!("eval \"$({AGENT} credentials --format {format})\"; echo \"{names}\"");
        let seen = Finished::of(sandbox.command("sh").args(["-c", &script])).expect_success();
        assert_eq!(seen, expected, "{format}");
        let lines = sandbox.cli(&["credentials", "--format", format]).expect_success();
        assert!(lines.lines().count() == 4 && lines.lines().all(|line| line.starts_with(export)), "{lines}");
    }
    let script = format!("eval \"$({AGENT} credentials --format env)\"; sh -c 'echo \"{names}\"'");
    assert_eq!(Finished::of(sandbox.command("sh").args(["-c", &script])).expect_success(), expected, "exported");
    let key = text("AccessKeyId");
    for (format, line) in [
        ("fish", format!("set -gx AWS_ACCESS_KEY_ID \"{key}\"\n")),
        ("powershell", format!("$Env:AWS_ACCESS_KEY_ID=\"{key}\"\n")),
    ] {
        let lines = sandbox.cli(&["credentials", "--format", format]).expect_success();
        assert!(lines.starts_with(&line) && lines.lines().count() == 4, "{lines}");
    }
}

#[test]
fn token_accounts_and_roles_are_printed() {
    let service = FakeIdentityCenter::start(FakeConfig { page_size: 1, ..FakeConfig::default() });
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let token = sandbox.cli(&["token"]).expect_success();
    assert!(service.issued_secrets().contains(&token.trim_end().to_owned()));
    let json = sandbox.cli(&["token", "corp", "--json"]).json();
    assert_eq!((json["access_token"].as_str(), &json["region"]), (Some(token.trim_end()), &"eu-west-1".into()));
    let accounts = sandbox.cli(&["accounts", "--json"]).json();
    assert_eq!(accounts["accounts"].as_array().unwrap().len(), 2, "all pages: {accounts}");
    let table = sandbox.cli(&["accounts"]).expect_success();
    assert!(table.contains("Production") && table.contains("444455556666@example.com"), "{table}");
    let roles = sandbox.cli(&["roles"]).expect_success();
    for role in ["Administrator", "ReadOnly", "Developer"] {
        assert!(roles.contains(role), "{roles}");
    }
    let roles = sandbox.cli(&["roles", "--account", "444455556666", "--json"]).json();
    assert!(roles.to_string().contains("Developer") && !roles.to_string().contains("ReadOnly"), "{roles}");
}

#[test]
fn a_refresh_by_hand_is_made_at_most_once_a_minute() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let finished = sandbox.cli(&["refresh"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stderr.contains("corp: the access token lives until"), "{}", finished.stderr);
    for arguments in [&["refresh"][..], &["refresh", "--force"], &["token", "--min-validity", "12h"]] {
        assert_eq!(sandbox.cli(arguments).code, Some(0), "{arguments:?}");
    }
    assert_eq!(service.count(Operation::CreateTokenRefresh), 0, "the sign-in is younger than a minute");
    service.expire_access_tokens();
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    assert_eq!(service.count(Operation::CreateTokenRefresh), 1, "but one that is rejected is refreshed");
    assert_eq!(sandbox.cli(&["refresh", "--json"]).json()["session"], "corp");
    assert_eq!((service.count(Operation::CreateTokenRefresh), service.refresh_token_reuses()), (1, 0));
}

#[test]
fn a_session_that_is_ended_over_there_says_between_which_times() {
    let service = FakeIdentityCenter::start(FakeConfig::with_tokens_of(Duration::from_secs(6)));
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    service.end_sessions();
    let status = agent.wait_for_status("refused", |status| status["sessions"][0]["renewable"] == false);
    assert_eq!(status["sessions"][0]["state"], "ending", "the access token still lives: {status:#}");
    assert_eq!(sandbox.cli(&["status", "--check"]).code, Some(0));
    let status = agent.wait_for_status("ended", |status| status["sessions"][0]["state"] == "ended");
    assert_eq!(status["sessions"][0]["last_error"]["code"], "sign_in_required", "{status:#}");
    let stderr = sandbox.shim(&["--profile", "dev"]).failed_with(3);
    assert!(stderr.contains("ended between") && stderr.contains("it began at"), "{stderr}");
    assert!(!stderr.contains("lost"), "nothing was lost here: {stderr}");
    assert_eq!((service.refresh_token_reuses(), service.count(Operation::CreateTokenRefresh)), (0, 1));
}

#[test]
fn a_refresh_without_a_new_refresh_token_keeps_the_old_one() {
    let service = FakeIdentityCenter::start(FakeConfig {
        access_token_lifetime: Duration::from_secs(4),
        refresh_tokens: RefreshTokens::Unmentioned,
        ..FakeConfig::default()
    });
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    service.wait_for_answers(Operation::CreateTokenRefresh, 2, Duration::from_secs(30)).unwrap();
    agent.kill();
    let _agent = sandbox.start_agent();
    service.wait_for_answers(Operation::CreateTokenRefresh, 3, Duration::from_secs(30)).unwrap();
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
}
