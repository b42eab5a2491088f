//! Sign-ins as a person and as a script see them.

use serde_json::json;

use super::super::testing::{Answer, World, login_state, problem};
use super::*;
use crate::env::Env;
use crate::exit::Exit;

const COMPLETE: &str = "https://device.sso.eu-west-1.amazonaws.com/?user_code=ABCD-EFGH";

fn pending(changes: serde_json::Value) -> Answer {
    Answer::Body(login_state("pending", changes))
}

fn signed_in() -> Answer {
    Answer::Body(login_state("signed_in", json!({"expires_at": "2026-11-22T13:00:00Z"})))
}

fn failed(code: &str) -> Answer {
    Answer::Body(login_state("failed", json!({"code": code, "message": "it did not work"})))
}

fn cancels(world: &World) -> Vec<Option<u64>> {
    let asked = world.asked.borrow();
    asked
        .iter()
        .filter_map(|request| match request {
            Request::CancelLogin { attempt, .. } => Some(*attempt),
            _ => None,
        })
        .collect()
}

#[test]
fn the_events_are_verification_then_signed_in() {
    let world = World::new([pending(json!({})), pending(json!({})), signed_in()]);
    let outcome = world.run("login --json");
    assert_eq!(
        outcome.stdout,
        "{\"event\":\"verification\",\"session\":\"corp\",\"flow\":\"device\",\
         \"verification_uri\":\"https://device.sso.eu-west-1.amazonaws.com/\",\
         \"verification_uri_complete\":\"https://device.sso.eu-west-1.amazonaws.com/?user_code=ABCD-EFGH\",\
         \"user_code\":\"ABCD-EFGH\",\"expires_at\":\"2026-11-22T12:10:00Z\"}\n\
         {\"event\":\"signed_in\",\"session\":\"corp\",\"expires_at\":\"2026-11-22T13:00:00Z\"}\n"
    );
    assert_eq!(outcome.exit(), Exit::Success);
}

#[test]
fn the_browser_flow_has_an_event_of_its_own() {
    let changes = json!({"flow": "browser", "authorization_url": "http://127.0.0.1:4711/abc", "verification_uri": null,
        "verification_uri_complete": null, "user_code": null});
    let world = World::new([pending(changes), signed_in()]);
    let outcome = world.run("login --json");
    assert_eq!(
        outcome.stdout.lines().next().unwrap(),
        "{\"event\":\"verification\",\"session\":\"corp\",\"flow\":\"browser\",\
         \"authorization_url\":\"http://127.0.0.1:4711/abc\",\"expires_at\":\"2026-11-22T12:10:00Z\"}"
    );
}

#[test]
fn a_sign_in_that_ends_without_a_token_is_the_last_event_and_exit_3() {
    for code in ["sign_in_denied", "sign_in_expired", "sign_in_cancelled"] {
        let world = World::new([pending(json!({})), failed(code)]);
        let outcome = world.run("login --json");
        let last = outcome.stdout.lines().last().unwrap();
        assert_eq!(last, format!("{{\"event\":\"failed\",\"code\":\"{code}\",\"message\":\"it did not work\"}}"));
        assert_eq!(outcome.exit(), Exit::SignInRequired);
        assert!(
            outcome.stderr.starts_with("error: it did not work\nhint: sign in with: sso-agent login corp\n"),
            "{}",
            outcome.stderr
        );
        assert!(cancels(&world).is_empty());
    }
}

#[test]
fn a_refused_request_is_an_event_too() {
    let world = World::new([problem(Code::UnknownSession)]);
    let outcome = world.run("login nobody --json");
    assert_eq!(outcome.stdout, "{\"event\":\"failed\",\"code\":\"unknown_session\",\"message\":\"unknown session\"}\n");
    assert_eq!(outcome.exit(), Exit::Configuration);
}

