//! The configuration, read again without anybody asking: when, and what it may set off.

use super::*;

fn touched(bench: &mut Bench, configuration: Configuration) {
    bench.handle(Event::ConfigurationTouched);
    bench.handle(Event::ConfigurationLookedAt { changed: true });
    bench.handle(Event::ConfigurationRead(Ok(configuration)));
}

/// The same session by another way, to the same place.
fn with_bundle(name: &str) -> Configuration {
    configuration_of(SessionDefinition { ca_bundle: Some(name.into()), ..definition() })
}

fn broken(line: usize, trouble: &str) -> Event {
    let problem = Problem::new(Code::InvalidConfig, format!("/c.toml:{line}: {trouble}"));
    Event::ConfigurationRead(Err(Box::new(Unread {
        file: "/c.toml".into(),
        line,
        trouble: trouble.to_owned(),
        problem,
    })))
}

#[test]
fn files_that_are_the_same_are_not_read() {
    let mut bench = Bench::signed_in();
    bench.handle(Event::ConfigurationTouched);
    assert_eq!((bench.looks, bench.reads), (1, 0));
    bench.handle(Event::ConfigurationLookedAt { changed: false });
    assert_eq!((bench.looks, bench.reads), (1, 0));
    touched(&mut bench, configuration());
    assert_eq!((bench.looks, bench.reads), (2, 1));
}

#[test]
fn what_happens_during_a_look_or_a_reading_is_looked_at_after_it_once() {
    let mut bench = Bench::signed_in();
    for _ in 0..5 {
        bench.handle(Event::ConfigurationTouched);
    }
    assert_eq!((bench.looks, bench.reads), (1, 0));
    bench.handle(Event::ConfigurationLookedAt { changed: true });
    assert_eq!((bench.looks, bench.reads), (1, 1), "the reading sees it all");
    for _ in 0..5 {
        bench.handle(Event::ConfigurationTouched);
    }
    bench.handle(Event::ConfigurationRead(Ok(configuration())));
    assert_eq!((bench.looks, bench.reads), (2, 1));
    bench.handle(Event::ConfigurationLookedAt { changed: false });
    assert_eq!((bench.looks, bench.reads), (2, 1));
}

#[test]
fn whoever_asks_during_a_look_gets_a_reading_of_their_own() {
    for changed in [false, true] {
        let mut bench = Bench::signed_in();
        bench.handle(Event::ConfigurationTouched);
        let waiter = bench.ask(Request::Reload);
        assert!(bench.is_waiting(waiter));
        bench.handle(Event::ConfigurationLookedAt { changed });
        assert_eq!(bench.reads, 1);
        bench.handle(Event::ConfigurationRead(Ok(elsewhere())));
        let Ok(Response::Reloaded(reloaded)) = bench.answer(waiter) else { panic!() };
        assert_eq!(reloaded.changed, ["session corp"]);
    }
}

#[test]
fn an_agent_that_ends_looks_at_nothing() {
    let mut bench = Bench::signed_in();
    bench.handle(Event::ConfigurationTouched);
    bench.handle(Event::Stop);
    bench.handle(Event::ConfigurationLookedAt { changed: true });
    bench.handle(Event::ConfigurationTouched);
    assert_eq!((bench.looks, bench.reads), (1, 0));
}

#[test]
fn a_broken_edit_is_in_the_status_until_it_is_mended() {
    let mut bench = Bench::signed_in();
    let revision = bench.status().revision;
    bench.handle(Event::ConfigurationTouched);
    bench.handle(Event::ConfigurationLookedAt { changed: true });
    bench.handle(broken(3, "unknown key"));
    let status = bench.status();
    let warning = &status.warnings[0];
    assert_eq!((warning.file.as_str(), warning.line), ("/c.toml", 3));
    assert!(warning.message.starts_with("unknown key"), "{}", warning.message);
    assert!(status.revision > revision);
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.access_token(waiter), secret("access-1"));
    // Somebody asks for a reading that is no better.
    let waiter = bench.ask(Request::Reload);
    bench.handle(broken(4, "another"));
    assert_eq!(bench.problem(waiter).code, Code::InvalidConfig);
    assert_eq!(bench.status().warnings.len(), 1);
    touched(&mut bench, configuration());
    assert_eq!(bench.status().warnings, []);
}

#[test]
fn an_editor_that_saves_all_the_time_ends_no_pause() {
    let mut bench = Bench::signed_in();
    bench.advance_to_refresh();
    bench.reply_refresh(throttled(Some(4 * MINUTE)));
    assert_eq!(bench.refreshes(), 1);
    for count in 0..500 {
        let mut next = configuration();
        next.settings.notifications = count % 2 == 0;
        touched(&mut bench, next);
        bench.advance(Duration::from_millis(200));
    }
    assert_eq!(bench.refreshes(), 1, "the service asked for four minutes");
}

#[test]
fn an_edit_of_the_way_to_the_service_ends_its_pauses_once_a_minute() {
    let mut bench = Bench::signed_in();
    bench.advance_to_refresh();
    bench.reply_refresh(throttled(Some(5 * MINUTE)));
    let begun = bench.mono;
    for count in 0..600 {
        touched(&mut bench, with_bundle(&format!("/bundle-{count}")));
        if !bench.flying("CreateToken (refresh token)").is_empty() {
            bench.reply_refresh(throttled(Some(5 * MINUTE)));
        }
        bench.advance(Duration::from_millis(200));
    }
    let minutes = (bench.mono - begun).as_secs() / 60;
    let refreshes = u64::try_from(bench.refreshes()).unwrap();
    assert!((2..=minutes + 2).contains(&refreshes), "{refreshes} in {minutes} minutes");
}
