//! When the access token is refreshed, and what every outcome means (design 3.2, attacks 4 and 14).

use super::super::Write;
use super::*;

const REFRESH: &str = "CreateToken (refresh token)";

/// The margin of a token of an hour, and a quarter of it.
const MARGIN: Duration = Duration::from_secs(20 * 60);
const LATE: Duration = Duration::from_secs(5 * 60);

/// Up to the first refresh, which is up when this returns.
fn refreshing() -> Bench {
    let mut bench = Bench::signed_in();
    bench.advance_to_refresh();
    bench
}

/// The answer to the first refresh was lost.
fn unknown() -> Bench {
    let mut bench = refreshing();
    bench.reply_refresh(lost());
    bench
}

#[test]
fn the_token_is_refreshed_at_twenty_minutes_or_a_third_less_jitter_whether_or_not_anybody_asks() {
    let bench = refreshing();
    assert!(bench.remaining() <= MARGIN && bench.remaining() >= MARGIN * 95 / 100, "{:?}", bench.remaining());
    let mut short = tokens();
    short.tokens.expires_at = short.tokens.issued_at.after(15 * MINUTE);
    let mut bench = Bench::new(vec![Record::Tokens(short)]);
    bench.advance_to_refresh();
    assert!(bench.remaining() <= 5 * MINUTE && bench.remaining() >= 5 * MINUTE * 95 / 100, "{:?}", bench.remaining());
}

#[test]
fn the_mark_is_on_disk_before_the_call_is_made_and_gone_with_the_outcome() {
    let mut bench = Bench::signed_in();
    bench.hold_writes = true;
    bench.advance(41 * MINUTE + seconds(59));
    assert_eq!((bench.log.last().map(String::as_str), bench.refreshes()), (Some("save Mark"), 0));
    bench.release_writes();
    assert_eq!(bench.refreshes(), 1);
    assert!(bench.tokens_on_disk().unwrap().refresh_sent_at.is_some());
    bench.reply_refresh(fresh(2));
    assert_eq!(bench.tokens_on_disk().unwrap().refresh_sent_at, None);
}

#[test]
fn new_tokens_are_saved_before_they_are_served() {
    let mut bench = refreshing();
    bench.hold_writes = true;
    bench.reply_refresh(fresh(2));
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.access_token(waiter), secret("access-1"));
    bench.ask_role("Dev");
    let Call::GetRoleCredentials { access_token, .. } = bench.open("GetRoleCredentials").call else { panic!() };
    assert_eq!(access_token.for_sending_to(&portal()), Ok(&secret("access-1")));
    bench.release_writes();
    assert_eq!(bench.tokens_on_disk().unwrap().tokens.access_token, secret("access-2"));
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.access_token(waiter), secret("access-2"));
}

#[test]
fn expiry_counts_from_the_moment_the_request_was_sent() {
    let mut bench = refreshing();
    bench.advance(seconds(50));
    bench.reply_refresh(fresh(2));
    assert_eq!(bench.remaining(), HOUR - seconds(50));
}

#[test]
fn a_response_without_a_refresh_token_keeps_the_old_one() {
    let mut bench = refreshing();
    let Ok(Answer::Token(response)) = fresh(2) else { panic!() };
    bench.reply_refresh(Ok(Answer::Token(TokenResponse { refresh_token: None, ..response })));
    assert_eq!(bench.tokens_on_disk().unwrap().tokens.refresh_token, Some(secret("refresh-1")));
    bench.advance_to_refresh();
    assert!(bench.presents("refresh-1"));
    bench.reply_refresh(fresh(3));
    bench.advance_to_refresh();
    assert!(bench.presents("refresh-3"));
}

#[test]
fn a_session_without_a_refresh_token_ends_with_its_access_token_and_sends_nothing() {
    let mut record = tokens();
    record.tokens.refresh_token = None;
    let mut bench = Bench::new(vec![Record::Tokens(record)]);
    bench.advance(HOUR - seconds(1));
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.access_token(waiter), secret("access-1"));
    bench.advance(seconds(2));
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.problem(waiter).code, Code::SignInRequired);
    let waiter = bench.ask_refresh(true);
    assert_eq!(bench.problem(waiter).code, Code::SignInRequired);
    assert_eq!(bench.refreshes(), 0);
}

