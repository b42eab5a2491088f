//! Two clocks that disagree, and a service whose clock is neither (attacks 19).

use super::*;

const GET: &str = "GetRoleCredentials";
const REFRESH: &str = "CreateToken (refresh token)";

/// What the service's clock says, so many seconds ahead of ours.
fn ahead(bench: &Bench, by: i64) -> Option<ServiceTime> {
    let ours = bench.now().wall;
    Some(ServiceTime { service: ours.shifted(by * 1000), ours })
}

#[test]
fn what_either_clock_calls_over_is_not_served() {
    let steps = [(3_600_000, Duration::ZERO), (0, HOUR), (-86_400_000, HOUR), (86_400_000, Duration::ZERO)];
    for (wall, mono) in steps {
        let mut record = tokens();
        record.tokens.refresh_token = None;
        let mut bench = Bench::new(vec![Record::Tokens(record)]);
        bench.ask_role("Dev");
        let until = bench.now().wall.after(HOUR);
        bench.reply(GET, role_keys("KEY1", until));
        bench.jump(wall, mono);
        let waiter = bench.ask_token(Duration::ZERO);
        assert_eq!(bench.problem(waiter).code, Code::SignInRequired, "{wall} {mono:?}");
        let waiter = bench.ask_role("Dev");
        assert_eq!(bench.problem(waiter).code, Code::SignInRequired, "{wall} {mono:?}");
    }
}

#[test]
fn a_wall_clock_that_is_set_back_makes_nothing_valid_again() {
    let mut record = tokens();
    record.tokens.refresh_token = None;
    let mut bench = Bench::new(vec![Record::Tokens(record)]);
    bench.advance(HOUR);
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.problem(waiter).code, Code::SignInRequired);
    bench.jump(-3_600_000, seconds(1));
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.problem(waiter).code, Code::SignInRequired);
}

#[test]
fn what_was_over_once_stays_over_when_the_wall_clock_is_put_right() {
    let mut record = tokens();
    record.tokens.refresh_token = None;
    let mut bench = Bench::new(vec![Record::Tokens(record)]);
    bench.ask_role("Dev");
    let until = bench.now().wall.after(HOUR);
    bench.reply(GET, role_keys("KEY1", until));
    bench.jump(7_200_000, seconds(1));
    bench.jump(-7_200_000, seconds(1));
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.problem(waiter).code, Code::SignInRequired);
    let waiter = bench.ask_role("Dev");
    assert_eq!(bench.problem(waiter).code, Code::SignInRequired);
}

#[test]
fn a_clock_that_is_a_day_back_at_start_gives_a_stored_token_no_longer_life() {
    let mut bench = Bench::signed_in();
    bench.wall -= 86_400_000;
    bench.restart();
    assert!(bench.remaining() <= HOUR, "{:?}", bench.remaining());
}

#[test]
fn a_laptop_that_wakes_up_refreshes_at_once() {
    let mut bench = Bench::signed_in();
    bench.next_wait();
    bench.jump(8 * 3_600_000, 8 * HOUR);
    assert_eq!(bench.refreshes(), 1);
}

#[test]
fn one_wrong_date_changes_nothing_and_two_that_agree_do() {
    let mut bench = Bench::signed_in();
    bench.ask_role("A");
    bench.ask_role("B");
    bench.ask_role("C");
    let up = bench.flying(GET);
    // Credentials of an hour on the service's clock, which is two hours ahead.
    let until = bench.now().wall.after(3 * HOUR);
    let date = ahead(&bench, 7200);
    bench.reply_with_date(&up[0], role_keys("KEYA", until), date);
    assert_eq!(bench.remaining(), HOUR, "one date alone");
    bench.reply_with_date(&up[1], role_keys("KEYB", until), ahead(&bench, 7190));
    assert_eq!(bench.remaining(), Duration::ZERO, "an hour of an access token cannot be left now");
    bench.reply_with_date(&up[2], role_keys("KEYC", until), ahead(&bench, 7200));
    bench.reply_refresh(fresh(2));
    assert!(bench.remaining() > 59 * MINUTE && bench.remaining() <= HOUR);
    let waiter = bench.ask_token(Duration::ZERO);
    let Ok(Response::Token(token)) = bench.answer(waiter) else { panic!() };
    let skewed = bench.now().wall.after(3 * HOUR);
    assert!(token.expires_at >= skewed.before(MINUTE) && token.expires_at <= skewed, "as the service counts");
    let waiter = bench.ask_role("C");
    assert_eq!(bench.access_key(waiter), "KEYC");
    bench.advance(HOUR + MINUTE);
    assert!(bench.status().targets.iter().all(|target| target.role != Some("A".parse().unwrap())));
}

