//! Sign-ins that a request starts: one, told once, and silence after one that nobody wanted (issue 4, attacks 15).

use super::*;
use crate::api::{LoginState, SessionState};
use crate::settings::SignInMode;

const POLL: &str = "CreateToken (device code)";

fn on_demand() -> Configuration {
    let mut configuration = configuration();
    let settings = SessionSettings { sign_in: SignInMode::OnDemand, ..SessionSettings::default() };
    configuration.settings.sessions.insert(corp(), settings);
    configuration
}

fn bench() -> Bench {
    Bench::configured(on_demand(), vec![Record::Client(client())])
}

fn want(bench: &mut Bench) -> WaiterId {
    bench.ask(credentials("ReadOnly", None, Some(seconds(60))))
}

/// A request that has started a sign-in, which waits for approval.
fn waiting() -> (Bench, WaiterId) {
    let mut bench = bench();
    let waiter = want(&mut bench);
    bench.reply("StartDeviceAuthorization", device());
    (bench, waiter)
}

fn answer_polls(bench: &mut Bench, answer: fn() -> Result<Answer, Failure>) {
    while bench.login_state().state == LoginState::Pending {
        if bench.flying(POLL).is_empty() {
            bench.advance_to_next();
        } else {
            bench.reply(POLL, answer());
        }
    }
}

/// The code runs out without anybody having approved it.
fn run_out(bench: &mut Bench) {
    answer_polls(bench, || refused(ErrorName::AuthorizationPending));
    assert_eq!(bench.login_state().code, Some(Code::SignInExpired));
}

fn cancel(bench: &mut Bench) {
    bench.ask(Request::CancelLogin { session: SessionQuery::Only, attempt: None });
}

fn starts(bench: &Bench) -> usize {
    bench.made("StartDeviceAuthorization")
}

fn wanted(bench: &Bench) -> usize {
    bench.notices.iter().filter(|notice| matches!(notice.news, News::SignInWanted { .. })).count()
}

/// The same house after a crash.
fn restart(bench: &mut Bench) {
    let records = bench.disk.values().cloned().collect();
    let mut next = Bench::configured(on_demand(), Vec::new());
    (next.wall, next.mono, next.disk) = (bench.wall, bench.mono, std::mem::take(&mut bench.disk));
    next.state = State::new(agent(), on_demand(), records, Vec::new(), next.now());
    *bench = next;
}

#[test]
fn without_the_setting_no_request_starts_a_sign_in() {
    let mut bench = Bench::new(vec![Record::Client(client())]);
    let waiters = [
        want(&mut bench),
        bench.ask(Request::Token {
            session: SessionQuery::Only,
            min_validity: Duration::ZERO,
            kind: TokenKind::Access,
        }),
        bench.ask(Request::Accounts { session: SessionQuery::Only }),
    ];
    for waiter in waiters {
        assert_eq!(bench.problem(waiter).code, Code::SignInRequired);
    }
    assert!(bench.calls.is_empty() && bench.notices.is_empty());
    assert_eq!(bench.session().state, SessionState::SignedOut);
}

#[test]
fn a_hundred_callers_of_many_kinds_start_one_and_are_told_of_once() {
    let mut bench = bench();
    let mut waiters: Vec<WaiterId> = (0..100)
        .map(|number| bench.ask(credentials(&format!("Role{}", number % 7), None, Some(seconds(60)))))
        .collect();
    let accounts = bench.ask(Request::Accounts { session: SessionQuery::Only });
    let token = bench.ask(Request::Token {
        session: SessionQuery::Only,
        min_validity: Duration::ZERO,
        kind: TokenKind::Access,
    });
    assert_eq!(starts(&bench), 1);
    bench.reply("StartDeviceAuthorization", device());
    waiters.push(want(&mut bench));
    assert_eq!((starts(&bench), wanted(&bench)), (1, 1));
    let notification = bench.notices[0].clone().notification().unwrap();
    assert!(notification.body.contains("sso-agent login corp"), "{notification:?}");
    assert!(!format!("{} {}", notification.title, notification.body).contains("ABCD"), "no code: {notification:?}");
    assert!(notification.button.unwrap().link.ends_with("?user_code=ABCD-EFGH"));
    answer_polls(&mut bench, || fresh(1));
    let end = bench.now().wall.after(HOUR);
    while let Some(call) = bench.calls.iter().find(|call| call.call.operation() == "GetRoleCredentials").cloned() {
        bench.reply_to(&call, role_keys("ASIAEXAMPLE00000", end));
    }
    bench.reply("ListAccounts", Ok(Answer::Accounts(Vec::new())));
    for waiter in waiters.into_iter().chain([accounts, token]) {
        assert!(matches!(bench.answers.get(&waiter), Some(Ok(_))), "{waiter:?}: {:?}", bench.answers.get(&waiter));
    }
    assert_eq!(bench.notices.last().unwrap().news, News::Over);
}