#[test]
fn what_never_left_the_machine_is_tried_again_with_growing_pauses_of_at_most_five_minutes() {
    let mut bench = refreshing();
    let mut longest = Duration::ZERO;
    for failure in 0..14_u32 {
        bench.reply_refresh(not_sent());
        assert_eq!(bench.tokens_on_disk().unwrap().refresh_sent_at, None, "the mark is gone again");
        let before = bench.mono;
        bench.advance_to_refresh();
        let pause = bench.mono - before;
        assert!(pause <= seconds(1 << failure.min(9)).min(5 * MINUTE) + seconds(1), "{failure}: {pause:?}");
        longest = longest.max(pause);
        assert!(bench.presents("refresh-1"));
    }
    assert!(longest > MINUTE, "{longest:?}");
    bench.reply_refresh(fresh(2));
    assert_eq!(bench.session().last_error, None);
}

#[test]
fn somebody_who_waits_makes_a_pause_after_a_dead_network_no_longer_than_five_seconds() {
    let mut bench = refreshing();
    while bench.remaining() > Duration::ZERO {
        bench.reply_refresh(not_sent());
        bench.advance_to_refresh();
    }
    for _ in 0..8 {
        bench.reply_refresh(not_sent());
        let before = bench.mono;
        let waiter = bench.ask_token(Duration::ZERO);
        bench.advance_to_refresh();
        assert!(bench.mono - before <= seconds(5) + seconds(1), "{:?}", bench.mono - before);
        assert!(bench.is_waiting(waiter));
    }
    bench.reply_refresh(fresh(2));
    assert!(bench.waiting.is_empty());
}

#[test]
fn retry_after_is_honoured_up_to_five_minutes() {
    let mut bench = refreshing();
    bench.reply_refresh(throttled(Some(seconds(120))));
    let before = bench.mono;
    bench.advance_to_refresh();
    assert_eq!(bench.mono - before, seconds(120));
    bench.reply_refresh(throttled(Some(HOUR)));
    let before = bench.mono;
    bench.advance_to_refresh();
    assert_eq!(bench.mono - before, 5 * MINUTE);
}

#[test]
fn a_refusal_of_no_meaning_keeps_the_token_and_is_tried_again_after_five_minutes() {
    let mut bench = refreshing();
    bench.reply_refresh(refused(ErrorName::InvalidRequest));
    assert_eq!(bench.session().last_error.unwrap().code, Code::Refused);
    assert_eq!(bench.tokens_on_disk().unwrap().refresh_sent_at, None);
    let before = bench.mono;
    bench.advance_to_refresh();
    assert_eq!(bench.mono - before, 5 * MINUTE);
    assert!(bench.presents("refresh-1"));
    bench.reply_refresh(fresh(2));
    assert_eq!(bench.session().state, crate::api::SessionState::SignedIn);
}

#[test]
fn a_grant_error_means_ending_while_the_access_token_lives_and_ended_after_it() {
    for name in [ErrorName::InvalidGrant, ErrorName::ExpiredToken] {
        let mut bench = refreshing();
        bench.reply_refresh(refused(name));
        assert_eq!(bench.session().state, crate::api::SessionState::Ending);
        let waiter = bench.ask_token(HOUR);
        assert_eq!(bench.access_token(waiter), secret("access-1"), "what is valid is served");
        bench.restart();
        assert_eq!(bench.session().state, crate::api::SessionState::Ending);
        bench.advance(MARGIN);
        assert_eq!(bench.session().state, crate::api::SessionState::Ended);
        let waiter = bench.ask_token(Duration::ZERO);
        let problem = bench.problem(waiter);
        assert_eq!(problem.code, Code::SignInRequired);
        // Signed in 22:13, known to live then, refused forty minutes later.
        assert!(problem.detail.contains("ended between 22:13 and 22:5"), "{problem}");
        assert!(problem.detail.contains("it began at 22:13"), "{problem}");
        assert!(problem.hint.unwrap().contains("sso-agent login corp"));
        bench.advance(DAY);
        assert_eq!(bench.refreshes(), 1, "never again");
    }
}

