//! The line about how things are.

use super::*;
use crate::settings::SessionSettings;

#[test]
fn the_line_says_who_is_signed_in_and_when_something_happens() {
    let mut bench = Bench::signed_in();
    let wait = bench.next_wait().unwrap();
    let line = bench.state.headline(bench.now());
    let refresh =
        super::super::words::clock_time(bench.now().wall.after(wait), bench.now().wall, &jiff::tz::TimeZone::UTC);
    assert_eq!(line, format!("1 session signed in, next refresh {refresh}"));
    assert_eq!(Bench::new(Vec::new()).state.headline(bench.now()), "nobody is signed in");
}

#[test]
fn the_line_says_when_a_session_ends_that_cannot_be_refreshed() {
    let mut record = tokens();
    record.tokens.refresh_token = None;
    let expires_at = record.tokens.expires_at;
    let mut bench = Bench::new(vec![Record::Tokens(record)]);
    let clock = |time| super::super::words::clock_time(time, bench.now().wall, &jiff::tz::TimeZone::UTC);
    let end = clock(expires_at);
    assert_eq!(bench.state.headline(bench.now()), format!("1 session signed in; corp ends at {end}"));
    bench.advance(Duration::from_secs(3700));
    assert_eq!(bench.state.headline(bench.now()), format!("nobody is signed in; corp ended at {end}"));
}

#[test]
fn the_line_carries_no_secret_and_nothing_that_steers_a_terminal() {
    let name: SessionName = "corp\u{202e}".parse().unwrap();
    let mut configuration = configuration();
    let mut definition = configuration.catalog.sessions.pop_first().unwrap().1;
    if let Ok(definition) = &mut definition {
        definition.name = name.clone();
    }
    configuration.catalog.sessions.insert(name.clone(), definition);
    configuration.settings.sessions.insert(name.clone(), SessionSettings::default());
    let mut record = tokens();
    record.session = name;
    record.tokens.refresh_token = None;
    let token = record.tokens.access_token.clone();
    let bench = Bench::configured(configuration, vec![Record::Tokens(record)]);
    let line = bench.state.headline(bench.now());
    assert!(line.contains("corp") && !line.contains('\u{202e}'), "{line:?}");
    assert!(!line.contains(token.expose()));
}
