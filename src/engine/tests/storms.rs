//! A service that is there and overloaded: for hours, with callers who do not give up.

use super::*;

/// How every call is answered.
type Weather = dyn Fn() -> Result<Answer, Failure>;

/// Eight hours in which every call is answered like this, with two questions a second for some of the time. The calls.
fn storm(answer: &Weather) -> (Bench, usize) {
    let mut bench = Bench::signed_in();
    bench.ask_role("Dev");
    let until = bench.now().wall.after(HOUR);
    bench.reply("GetRoleCredentials", role_keys("KEY1", until));
    let mut calls = 0;
    let end = bench.mono + 8 * HOUR;
    while bench.mono < end {
        if bench.asked.is_multiple_of(50) {
            bench.advance(10 * MINUTE);
        }
        bench.ask_token(Duration::ZERO);
        bench.ask(credentials("Dev", None, Some(seconds(20))));
        for open in bench.calls.clone() {
            calls += 1;
            bench.reply_to(&open, answer());
        }
        let wait = bench.next_wait().unwrap_or(MINUTE).min(seconds(20));
        bench.advance(wait.max(seconds(1)));
    }
    (bench, calls)
}

/// Serves whatever is asked for from now on, and says how long it took until role credentials were there.
fn recovery(bench: &mut Bench) -> Duration {
    let before = bench.mono;
    let ask = |bench: &mut Bench| bench.ask(credentials("Dev", None, Some(seconds(25))));
    let mut waiter = ask(bench);
    for number in 2..1000 {
        while let Some(open) = bench.calls.first().cloned() {
            let until = bench.now().wall.after(HOUR);
            let answer = match open.call {
                Call::GetRoleCredentials { .. } => role_keys("KEY2", until),
                _ => fresh(number),
            };
            bench.reply_to(&open, answer);
        }
        if !bench.is_waiting(waiter) {
            if bench.answer(waiter).is_ok() {
                return bench.mono - before;
            }
            bench.advance(seconds(1));
            waiter = ask(bench);
        }
        let wait = bench.next_wait().unwrap_or(MINUTE).min(seconds(5));
        bench.advance(wait);
    }
    panic!("never");
}

#[test]
fn hours_of_throttling_or_errors_end_with_the_storm_and_not_with_the_session() {
    let throttling = || throttled(None);
    let soon = || throttled(Some(seconds(1)));
    let later = || throttled(Some(seconds(90)));
    let much_later = || throttled(Some(DAY));
    let busy = || Err(Failure::NotProcessed { status: 503, throttled: false, retry_after: Some(seconds(5)) });
    let elsewhere = || Err(Failure::NotProcessed { status: 302, throttled: false, retry_after: None });
    let broken = || Err(Failure::Unknown(Unclear::ServerError(500)));
    let hotel = || Err(Failure::Unknown(Unclear::UnusableBody("not JSON".to_owned())));
    let storms: [(&str, &Weather); 8] = [
        ("429", &throttling),
        ("429, again in a second", &soon),
        ("429, again in a minute and a half", &later),
        ("429, again tomorrow", &much_later),
        ("503, again in five seconds", &busy),
        ("302", &elsewhere),
        ("500", &broken),
        ("a hotel's page", &hotel),
    ];
    for (name, answer) in storms {
        let (mut bench, calls) = storm(answer);
        // Full jitter up to five minutes: two and a half between two of a kind.
        assert!(calls < 8 * 60, "{name}: {calls} calls in eight hours");
        assert_eq!(bench.tokens_on_disk().unwrap().refused, None, "{name}");
        let took = recovery(&mut bench);
        assert!(took <= 6 * MINUTE, "{name}: {took:?}");
        assert_eq!(bench.session().last_error, None, "{name}");
    }
}
