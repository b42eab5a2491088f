//! Ending when nobody needs the agent.

use super::*;

const IDLE: Duration = Duration::from_secs(600);

fn resting(records: Vec<Record>) -> Bench {
    let mut configuration = configuration();
    configuration.settings.exit_after_idle = Some(IDLE);
    let mut bench = Bench::configured(configuration, records);
    bench.state.allow_rest();
    bench
}

fn wants_rest(bench: &mut Bench) -> bool {
    let now = bench.now();
    bench.state.wants_rest(now)
}

#[test]
fn an_agent_with_nothing_to_keep_ends_when_nobody_has_asked_for_long_enough() {
    let mut bench = resting(Vec::new());
    assert_eq!(bench.next_wait(), Some(IDLE), "it wakes for that");
    bench.advance(IDLE / 2);
    bench.ask(Request::Status { wait: Duration::ZERO, after: None });
    bench.advance(IDLE - Duration::from_secs(1));
    bench.ask(Request::Health);
    assert!(!wants_rest(&mut bench));
    bench.advance(Duration::from_secs(1));
    assert!(wants_rest(&mut bench), "a look at its health is no use of it");
    assert_eq!(
        bench.next_wait(),
        Some(Duration::from_secs(60)),
        "somebody was connected: it looks again, and does not spin"
    );
}

#[test]
fn an_agent_that_has_something_to_keep_does_not_end() {
    let mut bench = resting(vec![Record::Tokens(tokens())]);
    bench.advance(Duration::from_secs(60));
    assert_eq!(bench.state.rest_wait(bench.now()), None);
}

#[test]
fn a_session_that_is_over_keeps_nobody_up() {
    let mut record = tokens();
    record.tokens.refresh_token = None;
    let mut bench = resting(vec![Record::Tokens(record)]);
    assert_eq!(bench.state.rest_wait(bench.now()), None, "the access token still lives");
    bench.move_clocks(Duration::from_secs(3700));
    bench.handle(Event::Tick);
    assert!(bench.state.rest_wait(bench.now()).is_some());
}

#[test]
fn an_agent_that_nobody_would_start_again_or_that_was_not_told_to_stays() {
    let mut bench = resting(Vec::new());
    bench.state.rest = super::super::rest::Rest::new(bench.now());
    bench.advance(IDLE * 2);
    assert!(!wants_rest(&mut bench) && bench.next_wait().is_none());
    let mut bench = Bench::new(Vec::new());
    bench.state.allow_rest();
    bench.advance(IDLE * 2);
    assert!(!wants_rest(&mut bench) && bench.next_wait().is_none());
}

#[test]
fn a_standing_door_keeps_the_agent() {
    let mut configuration = configuration();
    configuration.settings.exit_after_idle = Some(IDLE);
    configuration.settings.container.listen = vec!["127.0.0.1:9911".parse().unwrap()];
    let mut bench = Bench::configured(configuration, Vec::new());
    bench.state.allow_rest();
    bench.advance(IDLE * 2);
    assert!(!wants_rest(&mut bench));
}
