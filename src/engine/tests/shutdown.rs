//! The end: everybody answered within two seconds, nothing begun, and what is under way waited for.

use super::*;

fn one_of_each(bench: &mut Bench) -> Vec<WaiterId> {
    vec![
        bench.ask_token(12 * HOUR),
        bench.ask_refresh(false),
        bench.ask_role("Dev"),
        bench.ask(credentials("Ops", Some(HOUR), Some(seconds(300)))),
        bench.ask(Request::Accounts { session: SessionQuery::Only }),
        bench.ask(Request::LoginState { session: SessionQuery::Only, wait: seconds(30) }),
        bench.ask(Request::Reload),
    ]
}

#[test]
fn everybody_is_answered_within_two_seconds_and_nothing_new_begins() {
    let mut bench = Bench::signed_in();
    bench.advance(20 * MINUTE);
    bench.login(LoginRequest { force: true, ..by(StartedBy::Cli) });
    one_of_each(&mut bench);
    let revision = bench.status().revision;
    bench.ask(Request::Status { wait: seconds(300), after: Some(revision) });
    bench.handle(Event::Stop);
    let made = bench.made.clone();
    bench.advance(seconds(2));
    assert!(bench.waiting.is_empty(), "{:?}", bench.waiting);
    assert_eq!(bench.made, made);
    let Some(up) = bench.flying("RegisterClient").first().cloned() else { panic!() };
    bench.reply_to(&up, Ok(Answer::Registered(registration())));
    for up in bench.flying("GetRoleCredentials") {
        bench.reply_to(&up, unauthorized());
    }
    bench.advance(HOUR);
    assert_eq!(bench.made, made, "no step follows");
    for waiter in one_of_each(&mut bench) {
        assert_eq!(bench.problem(waiter).code, Code::ShuttingDown);
    }
    let waiter = bench.ask(Request::Health);
    assert!(bench.answer(waiter).is_ok());
}

#[test]
fn a_refresh_under_way_and_its_save_are_waited_for() {
    let mut bench = Bench::signed_in();
    bench.advance_to_refresh();
    assert!(!bench.state.is_settled());
    bench.handle(Event::Stop);
    bench.handle(Event::Stop);
    bench.advance(seconds(10));
    assert!(!bench.state.is_settled());
    bench.hold_writes = true;
    bench.reply_refresh(fresh(2));
    assert!(!bench.state.is_settled(), "not on disk yet");
    bench.release_writes();
    assert!(bench.state.is_settled());
    assert_eq!(bench.tokens_on_disk().unwrap().tokens.refresh_token, Some(secret("refresh-2")));
}

#[test]
fn a_refresh_that_was_only_marked_is_not_sent_and_the_mark_goes() {
    let mut bench = Bench::signed_in();
    bench.hold_writes = true;
    while bench.writes.is_empty() {
        bench.advance_to_next();
    }
    bench.handle(Event::Stop);
    bench.release_writes();
    assert!(bench.state.is_settled());
    assert_eq!(bench.refreshes(), 0);
    assert_eq!(bench.tokens_on_disk().unwrap().refresh_sent_at, None);
}

#[test]
fn a_sign_in_that_is_being_saved_is_waited_for() {
    let mut bench = Bench::new(vec![Record::Client(client())]);
    bench.login(by(StartedBy::Cli));
    bench.reply("StartDeviceAuthorization", device());
    bench.advance(seconds(1));
    bench.hold_writes = true;
    bench.reply("CreateToken (device code)", fresh(1));
    bench.handle(Event::Stop);
    assert!(!bench.state.is_settled());
    bench.release_writes();
    assert!(bench.state.is_settled() && bench.tokens_on_disk().is_some());
}

#[test]
fn a_sign_out_is_waited_for_but_no_longer_than_anybody() {
    let mut bench = Bench::signed_in();
    let waiter = bench.logout();
    bench.handle(Event::Stop);
    assert!(!bench.state.is_settled());
    bench.advance(seconds(2));
    assert!(bench.state.is_settled() && !bench.is_waiting(waiter));
    assert_eq!(bench.tokens_on_disk(), None);
}

#[test]
fn what_could_not_be_saved_is_tried_once_more_at_the_end() {
    let mut bench = Bench::signed_in();
    bench.advance_to_refresh();
    bench.fail_writes = true;
    bench.reply_refresh(fresh(2));
    assert!(!bench.session().saved);
    bench.fail_writes = false;
    bench.handle(Event::Stop);
    assert!(bench.state.is_settled());
    assert_eq!(bench.tokens_on_disk().unwrap().tokens.refresh_token, Some(secret("refresh-2")));
}

#[test]
fn what_is_valid_is_served_to_the_last() {
    let mut bench = Bench::signed_in();
    bench.advance_to_refresh();
    let waiter = bench.ask_token(HOUR);
    bench.handle(Event::Stop);
    bench.advance(seconds(2));
    assert_eq!(bench.access_token(waiter), secret("access-1"));
}

#[test]
fn an_agent_that_stops_has_nothing_to_wake_up_for_but_its_last_callers() {
    let mut bench = Bench::signed_in();
    bench.ask_role("Dev");
    bench.handle(Event::Stop);
    bench.advance(seconds(3));
    let mut ticks = 0;
    while let Some(wait) = bench.next_wait().filter(|_| ticks < 100) {
        assert!(!wait.is_zero());
        bench.advance_to_next();
        ticks += 1;
    }
    assert!(ticks < 5, "{ticks}");
}
