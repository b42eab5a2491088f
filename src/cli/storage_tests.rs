//! The storage commands against a scripted agent: what is asked of whom, what is said, how it ends.

use serde_json::{Value, json};

use super::super::testing::{Answer, Outcome, World, problem};
use super::*;
use crate::api::{Code, Problem};
use crate::exit::Exit;
use crate::secret::Secret;

fn report(changes: Value) -> Value {
    let mut body = json!({"key": "file", "saved": true, "available": true, "message": null, "hint": null,
        "decided": true, "directory": "/home/u/.local/state/sso-agent", "records": 2, "set_aside": 0});
    let (Value::Object(members), Value::Object(changes)) = (&mut body, changes) else { panic!("objects") };
    members.extend(changes);
    body
}

fn sealed(decided: bool) -> Value {
    report(json!({"key": "passphrase", "available": false, "decided": decided, "message": "the key is awaited",
        "hint": "run: sso-agent storage unlock"}))
}

/// Runs a line with what a person types.
fn run(line: &str, typed: &[&'static str], answers: impl IntoIterator<Item = Answer>) -> (Outcome, Vec<Request>) {
    let world = World::new(answers);
    world.typed.borrow_mut().extend(typed);
    let outcome = world.run(line);
    assert!(world.answers.borrow().is_empty(), "{line}: not everything was asked");
    assert!(world.typed.borrow().is_empty(), "{line}: not everything was typed");
    for secret in typed.iter().filter(|typed| !typed.is_empty()) {
        assert!(!outcome.stdout.contains(secret) && !outcome.stderr.contains(secret), "{line} shows what was typed");
    }
    (outcome, world.asked.take())
}

fn secret(text: &str) -> Option<Secret> {
    Some(Secret::new(text.to_owned()))
}

#[test]
fn a_place_is_said_with_what_it_protects_against() {
    let (outcome, asked) = run("storage status", &[], [Answer::Body(report(json!({"set_aside": 1})))]);
    assert_eq!(
        outcome.stdout,
        "key:      in a file beside the records: protects no better than file permissions\n\
         records:  2 in /home/u/.local/state/sso-agent, everything is saved\n          \
         1 set aside because they did not open\n"
    );
    assert_eq!(asked, [Request::Storage]);
    for (key, part) in [
        ("keyring", "unlocked with your login, readable by programs of yours while it is unlocked"),
        ("systemd-credential", "kept as its unit says"),
        ("passphrase", "kept nowhere"),
        ("none", "in memory only"),
        ("moon", "key:      moon\n"),
    ] {
        let (outcome, _) = run("storage status", &[], [Answer::Body(report(json!({ "key": key })))]);
        assert!(outcome.stdout.contains(part), "{}", outcome.stdout);
    }
}

#[test]
fn what_is_awaited_is_said_with_the_remedy_and_is_no_failure_of_the_question() {
    let (outcome, _) = run("storage status", &[], [Answer::Body(sealed(true))]);
    let last = "awaited:  the key is awaited\nhint:     run: sso-agent storage unlock\n";
    assert!(outcome.stdout.ends_with(last) && outcome.exit() == Exit::Success, "{}", outcome.stdout);
    let (outcome, _) = run("storage status", &[], [Answer::Body(sealed(false))]);
    assert!(outcome.stdout.contains("choose a passphrase"), "{}", outcome.stdout);
    let hostile = report(json!({"message": "no\x1b[2J", "directory": "/a\r/b", "key": "x\x07"}));
    let (outcome, _) = run("storage status", &[], [Answer::Body(hostile)]);
    assert!(!outcome.stdout.contains(['\x1b', '\r', '\x07']), "{:?}", outcome.stdout);
}

#[test]
fn json_is_the_body_as_it_came() {
    for line in ["storage status --json", "storage unlock --json"] {
        let body = report(json!({"new": 1}));
        let (outcome, _) = run(line, &[], [Answer::Body(body.clone())]);
        assert_eq!((outcome.stdout, outcome.stderr.as_str()), (format!("{body}\n"), ""));
    }
}

#[test]
fn a_passphrase_that_exists_is_asked_for_once_and_a_new_one_twice() {
    let done = || Answer::Body(report(json!({"key": "passphrase"})));
    let (outcome, asked) = run("storage unlock", &["old horse"], [Answer::Body(sealed(true)), done()]);
    assert_eq!(asked, [Request::Storage, Request::UnlockStorage { passphrase: secret("old horse") }]);
    assert_eq!((outcome.stderr.as_str(), outcome.exit()), ("unlocked\n", Exit::Success));
    let twice = ["größer!!", "größer!!"];
    let (_, asked) = run("storage unlock", &twice, [Answer::Body(sealed(false)), done()]);
    assert_eq!(asked[1], Request::UnlockStorage { passphrase: secret("größer!!") });
    let (_, asked) = run("storage migrate --to passphrase", &twice, [done()]);
    assert_eq!(asked, [Request::MigrateStorage { to: "passphrase".to_owned(), passphrase: secret("größer!!") }]);
    // An old one may be short: it was another rule that it met.
    let (_, asked) = run("storage unlock", &["short"], [Answer::Body(sealed(true)), done()]);
    assert_eq!(asked.len(), 2);
}

#[test]
fn a_new_passphrase_that_is_short_or_not_the_same_twice_changes_nothing() {
    for (typed, part) in [
        (&["1234567"][..], "fewer than 8"),
        (&[""], "no passphrase was given"),
        (&[], "no passphrase was given"),
        (&["correct horse", "correct hose"], "not the same"),
        (&["correct horse", ""], "no passphrase was given"),
    ] {
        let (outcome, asked) = run("storage migrate --to passphrase", typed, []);
        assert_eq!((outcome.exit(), asked.len()), (Exit::Usage, 0));
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
}

#[test]
fn a_program_hands_a_new_passphrase_over_once() {
    let world = World::new([Answer::Body(report(json!({"key": "passphrase"})))]);
    world.attended.set(false);
    world.typed.borrow_mut().push_back("correct horse");
    assert_eq!(world.run("storage migrate --to passphrase").exit(), Exit::Success);
    assert_eq!(world.prompts.borrow().len(), 1);
}

#[test]
fn no_passphrase_is_asked_for_where_none_is_needed() {
    let locked = report(json!({"key": "keyring", "available": false, "message": "locked", "hint": "unlock it"}));
    let open = || Answer::Body(report(json!({"key": "keyring"})));
    let (_, asked) = run("storage unlock", &[], [Answer::Body(locked), open()]);
    assert_eq!(asked, [Request::Storage, Request::UnlockStorage { passphrase: None }]);
    let (outcome, asked) = run("storage unlock", &[], [open()]);
    assert_eq!((asked.len(), outcome.stderr.as_str()), (1, "the key is available already\n"));
    let (_, asked) = run("storage migrate --to keyring", &[], [open()]);
    assert_eq!(asked, [Request::MigrateStorage { to: "keyring".to_owned(), passphrase: None }]);
}

#[test]
fn a_key_that_stays_away_ends_in_the_code_for_storage_with_the_remedy() {
    let refused = Answer::Problem(Problem::new(Code::Storage, "that is not the passphrase").hint("try again"));
    let (outcome, _) = run("storage unlock", &["wrong horse"], [Answer::Body(sealed(true)), refused]);
    assert_eq!(outcome.exit(), Exit::Storage);
    assert_eq!(outcome.stderr, "error: that is not the passphrase\nhint: try again\n");
    for line in ["credentials --profile dev", "token corp", "accounts corp", "refresh corp"] {
        let sealed = Problem::new(Code::Storage, "cannot be read").hint("run: sso-agent storage unlock");
        let (outcome, _) = run(line, &[], [Answer::Problem(sealed)]);
        assert_eq!((outcome.exit(), outcome.stdout.as_str()), (Exit::Storage, ""));
        assert!(outcome.stderr.contains("hint: run: sso-agent storage unlock"), "{}", outcome.stderr);
    }
    let (outcome, _) = run("storage status", &[], [problem(Code::Locked)]);
    assert_eq!(outcome.exit(), Exit::Locked);
}
