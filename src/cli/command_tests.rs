//! The short commands against a scripted agent: what is asked, what is printed, how it ends.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::testing::{Answer, Outcome, World, problem};
use crate::api::{Code, Request, SessionQuery, TargetQuery, TokenKind};
use crate::env::Env;
use crate::exit::Exit;

fn run(line: &str, answers: impl IntoIterator<Item = Answer>) -> (Outcome, Vec<Request>) {
    let world = World::new(answers);
    let outcome = world.run(line);
    assert!(world.answers.borrow().is_empty(), "{line}: not everything was asked");
    (outcome, world.asked.take())
}

fn named(name: &str) -> SessionQuery {
    SessionQuery::Named(name.parse().unwrap())
}

const DOCUMENT: &str = r#"{"Version":1,"AccessKeyId":"ASIAEXAMPLEEXAMPLE00","SecretAccessKey":"sk","SessionToken":"st","Expiration":"2026-11-22T15:33:40Z","AccountId":"111122223333"}"#;

#[test]
fn credentials_for_programs_are_the_document_as_served() {
    let (outcome, asked) = run("credentials --profile dev --timeout 10 --min-validity 15m", [Answer::Raw(DOCUMENT)]);
    assert_eq!(outcome.stdout, format!("{DOCUMENT}\n"));
    let expected = Request::Credentials {
        target: TargetQuery::Profile("dev".parse().unwrap()),
        min_validity: Some(Duration::from_secs(900)),
        timeout: Some(Duration::from_secs(10)),
    };
    assert_eq!(asked, [expected]);
}

#[test]
fn credentials_for_a_shell_are_lines_and_nothing_else() {
    let mut world = World::new([Answer::Raw(DOCUMENT)]);
    world.env = Env::from_iter([("AWS_PROFILE", "dev")]);
    let outcome = world.run("credentials --format env");
    assert_eq!(outcome.stdout.lines().count(), 4);
    assert!(outcome.stdout.lines().all(|line| line.starts_with("export AWS_")), "{}", outcome.stdout);
    assert_eq!(outcome.stderr, "");
}

#[test]
fn hostile_credentials_are_refused_with_nothing_on_stdout() {
    let hostile = r#"{"Version":1,"AccessKeyId":"ASIAEXAMPLEEXAMPLE00","SecretAccessKey":"sk","SessionToken":"$(id)","Expiration":"2026-11-22T15:33:40Z","AccountId":null}"#;
    for format in ["env", "env-no-export", "fish", "powershell"] {
        let (outcome, _) = run(&format!("credentials --profile p --format {format}"), [Answer::Raw(hostile)]);
        assert_eq!((outcome.stdout.as_str(), outcome.exit()), ("", Exit::Internal));
        assert!(outcome.stderr.starts_with("error: ") && !outcome.stderr.contains("$(id)"), "{}", outcome.stderr);
    }
}

#[test]
fn credentials_without_any_target_ask_nobody() {
    let (outcome, asked) = run("credentials", []);
    assert_eq!((outcome.exit(), asked.len()), (Exit::Usage, 0));
}

#[test]
fn a_token_is_a_line_of_its_own() {
    let body = json!({"access_token": "aoa.AB-12_/+=", "token_type": "Bearer", "expires_at": "2026-11-22T13:00:00Z",
        "session": "corp", "start_url": "https://example.awsapps.com/start", "region": "eu-west-1"});
    let (outcome, asked) = run("token corp --min-validity 5m", [Answer::Body(body.clone())]);
    assert_eq!(outcome.stdout, "aoa.AB-12_/+=\n");
    let min_validity = Duration::from_secs(300);
    assert_eq!(asked, [Request::Token { session: named("corp"), min_validity, kind: TokenKind::Access }]);
    let (outcome, _) = run("token --kind id --json", [Answer::Body(body.clone())]);
    assert_eq!(outcome.stdout, format!("{body}\n"));
    let mut hostile = body;
    hostile["access_token"] = json!("a\x1b[2J");
    let (outcome, _) = run("token", [Answer::Body(hostile)]);
    assert_eq!((outcome.stdout.as_str(), outcome.exit()), ("", Exit::Internal));
}

fn accounts() -> Value {
    json!({"accounts": [
        {"account_id": "111122223333", "account_name": "Payments größer", "email": "pay@example.com"},
        {"account_id": "444455556666", "account_name": "x\u{1b}]52;c;eA==\u{7}\n[profile default]\r\u{9b}2J", "email": null},
    ]})
}

