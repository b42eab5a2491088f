//! The table from fixed answers, and the judgement of `--check`.

use serde_json::{Value, json};

use super::super::testing::{Answer, World, problem};
use super::*;
use crate::api::Code;

fn session(name: &str, state: &str, changes: Value) -> Value {
    let mut body = json!({
        "session": name, "kind": "identity_center", "state": state, "start_url": "https://example.awsapps.com/start",
        "region": "eu-west-1", "signed_in_at": null, "access_token_expires_at": null, "next_refresh_at": null,
        "renewable": false, "saved": true, "last_error": null, "registrations": [],
    });
    let (Value::Object(members), Value::Object(changes)) = (&mut body, changes) else { panic!("objects") };
    members.extend(changes);
    body
}

fn signed_in(name: &str) -> Value {
    let changes = json!({"access_token_expires_at": "2026-11-22T12:59:30Z",
        "next_refresh_at": "2026-11-22T12:39:30Z", "renewable": true});
    session(name, "signed_in", changes)
}

fn status(sessions: &[Value], changes: Value) -> Value {
    let mut body = json!({
        "version": "0.1.0", "pid": 4711, "started_at": "2026-11-22T09:00:00Z", "revision": 3,
        "socket": "/run/user/1000/sso-agent/agent.sock", "locked": false, "storage": {"key": "file", "saved": true},
        "sessions": sessions, "targets": [], "warnings": [],
    });
    let (Value::Object(members), Value::Object(changes)) = (&mut body, changes) else { panic!("objects") };
    members.extend(changes);
    body
}

fn run(line: &str, body: Value) -> super::super::testing::Outcome {
    World::new([Answer::Body(body)]).run(line)
}

#[test]
fn the_table_says_who_is_signed_in_until_when_and_what_helps() {
    let error = json!({"code": "unavailable", "message": "the portal cannot be reached", "at": "2026-11-22T11:58:00Z",
        "retry_at": "2026-11-22T12:03:00Z"});
    let ended = json!({"code": "sign_in_required", "message": "session ended at 11:00; it began at 03:00",
        "at": "2026-11-22T11:00:00Z", "retry_at": null});
    let sessions = [
        signed_in("corp"),
        session("brief", "signed_in", json!({"renewable": true, "renewable_until": "2026-11-23T09:00:00Z"})),
        session(
            "lab",
            "signed_in",
            json!({"access_token_expires_at": "2026-11-22T20:12:00Z", "saved": false, "last_error": error}),
        ),
        session("old one", "ended", json!({"last_error": ended})),
        session("new", "signed_out", json!({})),
    ];
    let target = json!({"session": "corp", "account": "111122223333", "role": "Developer", "profile": "dev",
        "expires_at": "2026-11-22T12:45:00Z"});
    let warning = json!({"file": "/home/u/.aws/config", "line": 7, "message": "sso_region is missing"});
    let outcome = run("status", status(&sessions, json!({"targets": [target], "warnings": [warning]})));
    assert_eq!(
        outcome.stdout,
        "\
SESSION  STATE       ACCESS TOKEN                   NEXT REFRESH       NOTES
corp     signed in   59 min left (until 12:59)      in 39 min (12:39)
brief    signed in   -                              -                  renewable until 2026-11-23 09:00 only
lab      signed in   8 h 12 min left (until 20:12)  -                  not renewable, not saved
old one  ended       -                              -
new      signed out  -                              -
lab: the portal cannot be reached (2 min ago); the agent tries again in 3 min (12:03)
lab: hint: check the network
old one: session ended at 11:00; it began at 03:00 (1 h ago)
old one: hint: sso-agent login 'old one'
new: hint: sso-agent login new

ROLE CREDENTIALS  ACCOUNT       SESSION  PROFILE  LEFT
Developer         111122223333  corp     dev      45 min left (until 12:45)

storage: key in a file (protects no better than file permissions), everything is saved
agent:   version 0.1.0, pid 4711, since 09:00, socket /run/user/1000/sso-agent/agent.sock
warning: /home/u/.aws/config:7: sso_region is missing
"
    );
    assert_eq!(outcome.stderr, "");
}

#[test]
fn a_state_from_the_future_is_printed_as_it_is_named() {
    let text = run("status", status(&[session("corp", "hibernating", json!({}))], json!({}))).stdout;
    assert!(text.contains("corp     hibernating"), "{text}");
}