#[test]
fn a_person_sees_the_link_the_code_and_the_warning() {
    let world = World::new([pending(json!({})), signed_in()]);
    let outcome = world.run("login corp");
    assert_eq!(outcome.stdout, "");
    assert_eq!(
        outcome.stderr,
        "Signing in by device code: this machine has no display.\n\
         To sign in to corp, open:\n\n  https://device.sso.eu-west-1.amazonaws.com/?user_code=ABCD-EFGH\n\n\
         Approve only if the page shows this code and you asked for this:\n\n  ABCD-EFGH\n\n\
         On another device, open https://device.sso.eu-west-1.amazonaws.com/ and type the code.\n\n\
         signed in to corp, access token until 13:00 (59 min)\n"
    );
    assert_eq!(world.opened.borrow().len(), 0, "there is no display");
}

#[test]
fn a_terminal_gets_a_picture_and_a_countdown() {
    let mut world = World::new([pending(json!({})), pending(json!({})), signed_in()]);
    (world.terminal.attended, world.terminal.live) = (true, true);
    let stderr = world.run("login").stderr;
    assert!(stderr.contains('█') && stderr.contains('▀'), "{stderr}");
    assert!(stderr.contains("waiting for your approval, 10:00 left"), "{stderr}");
    assert!(stderr.contains("waiting for your approval, 9:59 left"), "{stderr}");
    world.terminal.columns = 30;
    *world.answers.borrow_mut() = [pending(json!({})), signed_in()].into();
    assert!(!world.run("login").stderr.contains('█'));
}

#[test]
fn the_request_says_who_asks_and_whether_a_browser_is_likely() {
    for (env, likely) in [(Env::default(), false), (Env::from_iter([("DISPLAY", ":0")]), true)] {
        let mut world = World::new([signed_in()]);
        world.env = env;
        world.run("login corp --flow device --force --new-session");
        let login = LoginRequest {
            flow: FlowChoice::Device,
            new_session: true,
            force: true,
            browser_likely: likely,
            started_by: StartedBy::Cli,
        };
        let session = SessionQuery::Named("corp".parse().unwrap());
        assert_eq!(*world.asked.borrow(), [Request::Login { session, login }]);
    }
}

#[test]
fn the_browser_is_opened_once_where_somebody_sees_it() {
    for (line, joined, opened) in [("login", false, 1), ("login --no-browser", false, 0), ("login", true, 0)] {
        let mut world = World::new([pending(json!({"joined": joined})), signed_in()]);
        world.env = Env::from_iter([("DISPLAY", ":0")]);
        world.run(line);
        assert_eq!(*world.opened.borrow(), vec![COMPLETE; opened], "{line} {joined}");
    }
}

fn browser_flow(changes: serde_json::Value) -> Answer {
    let mut body = login_state(
        "pending",
        json!({"flow": "browser", "authorization_url": "http://127.0.0.1:4711/abc",
        "verification_uri": null, "verification_uri_complete": null, "user_code": null}),
    );
    let (Some(members), serde_json::Value::Object(changes)) = (body.as_object_mut(), changes) else {
        panic!("objects")
    };
    members.extend(changes);
    Answer::Body(body)
}

#[test]
fn one_line_says_which_flow_it_is_and_why() {
    let first_line = |answer: Answer, env: &[(&str, &str)]| {
        let mut world = World::new([answer, signed_in()]);
        world.env = Env::from_iter(env.iter().copied());
        world.run("login").stderr.lines().next().unwrap().to_owned()
    };
    let ssh = [("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22"), ("DISPLAY", ":0")];
    assert_eq!(first_line(pending(json!({})), &ssh), "Signing in by device code: you are here over SSH.");
    let display = [("DISPLAY", ":0")];
    assert_eq!(
        first_line(browser_flow(json!({})), &display),
        "Signing in with the browser: this machine has a display."
    );
    let by = |who: &str| json!({"flow_chosen_by": who});
    let settings = first_line(pending(by("settings")), &display);
    assert_eq!(settings, "Signing in by device code: config.toml says flow = \"device\" for this session.");
    assert_eq!(first_line(browser_flow(by("request")), &ssh), "Signing in with the browser: as --flow says.");
    assert!(first_line(pending(by("the_stars")), &display).starts_with("To sign in to corp"));
}