#[test]
fn a_caller_that_has_waited_long_enough_is_told_that_a_sign_in_waits_and_that_lives_on() {
    let (mut bench, waiter) = waiting();
    while bench.is_waiting(waiter) {
        if bench.flying(POLL).is_empty() {
            bench.advance_to_next();
        } else {
            bench.reply(POLL, refused(ErrorName::AuthorizationPending));
        }
    }
    let problem = bench.problem(waiter);
    assert_eq!(problem.code, Code::SignInRequired);
    assert!(problem.to_string().contains("waiting for you"), "{problem}");
    assert_eq!(problem.hint.as_deref(), Some("run: sso-agent login corp"));
    assert_eq!(bench.login_state().state, LoginState::Pending);
}

#[test]
fn a_valid_set_is_served_without_a_sign_in_however_much_more_is_wanted() {
    let mut bench = Bench::configured(on_demand(), vec![Record::Tokens(tokens()), Record::Client(client())]);
    let first = want(&mut bench);
    let end = bench.now().wall.after(3 * HOUR);
    bench.reply("GetRoleCredentials", role_keys("ASIAEXAMPLE00000", end));
    assert!(bench.answers[&first].is_ok());
    // The session is over, the set is not.
    bench.advance(seconds(45 * 60));
    bench.reply("CreateToken (refresh token)", refused(ErrorName::InvalidGrant));
    bench.advance(seconds(20 * 60));
    let eager = bench.ask(credentials("ReadOnly", Some(3 * HOUR), Some(seconds(60))));
    assert!(bench.answers[&eager].is_ok());
    assert_eq!(starts(&bench), 0);
}

#[test]
fn a_person_who_signs_in_at_a_terminal_replaces_it_and_everybody_who_waits_is_served() {
    let (mut bench, waiter) = waiting();
    let person = bench.login(by(StartedBy::Cli));
    bench.reply("StartDeviceAuthorization", device());
    assert!(bench.login_status(person).replaced);
    assert!(bench.is_waiting(waiter));
    assert_eq!(bench.notices.last().unwrap().news, News::Over, "the page that was offered is no more");
    answer_polls(&mut bench, || fresh(1));
    let end = bench.now().wall.after(HOUR);
    bench.reply("GetRoleCredentials", role_keys("ASIAEXAMPLE00000", end));
    assert!(bench.answers[&waiter].is_ok());
    assert_eq!(bench.client_on_disk().unwrap().quiet, None);
}

