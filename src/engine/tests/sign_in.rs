//! The sign-in by device code, who may start and join it, and its end (design 3.1 and 3.4, attacks 15).

use super::*;
use crate::api::{LoginState, SessionState};

const POLL: &str = "CreateToken (device code)";

/// A person's sign-in that waits for approval: registered, authorized, not polled yet.
fn polling() -> (Bench, WaiterId) {
    let mut bench = Bench::new(Vec::new());
    let waiter = bench.login(by(StartedBy::Cli));
    bench.reply("RegisterClient", Ok(Answer::Registered(registration())));
    bench.reply("StartDeviceAuthorization", device());
    (bench, waiter)
}

fn advance_to_poll(bench: &mut Bench) -> Duration {
    let before = bench.mono;
    while bench.flying(POLL).is_empty() {
        bench.advance_to_next();
    }
    bench.mono - before
}

fn pending() -> Result<Answer, Failure> {
    refused(ErrorName::AuthorizationPending)
}

#[test]
fn a_sign_in_registers_authorizes_polls_saves_and_is_over() {
    let (mut bench, waiter) = polling();
    let status = bench.login_status(waiter);
    assert_eq!((status.state, status.flow.as_deref()), (LoginState::Pending, Some("device")));
    assert_eq!(status.user_code, Some(Untrusted::new("ABCD-EFGH")));
    assert_eq!(bench.session().state, SessionState::Pending);
    let watcher = bench.ask(Request::LoginState { session: SessionQuery::Only, wait: seconds(30) });
    advance_to_poll(&mut bench);
    bench.reply(POLL, pending());
    advance_to_poll(&mut bench);
    bench.hold_writes = true;
    bench.reply(POLL, fresh(1));
    assert!(bench.is_waiting(watcher), "not before it is on disk");
    bench.release_writes();
    assert_eq!(bench.login_status(watcher).state, LoginState::SignedIn);
    assert_eq!(bench.session().state, SessionState::SignedIn);
    assert_eq!(bench.tokens_on_disk().unwrap().tokens.refresh_token, Some(secret("refresh-1")));
    assert_eq!(bench.client_on_disk().unwrap().registrations, [registration()]);
}

#[test]
fn the_registration_asks_for_scopes_and_names_the_machine() {
    let mut bench = Bench::new(Vec::new());
    bench.login(by(StartedBy::Cli));
    let Call::RegisterClient { client_name, scopes, flow, .. } = bench.open("RegisterClient").call else { panic!() };
    assert_eq!((client_name.as_str(), flow), ("sso-agent user@host", Flow::Device));
    assert_eq!(scopes, ["sso:account:access"]);
}

#[test]
fn it_sleeps_before_the_first_poll_and_between_polls() {
    let (mut bench, _) = polling();
    assert_eq!(bench.made(POLL), 0);
    for _ in 0..3 {
        assert_eq!(advance_to_poll(&mut bench), seconds(1));
        bench.reply(POLL, pending());
    }
}

#[test]
fn slow_down_means_five_seconds_more_for_good() {
    let (mut bench, _) = polling();
    advance_to_poll(&mut bench);
    for (index, slow_down) in [refused(ErrorName::SlowDown), throttled(None)].into_iter().enumerate() {
        bench.reply(POLL, slow_down);
        for _ in 0..2 {
            assert_eq!(advance_to_poll(&mut bench), seconds(6 + 5 * index as u64));
            if bench.made(POLL) % 2 == 0 {
                bench.reply(POLL, pending());
            }
        }
    }
}

#[test]
fn transient_errors_keep_polling_and_never_faster_than_the_interval() {
    let (mut bench, _) = polling();
    for _ in 0..8 {
        advance_to_poll(&mut bench);
        bench.reply(POLL, refused(ErrorName::SlowDown));
    }
    for result in [lost(), not_sent(), Err(Failure::Unknown(Unclear::ServerError(500))), Ok(Answer::LoggedOut)] {
        assert!(advance_to_poll(&mut bench) >= seconds(41));
        bench.reply(POLL, result);
    }
    advance_to_poll(&mut bench);
    bench.reply(POLL, fresh(1));
    assert_eq!(bench.session().state, SessionState::SignedIn);
}

#[test]
fn an_interval_of_nothing_is_still_a_pause() {
    let mut bench = Bench::new(vec![Record::Client(client())]);
    bench.login(by(StartedBy::Cli));
    let Ok(Answer::DeviceAuthorization(authorization)) = device() else { panic!() };
    let authorization = DeviceAuthorization { interval: Duration::ZERO, ..authorization };
    bench.reply("StartDeviceAuthorization", Ok(Answer::DeviceAuthorization(authorization)));
    assert_eq!(advance_to_poll(&mut bench), seconds(1));
}