#[test]
fn what_is_missing_in_the_audit_log_is_said() {
    for (mode, failed, words) in [
        ("best-effort", 0, "audit:   best-effort\n"),
        ("best-effort", 3, "audit:   best-effort, 3 hand-outs are missing in the log\n"),
        ("best-effort", 1, "audit:   best-effort, 1 hand-out is missing in the log\n"),
        ("required", 1, "audit:   required, refused once because the log could not be written\n"),
        ("required", 2, "audit:   required, refused 2 times because the log could not be written\n"),
    ] {
        let text = run("status", status(&[], json!({"audit": {"mode": mode, "failed": failed}}))).stdout;
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn no_session_and_memory_only_storage_are_said() {
    let text = run("status", status(&[], json!({"storage": {"key": "none", "saved": true}}))).stdout;
    assert!(text.starts_with("no session is configured; add one with: aws configure sso\n"), "{text}");
    assert!(text.contains("storage: in memory only, gone when the agent stops\n"), "{text}");
}

#[test]
fn hostile_names_and_messages_cannot_steer_the_terminal() {
    let error = json!({"code": "refused", "message": "no\x1b[2J\nok", "at": "2026-11-22T11:58:00Z", "retry_at": null});
    let hostile = session("x\x1b]52;c;eA==\x07\u{202e}", "ended\x1b[1m", json!({"last_error": error}));
    let text = run("status", status(&[hostile], json!({"socket": "/a\r\n/b"}))).stdout;
    assert!(!text.contains(['\x1b', '\x07', '\r', '\u{202e}']), "{text:?}");
}

#[test]
fn json_is_the_body_as_it_came_also_with_members_of_the_future() {
    let raw = "{\"version\":\"9\",  \"new\":[1]}";
    assert_eq!(World::new([Answer::Raw(raw)]).run("status --json").stdout, format!("{raw}\n"));
    let body = status(&[signed_in("corp"), signed_in("lab")], json!({"new": 1}));
    let one: Value = serde_json::from_str(&run("status lab --json", body).stdout).unwrap();
    assert_eq!(one, status(&[signed_in("lab")], json!({"new": 1})));
}

#[test]
fn a_session_nobody_knows_is_a_configuration_error_that_lists_what_there_is() {
    for line in ["status lba", "status lba --check", "status lba --json"] {
        let outcome = run(line, status(&[signed_in("lab")], json!({})));
        assert_eq!(outcome.exit(), Exit::Configuration);
        assert!(outcome.stderr.contains("no session named lba") && outcome.stderr.contains("lab"), "{line}");
    }
}

#[test]
fn check_only_sets_the_exit_code() {
    let both = [signed_in("corp"), session("lab", "signed_out", json!({}))];
    for (line, body, exit) in [
        ("status --check", status(&[signed_in("corp")], json!({})), Exit::Success),
        ("status --check --min-validity 59m", status(&[signed_in("corp")], json!({})), Exit::Success),
        ("status --check --min-validity 1h", status(&[signed_in("corp")], json!({})), Exit::SignInRequired),
        ("status --check", status(&both, json!({})), Exit::SignInRequired),
        ("status corp --check", status(&both, json!({})), Exit::Success),
        ("status lab --check", status(&both, json!({})), Exit::SignInRequired),
        ("status --check", status(&[], json!({})), Exit::Configuration),
        ("status --check", status(&both, json!({"locked": true})), Exit::Locked),
    ] {
        let outcome = run(line, body);
        assert_eq!(outcome.exit(), exit, "{line}");
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""), "{line}");
    }
    for state in ["ended", "signed_out"] {
        let dead = session("corp", state, json!({"access_token_expires_at": "2026-11-22T12:59:30Z"}));
        assert_eq!(run("status --check", status(&[dead], json!({}))).exit(), Exit::SignInRequired);
    }
    let expired = session("corp", "signed_in", json!({"access_token_expires_at": "2026-11-22T12:00:00Z"}));
    assert_eq!(run("status --check", status(&[expired], json!({}))).exit(), Exit::SignInRequired);
}

#[test]
fn check_of_a_locked_agent_is_quiet_too() {
    let outcome = World::new([problem(Code::Locked)]).run("status --check");
    assert_eq!((outcome.exit(), outcome.stderr.as_str()), (Exit::Locked, ""));
    let outcome = World::new([problem(Code::Locked)]).run("status");
    assert_eq!(outcome.exit(), Exit::Locked);
    assert!(!outcome.stderr.is_empty());
}

fn awaited() -> Value {
    json!({"storage": {"key": "keyring", "saved": false, "available": false, "message": "the keyring is\x1b locked",
        "hint": "unlock it, or run: sso-agent storage unlock"}})
}