#[test]
fn the_local_link_says_where_it_works_and_what_helps_elsewhere() {
    for (env, helps) in [
        (("DISPLAY", ":0"), "another machine. From there: sso-agent login corp --flow device\n"),
        (("SSH_TTY", "/dev/pts/1"), "first run there: ssh -L 4711:127.0.0.1:4711 THIS-HOST\n"),
    ] {
        let mut world = World::new([browser_flow(json!({})), signed_in()]);
        world.env = Env::from_iter([env]);
        (world.terminal.attended, world.terminal.live) = (true, true);
        let stderr = world.run("login").stderr;
        assert!(
            stderr.contains("open this in a browser on this machine:\n\n  http://127.0.0.1:4711/abc\n"),
            "{stderr}"
        );
        assert!(stderr.contains(helps), "{stderr}");
        assert!(!stderr.contains('█'), "a phone cannot open it: {stderr}");
    }
}

#[test]
fn the_sessions_own_browser_is_used_also_where_the_platform_has_none() {
    let command = json!({"browser": ["firefox", "-P", "work"]});
    for (env, opened) in [(("DISPLAY", ":0"), 1), (("container", "podman"), 1), (("SSH_TTY", "x"), 0), (("CI", "1"), 0)]
    {
        let mut world = World::new([pending(command.clone()), signed_in()]);
        world.env = Env::from_iter([env]);
        world.run("login");
        assert_eq!(*world.opened.borrow(), vec![format!("firefox -P work {COMPLETE}"); opened], "{env:?}");
    }
}

#[test]
fn a_signed_in_session_is_left_alone() {
    let world = World::new([signed_in()]);
    let outcome = world.run("login");
    assert_eq!(outcome.stderr, "already signed in to corp until 13:00 (1 h); --force signs in again\n");
    assert_eq!(outcome.exit(), Exit::Success);
}

#[test]
fn ctrl_c_cancels_what_this_command_started() {
    let interrupted = Answer::Interrupted(login_state("pending", json!({})));
    let world = World::new([pending(json!({})), interrupted, Answer::Raw(""), failed("sign_in_cancelled")]);
    let outcome = world.run("login");
    assert_eq!(cancels(&world), [Some(7)]);
    assert_eq!(outcome.exit(), Exit::SignInRequired);
    assert!(outcome.stderr.contains("error: interrupted; the sign-in is cancelled\n"), "{}", outcome.stderr);
}