#[test]
fn a_code_that_nobody_approves_expires() {
    let (mut bench, _) = polling();
    while bench.login_state().state == LoginState::Pending {
        if bench.flying(POLL).is_empty() {
            bench.advance_to_next();
        } else {
            bench.reply(POLL, pending());
        }
    }
    assert_eq!(bench.login_state().code, Some(Code::SignInExpired));
    let (mut bench, _) = polling();
    advance_to_poll(&mut bench);
    bench.reply(POLL, refused(ErrorName::ExpiredToken));
    assert_eq!(bench.login_state().code, Some(Code::SignInExpired));
    let polled = bench.made(POLL);
    bench.advance(HOUR);
    assert_eq!(bench.made(POLL), polled);
}

#[test]
fn a_denied_sign_in_is_over() {
    let (mut bench, _) = polling();
    let watcher = bench.ask(Request::LoginState { session: SessionQuery::Only, wait: seconds(30) });
    advance_to_poll(&mut bench);
    bench.reply(POLL, refused(ErrorName::AccessDenied));
    let status = bench.login_status(watcher);
    assert_eq!((status.state, status.code), (LoginState::Failed, Some(Code::SignInDenied)));
    assert_eq!(bench.session().state, SessionState::SignedOut);
}

#[test]
fn a_cancelled_sign_in_stays_cancelled_even_when_the_approval_comes_late() {
    let (mut bench, waiter) = polling();
    let number = bench.login_status(waiter).attempt;
    advance_to_poll(&mut bench);
    let up = bench.open(POLL);
    let other = Request::CancelLogin { session: SessionQuery::Only, attempt: number.map(|number| number + 1) };
    bench.ask(other);
    assert_eq!(bench.login_state().state, LoginState::Pending, "that was another one");
    bench.ask(Request::CancelLogin { session: SessionQuery::Only, attempt: number });
    bench.reply_to(&up, fresh(1));
    assert_eq!(bench.login_state().code, Some(Code::SignInCancelled));
    assert_eq!((bench.session().state, bench.tokens_on_disk()), (SessionState::SignedOut, None));
}

#[test]
fn a_failure_before_the_code_is_known_is_the_answer_to_the_request() {
    let mut bench = Bench::new(Vec::new());
    let waiter = bench.login(by(StartedBy::Cli));
    bench.reply("RegisterClient", not_sent());
    assert_eq!(bench.problem(waiter).code, Code::Unavailable);
    let waiter = bench.login(by(StartedBy::Cli));
    bench.advance(seconds(46));
    assert_eq!(bench.problem(waiter).code, Code::Timeout);
}

#[test]
fn a_client_the_service_has_forgotten_is_registered_again_once() {
    let mut bench = Bench::new(vec![Record::Client(client())]);
    let waiter = bench.login(by(StartedBy::Cli));
    assert_eq!(bench.made("RegisterClient"), 0, "the registration is reused");
    bench.reply("StartDeviceAuthorization", refused(ErrorName::InvalidClient));
    let second = ClientRegistration { client_id: "client-2".to_owned(), ..registration() };
    bench.reply("RegisterClient", Ok(Answer::Registered(second)));
    bench.reply("StartDeviceAuthorization", refused(ErrorName::InvalidClient));
    assert_eq!(bench.problem(waiter).code, Code::Refused);
    assert_eq!((bench.made("RegisterClient"), bench.made("StartDeviceAuthorization")), (1, 2));
}

#[test]
fn a_client_that_may_not_sign_in_any_more_is_registered_again_too() {
    let mut bench = Bench::new(vec![Record::Client(client())]);
    let waiter = bench.login(by(StartedBy::Cli));
    bench.reply("StartDeviceAuthorization", refused(ErrorName::UnauthorizedClient));
    let second = ClientRegistration { client_id: "client-2".to_owned(), ..registration() };
    bench.reply("RegisterClient", Ok(Answer::Registered(second)));
    bench.reply("StartDeviceAuthorization", device());
    assert_eq!(bench.login_status(waiter).state, LoginState::Pending);
}