#[test]
fn a_client_that_is_not_known_any_more_is_a_reason_of_its_own() {
    let mut bench = Bench::new(vec![Record::Tokens(tokens()), Record::Client(client())]);
    bench.advance_to_refresh();
    bench.reply_refresh(refused(ErrorName::InvalidClient));
    bench.advance(MARGIN);
    let waiter = bench.ask_token(Duration::ZERO);
    let problem = bench.problem(waiter);
    assert!(problem.code == Code::SignInRequired && problem.detail.contains("client registration"), "{problem}");
    assert!(bench.client_on_disk().unwrap().registrations.is_empty(), "the next sign-in registers anew");
}

#[test]
fn the_longest_session_seen_is_remembered_when_one_ends() {
    let mut bench = Bench::new(vec![Record::Tokens(tokens()), Record::Client(client())]);
    bench.advance_to_refresh();
    bench.reply_refresh(refused(ErrorName::InvalidGrant));
    let seen = bench.client_on_disk().unwrap().longest_session;
    assert!(seen >= 40 * MINUTE && seen <= 42 * MINUTE, "{seen:?}");
}

#[test]
fn after_a_lost_answer_the_token_is_presented_at_a_quarter_of_the_margin_then_after_expiry_then_with_backoff() {
    let mut bench = unknown();
    bench.advance_to_refresh();
    assert_eq!((bench.remaining(), bench.refreshes()), (LATE, 2));
    bench.reply_refresh(lost());
    bench.advance_to_refresh();
    assert_eq!((bench.remaining(), bench.refreshes()), (Duration::ZERO, 3));
    for _ in 0..12 {
        bench.reply_refresh(lost());
        let before = bench.mono;
        bench.advance_to_refresh();
        assert!(bench.mono > before && bench.mono - before <= 5 * MINUTE);
    }
    bench.reply_refresh(fresh(2));
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.access_token(waiter), secret("access-2"));
}

#[test]
fn any_body_that_is_no_answer_and_any_server_error_is_a_lost_answer() {
    for unclear in
        [Unclear::TimedOut, Unclear::ServerError(500), Unclear::UnusableBody("html".into()), Unclear::TooLarge]
    {
        let mut bench = refreshing();
        bench.reply_refresh(Err(Failure::Unknown(unclear)));
        bench.advance_to_refresh();
        assert_eq!(bench.remaining(), LATE);
    }
    let mut bench = refreshing();
    bench.reply_refresh(Ok(Answer::LoggedOut));
    bench.advance_to_refresh();
    assert_eq!(bench.remaining(), LATE);
}

#[test]
fn a_grant_error_after_a_lost_answer_says_that_an_answer_was_lost() {
    let mut bench = unknown();
    bench.advance_to_refresh();
    bench.reply_refresh(refused(ErrorName::InvalidGrant));
    bench.advance(LATE);
    let waiter = bench.ask_token(Duration::ZERO);
    assert!(bench.problem(waiter).to_string().contains("the answer to an earlier refresh was lost"));
}

#[test]
fn a_crash_with_the_mark_on_disk_leaves_the_same_late_rule() {
    let mut bench = refreshing();
    bench.restart();
    assert_eq!(bench.refreshes(), 1);
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.access_token(waiter), secret("access-1"));
    bench.advance_to_refresh();
    assert_eq!((bench.remaining(), bench.refreshes()), (LATE, 2));
    bench.restart();
    bench.advance_to_refresh();
    assert_eq!((bench.remaining(), bench.refreshes()), (Duration::ZERO, 3), "twice unknown: not before expiry");
}

#[test]
fn a_crash_in_the_late_window_is_heeded_although_the_wall_clock_was_set_a_little() {
    let mut bench = Bench::signed_in();
    bench.jump(-2_000, Duration::ZERO);
    bench.advance_to_refresh();
    bench.reply_refresh(lost());
    bench.advance_to_refresh();
    bench.restart();
    bench.advance_to_refresh();
    assert_eq!(bench.remaining(), Duration::ZERO);
}