#[test]
fn dates_that_do_not_agree_or_differ_by_less_than_a_minute_change_nothing() {
    for dates in [[7200, 3600, 7200], [59, -59, 59], [61, 600, 61]] {
        let mut bench = Bench::signed_in();
        for (role, date) in ["A", "B", "C"].into_iter().zip(dates) {
            bench.ask_role(role);
            let until = bench.now().wall.after(HOUR);
            let up = bench.open(GET);
            bench.reply_with_date(&up, role_keys("KEY", until), ahead(&bench, date));
        }
        assert_eq!(bench.remaining(), HOUR, "{dates:?}");
    }
}

#[test]
fn clocks_that_disagree_end_pauses_at_most_once_a_minute() {
    let mut bench = Bench::signed_in();
    bench.advance_to_refresh();
    bench.reply_refresh(throttled(Some(5 * MINUTE)));
    bench.jump(10_000, seconds(1));
    assert_eq!(bench.refreshes(), 2, "the pause means nothing any more");
    for _ in 0..20 {
        if !bench.flying(REFRESH).is_empty() {
            bench.reply_refresh(throttled(Some(5 * MINUTE)));
        }
        bench.jump(10_000, seconds(1));
    }
    assert_eq!(bench.refreshes(), 2);
    bench.jump(60_000, MINUTE);
    bench.jump(10_000, seconds(1));
    assert_eq!(bench.refreshes(), 3);
}

#[test]
fn clocks_that_disagree_never_end_the_wait_after_a_lost_answer() {
    let mut bench = Bench::signed_in();
    bench.advance_to_refresh();
    bench.reply_refresh(lost());
    for _ in 0..5 {
        bench.jump(10_000, MINUTE);
        bench.jump(-10_000, MINUTE);
    }
    assert_eq!(bench.refreshes(), 1);
    // Also when the token is long expired and presented with pauses.
    let mut bench = Bench::signed_in();
    for _ in 0..14 {
        bench.advance_to_refresh();
        bench.reply_refresh(lost());
    }
    let sent = bench.refreshes();
    assert!(bench.next_wait().unwrap() > seconds(5));
    bench.jump(100_000, seconds(3));
    assert_eq!(bench.refreshes(), sent);
}

#[test]
fn a_deadline_that_was_slept_through_ends_pauses() {
    let mut bench = Bench::signed_in();
    bench.advance_to_refresh();
    bench.reply_refresh(throttled(Some(5 * MINUTE)));
    let waiter = bench.ask_token(HOUR);
    assert!(bench.answer(waiter).is_ok());
    let wait = bench.next_wait().unwrap();
    bench.move_clocks(wait + seconds(11));
    bench.handle(Event::Tick);
    assert_eq!(bench.refreshes(), 2);
}

#[test]
fn a_small_drift_of_the_clocks_is_no_reason_for_anything() {
    let mut bench = Bench::signed_in();
    bench.advance_to_refresh();
    bench.reply_refresh(throttled(Some(5 * MINUTE)));
    for _ in 0..20 {
        bench.jump(5_000, seconds(4));
    }
    assert_eq!(bench.refreshes(), 1);
}

#[test]
fn tokens_that_came_before_the_services_clock_was_known_live_as_long_as_they_were_given() {
    for hours in [-2, 2] {
        let mut bench = Bench::signed_in();
        bench.advance_to_refresh();
        let up = bench.open(REFRESH);
        let date = ahead(&bench, hours * 3600);
        bench.reply_with_date(&up, fresh(2), date);
        bench.ask_role("Dev");
        let date = ahead(&bench, hours * 3600);
        let until = bench.now().wall.shifted(hours * 3_600_000).after(HOUR);
        let up = bench.open(GET);
        bench.reply_with_date(&up, role_keys("KEY1", until), date);
        assert!(bench.remaining() > 59 * MINUTE, "{hours}: {:?}", bench.remaining());
        let waiter = bench.ask_token(Duration::ZERO);
        let Ok(Response::Token(token)) = bench.answer(waiter) else { panic!() };
        assert!(token.expires_at.since(until.before(MINUTE)) <= MINUTE, "{hours}: as the service counts");
        // A restart finds it as it is: the next mark has written it down.
        bench.advance_to_refresh();
        let dated = bench.tokens_on_disk().unwrap().tokens.expires_at;
        assert_eq!(dated, token.expires_at, "{hours}");
    }
}