#[test]
fn a_client_that_is_refused_while_polling_is_not_used_for_the_next_sign_in() {
    let (mut bench, _) = polling();
    advance_to_poll(&mut bench);
    bench.reply(POLL, refused(ErrorName::InvalidClient));
    assert_eq!(bench.login_state().code, Some(Code::Refused));
    bench.login(by(StartedBy::Cli));
    assert_eq!(bench.made("RegisterClient"), 2);
}

#[test]
fn a_registration_is_reused_while_it_serves_and_renewed_when_it_does_not() {
    let serves = |change: fn(&mut ClientRecord)| {
        let mut client = client();
        change(&mut client);
        let mut bench = Bench::new(vec![Record::Client(client)]);
        bench.login(by(StartedBy::Cli));
        bench.made("RegisterClient") == 0
    };
    assert!(serves(|_| ()));
    assert!(!serves(|client| client.registrations[0].scopes = vec!["other".to_owned()]));
    assert!(!serves(|client| client.registrations[0].flow = Flow::Browser));
    assert!(!serves(|client| {
        client.registrations[0].issued_at = Timestamp::from_millis(START).before(84 * DAY);
        client.registrations[0].expires_at = Timestamp::from_millis(START).after(6 * DAY);
    }));
    assert!(!serves(|client| client.origin.oidc = "http://localhost:4566".parse().unwrap()), "made elsewhere");
    assert!(!serves(|client| {
        client.registrations[0].issued_at = Timestamp::from_millis(START).before(60 * DAY);
        client.registrations[0].expires_at = Timestamp::from_millis(START).after(30 * DAY);
        client.longest_session = 31 * DAY;
    }));
}

#[test]
fn a_renewed_registration_leaves_the_one_the_refresh_token_depends_on_with_the_tokens() {
    let mut record = tokens();
    record.tokens.registration.expires_at = Timestamp::from_millis(START).after(HOUR);
    record.tokens.registration.issued_at = Timestamp::from_millis(START).before(10 * DAY);
    let old = record.tokens.registration.clone();
    let mut bench = Bench::new(vec![
        Record::Tokens(record),
        Record::Client(ClientRecord { registrations: vec![old.clone()], ..client() }),
    ]);
    bench.login(LoginRequest { force: true, ..by(StartedBy::Cli) });
    let new = ClientRegistration { client_id: "client-2".to_owned(), ..registration() };
    bench.reply("RegisterClient", Ok(Answer::Registered(new.clone())));
    assert_eq!(bench.client_on_disk().unwrap().registrations, [new]);
    bench.ask(Request::CancelLogin { session: SessionQuery::Only, attempt: None });
    bench.advance_to_refresh();
    let call = bench.open("CreateToken (refresh token)").call;
    let Call::CreateTokenFromRefreshToken { registration, .. } = call else { panic!() };
    assert_eq!(registration.for_sending_to(&oidc()), Ok(&old));
}

#[test]
fn who_is_signed_in_and_renewable_is_not_signed_in_again() {
    let mut bench = Bench::signed_in();
    let waiter = bench.login(by(StartedBy::Cli));
    assert_eq!(bench.login_status(waiter).state, LoginState::SignedIn);
    assert!(bench.calls.is_empty());
    bench.login(LoginRequest { force: true, ..by(StartedBy::Cli) });
    assert_eq!(bench.calls.len(), 1);
}

#[test]
fn who_has_no_token_and_is_refused_a_fresh_one_can_sign_in_again() {
    for (failure, starts) in [
        (refused(ErrorName::UnauthorizedClient), true),
        (lost(), true),
        // That ends by itself.
        (not_sent(), false),
    ] {
        let mut bench = Bench::signed_in();
        bench.advance_to_refresh();
        bench.reply_refresh(failure.clone());
        while !bench.remaining().is_zero() {
            bench.advance_to_next();
            if !bench.flying("CreateToken (refresh token)").is_empty() {
                bench.reply_refresh(failure.clone());
            }
        }
        bench.login(by(StartedBy::Cli));
        assert_eq!(bench.made("RegisterClient") == 1, starts, "{failure:?}");
    }
}

#[test]
fn a_program_joins_what_is_pending() {
    let (mut bench, first) = polling();
    let second = bench.login(by(StartedBy::Program));
    let (first, second) = (bench.login_status(first), bench.login_status(second));
    assert!(second.joined && !second.replaced && !first.joined);
    assert_eq!(first.attempt, second.attempt);
    assert_eq!(bench.made("StartDeviceAuthorization"), 1);
}