#[test]
fn accounts_are_a_table_that_no_name_can_break() {
    let (outcome, _) = run("accounts", [Answer::Body(accounts())]);
    assert_eq!(
        outcome.stdout,
        "ACCOUNT       NAME                                 EMAIL\n\
         111122223333  Payments größer                      pay@example.com\n\
         444455556666  x\u{fffd}]52;c;eA==\u{fffd}\u{fffd}[profile default]\u{fffd}\u{fffd}2J\n"
    );
    let (outcome, _) = run("accounts", [Answer::Body(json!({"accounts": []}))]);
    assert_eq!((outcome.stdout.as_str(), outcome.exit()), ("", Exit::Success));
    assert_eq!(outcome.stderr, "there are no accounts you may use\n");
}

#[test]
fn json_on_a_terminal_says_the_same_without_steering_it() {
    let mut world = World::new([Answer::Body(accounts())]);
    world.terminal.results = true;
    let text = world.run("accounts --json").stdout;
    assert!(!text.contains(['\x1b', '\u{9b}', '\x07', '\r']), "{text:?}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), accounts());
}

fn roles(account: &str, names: &[&str]) -> Value {
    let entries: Vec<Value> = names.iter().map(|name| json!({"account_id": account, "role_name": name})).collect();
    json!({ "roles": entries })
}

#[test]
fn roles_of_all_accounts_are_asked_for_one_account_after_the_other() {
    let answers = || {
        let first = roles("111122223333", &["Admin", "Developer"]);
        [Answer::Body(accounts()), Answer::Body(first), Answer::Body(roles("444455556666", &["Admin"]))]
    };
    let (outcome, asked) = run("roles corp", answers());
    assert_eq!(
        outcome.stdout.lines().take(3).collect::<Vec<_>>(),
        [
            "ACCOUNT       ROLE       ACCOUNT NAME",
            "111122223333  Admin      Payments größer",
            "111122223333  Developer  Payments größer"
        ]
    );
    assert_eq!(asked.len(), 3);
    let (outcome, _) = run("roles corp --json", answers());
    assert_eq!(
        outcome.stdout,
        "{\"roles\":[{\"account_id\":\"111122223333\",\"role_name\":\"Admin\"},\
         {\"account_id\":\"111122223333\",\"role_name\":\"Developer\"},\
         {\"account_id\":\"444455556666\",\"role_name\":\"Admin\"}]}\n"
    );
    let mut world = World::new(answers());
    (world.terminal.attended, world.terminal.live) = (true, true);
    assert!(world.run("roles").stderr.contains("account 2 of 2"));
}

#[test]
fn an_account_without_access_costs_only_itself_and_other_trouble_ends_the_list() {
    let denied =
        [Answer::Body(accounts()), problem(Code::AccessDenied), Answer::Body(roles("444455556666", &["Admin"]))];
    let (outcome, _) = run("roles", denied);
    assert_eq!(outcome.exit(), Exit::Success);
    assert!(outcome.stdout.contains("444455556666  Admin"), "{}", outcome.stdout);
    assert_eq!(outcome.stderr, "warning: no access to account 111122223333\n");
    let (outcome, _) = run("roles", [Answer::Body(accounts()), problem(Code::SignInRequired)]);
    assert_eq!((outcome.stdout.as_str(), outcome.exit()), ("", Exit::SignInRequired));
}

#[test]
fn roles_of_one_account_are_the_routes_body() {
    let body = roles("111122223333", &["Admin"]);
    let (outcome, asked) = run("roles --account 111122223333 --json", [Answer::Body(body.clone())]);
    assert_eq!(outcome.stdout, format!("{body}\n"));
    assert_eq!(asked, [Request::Roles { session: SessionQuery::Only, account: "111122223333".parse().unwrap() }]);
    let (outcome, _) = run("roles --account 111122223333", [Answer::Body(body)]);
    assert_eq!(outcome.stdout, "ACCOUNT       ROLE\n111122223333  Admin\n");
}

#[test]
fn logout_says_whether_the_portal_knows() {
    let (outcome, asked) = run("logout corp", [Answer::Body(json!({"revoked": true}))]);
    assert_eq!(outcome.stderr, "signed out of corp\n");
    assert_eq!(asked, [Request::Logout { session: named("corp") }]);
    let (outcome, _) = run("logout", [Answer::Body(json!({"revoked": false}))]);
    assert!(outcome.stderr.contains("the portal did not confirm"), "{}", outcome.stderr);
    assert_eq!(outcome.exit(), Exit::Success);
    let (outcome, _) = run("logout corp", [Answer::Body(json!({"was_signed_in": false, "revoked": false}))]);
    assert_eq!(outcome.stderr, "nobody was signed in to corp\n");
    let (outcome, _) = run("logout --json", [Answer::Body(json!({"revoked": false}))]);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("{\"revoked\":false}\n", ""));
}

fn session(name: &str, state: &str) -> Value {
    json!({"session": name, "kind": "identity_center", "state": state, "start_url": "https://x", "region": "eu-west-1",
        "signed_in_at": null, "access_token_expires_at": "2026-11-22T13:00:00Z", "next_refresh_at": null,
        "renewable": true, "saved": true, "last_error": null, "registrations": []})
}

