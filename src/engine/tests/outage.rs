//! A host that cannot be reached: one attempt in each pause, whoever wants how much (design 3.2 and 3.4).

use super::*;
use crate::upstream::{InvalidProxy, ProxyFailure, Trouble};

const GET: &str = "GetRoleCredentials";
const POLL: &str = "CreateToken (device code)";
const REGISTER: &str = "RegisterClient";

/// With a caller who waits.
const LONGEST: Duration = Duration::from_secs(5);

fn login(bench: &mut Bench) -> WaiterId {
    bench.login(LoginRequest { force: true, ..by(StartedBy::Cli) })
}

/// Nothing leaves the machine for this long: every call that is made fails at once. When each was made.
fn outage(bench: &mut Bench, lasts: Duration, mut each_second: impl FnMut(&mut Bench)) -> Vec<Duration> {
    let end = bench.mono + lasts;
    let mut attempts = Vec::new();
    while bench.mono < end {
        each_second(bench);
        let up = bench.calls.clone();
        for open in up {
            attempts.push(bench.mono);
            bench.reply_to(&open, not_sent());
        }
        let wait = bench.next_wait().unwrap_or(LONGEST).min(seconds(1));
        bench.advance(wait.max(Duration::from_millis(1)));
    }
    for open in bench.calls.clone() {
        attempts.push(bench.mono);
        bench.reply_to(&open, not_sent());
    }
    attempts
}

fn assert_apart(attempts: &[Duration]) {
    for pair in attempts.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(200), "{pair:?}");
    }
}

#[test]
fn a_hundred_callers_over_twenty_targets_are_one_attempt_in_each_pause() {
    let mut bench = Bench::signed_in();
    let mut asked = 0;
    let attempts = outage(&mut bench, 2 * MINUTE, |bench| {
        for _ in 0..20 {
            asked += 1;
            bench.ask(credentials(&format!("R{}", asked % 20), None, Some(seconds(5))));
        }
    });
    assert!(asked > 2_000, "a hundred at any time");
    let (first, later) = attempts.split_at(8);
    assert!(first.iter().all(|at| *at == first[0]), "the calls that were up when it began");
    assert_apart(later);
    let mut other = Bench::signed_in();
    let waiter = other.ask(credentials("R0", None, Some(5 * MINUTE)));
    let alone = outage(&mut other, 2 * MINUTE, |_| ());
    assert!(other.is_waiting(waiter));
    assert!(later.len() <= alone.len() + alone.len() / 2, "{} for many, {} for one", later.len(), alone.len());
}

#[test]
fn sign_ins_in_an_outage_wait_their_turn_and_the_first_is_tried_at_once() {
    let mut bench = Bench::new(Vec::new());
    let mut failed = 0;
    let attempts = outage(&mut bench, 2 * MINUTE, |bench| {
        for _ in 0..10 {
            let waiter = login(bench);
            failed += usize::from(!bench.is_waiting(waiter));
        }
    });
    assert_eq!(failed, 0, "nobody is turned away: a call is up, or waited for");
    assert_apart(&attempts);
    assert!(attempts.len() < 120, "{}", attempts.len());
    assert_eq!(bench.made(REGISTER), attempts.len());
    // Once it is over, whoever waits is one sign-in.
    let waiter = login(&mut bench);
    let before = bench.mono;
    while bench.flying(REGISTER).is_empty() {
        bench.advance_to_next();
    }
    assert!(bench.mono - before <= LONGEST);
    bench.reply(REGISTER, Ok(Answer::Registered(registration())));
    bench.reply("StartDeviceAuthorization", device());
    assert!(bench.login_status(waiter).user_code.is_some());
}

#[test]
fn a_sign_in_that_waits_for_a_network_can_be_cancelled_and_ends_with_the_agent() {
    for stop in [false, true] {
        let mut bench = Bench::new(Vec::new());
        login(&mut bench);
        bench.reply(REGISTER, not_sent());
        let waiter = login(&mut bench);
        assert!(bench.is_waiting(waiter) && bench.calls.is_empty());
        if stop {
            bench.handle(Event::Stop);
            bench.advance(seconds(2));
            assert_eq!(bench.problem(waiter).code, Code::ShuttingDown);
        } else {
            bench.ask(Request::CancelLogin { session: SessionQuery::Only, attempt: None });
            assert_eq!(bench.login_status(waiter).code, Some(Code::SignInCancelled));
        }
        bench.advance(MINUTE);
        assert_eq!(bench.made(REGISTER), 1);
    }
}

