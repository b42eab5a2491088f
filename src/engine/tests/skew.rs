//! A clock of ours that is hours wrong: at sign-in, at refresh, at restart, and set right in between (attacks 19).

use super::*;

const GET: &str = "GetRoleCredentials";
const REFRESH: &str = "CreateToken (refresh token)";
const POLL: &str = "CreateToken (device code)";
const HOURS: [i64; 2] = [5, -5];

/// What the service's clock says when it is this far ahead of ours.
fn date(bench: &Bench, ahead: Duration, forwards: bool) -> ServiceTime {
    let ours = bench.now().wall;
    ServiceTime { service: if forwards { ours.after(ahead) } else { ours.before(ahead) }, ours }
}

fn hours_ahead(bench: &Bench, hours: i64) -> ServiceTime {
    date(bench, seconds(3600 * hours.unsigned_abs()), hours > 0)
}

/// Signed in from nothing, at a service this many hours ahead of us.
fn signed_in_at(hours: i64) -> Bench {
    let mut bench = Bench::new(Vec::new());
    bench.login(by(StartedBy::Cli));
    for (operation, answer) in
        [("RegisterClient", Ok(Answer::Registered(registration()))), ("StartDeviceAuthorization", device())]
    {
        let (up, time) = (bench.open(operation), hours_ahead(&bench, hours));
        bench.reply_with_date(&up, answer, Some(time));
    }
    while bench.flying(POLL).is_empty() {
        bench.advance_to_next();
    }
    let (up, time) = (bench.open(POLL), hours_ahead(&bench, hours));
    bench.reply_with_date(&up, fresh(1), Some(time));
    bench
}

fn assert_served(bench: &mut Bench, hours: i64, life: Duration) {
    let waiter = bench.ask_token(Duration::ZERO);
    let Ok(Response::Token(token)) = bench.answer(waiter) else { panic!("not served") };
    let until = hours_ahead(bench, hours).service.after(life);
    let off = token.expires_at.as_millis().abs_diff(until.as_millis());
    assert!(off <= 1000, "{hours}: handed out with the service's time: off by {off} ms");
}

#[test]
fn a_token_is_judged_on_the_services_clock_from_the_sign_in_over_a_restart_to_its_end() {
    for hours in HOURS {
        let mut bench = signed_in_at(hours);
        assert_served(&mut bench, hours, HOUR);
        bench.advance(10 * MINUTE);
        bench.restart();
        assert_served(&mut bench, hours, 50 * MINUTE);
        assert_eq!(bench.refreshes(), 0, "{hours}: nothing was due");
        bench.advance(31 * MINUTE);
        assert_eq!(bench.refreshes(), 1, "{hours}: refreshed when a third is left, as ever");
        bench.advance(20 * MINUTE);
        let waiter = bench.ask_token(Duration::ZERO);
        assert!(bench.is_waiting(waiter), "{hours}: over, and not served");
    }
}

#[test]
fn a_token_that_was_over_before_the_restart_is_not_served_after_it() {
    for hours in HOURS {
        let mut bench = signed_in_at(hours);
        bench.move_clocks(61 * MINUTE);
        bench.restart();
        let waiter = bench.ask_token(Duration::ZERO);
        assert!(bench.is_waiting(waiter), "{hours}");
        bench.reply_refresh(fresh(2));
        assert_eq!(bench.access_token(waiter), secret("access-2"));
    }
}

#[test]
fn a_clock_that_is_wrong_at_a_refresh_costs_no_second_one() {
    for hours in HOURS {
        let mut bench = Bench::signed_in();
        // The first dates that tell come with the refresh and after it.
        bench.jump(-3_600_000 * hours, Duration::ZERO);
        bench.advance_to_refresh();
        let (up, time) = (bench.open(REFRESH), hours_ahead(&bench, hours));
        bench.reply_with_date(&up, fresh(2), Some(time));
        bench.ask_role("Dev");
        let (up, time) = (bench.open(GET), hours_ahead(&bench, hours));
        let until = time.service.after(HOUR);
        bench.reply_with_date(&up, role_keys("KEY1", until), Some(time));
        assert_served(&mut bench, hours, HOUR);
        assert_eq!(bench.refreshes(), 1, "{hours}: what it brought is good");
        // So it is after a crash.
        bench.advance(10 * MINUTE);
        bench.restart();
        let waiter = bench.ask_token(Duration::ZERO);
        assert_eq!(bench.access_token(waiter), secret("access-2"));
        assert_eq!(bench.refreshes(), 1, "{hours}");
    }
}