#[test]
fn a_person_joins_a_persons_sign_in_for_two_minutes_and_then_replaces_it() {
    let (mut bench, _) = polling();
    let joined = bench.login(by(StartedBy::Cli));
    assert!(bench.login_status(joined).joined);
    bench.advance(2 * MINUTE);
    let watcher = bench.ask(Request::LoginState { session: SessionQuery::Only, wait: seconds(30) });
    let replacing = bench.login(by(StartedBy::Cli));
    assert_eq!(bench.login_status(watcher).code, Some(Code::SignInCancelled));
    bench.reply("StartDeviceAuthorization", device());
    let status = bench.login_status(replacing);
    assert!(status.replaced && !status.joined);
}

#[test]
fn a_person_replaces_what_a_program_has_started() {
    let mut bench = Bench::new(vec![Record::Client(client())]);
    let program = bench.login(by(StartedBy::Program));
    bench.reply("StartDeviceAuthorization", device());
    assert_eq!(bench.login_status(program).started_by, Some(StartedBy::Program));
    let person = bench.login(by(StartedBy::Cli));
    bench.reply("StartDeviceAuthorization", device());
    assert!(bench.login_status(person).replaced);
}

#[test]
fn programs_may_start_three_sign_ins_in_ten_minutes_also_across_a_restart() {
    let mut bench = Bench::new(vec![Record::Client(client())]);
    for _ in 0..3 {
        bench.login(by(StartedBy::Program));
        bench.reply("StartDeviceAuthorization", device());
        bench.ask(Request::CancelLogin { session: SessionQuery::Only, attempt: None });
        bench.advance(MINUTE);
    }
    bench.restart();
    let waiter = bench.login(by(StartedBy::Program));
    let problem = bench.problem(waiter);
    assert_eq!((problem.code, problem.retry_after), (Code::Busy, Some(7 * 60)), "{problem}");
    let person = bench.login(by(StartedBy::Cli));
    assert!(bench.is_waiting(person), "a person may");
    bench.ask(Request::CancelLogin { session: SessionQuery::Only, attempt: None });
    bench.advance(7 * MINUTE);
    let waiter = bench.login(by(StartedBy::Program));
    assert!(bench.is_waiting(waiter));
}

#[test]
fn a_clock_that_is_set_back_does_not_lock_programs_out() {
    let mut record = client();
    record.program_sign_ins = vec![Timestamp::from_millis(START).after(365 * DAY); 3];
    let mut bench = Bench::new(vec![Record::Client(record)]);
    let waiter = bench.login(by(StartedBy::Program));
    assert!(bench.is_waiting(waiter));
}

#[test]
fn a_new_session_ends_the_old_one_at_the_portal_first_and_keeps_role_credentials() {
    let mut bench = Bench::new(vec![Record::Tokens(tokens()), Record::Client(client())]);
    bench.ask_role("Dev");
    let until = bench.now().wall.after(HOUR);
    bench.reply("GetRoleCredentials", role_keys("ROLEKEY1", until));
    bench.login(LoginRequest { new_session: true, ..by(StartedBy::Cli) });
    assert_eq!((bench.made("Logout"), bench.made("StartDeviceAuthorization")), (1, 0));
    bench.reply("Logout", Ok(Answer::LoggedOut));
    assert_eq!(bench.made("StartDeviceAuthorization"), 1);
    assert_eq!(bench.tokens_on_disk(), None);
    let waiter = bench.ask_role("Dev");
    assert_eq!(bench.access_key(waiter), "ROLEKEY1");
}

#[test]
fn a_new_session_whose_old_one_cannot_be_ended_is_no_new_session() {
    for (result, goes_on) in [(not_sent(), false), (unauthorized(), true)] {
        let mut bench = Bench::new(vec![Record::Tokens(tokens()), Record::Client(client())]);
        let waiter = bench.login(LoginRequest { new_session: true, ..by(StartedBy::Cli) });
        bench.reply("Logout", result);
        assert_eq!(bench.is_waiting(waiter), goes_on);
        assert_eq!(bench.tokens_on_disk().is_none(), goes_on);
    }
}

#[test]
fn a_sign_in_that_cannot_be_saved_is_served_from_memory() {
    let (mut bench, _) = polling();
    advance_to_poll(&mut bench);
    bench.fail_writes = true;
    bench.reply(POLL, fresh(1));
    assert_eq!((bench.session().state, bench.session().saved), (SessionState::SignedIn, false));
    bench.fail_writes = false;
    bench.advance(seconds(31));
    assert!(bench.session().saved && bench.tokens_on_disk().is_some());
}