#[test]
fn neither_min_validity_nor_a_request_overrides_the_wait_after_a_lost_answer_but_force_does() {
    let mut bench = unknown();
    bench.advance(2 * MINUTE);
    let waiter = bench.ask_token(HOUR);
    assert_eq!(bench.access_token(waiter), secret("access-1"));
    let waiter = bench.ask_refresh(false);
    let problem = bench.problem(waiter);
    assert!(problem.code == Code::Unavailable && problem.retry_after.is_some(), "{problem:?}");
    assert!(problem.hint.unwrap().contains("--force"));
    assert_eq!(bench.refreshes(), 1);
    let waiter = bench.ask_refresh(true);
    assert_eq!(bench.refreshes(), 2);
    bench.reply_refresh(fresh(2));
    assert!(matches!(bench.answer(waiter), Ok(Response::Session(_))));
}

#[test]
fn force_too_is_bound_to_one_refresh_a_minute_and_says_so() {
    let mut bench = unknown();
    bench.advance(seconds(10));
    let waiter = bench.ask_refresh(true);
    let problem = bench.problem(waiter);
    assert_eq!((problem.retry_after, bench.refreshes()), (Some(50), 1), "{problem}");
}

#[test]
fn reload_does_not_shorten_the_pause_after_lost_answers() {
    let mut bench = unknown();
    for _ in 0..12 {
        bench.advance_to_refresh();
        bench.reply_refresh(lost());
    }
    let sent = bench.refreshes();
    let wait = bench.next_wait().unwrap();
    assert!(wait > seconds(1), "{wait:?}");
    bench.reconfigure(configuration());
    assert_eq!(bench.refreshes(), sent);
}

#[test]
fn not_sent_in_the_late_window_does_not_make_the_token_fresh_again() {
    let mut bench = unknown();
    bench.advance_to_refresh();
    bench.reply_refresh(not_sent());
    assert!(bench.tokens_on_disk().unwrap().refresh_sent_at.is_some(), "the earlier mark is back");
    bench.restart();
    let waiter = bench.ask_refresh(false);
    assert!(bench.problem(waiter).detail.contains("lost"));
}

#[test]
fn without_a_mark_on_disk_the_refresh_waits_until_it_is_late() {
    let mut bench = Bench::signed_in();
    bench.fail_writes = true;
    bench.advance(54 * MINUTE);
    assert_eq!(bench.refreshes(), 0);
    assert_eq!(bench.session().last_error.unwrap().code, Code::Storage);
    let waiter = bench.ask_token(HOUR);
    assert_eq!(bench.access_token(waiter), secret("access-1"));
    bench.advance_to_refresh();
    assert_eq!(bench.remaining(), LATE);
    bench.reply_refresh(fresh(2));
    assert!(!bench.session().saved);
}

#[test]
fn without_a_mark_on_disk_a_short_token_too_is_refreshed_before_it_is_over() {
    let mut record = tokens();
    record.tokens.expires_at = record.tokens.issued_at.after(seconds(40));
    let mut bench = Bench::new(vec![Record::Tokens(record)]);
    bench.fail_writes = true;
    bench.advance_to_refresh();
    assert!(!bench.remaining().is_zero());
}

#[test]
fn a_disk_that_has_room_again_ends_the_waiting_for_late() {
    let mut bench = Bench::signed_in();
    bench.fail_writes = true;
    bench.advance(43 * MINUTE);
    assert_eq!(bench.refreshes(), 0);
    bench.fail_writes = false;
    bench.advance(MINUTE);
    assert_eq!(bench.refreshes(), 1);
    assert!(bench.session().saved);
}

#[test]
fn tokens_that_cannot_be_saved_are_served_from_memory_and_saved_every_thirty_seconds_until_it_works() {
    let mut bench = refreshing();
    bench.fail_writes = true;
    bench.reply_refresh(fresh(2));
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.access_token(waiter), secret("access-2"));
    assert!(!bench.session().saved && !bench.status().storage.saved);
    assert!(bench.tokens_on_disk().unwrap().refresh_sent_at.is_some(), "a crash now would know that it does not know");
    bench.log.clear();
    bench.advance(seconds(91));
    assert_eq!(bench.log.iter().filter(|entry| *entry == "save Tokens").count(), 3);
    bench.fail_writes = false;
    bench.advance(seconds(30));
    assert!(bench.session().saved);
    assert_eq!(bench.session().last_error, None);
    assert_eq!(bench.tokens_on_disk().unwrap().tokens.refresh_token, Some(secret("refresh-2")));
}

