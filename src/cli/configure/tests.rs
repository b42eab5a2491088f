//! The commands against a scripted agent and a home of their own; what AWS says is tried with the whole program.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::testing::{Answer, Outcome, World, problem};
use super::*;
use crate::api::Code;
use crate::clock::Clock;
use crate::env::Env;
use crate::exit::Exit;
use crate::scratch::Scratch;

struct Home {
    scratch: Scratch,
    world: World,
}

impl Home {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let scratch = Scratch::new();
        let home = scratch.path().to_str().unwrap();
        let mut world = World::new(answers);
        world.env = Env::from_iter([("HOME", home)]);
        Self { scratch, world }
    }

    fn with(config: &str, answers: impl IntoIterator<Item = Answer>) -> Self {
        let home = Self::new(answers);
        fs::create_dir(home.scratch.path().join(".aws")).unwrap();
        fs::write(home.config(), config).unwrap();
        home
    }

    fn config(&self) -> PathBuf {
        self.scratch.path().join(".aws/config")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.config()).unwrap()
    }

    fn attended(mut self, typed: &[&'static str]) -> Self {
        self.world.terminal.attended = true;
        self.world.typed.borrow_mut().extend(typed);
        self
    }
}

fn reloaded() -> Answer {
    Answer::Body(json!({"changed": [], "warnings": []}))
}

fn accounts(names: &[(&str, &str)]) -> Answer {
    let list: Vec<Value> = names
        .iter()
        .map(|(id, name)| json!({"account_id": id, "account_name": name, "email": "secret@example.com"}))
        .collect();
    Answer::Body(json!({ "accounts": list }))
}

fn roles(account: &str, names: &[&str]) -> Answer {
    let list: Vec<Value> = names.iter().map(|name| json!({"account_id": account, "role_name": name})).collect();
    Answer::Body(json!({ "roles": list }))
}

fn failed(outcome: &Outcome, exit: Exit, word: &str) {
    assert_eq!(outcome.exit(), exit, "{}", outcome.stderr);
    assert!(outcome.stderr.contains(word), "{}", outcome.stderr);
}

const CORP: &str = "[sso-session corp]\nsso_start_url = https://e.example/start\nsso_region = eu-west-1\n";
const GIVEN: &str = "configure session corp --start-url https://e.example/start --region eu-west-1 --no-check";
const SSO: &str = "configure profiles --sso";

#[test]
fn a_session_is_written_and_the_agent_and_the_user_are_told() {
    let home = Home::new([reloaded()]);
    let outcome = home.world.run(GIVEN);
    assert_eq!(outcome.exit(), Exit::Success, "{}", outcome.stderr);
    assert_eq!(home.text(), format!("{CORP}sso_registration_scopes = sso:account:access\n"));
    assert_eq!(home.world.asked.take(), [Request::Reload]);
    assert!(outcome.stderr.contains("next: sso-agent login corp\n"), "{}", outcome.stderr);
    assert_eq!(fs::metadata(home.config()).unwrap().mode() & 0o777, 0o600);

    let before = fs::metadata(home.config()).unwrap();
    home.world.answers.borrow_mut().push_back(reloaded());
    let outcome = home.world.run(&format!("{GIVEN} --json"));
    assert!(outcome.stderr.contains("nothing to do"), "{}", outcome.stderr);
    let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(printed, json!({"file": home.config(), "session": "corp", "changed": false}));
    let after = fs::metadata(home.config()).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
}

#[test]
fn a_person_is_asked_for_what_is_missing_with_what_stands_there_as_default() {
    let home = Home::with(CORP, [reloaded()]).attended(&["", "", " us-east-1 "]);
    let outcome = home.world.run("configure session --no-check");
    assert_eq!(outcome.exit(), Exit::Success, "{}", outcome.stderr);
    assert_eq!(
        home.world.prompts.take(),
        [
            "Name of the session [corp]: ",
            "Start URL [https://e.example/start]: ",
            "Region of IAM Identity Center [eu-west-1]: "
        ]
    );
    assert!(home.text().contains("sso_region = us-east-1\n"));
}

#[test]
fn where_nobody_can_be_asked_what_stands_there_counts_and_the_rest_is_missing() {
    let home = Home::with(CORP, [reloaded()]);
    home.world.attended.set(false);
    let outcome = home.world.run("configure session corp --region eu-west-2 --no-check");
    assert_eq!(outcome.exit(), Exit::Success, "{}", outcome.stderr);
    assert!(home.text().starts_with(&CORP.replace("eu-west-1", "eu-west-2")));
    failed(&home.world.run("configure session new --no-check"), Exit::Usage, "--start-url is missing");
}