#[test]
fn a_key_that_is_awaited_is_said_with_what_helps() {
    let text = run("status", status(&[session("corp", "sealed", json!({}))], awaited())).stdout;
    assert!(text.contains("corp     stored, no key"), "{text}");
    assert!(text.contains("corp: hint: unlock it, or run: sso-agent storage unlock\n"), "{text}");
    assert!(!text.contains("sso-agent login") && !text.contains('\x1b'), "{text:?}");
    assert!(
        text.contains(
            "storage: key in the login keyring, awaited, NOT everything is saved\nstorage: the keyring is\u{fffd} \
             locked\nstorage: hint: unlock it, or run: sso-agent storage unlock\n"
        ),
        "{text}"
    );
}

#[test]
fn check_tells_a_sign_in_that_is_stored_from_one_that_is_needed() {
    let sealed = session("corp", "sealed", json!({}));
    for (sessions, exit) in [
        (vec![sealed.clone()], Exit::Storage),
        (vec![sealed.clone(), signed_in("lab")], Exit::Storage),
        (vec![session("lab", "signed_out", json!({})), sealed], Exit::Storage),
        (vec![signed_in("lab")], Exit::Success),
    ] {
        assert_eq!(run("status --check", status(&sessions, awaited())).exit(), exit);
    }
}

#[test]
fn a_warning_without_a_line_names_the_file_only() {
    let warning = json!({"file": "/home/u/config.toml", "line": 0, "message": "storage.key is odd"});
    let text = run("status", status(&[], json!({"warnings": [warning]}))).stdout;
    assert!(text.contains("warning: /home/u/config.toml: storage.key is odd\n"), "{text}");
}

#[test]
fn a_locked_agent_names_no_session_and_none_is_missed() {
    let locked = || status(&[], json!({"locked": true}));
    let text = run("status corp", locked()).stdout;
    assert!(text.contains("locked") && !text.contains("no session"), "{text}");
    assert_eq!(run("status corp --check", locked()).exit(), Exit::Locked);
}

#[test]
fn a_session_that_is_held_and_not_configured_is_shown_and_not_counted() {
    let gone = session("old", "signed_out", json!({"configured": false}));
    let body = || status(&[signed_in("corp"), gone.clone()], json!({}));
    let text = run("status", body()).stdout;
    assert!(text.contains("not in the configuration"), "{text}");
    let hint = "old: hint: put it back into the AWS configuration, or forget it with: sso-agent logout old\n";
    assert!(text.contains(hint) && !text.contains("login old"), "{text}");
    assert_eq!(run("status --check", body()).exit(), Exit::Success);
    assert_eq!(run("status old --check", body()).exit(), Exit::SignInRequired);
    assert_eq!(run("status --check", status(std::slice::from_ref(&gone), json!({}))).exit(), Exit::Configuration);
}

#[test]
fn on_a_narrow_terminal_a_session_is_a_paragraph_and_no_line_is_too_wide() {
    let error = json!({"code": "unavailable", "message": "the portal cannot be reached at all, whatever is tried",
        "at": "2026-11-22T11:58:00Z", "retry_at": null});
    let wide = session("日本", "signed_in", json!({"last_error": error, "saved": false}));
    let mut world = World::new([Answer::Body(status(&[signed_in("corp"), wide], json!({})))]);
    world.terminal.width = Some(40);
    let text = world.run("status").stdout;
    assert_eq!(
        text,
        "\
corp  signed in
  access token  59 min left (until
                12:59)
  next refresh  in 39 min (12:39)
日本  signed in
  notes         not renewable, not saved
日本: the portal cannot be reached at
  all, whatever is tried (2 min ago)
日本: hint: check the network

storage: key in a file (protects no
  better than file permissions),
  everything is saved
agent:   version 0.1.0, pid 4711, since
  09:00, socket
  /run/user/1000/sso-agent/agent.sock
"
    );
}

#[test]
fn colours_say_what_needs_a_look() {
    let dying = session("lab", "ending", json!({"access_token_expires_at": "2026-11-22T12:10:00Z"}));
    let mut world = World::new([Answer::Body(status(&[signed_in("corp"), dying], json!({})))]);
    world.terminal.colour_out = true;
    let text = world.run("status").stdout;
    for painted in ["\x1b[32msigned in\x1b[0m", "\x1b[33mending\x1b[0m", "\x1b[33m10 min left (until 12:10)\x1b[0m"] {
        assert!(text.contains(painted), "{text:?}");
    }
    assert!(text.contains("  59 min left (until 12:59)  "), "{text:?}");
}