#[test]
fn after_one_that_was_cancelled_denied_or_ran_out_there_is_silence_that_a_restart_does_not_end() {
    type End = fn(&mut Bench);
    let ends: [(&str, End); 4] = [
        ("cancelled", cancel),
        ("denied", |bench| answer_polls(bench, || refused(ErrorName::AccessDenied))),
        ("ran out", run_out),
        ("signed out", |bench| {
            bench.logout();
        }),
    ];
    for (what, end) in ends {
        let (mut bench, waiter) = waiting();
        end(&mut bench);
        assert_eq!(bench.problem(waiter).code, Code::SignInRequired, "{what}");
        let asked = want(&mut bench);
        let problem = bench.problem(asked);
        assert!(problem.to_string().contains("no other is started by itself before"), "{what}: {problem}");
        assert!(bench.session().sign_in_quiet_until.is_some(), "{what}");
        assert_eq!((starts(&bench), wanted(&bench)), (1, 1), "{what}");
        restart(&mut bench);
        let asked = want(&mut bench);
        assert_eq!(bench.problem(asked).code, Code::SignInRequired, "{what}");
        assert_eq!((starts(&bench), wanted(&bench)), (0, 0), "{what}");
        bench.advance(seconds(1200));
        want(&mut bench);
        assert_eq!(starts(&bench), 1, "{what}: the silence has an end");
    }
}

#[test]
fn a_crash_while_one_waits_is_no_reason_to_ask_again_at_once() {
    let (mut bench, _) = waiting();
    restart(&mut bench);
    let asked = want(&mut bench);
    assert_eq!(bench.problem(asked).code, Code::SignInRequired);
    assert_eq!(starts(&bench), 0);
}

#[test]
fn the_silence_grows_so_that_a_night_of_requests_is_not_a_night_of_notifications() {
    let mut bench = bench();
    let day = bench.mono + 24 * HOUR;
    while bench.mono < day {
        if bench.waiting.is_empty() {
            want(&mut bench);
        }
        if !bench.flying("StartDeviceAuthorization").is_empty() {
            bench.reply("StartDeviceAuthorization", device());
        } else if bench.flying(POLL).is_empty() {
            bench.advance(seconds(30));
        } else {
            bench.reply(POLL, refused(ErrorName::AuthorizationPending));
        }
    }
    assert!((5..=12).contains(&wanted(&bench)), "{}", wanted(&bench));
    // A person ends it.
    bench.login(by(StartedBy::Cli));
    assert_eq!(bench.client_on_disk().unwrap().quiet, None);
}

#[test]
fn one_that_never_reached_the_user_is_tried_again_soon_and_shows_nothing() {
    let mut bench = bench();
    let waiter = want(&mut bench);
    bench.reply(
        "StartDeviceAuthorization",
        Err(Failure::NotProcessed { status: 500, throttled: false, retry_after: None }),
    );
    assert_eq!(bench.problem(waiter).code, Code::SignInRequired);
    assert!(bench.notices.is_empty());
    let asked = want(&mut bench);
    assert_eq!(bench.problem(asked).code, Code::SignInRequired);
    bench.advance(seconds(61));
    want(&mut bench);
    assert_eq!(starts(&bench), 2);
    bench.reply("StartDeviceAuthorization", device());
    assert_eq!(wanted(&bench), 1);
}

#[test]
fn a_sign_in_that_succeeds_ends_the_count() {
    let (mut bench, _) = waiting();
    answer_polls(&mut bench, || fresh(1));
    let client = bench.client_on_disk().unwrap();
    assert_eq!((client.quiet, client.program_sign_ins.len()), (None, 1));
    assert_eq!(bench.session().sign_in_quiet_until, None);
}

#[test]
fn a_silence_of_a_clock_that_was_set_back_means_nothing() {
    let (mut bench, _) = waiting();
    cancel(&mut bench);
    bench.jump(-90_000_000, Duration::from_secs(1));
    want(&mut bench);
    assert_eq!(starts(&bench), 2);
}

#[test]
fn who_watches_sees_the_end_of_the_silence() {
    let (mut bench, _) = waiting();
    cancel(&mut bench);
    let status = bench.status();
    let until = status.sessions[0].sign_in_quiet_until.expect("there is silence");
    let watcher = bench.ask(Request::Status { wait: 4 * HOUR, after: Some(status.revision) });
    while bench.is_waiting(watcher) && bench.now().wall < until.after(MINUTE) {
        bench.advance_to_next();
    }
    assert!(!bench.is_waiting(watcher), "nobody said that it is over");
    assert!(bench.now().wall < until.after(seconds(5)));
    assert_eq!(bench.session().sign_in_quiet_until, None);
}