#[test]
fn what_makes_no_session_is_not_written() {
    for (arguments, word) in [
        ("corp --start-url http://e.example/start --region eu-west-1", "plain http"),
        ("corp --start-url e.example --region eu-west-1", "not a URL"),
        ("corp --start-url https://u:p@e.example/start --region eu-west-1", "user name"),
        ("corp --start-url https://e.example/start --region EU-west-1", "not a valid region"),
        ("corp --start-url https://e.example/start --region euwest1", "euwest1 is not a region"),
        ("corp/ü --start-url https://e.example/start --region eu-west-1", "the session's name"),
        ("corp --start-url https://e.example/start\u{202e} --region eu-west-1", "printable ASCII"),
        ("corp --start-url https://e.example/start --region eu-west-1 --scopes \"a\"", "quotes"),
    ] {
        let home = Home::new([]);
        let outcome = home.world.run(&format!("configure session {arguments} --no-check"));
        assert!(matches!(outcome.exit(), Exit::Usage | Exit::Configuration), "{arguments}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(word), "{arguments}: {}", outcome.stderr);
        assert!(!home.config().exists() && !home.config().parent().unwrap().exists(), "{arguments}");
    }
}

#[test]
fn a_dry_run_shows_the_difference_and_touches_nothing() {
    let home = Home::with("[default]\nregion = x\n", []);
    let outcome = home.world.run(&format!("{GIVEN} --dry-run"));
    assert_eq!(outcome.exit(), Exit::Success, "{}", outcome.stderr);
    assert!(
        outcome.stdout.contains("@@ -1,2 +1,7 @@\n [default]\n region = x\n+\n+[sso-session corp]\n"),
        "{}",
        outcome.stdout
    );
    assert_eq!(home.text(), "[default]\nregion = x\n");
    assert!(home.world.asked.take().is_empty(), "nobody is told of what did not happen");
}

#[test]
fn without_an_agent_the_file_is_written_and_the_next_step_is_the_same() {
    let home = Home::new([Answer::NoAgent]);
    let outcome = home.world.run(GIVEN);
    assert_eq!(outcome.exit(), Exit::Success, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("next: sso-agent login"), "{}", outcome.stderr);
}

#[test]
fn an_edit_is_made_again_on_what_somebody_else_has_written_meanwhile() {
    let home = Home::with("[profile a]\n", []);
    let path = home.config();
    let made = std::cell::Cell::new(0);
    let edited = home.world.with_context(|context| {
        edit(&path, false, context, |bytes| {
            made.set(made.get() + 1);
            if made.get() <= 3 {
                let theirs = format!("[profile theirs{}]\n", made.get());
                fs::write(&path, [bytes, theirs.as_bytes()].concat()).unwrap();
            }
            Ok(([bytes, b"[profile ours]\n"].concat(), ()))
        })
    });
    assert_eq!(edited.unwrap().0, Edited::Written);
    let all = "[profile a]\n[profile theirs1]\n[profile theirs2]\n[profile theirs3]\n[profile ours]\n";
    assert_eq!((home.text().as_str(), made.get()), (all, 4));

    let restless = home.world.with_context(|context| {
        edit(&path, false, context, |bytes| {
            fs::write(&path, [bytes, b"#\n"].concat()).unwrap();
            Ok((Vec::new(), ()))
        })
    });
    assert_eq!(restless.unwrap_err().exit(), Exit::Unavailable);
    assert!(home.text().starts_with(all));
}

#[test]
fn everything_the_user_may_use_becomes_a_profile() {
    let lists = || {
        [
            accounts(&[("111122223333", "Production"), ("444455556666", "Sandbox")]),
            roles("111122223333", &["Admin", "ReadOnly"]),
            roles("444455556666", &["Admin"]),
        ]
    };
    let home = Home::with(CORP, lists().into_iter().chain([reloaded()]));
    let outcome = home.world.run(&format!("{SSO} --json"));
    assert_eq!(outcome.exit(), Exit::Success, "{}", outcome.stderr);
    let text = home.text();
    assert!(text.starts_with(CORP) && !text.contains("secret@example.com"), "{text}");
    assert!(text.contains(
        "\n[profile Production-Admin]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = Admin\n\
         region = eu-west-1\n\n[profile Production-ReadOnly]\n"
    ));
    let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(printed["profiles"][2]["profile"], "Sandbox-Admin");
    assert_eq!((&printed["changed"], &printed["gone"]), (&json!(true), &json!([])));

    home.world.answers.borrow_mut().extend(lists());
    let outcome = home.world.run(SSO);
    assert!(outcome.stderr.contains("nothing to do"), "{}", outcome.stderr);

    home.world.answers.borrow_mut().extend(lists().into_iter().chain([reloaded()]));
    let outcome = home.world.run(&format!("{SSO} --filter role=read* --region us-east-2 --name-template {{role}}"));
    assert!(outcome.stderr.contains("1 profile, 1 new, 3 gone"), "{}", outcome.stderr);
    assert!(home.text().contains("[profile ReadOnly]\n"));

    home.world.answers.borrow_mut().push_back(reloaded());
    let outcome = home.world.run("configure profiles --remove");
    assert_eq!(outcome.exit(), Exit::Success, "{}", outcome.stderr);
    assert_eq!(home.text().trim_end(), CORP.trim_end());
}

#[test]
fn nothing_is_taken_away_because_nothing_was_found() {
    let home = Home::with(CORP, [accounts(&[])]);
    failed(&home.world.run(SSO), Exit::Usage, "no roles you may take");
    home.world.answers.borrow_mut().extend([accounts(&[("111122223333", "P")]), roles("111122223333", &["R"])]);
    failed(&home.world.run(&format!("{SSO} --filter account=x")), Exit::Usage, "none of your 1 roles");
    assert_eq!(home.text(), CORP);
}

#[test]
fn a_list_that_is_throttled_is_asked_for_again_and_one_that_fails_ends_it() {
    let two = || accounts(&[("111122223333", "P"), ("444455556666", "Q")]);
    let home = Home::with(
        CORP,
        [two(), problem(Code::Throttled), roles("444455556666", &["R"]), roles("111122223333", &["R"]), reloaded()],
    );
    let outcome = home.world.run(SSO);
    assert_eq!(outcome.exit(), Exit::Success, "{}", outcome.stderr);
    assert!(home.text().contains("[profile P-R]") && home.text().contains("[profile Q-R]"));

    let before = home.text();
    home.world.answers.borrow_mut().extend([two(), problem(Code::SignInRequired)]);
    failed(&home.world.run(SSO), Exit::SignInRequired, "error:");
    let throttled = || problem(Code::Throttled);
    home.world.answers.borrow_mut().extend([two()].into_iter().chain((0..6).map(|_| throttled())));
    failed(&home.world.run(SSO), Exit::Unavailable, "error:");
    assert_eq!(home.text(), before);
}

#[test]
fn a_pause_that_the_service_asks_for_is_made_before_the_lists_are_asked_for_again() {
    let Answer::Problem(throttled) = problem(Code::Throttled) else { panic!() };
    let throttled = Answer::Problem(throttled.retry_after(Duration::from_secs(102)));
    let one = accounts(&[("111122223333", "P")]);
    let home = Home::with(CORP, [one, throttled, roles("111122223333", &["R"]), reloaded()]);
    let begun = home.world.clock.now();
    assert_eq!(home.world.run(SSO).exit(), Exit::Success);
    assert_eq!(home.world.clock.now().mono.since(begun.mono), Duration::from_secs(102));
}

#[test]
fn an_account_without_access_is_said_and_an_agent_that_has_not_read_the_session_reads_it() {
    let home = Home::with(
        CORP,
        [
            problem(Code::UnknownSession),
            reloaded(),
            accounts(&[("111122223333", "P"), ("444455556666", "Q")]),
            problem(Code::AccessDenied),
            roles("444455556666", &["R"]),
            reloaded(),
        ],
    );
    let outcome = home.world.run(SSO);
    assert_eq!(outcome.exit(), Exit::Success, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("no access to account 111122223333"), "{}", outcome.stderr);
}

#[test]
fn names_of_others_are_left_to_them() {
    let mine = format!("{CORP}[profile P-R]\nregion = mine\n");
    let home = Home::with(&mine, [accounts(&[("111122223333", "P")]), roles("111122223333", &["R"]), reloaded()]);
    fs::write(home.config().with_file_name("credentials"), "[P-R-111122223333]\naws_access_key_id = A\n").unwrap();
    let outcome = home.world.run(SSO);
    assert_eq!(outcome.exit(), Exit::Success, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("P-R is somebody else's name"), "{}", outcome.stderr);
    assert!(home.text().starts_with(&mine) && home.text().contains("[profile P-R-111122223333-"), "{}", home.text());
}

#[test]
fn which_session_is_meant_must_be_clear() {
    let home = Home::new([]);
    failed(&home.world.run(SSO), Exit::Usage, "configure session");
    let two = format!("{CORP}[sso-session b]\nsso_start_url = https://b.example/start\nsso_region = eu-west-1\n");
    let home = Home::with(&two, []);
    failed(&home.world.run(SSO), Exit::Usage, "b, corp");
    failed(&home.world.run(&format!("{SSO} --session crop")), Exit::Configuration, "b, corp");
    let broken = Home::with("[sso-session corp]\n", []);
    failed(&broken.world.run(SSO), Exit::Configuration, "has no sso_start_url");
    let legacy = "[profile l]\nsso_start_url = https://e.example/start#/\nsso_region = eu-west-1\n";
    failed(&Home::with(legacy, []).world.run(SSO), Exit::Usage, "configure session NAME");
}

#[test]
fn a_broken_marker_is_told_with_its_line_and_what_helps() {
    let broken = format!("{CORP}# sso-agent: end profiles of session corp\n");
    let home = Home::with(&broken, [accounts(&[("111122223333", "P")]), roles("111122223333", &["R"])]);
    let outcome = home.world.run(SSO);
    failed(&outcome, Exit::Configuration, "line 4: a region of sso-agent ends here and begins nowhere");
    assert!(outcome.stderr.contains("hint: put the markers right"), "{}", outcome.stderr);
    assert_eq!(home.text(), broken);
}
