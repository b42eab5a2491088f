//! Role credentials: what is cached, how long, for whom, and what the portal's answers mean (design 3.3, attacks 14).

use super::*;

const GET: &str = "GetRoleCredentials";
const REFRESH: &str = "CreateToken (refresh token)";

impl Bench {
    /// Asks for a role and lets the portal answer with credentials of this lifetime.
    fn fetch(&mut self, role: &str, id: &str, lifetime: Duration) {
        let waiter = self.ask_role(role);
        self.bring(id, lifetime);
        assert_eq!(self.access_key(waiter), id);
    }

    fn bring(&mut self, id: &str, lifetime: Duration) {
        let until = self.now().wall.after(lifetime);
        self.reply(GET, role_keys(id, until));
    }

    /// Keeps the session alive: whatever refresh comes up is answered.
    fn pass(&mut self, time: Duration) {
        let end = self.mono + time;
        while self.mono < end {
            let step = self.next_wait().unwrap_or(time).max(Duration::from_millis(1)).min(end - self.mono);
            self.advance(step);
            if !self.flying(REFRESH).is_empty() {
                self.reply_refresh(fresh(2));
            }
        }
    }
}

/// Signed in for as long as any of these tests lasts.
fn long_session() -> Bench {
    let mut record = tokens();
    record.tokens.expires_at = record.tokens.issued_at.after(30 * DAY);
    Bench::new(vec![Record::Tokens(record)])
}

#[test]
fn many_callers_for_one_target_are_one_call() {
    let mut bench = Bench::signed_in();
    let waiters: Vec<WaiterId> = (0..50).map(|_| bench.ask_role("Dev")).collect();
    assert_eq!(bench.role_calls(), 1);
    bench.bring("KEY1", HOUR);
    for waiter in waiters {
        assert_eq!(bench.access_key(waiter), "KEY1");
    }
    assert_eq!(bench.role_calls(), 1);
}

#[test]
fn a_profile_and_the_role_it_names_are_one_target() {
    let mut bench = Bench::signed_in();
    bench.fetch("Dev", "KEY1", HOUR);
    let waiter = bench.ask(Request::Credentials {
        target: TargetQuery::Profile("dev".parse().unwrap()),
        min_validity: None,
        timeout: None,
    });
    assert_eq!(bench.access_key(waiter), "KEY1");
    assert_eq!(bench.status().targets[0].profile, Some("dev".parse().unwrap()));
}

#[test]
fn cached_credentials_are_served_until_a_quarter_of_an_hour_is_left_and_then_fetched() {
    let mut bench = long_session();
    bench.fetch("Dev", "KEY1", HOUR);
    // Not in use: nobody asks for an hour, so nothing is refreshed ahead. Asked again late.
    bench.advance(39 * MINUTE);
    let waiter = bench.ask_role("Dev");
    assert_eq!(bench.access_key(waiter), "KEY1");
    bench.advance(MINUTE - seconds(1));
    assert_eq!(bench.role_calls(), 1);
    bench.advance(seconds(2));
    assert_eq!(bench.role_calls(), 2, "refreshed ahead with twenty minutes left");
    let waiter = bench.ask_role("Dev");
    assert_eq!(bench.access_key(waiter), "KEY1", "while the fresher set is on its way");
    bench.advance(6 * MINUTE);
    let waiter = bench.ask_role("Dev");
    assert!(bench.is_waiting(waiter), "less than a quarter of an hour is left");
    bench.bring("KEY2", HOUR);
    assert_eq!(bench.access_key(waiter), "KEY2");
}

#[test]
fn what_a_caller_asks_for_is_clamped_to_two_thirds_of_the_lifetime() {
    let mut bench = long_session();
    bench.fetch("Dev", "KEY1", HOUR);
    bench.advance(20 * MINUTE);
    let waiter = bench.ask(credentials("Dev", Some(12 * HOUR), None));
    assert!(bench.is_waiting(waiter), "forty minutes are not more than two thirds");
    bench.bring("KEY2", HOUR);
    assert_eq!(bench.access_key(waiter), "KEY2");
    bench.advance(19 * MINUTE);
    let waiter = bench.ask(credentials("Dev", Some(12 * HOUR), None));
    assert_eq!(bench.access_key(waiter), "KEY2");
    assert_eq!(bench.role_calls(), 2);
}