#[test]
fn a_refresh_of_the_old_tokens_that_ends_while_the_new_ones_are_saved_does_not_land_over_them() {
    let mut bench = Bench::new(vec![Record::Tokens(tokens()), Record::Client(client())]);
    bench.login(LoginRequest { force: true, ..by(StartedBy::Cli) });
    bench.reply("StartDeviceAuthorization", device());
    bench.ask_refresh(false);
    bench.advance(MINUTE);
    bench.ask_refresh(false);
    let refresh = bench.open("CreateToken (refresh token)");
    bench.hold_writes = true;
    bench.reply(POLL, fresh(10));
    bench.reply_to(&refresh, fresh(2));
    bench.release_writes();
    assert_eq!(bench.tokens_on_disk().unwrap().tokens.refresh_token, Some(secret("refresh-10")));
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.access_token(waiter), secret("access-10"));
    bench.advance_to_refresh();
    assert!(bench.presents("refresh-10"));
}

#[test]
fn a_sign_in_that_is_being_saved_is_joined_and_not_replaced() {
    let (mut bench, _) = polling();
    bench.advance(3 * MINUTE);
    bench.hold_writes = true;
    bench.reply(POLL, fresh(1));
    let waiter = bench.login(LoginRequest { force: true, ..by(StartedBy::Cli) });
    assert!(bench.login_status(waiter).joined);
    bench.release_writes();
    assert_eq!(bench.login_state().state, LoginState::SignedIn);
    assert_eq!(bench.tokens_on_disk().unwrap().tokens.refresh_token, Some(secret("refresh-1")));
}

#[test]
fn a_sign_out_while_the_tokens_are_being_saved_ends_the_sign_in_and_leaves_nothing() {
    let (mut bench, _) = polling();
    let watcher = bench.ask(Request::LoginState { session: SessionQuery::Only, wait: seconds(30) });
    advance_to_poll(&mut bench);
    bench.hold_writes = true;
    bench.reply(POLL, fresh(1));
    let waiter = bench.logout();
    bench.reply("Logout", Ok(Answer::LoggedOut));
    bench.release_writes();
    assert_eq!(bench.login_status(watcher).code, Some(Code::SignInCancelled));
    assert!(bench.answer(waiter).is_ok());
    assert_eq!((bench.session().state, bench.tokens_on_disk()), (SessionState::SignedOut, None));
    let again = bench.login(by(StartedBy::Program));
    assert!(bench.is_waiting(again));
    assert_eq!(bench.made("StartDeviceAuthorization"), 2, "a new one, not the stuck one");
}

#[test]
fn a_sign_out_tells_the_portal_and_leaves_nothing_whatever_it_says() {
    for (result, revoked) in [(Ok(Answer::LoggedOut), true), (not_sent(), false), (unauthorized(), false)] {
        let mut bench = Bench::new(vec![Record::Tokens(tokens()), Record::Client(client())]);
        bench.ask_role("Dev");
        let until = bench.now().wall.after(HOUR);
        bench.reply("GetRoleCredentials", role_keys("ROLEKEY1", until));
        let waiter = bench.logout();
        assert!(bench.is_waiting(waiter));
        bench.reply("Logout", result);
        let answer = bench.answer(waiter);
        assert!(matches!(answer, Ok(Response::LoggedOut(out)) if out.revoked == revoked), "{answer:?}");
        assert_eq!(bench.tokens_on_disk(), None);
        assert!(bench.client_on_disk().is_some(), "the registration stays");
        let waiter = bench.ask_role("Dev");
        assert_eq!(bench.problem(waiter).code, Code::SignInRequired);
        assert!(bench.status().targets.is_empty());
    }
}

#[test]
fn after_a_sign_out_the_last_sign_in_is_history() {
    let (mut bench, _) = polling();
    advance_to_poll(&mut bench);
    bench.reply(POLL, fresh(1));
    assert_eq!(bench.login_state().state, LoginState::SignedIn);
    bench.logout();
    assert_eq!(bench.login_state().state, LoginState::Idle);
}

#[test]
fn a_program_that_wants_credentials_never_starts_a_sign_in() {
    let mut bench = Bench::new(vec![Record::Client(client())]);
    let waiter = bench.ask_role("Dev");
    let problem = bench.problem(waiter);
    assert_eq!(problem.code, Code::SignInRequired);
    assert!(problem.hint.unwrap().contains("sso-agent login corp"));
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.problem(waiter).code, Code::SignInRequired);
    assert!(bench.calls.is_empty());
}