#[test]
fn polls_in_an_outage_are_one_attempt_in_each_pause_and_go_on_within_five_seconds() {
    let mut bench = Bench::new(Vec::new());
    login(&mut bench);
    bench.reply(REGISTER, Ok(Answer::Registered(registration())));
    bench.reply("StartDeviceAuthorization", device());
    let attempts = outage(&mut bench, 5 * MINUTE, |_| ());
    assert_eq!(bench.made(POLL), attempts.len());
    assert!(attempts.len() < 200, "{}", attempts.len());
    let before = bench.mono;
    while bench.flying(POLL).is_empty() {
        bench.advance_to_next();
    }
    assert!(bench.mono - before <= LONGEST);
    bench.reply(POLL, fresh(1));
    assert!(bench.remaining() > Duration::ZERO);
}

#[test]
fn a_refresh_and_a_sign_in_that_cannot_leave_the_machine_share_their_pauses() {
    let mut bench = Bench::signed_in();
    bench.advance_to_refresh();
    let attempts = outage(&mut bench, MINUTE, |bench| {
        login(bench);
        bench.ask_token(HOUR);
    });
    // The refresh was up when the first sign-in began.
    assert_apart(&attempts[1..]);
    assert!(bench.made(REGISTER) > 1 && attempts.len() > 5);
}

#[test]
fn a_portal_that_cannot_be_reached_keeps_no_refresh_waiting() {
    let mut bench = Bench::signed_in();
    bench.advance(39 * MINUTE);
    for number in 0..40 {
        bench.ask(credentials(&format!("R{number}"), None, Some(seconds(300))));
    }
    let end = bench.mono + 3 * MINUTE;
    while bench.flying("CreateToken (refresh token)").is_empty() && bench.mono < end {
        for open in bench.flying(GET) {
            bench.reply_to(&open, not_sent());
        }
        bench.advance_to_next();
    }
    bench.reply_refresh(fresh(2));
    assert!(bench.remaining() > 59 * MINUTE);
}

#[test]
fn the_first_thing_that_leaves_the_machine_ends_the_pause_for_all() {
    let mut bench = Bench::signed_in();
    let waiters: Vec<WaiterId> =
        (0..20).map(|number| bench.ask(credentials(&format!("R{number}"), None, Some(seconds(60))))).collect();
    for open in bench.flying(GET) {
        bench.reply_to(&open, not_sent());
    }
    for _ in 0..5 {
        bench.advance_to_next();
        bench.reply(GET, not_sent());
    }
    bench.advance_to_next();
    // A service that is there and works badly is not one that cannot be reached.
    bench.reply(GET, lost());
    assert_eq!(bench.flying(GET).len(), 8);
    while let Some(open) = bench.flying(GET).first().cloned() {
        let until = bench.now().wall.after(HOUR);
        bench.reply_to(&open, role_keys("KEY1", until));
    }
    let served = waiters.iter().filter(|waiter| !bench.is_waiting(**waiter)).count();
    assert_eq!(served, 19, "all but the one whose answer was lost, which has a pause of its own");
}

#[test]
fn a_pause_counts_from_the_end_of_an_attempt_that_takes_its_time() {
    let mut bench = Bench::signed_in();
    bench.ask(credentials("Dev", None, Some(seconds(300))));
    for _ in 0..6 {
        let open = bench.open(GET);
        // A connection that nobody answers fails after five seconds.
        bench.advance(seconds(5));
        bench.reply_to(&open, not_sent());
        assert!(bench.flying(GET).is_empty(), "not at once again");
        bench.advance_to_next();
    }
}

#[test]
fn waking_up_and_a_reload_end_the_pause() {
    for reload in [false, true] {
        let mut bench = Bench::signed_in();
        bench.ask(credentials("Dev", None, Some(HOUR)));
        for _ in 0..6 {
            bench.reply(GET, not_sent());
            bench.advance_to_next();
        }
        bench.reply(GET, not_sent());
        assert!(bench.flying(GET).is_empty());
        if reload {
            bench.reconfigure(configuration());
        } else {
            bench.next_wait();
            bench.jump(600_000, 10 * MINUTE);
        }
        assert_eq!(bench.flying(GET).len(), 1, "reload: {reload}");
    }
}