#[test]
fn a_set_is_not_fetched_again_before_a_third_of_its_life_whatever_it_has_left() {
    let mut bench = long_session();
    // The portal hands out a set it already had, with nine minutes left.
    let waiter = bench.ask(credentials("Dev", Some(HOUR), None));
    bench.bring("KEY1", 9 * MINUTE);
    assert_eq!(bench.access_key(waiter), "KEY1");
    for _ in 0..10 {
        bench.advance(seconds(17));
        let waiter = bench.ask(credentials("Dev", Some(HOUR), None));
        assert_eq!(bench.access_key(waiter), "KEY1");
    }
    assert_eq!(bench.role_calls(), 1);
}

#[test]
fn targets_in_use_are_refreshed_ahead_and_others_are_not() {
    let mut bench = long_session();
    bench.fetch("Dev", "KEY1", 50 * MINUTE);
    bench.advance(30 * MINUTE - seconds(1));
    assert_eq!(bench.role_calls(), 1);
    bench.advance(seconds(2));
    assert_eq!(bench.role_calls(), 2, "with twenty minutes of fifty left");
    bench.bring("KEY2", 50 * MINUTE);
    bench.advance(3 * HOUR);
    assert_eq!(bench.role_calls(), 2, "not asked for within the last hour when it is due");
    assert!(bench.status().targets.is_empty());
}

#[test]
fn a_question_that_makes_a_refresh_ahead_due_is_part_of_the_plan() {
    let mut bench = long_session();
    bench.fetch("Dev", "KEY1", 3 * HOUR);
    // Nothing is planned for it yet: if nobody asks again, it is not in use when it is due.
    bench.next_wait();
    bench.advance(50 * MINUTE);
    bench.next_wait();
    let waiter = bench.ask_role("Dev");
    assert_eq!(bench.access_key(waiter), "KEY1");
    bench.advance(55 * MINUTE);
    bench.next_wait();
    assert!(bench.state.plan_holds());
    let waiter = bench.ask_role("Dev");
    assert_eq!(bench.access_key(waiter), "KEY1");
    assert!(!bench.state.plan_holds(), "the alarm must be set anew");
    assert_eq!(bench.next_wait(), Some(55 * MINUTE));
    let waiter = bench.ask_role("Dev");
    assert_eq!(bench.access_key(waiter), "KEY1");
    assert!(bench.state.plan_holds(), "and this one changes nothing");
    bench.advance(55 * MINUTE + seconds(1));
    assert_eq!(bench.role_calls(), 2);
}

#[test]
fn what_is_valid_is_served_when_a_fresher_set_cannot_be_had() {
    for result in [not_sent(), lost(), throttled(Some(HOUR)), refused(ErrorName::Forbidden), unauthorized()] {
        let mut bench = long_session();
        bench.fetch("Dev", "KEY1", 30 * MINUTE);
        bench.advance(25 * MINUTE);
        let waiter = bench.ask(credentials("Dev", Some(20 * MINUTE), None));
        bench.reply(GET, result);
        while bench.is_waiting(waiter) {
            bench.advance_to_next();
        }
        assert_eq!(bench.access_key(waiter), "KEY1");
    }
}

#[test]
fn expired_credentials_are_never_served() {
    let mut bench = long_session();
    bench.fetch("Dev", "KEY1", 10 * MINUTE);
    while bench.flying(GET).is_empty() {
        bench.advance_to_next();
    }
    bench.reply(GET, throttled(Some(HOUR)));
    bench.advance(4 * MINUTE - seconds(1));
    let waiter = bench.ask_role("Dev");
    assert_eq!(bench.access_key(waiter), "KEY1", "with a second left");
    bench.advance(seconds(1));
    let waiter = bench.ask_role("Dev");
    assert_eq!(bench.problem(waiter).code, Code::Throttled);
}

#[test]
fn good_is_replaced_only_by_better() {
    let mut bench = long_session();
    bench.fetch("Dev", "KEY1", 55 * MINUTE);
    bench.advance(36 * MINUTE);
    assert_eq!(bench.flying(GET).len(), 1);
    bench.bring("WORSE", 5 * MINUTE);
    let waiter = bench.ask_role("Dev");
    assert_eq!(bench.access_key(waiter), "KEY1");
    bench.advance(MINUTE);
    assert_eq!(bench.role_calls(), 2, "and it is not asked for again at once");
}