#[test]
fn an_old_token_is_never_saved_over_the_one_that_is_being_saved() {
    let mut bench = Bench::signed_in();
    bench.fail_writes = true;
    // The refresh is made without a mark, and a repeated save of the old tokens is due ...
    bench.advance_to_refresh();
    bench.advance(seconds(20));
    bench.fail_writes = false;
    bench.hold_writes = true;
    // ... while the new ones are on their way to a slow disk.
    bench.reply_refresh(fresh(2));
    bench.advance(MINUTE);
    bench.release_writes();
    assert_eq!(bench.tokens_on_disk().unwrap().tokens.refresh_token, Some(secret("refresh-2")));
}

#[test]
fn many_callers_on_an_expired_token_are_one_refresh() {
    let mut record = tokens();
    record.tokens.expires_at = record.tokens.issued_at;
    record.tokens.issued_at = record.tokens.issued_at.before(HOUR);
    let mut bench = Bench::new(vec![Record::Tokens(record)]);
    let waiters: Vec<WaiterId> = (0..50).map(|_| bench.ask_token(Duration::ZERO)).collect();
    assert_eq!(bench.refreshes(), 1);
    bench.reply_refresh(fresh(2));
    for waiter in waiters {
        assert_eq!(bench.access_token(waiter), secret("access-2"));
    }
    assert_eq!(bench.refreshes(), 1);
}

#[test]
fn a_failure_is_shared_and_remembered_with_the_time_to_try_again() {
    let mut record = tokens();
    record.tokens.expires_at = record.tokens.issued_at;
    record.tokens.issued_at = record.tokens.issued_at.before(HOUR);
    let mut bench = Bench::new(vec![Record::Tokens(record)]);
    let first = bench.ask_token(Duration::ZERO);
    let second = bench.ask_role("Dev");
    bench.reply_refresh(throttled(Some(seconds(200))));
    for waiter in [first, second] {
        let problem = bench.problem(waiter);
        assert_eq!((problem.code, problem.retry_after), (Code::Throttled, Some(200)), "{problem}");
    }
    bench.advance(seconds(100));
    let third = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.problem(third).retry_after, Some(100));
    assert_eq!(bench.refreshes(), 1);
    // Who has the time waits for the next attempt.
    let fourth = bench.ask(credentials("Dev", None, Some(seconds(150))));
    bench.advance(seconds(100));
    assert!(bench.is_waiting(fourth));
    assert_eq!(bench.refreshes(), 2);
}

#[test]
fn a_valid_token_is_served_while_the_refresh_fails_or_hangs() {
    let mut bench = refreshing();
    let hanging = bench.ask_token(HOUR);
    bench.advance(seconds(26));
    assert_eq!(bench.access_token(hanging), secret("access-1"), "its patience is over, the token is not");
    for result in [not_sent(), throttled(None), lost(), refused(ErrorName::InvalidRequest)] {
        let mut bench = refreshing();
        let waiting = bench.ask_token(HOUR);
        bench.reply_refresh(result);
        assert_eq!(bench.access_token(waiting), secret("access-1"));
        let waiter = bench.ask_token(Duration::ZERO);
        assert_eq!(bench.access_token(waiter), secret("access-1"));
    }
}

#[test]
fn at_most_one_refresh_a_minute_whoever_asks() {
    let mut bench = refreshing();
    bench.reply_refresh(fresh(2));
    for _ in 0..20 {
        let waiter = bench.ask_refresh(false);
        assert!(matches!(bench.answer(waiter), Ok(Response::Session(_))));
        let waiter = bench.ask_token(12 * HOUR);
        assert_eq!(bench.access_token(waiter), secret("access-2"), "a young token satisfies any wish");
        bench.advance(seconds(2));
    }
    assert_eq!(bench.refreshes(), 1);
    bench.advance(seconds(25));
    bench.ask_refresh(false);
    assert_eq!(bench.refreshes(), 2);
}