#[test]
fn role_credentials_are_judged_on_the_services_clock_although_one_date_alone_tells_it() {
    let mut bench = Bench::signed_in();
    bench.jump(-5 * 3_600_000, Duration::ZERO);
    bench.ask_role("Dev");
    let (up, time) = (bench.open(GET), hours_ahead(&bench, 5));
    // By our clock they would live for six hours.
    bench.reply_with_date(&up, role_keys("KEY1", time.service.after(HOUR)), Some(time));
    let waiter = bench.ask_role("Dev");
    assert_eq!(bench.access_key(waiter), "KEY1");
    bench.advance(HOUR);
    let waiter = bench.ask_role("Dev");
    assert!(bench.is_waiting(waiter), "over");
    // A date alone never says that they were over when they came.
    let mut bench = Bench::signed_in();
    bench.ask_role("Dev");
    let (up, time) = (bench.open(GET), hours_ahead(&bench, 5));
    let until = bench.now().wall.after(HOUR);
    bench.reply_with_date(&up, role_keys("KEY1", until), Some(time));
    let waiter = bench.ask_role("Dev");
    assert_eq!(bench.access_key(waiter), "KEY1");
}

#[test]
fn role_credentials_after_a_restart_need_no_second_date() {
    for hours in HOURS {
        let mut bench = signed_in_at(hours);
        bench.restart();
        bench.ask_role("Dev");
        let (up, time) = (bench.open(GET), hours_ahead(&bench, hours));
        bench.reply_with_date(&up, role_keys("KEY1", time.service.after(HOUR)), Some(time));
        let waiter = bench.ask_role("Dev");
        assert_eq!(bench.access_key(waiter), "KEY1", "{hours}");
        bench.advance(59 * MINUTE);
        assert_eq!(bench.status().targets.len(), 1, "{hours}");
        bench.advance(2 * MINUTE);
        assert_eq!(bench.status().targets.len(), 0, "{hours}");
    }
}

#[test]
fn a_clock_that_is_set_right_between_two_runs_leaves_nothing_over_served() {
    for hours in HOURS {
        let mut bench = signed_in_at(hours);
        bench.wall += 3_600_000 * hours;
        bench.move_clocks(61 * MINUTE);
        bench.restart();
        let waiter = bench.ask_token(Duration::ZERO);
        assert!(bench.is_waiting(waiter), "{hours}: refreshed first");
        bench.reply_refresh(fresh(2));
        assert_eq!(bench.access_token(waiter), secret("access-2"), "{hours}");
    }
}

#[test]
fn a_token_from_the_future_is_refreshed_before_it_is_served() {
    // The clock was set back between two runs: nobody knows how old the token is.
    let mut bench = Bench::signed_in();
    bench.wall -= 2 * 3_600_000;
    bench.restart();
    let waiter = bench.ask_token(Duration::ZERO);
    assert!(bench.is_waiting(waiter));
    bench.reply_refresh(fresh(2));
    assert_eq!(bench.access_token(waiter), secret("access-2"));
    assert!(bench.remaining() > 59 * MINUTE);
}

#[test]
fn eight_hours_of_suspend_over_the_end_of_everything_cost_one_refresh_and_no_sign_in() {
    let mut bench = Bench::signed_in();
    bench.ask_role("Dev");
    let until = bench.now().wall.after(HOUR);
    bench.reply(GET, role_keys("KEY1", until));
    bench.next_wait();
    // Before the alarm has rung somebody asks; then it rings.
    bench.move_clocks(8 * HOUR);
    let waiters: Vec<WaiterId> = (0..50).map(|_| bench.ask_role("Dev")).collect();
    bench.handle(Event::Tick);
    assert_eq!((bench.refreshes(), bench.role_calls()), (1, 1), "nothing that is over is sent or served");
    bench.reply_refresh(fresh(2));
    let until = bench.now().wall.after(HOUR);
    bench.reply(GET, role_keys("KEY2", until));
    for waiter in waiters {
        assert_eq!(bench.access_key(waiter), "KEY2");
    }
    assert_eq!((bench.refreshes(), bench.role_calls()), (1, 2));
}

#[test]
fn a_refresh_that_was_up_during_a_suspend_is_lost_and_presented_again_when_the_token_is_over() {
    let mut bench = Bench::signed_in();
    bench.advance_to_refresh();
    bench.next_wait();
    bench.jump(8 * 3_600_000, 8 * HOUR);
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.flying(REFRESH).len(), 1, "still the first");
    bench.reply_refresh(lost());
    assert_eq!(bench.problem(waiter).retry_after, Some(60), "not twice in a minute, whoever asks");
    bench.advance_to_refresh();
    assert_eq!(bench.refreshes(), 2);
    let waiter = bench.ask_token(Duration::ZERO);
    bench.reply_refresh(fresh(2));
    assert_eq!(bench.access_token(waiter), secret("access-2"));
}