#[test]
fn ctrl_c_leaves_what_this_command_joined() {
    let joined = login_state("pending", json!({"joined": true}));
    let world = World::new([Answer::Body(joined.clone()), Answer::Interrupted(joined)]);
    let outcome = world.run("login");
    assert!(cancels(&world).is_empty());
    assert_eq!(outcome.exit(), Exit::SignInRequired);
    assert!(outcome.stderr.contains("joined the sign-in that is already pending"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the sign-in it joined goes on"), "{}", outcome.stderr);
}

#[test]
fn an_approval_that_beats_the_cancellation_counts() {
    let interrupted = Answer::Interrupted(login_state("pending", json!({})));
    let world = World::new([pending(json!({})), interrupted, Answer::Raw(""), signed_in()]);
    let outcome = world.run("login --json");
    assert_eq!(outcome.exit(), Exit::Success);
    assert!(
        outcome
            .stdout
            .ends_with("{\"event\":\"signed_in\",\"session\":\"corp\",\"expires_at\":\"2026-11-22T13:00:00Z\"}\n")
    );
}

#[test]
fn a_timeout_cancels_what_was_started_and_leaves_what_was_joined() {
    let own = World::new([pending(json!({})), pending(json!({})), pending(json!({})), Answer::Raw(""), failed("x")]);
    let outcome = own.run("login --timeout 7s");
    assert_eq!(cancels(&own), [Some(7)]);
    assert_eq!(outcome.exit(), Exit::SignInRequired);
    assert!(outcome.stderr.contains("error: not approved within 7 s; the sign-in is cancelled\n"));
    let joined = json!({"joined": true});
    let other = World::new([pending(joined.clone()), pending(joined.clone()), pending(joined)]);
    let outcome = other.run("login --timeout 7s --json");
    assert!(cancels(&other).is_empty());
    assert_eq!(outcome.exit(), Exit::Unavailable);
    assert!(outcome.stdout.lines().last().unwrap().contains("\"code\":\"timeout\""));
}

#[test]
fn a_sign_in_that_was_replaced_or_forgotten_is_over() {
    for (answer, words) in [
        (pending(json!({"attempt": 8})), "another sign-in took the place"),
        (Answer::Body(login_state("idle", json!({}))), "forgotten"),
        (Answer::Body(login_state("daydreaming", json!({}))), "cannot answer"),
    ] {
        let world = World::new([pending(json!({})), answer]);
        let outcome = world.run("login");
        assert!(outcome.result.is_err());
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
        assert!(cancels(&world).is_empty());
    }
}

#[test]
fn replacing_another_sign_in_is_said() {
    let world = World::new([pending(json!({"replaced": true})), signed_in()]);
    assert!(world.run("login").stderr.starts_with("this replaces another sign-in that was pending\n"));
}

#[test]
fn a_link_that_is_none_is_neither_shown_nor_opened_and_the_sign_in_is_cancelled() {
    for link in
        ["http://evil.example/", "https://a@evil.example/", "javascript:alert(1)", "https://x/\x1b]52;c;eA==\x07"]
    {
        let mut world = World::new([pending(json!({"verification_uri_complete": link})), Answer::Raw(""), failed("x")]);
        world.env = Env::from_iter([("DISPLAY", ":0")]);
        let outcome = world.run("login");
        assert_eq!(outcome.exit(), Exit::Internal, "{link}");
        assert!(!outcome.stderr.contains(link) && !outcome.stderr.contains('\x1b'), "{}", outcome.stderr);
        assert!(world.opened.borrow().is_empty());
        assert_eq!(cancels(&world), [Some(7)]);
    }
}

#[test]
fn a_hostile_code_or_message_cannot_steer_the_terminal() {
    let code = json!({"user_code": "A\x1b[2J\nB"});
    let end = login_state("failed", json!({"code": "refused", "message": "no\x1b]52;c;eA==\x07\r\nerror: x"}));
    let world = World::new([pending(code), Answer::Body(end)]);
    let stderr = world.run("login").stderr;
    assert!(!stderr.contains(['\x1b', '\x07', '\r']), "{stderr:?}");
}

#[test]
fn the_wait_goes_on_by_name_whatever_the_profile_comes_to_mean() {
    let mut world = World::new([pending(json!({})), signed_in()]);
    world.env = Env::from_iter([("AWS_PROFILE", "dev")]);
    world.run("login");
    let asked = world.asked.borrow();
    let dev = SessionQuery::OfProfile("dev".parse().unwrap());
    assert!(matches!(&asked[0], Request::Login { session, .. } if *session == dev));
    let corp = SessionQuery::Named("corp".parse().unwrap());
    assert_eq!(asked[1], Request::LoginState { session: corp, wait: Duration::from_secs(5) });
}

#[test]
fn a_script_that_hangs_up_before_the_code_is_told_that_nobody_is_signed_in() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let world = World::new([
        pending(json!({})),
        Answer::Body(json!({})),
        Answer::Body(login_state("failed", json!({"code": "sign_in_cancelled"}))),
    ]);
    let failure = world.run_into("login --json", &mut Closed, &mut Vec::new()).unwrap_err();
    assert_eq!(failure.exit(), Exit::SignInRequired);
    assert_eq!(cancels(&world), [Some(7)]);
}