#[test]
fn asking_for_a_refresh_again_and_again_does_not_repeat_a_refusal_more_than_once_a_minute() {
    let mut bench = refreshing();
    bench.reply_refresh(refused(ErrorName::InvalidRequest));
    bench.advance(MARGIN);
    while !bench.flying(REFRESH).is_empty() {
        bench.reply_refresh(refused(ErrorName::InvalidRequest));
    }
    let sent = bench.refreshes();
    for _ in 0..10 {
        let waiter = bench.ask_refresh(false);
        if bench.is_waiting(waiter) {
            bench.reply_refresh(refused(ErrorName::InvalidRequest));
        }
        assert_eq!(bench.problem(waiter).code, Code::Refused);
    }
    assert!(bench.refreshes() <= sent + 1, "{sent} {}", bench.refreshes());
}

#[test]
fn a_caller_who_wants_more_than_the_token_has_gets_a_refreshed_one() {
    let mut bench = Bench::signed_in();
    bench.advance(20 * MINUTE);
    let waiter = bench.ask_token(50 * MINUTE);
    assert_eq!(bench.refreshes(), 1);
    bench.reply_refresh(fresh(2));
    assert_eq!(bench.access_token(waiter), secret("access-2"));
}

#[test]
fn a_refresh_that_was_asked_for_is_over_for_its_asker_when_the_user_signs_out() {
    let mut bench = refreshing();
    let waiter = bench.ask_refresh(false);
    bench.logout();
    assert_eq!(bench.problem(waiter).code, Code::SignInRequired);
}

#[test]
fn a_refresh_result_that_comes_after_the_sign_out_is_dropped() {
    let mut bench = refreshing();
    let up = bench.open(REFRESH);
    bench.logout();
    bench.reply_to(&up, fresh(2));
    assert_eq!(bench.tokens_on_disk(), None);
    assert_eq!(bench.session().state, crate::api::SessionState::SignedOut);
}

#[test]
fn a_sign_out_that_overtakes_the_save_of_a_refresh_leaves_nothing_on_disk() {
    let mut bench = refreshing();
    bench.hold_writes = true;
    bench.reply_refresh(fresh(2));
    bench.logout();
    bench.release_writes();
    assert_eq!(bench.tokens_on_disk(), None);
    bench.advance(2 * MINUTE);
    assert_eq!(bench.tokens_on_disk(), None);
}

#[test]
fn a_record_that_could_not_be_deleted_is_deleted_later() {
    let mut bench = Bench::signed_in();
    bench.fail_writes = true;
    let waiter = bench.logout();
    bench.reply("Logout", Ok(Answer::LoggedOut));
    assert_eq!(bench.problem(waiter).code, Code::Storage);
    assert!(bench.tokens_on_disk().is_some());
    bench.fail_writes = false;
    bench.advance(seconds(31));
    assert_eq!(bench.tokens_on_disk(), None);
}

#[test]
fn a_word_about_a_write_that_nobody_waits_for_costs_nothing_that_is_under_way() {
    let era = |bench: &Bench| bench.state.sessions[&corp()].era;
    let writes = [Write::Client, Write::Mark, Write::Refreshed, Write::SignedIn, Write::Tokens, Write::SignedOut];
    for (write, outcome_is_ok) in writes.into_iter().flat_map(|write| [(write, true), (write, false)]) {
        let mut bench = refreshing();
        let ticket = Ticket { session: corp(), era: era(&bench), write };
        bench.handle(Event::Stored(ticket, if outcome_is_ok { Ok(()) } else { Err(disk_full()) }));
        assert_eq!(bench.flying(REFRESH).len(), 1, "{write:?}");
        bench.reply_refresh(fresh(2));
        let held = bench.tokens_on_disk().unwrap().tokens.refresh_token.clone();
        assert_eq!(held, Some(secret("refresh-2")), "{write:?} {outcome_is_ok}: the answer was dropped");
    }
}

#[test]
fn after_a_crash_the_next_refresh_keeps_its_distance_from_the_one_that_may_still_be_on_its_way() {
    let mut bench = unknown();
    bench.advance_to_refresh();
    bench.reply_refresh(lost());
    bench.advance_to_refresh();
    assert_eq!((bench.remaining(), bench.refreshes()), (Duration::ZERO, 3));
    bench.restart();
    bench.ask_role("Dev");
    bench.advance(seconds(59));
    assert_eq!(bench.refreshes(), 3, "at once after the restart");
    bench.advance(seconds(2));
    assert_eq!(bench.refreshes(), 4);
}