#[test]
fn logout_of_all_leaves_nobody_out_even_if_one_fails() {
    let status = json!({"version": "0.1.0", "pid": 1, "started_at": "2026-11-22T09:00:00Z", "revision": 1, "socket": "/s",
        "locked": false, "storage": {"key": "file", "saved": true}, "targets": [], "warnings": [],
        "sessions": [session("a", "signed_in"), session("b", "signed_out"), session("c", "ending")]});
    let revoked = || Answer::Body(json!({"revoked": true}));
    let (outcome, asked) = run("logout --all --json", [Answer::Body(status.clone()), revoked(), revoked()]);
    assert_eq!(
        outcome.stdout,
        "{\"sessions\":[{\"session\":\"a\",\"revoked\":true},{\"session\":\"c\",\"revoked\":true}]}\n"
    );
    assert_eq!(asked[1..], [Request::Logout { session: named("a") }, Request::Logout { session: named("c") }]);
    let (outcome, _) = run("logout --all", [Answer::Body(status), problem(Code::Storage), revoked()]);
    assert_eq!(outcome.exit(), Exit::Storage);
    assert!(outcome.stderr.contains("a is not signed out") && outcome.stderr.contains("signed out of c"));
}

#[test]
fn refresh_says_how_long_the_new_token_lives() {
    let (outcome, asked) = run("refresh corp --force", [Answer::Body(session("corp", "signed_in"))]);
    assert_eq!(outcome.stderr, "corp: the access token lives until 13:00 (1 h)\n");
    assert_eq!(asked, [Request::Refresh { session: named("corp"), force: true }]);
    let (outcome, _) = run("refresh --json", [Answer::Body(session("corp", "signed_in"))]);
    assert_eq!(outcome.stdout, format!("{}\n", session("corp", "signed_in")));
}

#[test]
fn reload_says_what_changed_and_what_was_left_out() {
    let warning = json!({"file": "/c", "line": 3, "message": "no\x1b[2J"});
    let body = json!({"changed": ["session corp"], "warnings": [warning]});
    let (outcome, _) = run("reload", [Answer::Body(body.clone())]);
    assert_eq!(outcome.stderr, "changed: session corp\nwarning: /c:3: no\u{fffd}[2J\n");
    let (outcome, _) = run("reload --json", [Answer::Body(body.clone())]);
    assert_eq!(outcome.stdout, format!("{body}\n"));
    let of_all = json!({"file": "/c", "line": 0, "message": "of the whole file"});
    let (outcome, _) = run("reload", [Answer::Body(json!({"changed": [], "warnings": [of_all]}))]);
    assert_eq!(outcome.stderr, "nothing has changed\nwarning: /c: of the whole file\n");
}

#[test]
fn an_agent_of_another_version_is_named_once() {
    let first = roles("111122223333", &["Admin"]);
    let world = World::new([Answer::Body(accounts()), Answer::Body(first), Answer::Body(json!({"roles": []}))]);
    world.version.set("9.9.9\x1b[2J");
    let outcome = world.run("roles");
    assert_eq!(outcome.stderr.matches("warning: the agent is version 9.9.9\u{fffd}[2J").count(), 1);
    assert!(outcome.stderr.contains("restart it with: sso-agent restart\n"), "{}", outcome.stderr);
    assert_eq!(outcome.exit(), Exit::Success);
}

#[test]
fn an_agent_that_refuses_what_a_later_command_asks_is_named_with_its_version() {
    let world = World::new([problem(Code::InvalidRequest)]);
    world.version.set("0.0.1");
    let outcome = world.run("accounts");
    assert_eq!(outcome.exit(), Exit::Usage);
    assert!(outcome.stderr.starts_with("warning: the agent is version 0.0.1, this command is "), "{}", outcome.stderr);
}

#[test]
fn an_answer_that_is_none_is_an_error_and_not_a_panic() {
    for line in ["accounts", "roles", "status", "token", "refresh", "reload", "logout", "login"] {
        let (outcome, _) = run(line, [Answer::Raw("<html>")]);
        assert_eq!(outcome.exit(), Exit::Internal, "{line}");
        assert!(outcome.stderr.starts_with("error: the agent's answer cannot be understood\n"), "{}", outcome.stderr);
    }
}

struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_has_gone_away_ends_the_command_quietly() {
    let world = World::new([Answer::Body(accounts())]);
    let mut stderr = Vec::new();
    let failure = world.run_into("accounts", &mut Gone, &mut stderr).unwrap_err();
    failure.report(&mut stderr, false);
    assert_eq!((failure.exit(), stderr.as_slice()), (Exit::Success, &b""[..]));
}