#[test]
fn whatever_keeps_a_call_on_the_machine_is_told_in_every_operation_and_costs_nothing() {
    let proxy = |trouble| ProxyFailure { proxy: "HTTPS_PROXY".to_owned(), trouble };
    let kinds: [(NotSent, Code, Option<&str>); 9] = [
        (NotSent::Dns("no such name".to_owned()), Code::Unavailable, Some("check the network")),
        (NotSent::Connect("refused".to_owned()), Code::Unavailable, Some("check the network")),
        (NotSent::ConnectTimeout, Code::Unavailable, Some("check the network")),
        (
            NotSent::Tls("expired".to_owned()),
            Code::Unavailable,
            Some("check this machine's clock, and what in this network answers in the place of AWS"),
        ),
        (
            NotSent::Untrusted("unknown issuer".to_owned()),
            Code::Unavailable,
            Some(
                "if that is your company's proxy, set AWS_CA_BUNDLE for the agent, or ca_bundle in the AWS \
                 configuration, to the file with its certificate",
            ),
        ),
        (
            NotSent::Proxy(proxy(Trouble::WantsPassword)),
            Code::Unavailable,
            Some("put them into HTTPS_PROXY for the agent, as http://USER:PASSWORD@HOST:PORT, and restart it"),
        ),
        (
            NotSent::Proxy(proxy(Trouble::Setting(InvalidProxy::Socks))),
            Code::InvalidConfig,
            Some("set it to http://HOST:PORT and restart the agent, or unset it"),
        ),
        (NotSent::Roots("no such file".to_owned()), Code::InvalidConfig, None),
        (NotSent::Malformed("no header".to_owned()), Code::Unavailable, Some("check the network")),
    ];
    let session = SessionQuery::Only;
    let operations: [(&str, Request); 5] = [
        (GET, credentials("Dev", None, Some(seconds(1)))),
        ("ListAccounts", Request::Accounts { session: session.clone() }),
        ("ListAccountRoles", Request::Roles { session: session.clone(), account: "111122223333".parse().unwrap() }),
        ("CreateToken (refresh token)", Request::Refresh { session: session.clone(), force: false }),
        (REGISTER, Request::Login { session, login: LoginRequest { force: true, ..by(StartedBy::Cli) } }),
    ];
    for (kind, code, hint) in kinds {
        for (operation, request) in &operations {
            let mut bench = Bench::signed_in();
            // A refresh that is asked for is made only of a token that is not young.
            bench.advance(2 * MINUTE);
            let waiter = bench.ask(request.clone());
            let end = bench.mono + 2 * MINUTE;
            while bench.is_waiting(waiter) && bench.mono < end {
                for open in bench.calls.clone() {
                    bench.reply_to(&open, Err(Failure::NotSent(kind.clone())));
                }
                if bench.is_waiting(waiter) {
                    bench.advance_to_next();
                }
            }
            let problem = bench.problem(waiter);
            assert_eq!((problem.code, problem.hint.as_deref()), (code, hint), "{operation}: {problem}");
            assert!(problem.caused_by[0].contains(&kind.to_string()), "{operation}: {problem}");
            let token = bench.ask_token(Duration::ZERO);
            assert_eq!(bench.access_token(token), secret("access-1"));
            assert_eq!(bench.tokens_on_disk().unwrap().refresh_sent_at, None);
        }
    }
}

#[test]
fn a_call_that_hangs_leaves_who_waits_for_it_time_for_another() {
    let timeout = |request: Request| {
        let mut bench = Bench::signed_in();
        let asked = Event::Asked(WaiterId(1), request);
        let now = bench.now();
        let effects = bench.state.handle(now, asked);
        effects.into_iter().find_map(|effect| match effect {
            Effect::Call(_, route, _) => Some(route.timeout),
            _ => None,
        })
    };
    assert_eq!(timeout(credentials("Dev", None, None)), Some(Duration::from_millis(12_500)));
    assert_eq!(timeout(credentials("Dev", None, Some(seconds(1)))), Some(seconds(10)), "worth it for the next caller");
    assert_eq!(timeout(Request::Accounts { session: SessionQuery::Only }), Some(seconds(30)));
}

#[test]
fn sign_ins_of_programs_that_never_left_the_machine_are_not_counted_against_them() {
    let mut bench = Bench::new(Vec::new());
    for _ in 0..10 {
        let waiter = bench.login(by(StartedBy::Program));
        while bench.is_waiting(waiter) {
            if bench.calls.is_empty() {
                bench.advance_to_next();
            }
            bench.reply(REGISTER, not_sent());
        }
        assert_eq!(bench.problem(waiter).code, Code::Unavailable);
    }
    bench.advance(seconds(5));
    for number in 0..4 {
        let waiter = bench.login(LoginRequest { force: true, ..by(StartedBy::Program) });
        if number == 3 {
            assert_eq!(bench.problem(waiter).code, Code::Busy, "those that reached the service count");
            return;
        }
        bench.reply(REGISTER, throttled(None));
    }
}

#[test]
fn whoever_is_told_of_an_outage_is_told_to_ask_again_soon() {
    let mut bench = Bench::signed_in();
    for _ in 0..12 {
        let waiter = bench.ask(credentials("Dev", None, Some(seconds(1))));
        while bench.is_waiting(waiter) {
            for open in bench.calls.clone() {
                bench.reply_to(&open, not_sent());
            }
            if bench.is_waiting(waiter) {
                bench.advance_to_next();
            }
        }
        let problem = bench.problem(waiter);
        assert!(problem.retry_after.unwrap() <= 5, "{problem:?}");
        bench.advance(seconds(5));
    }
}