#[test]
fn a_new_set_that_lives_replaces_an_old_one_that_only_the_wall_clock_calls_alive() {
    let mut bench = long_session();
    bench.fetch("Dev", "KEY1", 30 * MINUTE);
    // The wall clock is set back by a day, and half an hour passes.
    bench.jump(-86_400_000, Duration::ZERO);
    bench.ask_role("Dev");
    bench.advance(31 * MINUTE);
    let waiter = bench.ask_role("Dev");
    assert!(bench.is_waiting(waiter));
    bench.bring("KEY2", 20 * MINUTE);
    assert_eq!(bench.access_key(waiter), "KEY2");
}

#[test]
fn credentials_that_are_over_when_they_come_are_a_failure() {
    let mut bench = Bench::signed_in();
    let waiter = bench.ask(credentials("Dev", None, Some(seconds(1))));
    bench.bring("OLD", Duration::ZERO);
    while bench.is_waiting(waiter) {
        bench.advance_to_next();
        while !bench.flying(GET).is_empty() {
            bench.bring("OLD", Duration::ZERO);
        }
    }
    assert_eq!(bench.problem(waiter).code, Code::Unavailable);
    assert!(bench.role_calls() < 10, "{}", bench.role_calls());
}

#[test]
fn no_such_role_is_remembered_for_a_minute() {
    for name in [ErrorName::Forbidden, ErrorName::ResourceNotFound] {
        let mut bench = Bench::signed_in();
        let waiter = bench.ask_role("Nope");
        bench.reply(GET, refused(name));
        let problem = bench.problem(waiter);
        assert_eq!(problem.code, Code::AccessDenied);
        assert!(problem.detail.contains("role Nope in account 111122223333"), "{problem}");
        bench.advance(seconds(59));
        let waiter = bench.ask_role("Nope");
        assert_eq!((bench.problem(waiter).code, bench.role_calls()), (Code::AccessDenied, 1));
        bench.advance(seconds(1));
        bench.ask_role("Nope");
        assert_eq!(bench.role_calls(), 2);
    }
}

#[test]
fn a_portal_that_rejects_the_token_costs_one_refresh_and_one_repetition() {
    let mut bench = Bench::signed_in();
    bench.advance(10 * MINUTE);
    let waiter = bench.ask_role("Dev");
    bench.reply(GET, unauthorized());
    assert_eq!((bench.refreshes(), bench.role_calls()), (1, 1));
    bench.reply_refresh(fresh(2));
    assert_eq!(bench.role_calls(), 2);
    bench.bring("KEY1", HOUR);
    assert_eq!(bench.access_key(waiter), "KEY1");
}

#[test]
fn a_portal_that_rejects_the_fresh_token_too_means_sign_in_and_is_not_asked_without_end() {
    let mut bench = Bench::signed_in();
    bench.advance(10 * MINUTE);
    let waiter = bench.ask_role("Dev");
    bench.reply(GET, unauthorized());
    bench.reply_refresh(fresh(2));
    bench.reply(GET, unauthorized());
    assert_eq!(bench.problem(waiter).code, Code::SignInRequired);
    assert_eq!((bench.refreshes(), bench.role_calls()), (1, 2));
    // A caller every second for ten minutes: a refresh a minute at most.
    for _ in 0..600 {
        bench.ask_role("Dev");
        bench.advance(seconds(1));
        while let Some(up) = bench.calls.first().cloned() {
            let result = if up.call.operation() == REFRESH { fresh(3) } else { unauthorized() };
            bench.reply_to(&up, result);
        }
    }
    assert!(bench.refreshes() <= 12, "{}", bench.refreshes());
    assert!(bench.role_calls() <= 24, "{}", bench.role_calls());
    bench.advance(HOUR);
    assert!(bench.waiting.is_empty());
}

#[test]
fn a_late_rejection_of_the_old_token_says_nothing_about_the_new_one() {
    let mut bench = Bench::signed_in();
    bench.advance(10 * MINUTE);
    let first = bench.ask_role("Dev");
    let second = bench.ask_role("Ops");
    let up = bench.flying(GET);
    bench.reply_to(&up[0], unauthorized());
    bench.reply_refresh(fresh(2));
    bench.reply_to(&up[1], unauthorized());
    assert_eq!((bench.refreshes(), bench.role_calls()), (1, 4), "both are repeated with the new token");
    for (open, id) in bench.flying(GET).into_iter().zip(["KEY1", "KEY2"]) {
        let until = bench.now().wall.after(HOUR);
        bench.reply_to(&open, role_keys(id, until));
    }
    assert_eq!((bench.access_key(first), bench.access_key(second)), ("KEY1".to_owned(), "KEY2".to_owned()));
}

