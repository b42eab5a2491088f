//! What is printed while somebody watches, from fixed answers.

use serde_json::{Value, json};

use std::time::Duration;

use crate::api::{Code, Request};
use crate::cli::testing::{Answer, Happening, Outcome, World, problem};
use crate::exit::Exit;

fn status(revision: u64, state: &str, expires_at: &str) -> Value {
    json!({
        "version": "0.1.0", "pid": 4711, "started_at": "2026-11-22T09:00:00Z", "revision": revision,
        "socket": "/run/agent.sock", "locked": false, "storage": {"key": "none", "saved": true},
        "sessions": [{
            "session": "corp", "kind": "identity_center", "state": state, "renewable": true, "saved": true,
            "start_url": "https://example.awsapps.com/start", "region": "eu-west-1", "signed_in_at": null,
            "access_token_expires_at": expires_at, "next_refresh_at": null, "last_error": null, "registrations": [],
        }],
        "targets": [], "warnings": [],
    })
}

fn signed_in(revision: u64) -> Answer {
    Answer::Body(status(revision, "signed_in", "2026-11-22T12:59:30Z"))
}

fn ended(revision: u64) -> Answer {
    Answer::Body(status(revision, "ended", "2026-11-22T11:00:00Z"))
}

fn watched(line: &str, answers: Vec<Answer>, happenings: Vec<Happening>) -> (World, Outcome) {
    let mut world = World::new(answers);
    world.terminal.redraws = line.ends_with("screen");
    world.terminal.results = world.terminal.redraws;
    world.happenings.borrow_mut().extend(happenings);
    let outcome = world.run(line.trim_end_matches(" screen"));
    (world, outcome)
}

#[test]
fn without_a_terminal_every_change_is_a_report_of_its_own() {
    let answers = vec![signed_in(3), signed_in(3), ended(4)];
    let happenings = vec![Happening::Answer, Happening::Time(Duration::from_secs(7200)), Happening::Answer];
    let (world, outcome) = watched("status --watch", answers, happenings);
    assert_eq!(outcome.exit(), Exit::Success);
    let reports: Vec<&str> = outcome.stdout.split("SESSION").skip(1).collect();
    assert_eq!(reports.len(), 2, "{}", outcome.stdout);
    assert!(reports[0].contains("signed in") && reports[1].contains("corp     ended"), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains('\x1b'));
    let asked: Vec<Request> = world.watched.borrow().iter().map(|(request, _)| request.clone()).collect();
    let after = |revision| Request::Status { wait: Duration::from_secs(300), after: Some(revision) };
    assert_eq!(asked, [after(3), after(3), after(4)], "time alone asks nobody");
}

#[test]
fn as_json_it_is_one_object_a_line() {
    let happenings = vec![Happening::Answer, Happening::Answer];
    let (_, outcome) = watched("status --watch --json", vec![signed_in(3), signed_in(3), ended(4)], happenings);
    let lines: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let states: Vec<&str> = lines.iter().map(|line| line["sessions"][0]["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["signed_in", "ended"]);
    assert_eq!(outcome.stderr, "");
}

#[test]
fn on_a_terminal_the_words_follow_the_clock_and_the_last_report_stays() {
    let happenings = vec![Happening::Time(Duration::from_secs(3570 + 40)), Happening::Answer];
    let (world, outcome) = watched("status --watch screen", vec![signed_in(3), ended(4)], happenings);
    let text = &outcome.stdout;
    assert!(text.starts_with("\x1b[?1049h\x1b[?25l\x1b[H"), "{text:?}");
    for words in ["59 min left", "58 min left", "1 min left", "59 s left", "1 s left", "expired at 12:59"] {
        assert!(text.contains(words), "{words}");
    }
    // From 59 minutes to one, from 59 seconds to none, what has expired, and the new report.
    assert_eq!(text.matches("\x1b[H").count(), 59 + 60 + 1 + 1, "once for each change of a word");
    let (screen, left) = text.split_once("\x1b[?25h\x1b[?1049l").unwrap();
    assert!(screen.contains("ended") && left.starts_with("SESSION") && left.contains("ended"), "{left:?}");
    assert!(!left.contains('\x1b'));
    assert_eq!(world.watched.borrow().len(), 2, "time alone asks nobody");
}

#[test]
fn a_terminal_of_another_size_or_that_was_away_is_drawn_anew() {
    let happenings = vec![Happening::Size(30, 8), Happening::Suspended];
    let (_, outcome) = watched("status --watch screen", vec![signed_in(3)], happenings);
    let text = &outcome.stdout;
    assert_eq!(text.matches("\x1b[H").count(), 3, "{text:?}");
    assert_eq!((text.matches("\x1b[?1049h").count(), text.matches("\x1b[?1049l").count()), (2, 2));
    let narrow = text.split("\x1b[H").nth(2).unwrap();
    assert!(narrow.starts_with("corp  signed in\x1b[K\r\n"), "{narrow:?}");
    assert!(narrow.contains("more lines"), "{narrow:?}");
}

#[test]
fn an_agent_that_goes_away_is_waited_for() {
    let answers = vec![signed_in(3), Answer::NoAgent, Answer::NoAgent, problem(Code::Busy), signed_in(3)];
    let away = || (0..4).map(|_| Happening::Answer).collect::<Vec<_>>();
    let (world, outcome) = watched("status --watch", answers, away());
    assert_eq!(outcome.exit(), Exit::Success);
    assert_eq!(outcome.stderr, "warning: the agent is not running; waiting for it\n");
    assert_eq!(outcome.stdout.matches("SESSION").count(), 2, "it is back: {}", outcome.stdout);
    let asked = world.watched.borrow();
    let again = (Request::Status { wait: Duration::ZERO, after: None }, Duration::from_secs(1));
    assert_eq!(asked[1..4], [again.clone(), again.clone(), again]);
    assert!(matches!(asked[4].0, Request::Status { after: Some(3), .. }));

    let answers = vec![signed_in(3), Answer::NoAgent, signed_in(3)];
    let (_, outcome) = watched("status --watch screen", answers, vec![Happening::Answer, Happening::Answer]);
    let drawn: Vec<&str> = outcome.stdout.split("\x1b[H").skip(1).collect();
    assert!(drawn[1].starts_with("warning: the agent is not running since 12:00; below is what it told before"));
    assert!(drawn[2].starts_with("SESSION"), "{}", drawn[2]);
}

#[test]
fn a_session_that_goes_out_of_the_configuration_does_not_end_the_watch() {
    let mut without = status(4, "signed_in", "2026-11-22T12:59:30Z");
    without["sessions"] = json!([]);
    let answers = vec![signed_in(3), Answer::Body(without), signed_in(5)];
    let (_, outcome) = watched("status corp --watch", answers, vec![Happening::Answer, Happening::Answer]);
    assert_eq!(outcome.exit(), Exit::Success);
    let told: Vec<bool> =
        outcome.stdout.split("SESSION").skip(1).map(|report| report.contains("not in the configuration")).collect();
    assert_eq!(told, [false, true, false], "{}", outcome.stdout);
}
