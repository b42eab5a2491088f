//! What the user is told without having asked: each once, also over restarts and suspends.

use super::*;

const REFRESH: &str = "CreateToken (refresh token)";

fn news(bench: &Bench) -> Vec<News> {
    bench.notices.iter().map(|notice| notice.news.clone()).collect()
}

/// As it was left by a session of eight hours.
fn after_a_session_of_eight_hours() -> Vec<Record> {
    vec![Record::Tokens(tokens()), Record::Client(ClientRecord { last_session: Some(8 * HOUR), ..client() })]
}

/// Refreshes succeed for so long.
fn live(bench: &mut Bench, time: Duration) {
    let end = bench.mono + time;
    let mut number = 100;
    while bench.mono < end {
        if bench.flying(REFRESH).is_empty() {
            let left = end - bench.mono;
            let wait = bench.next_wait().map_or(left, |wait| wait.min(left)).max(Duration::from_millis(1));
            bench.move_clocks(wait);
            bench.handle(Event::Tick);
        } else {
            number += 1;
            bench.reply(REFRESH, fresh(number));
        }
    }
}

#[test]
fn a_session_that_is_renewed_no_more_is_told_of_once_and_once_more_at_its_end() {
    let mut bench = Bench::signed_in();
    bench.advance(seconds(41 * 60));
    bench.reply(REFRESH, refused(ErrorName::InvalidGrant));
    assert_eq!(news(&bench), [News::Ending("23:13".to_owned())]);
    bench.advance(seconds(10 * 60));
    bench.restart();
    bench.handle(Event::Tick);
    assert_eq!(news(&bench), [], "a restart is no news");
    bench.advance(seconds(10 * 60));
    assert_eq!(news(&bench), [News::Ended]);
    bench.restart();
    bench.advance(HOUR);
    assert_eq!(news(&bench), []);
}

#[test]
fn a_session_that_ended_while_the_machine_slept_is_told_of_once() {
    let mut bench = Bench::signed_in();
    bench.jump(9 * 3_600_000, 9 * HOUR);
    bench.reply(REFRESH, refused(ErrorName::InvalidGrant));
    bench.advance(HOUR);
    bench.jump(3_600_000, HOUR);
    assert_eq!(news(&bench), [News::Ended]);
    assert_eq!(bench.client_on_disk().unwrap().last_session, None, "nobody knows when in the night it was");
}

#[test]
fn how_long_a_session_was_is_learnt_where_its_end_was_seen() {
    let mut bench = Bench::signed_in();
    live(&mut bench, 7 * HOUR);
    while bench.flying(REFRESH).is_empty() {
        bench.advance_to_next();
    }
    bench.reply(REFRESH, refused(ErrorName::InvalidGrant));
    let long = bench.client_on_disk().unwrap().last_session.unwrap();
    assert!((6 * HOUR..=7 * HOUR).contains(&long), "{long:?}");
}

#[test]
fn the_end_to_come_is_told_of_once_half_an_hour_before() {
    let mut bench = Bench::new(after_a_session_of_eight_hours());
    live(&mut bench, 7 * HOUR + seconds(29 * 60));
    assert_eq!(news(&bench), []);
    live(&mut bench, seconds(2 * 60));
    assert_eq!(news(&bench), [News::EndsSoon("06:13".to_owned())]);
    let text = bench.notices[0].clone().notification().unwrap();
    assert!(text.body.contains("sso-agent login --new-session corp"), "{text:?}");
    bench.restart();
    live(&mut bench, seconds(20 * 60));
    assert_eq!(news(&bench), [], "a restart forgets nothing");
}

#[test]
fn a_machine_that_slept_over_the_end_to_come_is_not_told_of_it() {
    let mut bench = Bench::new(after_a_session_of_eight_hours());
    bench.jump(9 * 3_600_000, 9 * HOUR);
    bench.reply(REFRESH, fresh(2));
    live(&mut bench, HOUR);
    assert_eq!(news(&bench), []);
}

#[test]
fn the_notice_of_the_end_to_come_is_the_only_thing_it_wakes_for() {
    let mut told = Bench::new(after_a_session_of_eight_hours());
    let mut plain = Bench::signed_in();
    assert_eq!(told.next_wait(), plain.next_wait(), "a refresh comes before it");
}

#[test]
fn a_user_who_wants_none_gets_none() {
    let mut configuration = configuration();
    configuration.settings.notifications = false;
    let mut bench = Bench::configured(configuration, after_a_session_of_eight_hours());
    live(&mut bench, 7 * HOUR + seconds(45 * 60));
    while bench.flying(REFRESH).is_empty() {
        bench.advance_to_next();
    }
    bench.reply(REFRESH, refused(ErrorName::InvalidGrant));
    bench.advance(HOUR);
    assert_eq!(news(&bench), []);
}

#[test]
fn a_name_of_a_session_is_only_a_name_in_what_the_user_is_told() {
    let session: SessionName = "a'; curl x <b>\u{202e}".parse().unwrap();
    let notification = Notice { session, news: News::Ended }.notification().unwrap();
    assert!(notification.body.contains(r"sso-agent login 'a'\''; curl x <b>"), "{notification:?}");
    assert!(!notification.title.contains('\u{202e}'), "{notification:?}");
}

#[test]
fn what_was_told_of_an_end_is_taken_back_when_the_user_has_signed_in_or_out() {
    for signs_in in [true, false] {
        let mut bench = Bench::new(vec![Record::Tokens(tokens()), Record::Client(client())]);
        bench.advance(seconds(41 * 60));
        bench.reply(REFRESH, refused(ErrorName::InvalidGrant));
        bench.notices.clear();
        if signs_in {
            bench.login(by(StartedBy::Cli));
            bench.reply("StartDeviceAuthorization", device());
            assert_eq!(news(&bench), [], "not yet");
            while bench.flying("CreateToken (device code)").is_empty() {
                bench.advance_to_next();
            }
            bench.reply("CreateToken (device code)", fresh(2));
        } else {
            bench.logout();
        }
        assert_eq!(news(&bench), [News::Over]);
    }
}

#[test]
fn who_wants_no_notices_any_more_loses_the_one_that_is_on_the_screen() {
    let mut wanted = configuration();
    let settings = SessionSettings { sign_in: crate::settings::SignInMode::OnDemand, ..SessionSettings::default() };
    wanted.settings.sessions.insert(corp(), settings);
    let mut bench = Bench::configured(wanted.clone(), vec![Record::Client(client())]);
    bench.ask_role("Dev");
    bench.reply("StartDeviceAuthorization", device());
    assert!(matches!(news(&bench)[..], [News::SignInWanted { .. }]));
    bench.notices.clear();
    wanted.settings.notifications = false;
    bench.reconfigure(wanted);
    bench.ask(Request::CancelLogin { session: SessionQuery::Only, attempt: None });
    assert_eq!(news(&bench), [News::Over]);
}