#[test]
fn without_a_refresh_token_a_rejection_means_sign_in_at_once() {
    let mut record = tokens();
    record.tokens.refresh_token = None;
    let mut bench = Bench::new(vec![Record::Tokens(record)]);
    let waiter = bench.ask_role("Dev");
    bench.reply(GET, unauthorized());
    let problem = bench.problem(waiter);
    assert!(problem.code == Code::SignInRequired && problem.detail.contains("does not accept"), "{problem}");
    assert_eq!(bench.role_calls(), 1);
}

#[test]
fn at_most_eight_calls_are_up_at_once() {
    let mut bench = Bench::signed_in();
    for number in 0..20 {
        bench.ask_role(&format!("R{number}"));
    }
    assert_eq!(bench.flying(GET).len(), 8);
    let up = bench.flying(GET).remove(0);
    let until = bench.now().wall.after(HOUR);
    bench.reply_to(&up, role_keys("KEY1", until));
    assert_eq!(bench.flying(GET).len(), 8);
}

#[test]
fn calls_that_are_throttled_together_are_one_failure_and_everybody_hears_of_it() {
    let mut bench = Bench::signed_in();
    let waiters: Vec<WaiterId> =
        (0..20).map(|number| bench.ask(credentials(&format!("R{number}"), None, Some(seconds(2))))).collect();
    for up in bench.flying(GET) {
        bench.reply_to(&up, throttled(None));
    }
    assert!(waiters.iter().all(|waiter| bench.is_waiting(*waiter)), "the pause is a second at most");
    bench.advance(seconds(1));
    assert_eq!(bench.flying(GET).len(), 1, "one tries whether it is over");
    bench.reply(GET, throttled(Some(seconds(100))));
    for waiter in waiters {
        let problem = bench.problem(waiter);
        assert_eq!((problem.code, problem.retry_after), (Code::Throttled, Some(100)), "{problem}");
    }
    let late = bench.ask_role("Late");
    assert_eq!(bench.problem(late).code, Code::Throttled);
}

#[test]
fn a_stampede_over_six_hundred_targets_finishes_under_throttling() {
    let mut bench = Bench::signed_in();
    let waiters: Vec<WaiterId> =
        (0..600).map(|number| bench.ask(credentials(&format!("R{number}"), None, Some(seconds(300))))).collect();
    // The portal takes a burst of forty and then fifty a second; each call lasts a tenth of one.
    let (mut tokens_left, mut most) = (40.0_f64, 0);
    for _ in 0..3000 {
        if bench.waiting.is_empty() {
            break;
        }
        bench.advance(Duration::from_millis(100));
        tokens_left = (tokens_left + 5.0).min(40.0);
        most = most.max(bench.flying(GET).len());
        for up in bench.flying(GET) {
            if up.at.mono == bench.now().mono {
                continue;
            }
            let until = bench.now().wall.after(HOUR);
            let taken = tokens_left >= 1.0;
            if taken {
                tokens_left -= 1.0;
            }
            bench.reply_to(&up, if taken { role_keys("KEY", until) } else { throttled(None) });
        }
    }
    assert!(most <= 8);
    let served = waiters.into_iter().filter(|waiter| matches!(bench.answers[waiter], Ok(Response::Credentials(..))));
    assert_eq!(served.count(), 600);
}

#[test]
fn a_server_error_for_one_target_is_no_pause_for_another() {
    let mut bench = Bench::signed_in();
    bench.ask_role("Dev");
    bench.reply(GET, Err(Failure::Unknown(Unclear::ServerError(500))));
    assert_eq!(bench.role_calls(), 1);
    bench.ask_role("Ops");
    assert_eq!(bench.role_calls(), 2);
    bench.advance(seconds(2));
    assert_eq!(bench.role_calls(), 3, "and the first is asked for again while its caller waits");
}

#[test]
fn a_caller_who_is_out_of_time_hears_what_kept_it() {
    let mut bench = Bench::signed_in();
    let waiter = bench.ask(credentials("Dev", None, Some(seconds(3))));
    bench.advance(seconds(3));
    assert_eq!(bench.problem(waiter).code, Code::Timeout);
    assert_eq!(bench.flying(GET).len(), 1, "the call goes on");
    bench.bring("KEY1", HOUR);
    let waiter = bench.ask_role("Dev");
    assert_eq!(bench.access_key(waiter), "KEY1");
}

#[test]
fn a_refresh_and_a_new_sign_in_leave_the_cache_and_a_sign_out_empties_it() {
    let mut bench = Bench::new(vec![Record::Tokens(tokens()), Record::Client(client())]);
    bench.fetch("Dev", "KEY1", 12 * HOUR);
    bench.advance_to_refresh();
    bench.reply_refresh(fresh(2));
    bench.login(LoginRequest { force: true, ..by(StartedBy::Cli) });
    bench.reply("StartDeviceAuthorization", device());
    bench.advance(seconds(1));
    bench.reply("CreateToken (device code)", fresh(3));
    let waiter = bench.ask_role("Dev");
    assert_eq!((bench.access_key(waiter).as_str(), bench.role_calls()), ("KEY1", 1));
    bench.logout();
    let waiter = bench.ask_role("Dev");
    assert_eq!(bench.problem(waiter).code, Code::SignInRequired);
}

#[test]
fn credentials_that_come_after_the_sign_out_are_dropped() {
    let mut bench = Bench::signed_in();
    let waiter = bench.ask_role("Dev");
    let up = bench.open(GET);
    bench.logout();
    assert_eq!(bench.problem(waiter).code, Code::SignInRequired);
    let until = bench.now().wall.after(HOUR);
    bench.reply_to(&up, role_keys("KEY1", until));
    assert!(bench.status().targets.is_empty());
}

#[test]
fn what_was_cached_is_served_while_the_token_is_expired_and_cannot_be_refreshed() {
    let mut bench = Bench::signed_in();
    bench.fetch("Dev", "KEY1", 12 * HOUR);
    bench.advance_to_refresh();
    bench.reply_refresh(refused(ErrorName::InvalidGrant));
    bench.advance(HOUR);
    let waiter = bench.ask_role("Dev");
    assert_eq!(bench.access_key(waiter), "KEY1");
    let waiter = bench.ask_role("Ops");
    assert_eq!(bench.problem(waiter).code, Code::SignInRequired);
}

#[test]
fn at_most_a_thousand_targets_are_kept_and_the_oldest_goes_first() {
    let mut bench = long_session();
    bench.fetch("First", "KEY1", 12 * HOUR);
    bench.advance(seconds(1));
    bench.fetch("Second", "KEY2", 12 * HOUR);
    for number in 0..999 {
        bench.advance(Duration::from_millis(1));
        let role = format!("R{number}");
        bench.ask_role(&role);
        bench.bring("KEY", 12 * HOUR);
    }
    assert_eq!(bench.status().targets.len(), 1000);
    let before = bench.role_calls();
    bench.ask_role("Second");
    assert_eq!(bench.role_calls(), before);
    bench.ask_role("First");
    assert_eq!(bench.role_calls(), before + 1);
}

#[test]
fn lists_are_asked_for_anew_and_shared_by_who_asks_meanwhile() {
    let mut bench = Bench::signed_in();
    let accounts = || Request::Accounts { session: SessionQuery::Only };
    let (first, second) = (bench.ask(accounts()), bench.ask(accounts()));
    let roles = bench.ask(Request::Roles { session: SessionQuery::Only, account: "111122223333".parse().unwrap() });
    bench.reply("ListAccounts", Ok(Answer::Accounts(Vec::new())));
    bench.reply("ListAccountRoles", Ok(Answer::Roles(Vec::new())));
    for waiter in [first, second, roles] {
        assert!(bench.answer(waiter).is_ok());
    }
    bench.ask(accounts());
    assert_eq!(bench.made("ListAccounts"), 2);
}

#[test]
fn a_session_kept_alive_for_a_day_never_lets_a_role_in_use_run_dry() {
    let mut bench = Bench::signed_in();
    bench.fetch("Dev", "KEY", HOUR);
    for _ in 0..(24 * 60) {
        bench.pass(MINUTE);
        if !bench.flying(GET).is_empty() {
            bench.bring("KEY", HOUR);
        }
        let waiter = bench.ask_role("Dev");
        assert_eq!(bench.access_key(waiter), "KEY");
    }
    assert!(bench.refreshes() <= 38 && bench.role_calls() <= 38, "{} {}", bench.refreshes(), bench.role_calls());
}
