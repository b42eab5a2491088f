//! Configuration that changes under a running agent (attacks 1, design 3.5).

use super::*;

/// Signed in, with credentials of a role in the cache, and then led elsewhere by the configuration.
fn moved() -> Bench {
    let mut bench = Bench::new(vec![Record::Tokens(tokens()), Record::Client(client())]);
    bench.ask_role("Dev");
    let until = bench.now().wall.after(12 * HOUR);
    bench.reply("GetRoleCredentials", role_keys("KEY1", until));
    bench.answers.clear();
    bench.reconfigure(elsewhere());
    bench
}

fn all_questions(bench: &mut Bench) -> Vec<WaiterId> {
    vec![
        bench.ask_token(Duration::ZERO),
        bench.ask_role("Dev"),
        bench.ask_role("Ops"),
        bench.ask_refresh(false),
        bench.ask_refresh(true),
        bench.ask(Request::Accounts { session: SessionQuery::Only }),
    ]
}

#[test]
fn a_session_that_is_led_elsewhere_sends_nothing_and_names_both_places() {
    let mut bench = moved();
    let calls = bench.made.clone();
    for waiter in all_questions(&mut bench) {
        let problem = bench.problem(waiter);
        assert_eq!(problem.code, Code::InvalidConfig, "{problem}");
        assert!(problem.detail.contains(oidc().as_str()), "{problem}");
        assert!(problem.detail.contains("http://localhost:4566"), "{problem}");
        assert!(problem.detail.contains("by AWS_ENDPOINT_URL"), "{problem}");
        assert!(problem.hint.unwrap().contains("/home/user/.aws/config:1"));
    }
    bench.advance(DAY);
    assert_eq!(bench.made, calls, "nothing was sent");
    assert!(bench.tokens_on_disk().is_some(), "the record is kept");
    assert_eq!(bench.session().last_error.unwrap().code, Code::InvalidConfig);
}

#[test]
fn putting_the_configuration_back_makes_the_session_usable_again() {
    let mut bench = moved();
    bench.advance(10 * MINUTE);
    bench.reconfigure(configuration());
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.access_token(waiter), secret("access-1"));
    let waiter = bench.ask_role("Dev");
    assert_eq!(bench.access_key(waiter), "KEY1");
    bench.advance_to_refresh();
    assert!(bench.presents("refresh-1"));
}

#[test]
fn the_same_goes_for_a_restart_with_another_environment() {
    let mut bench = Bench::configured(elsewhere(), vec![Record::Tokens(tokens())]);
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.problem(waiter).code, Code::InvalidConfig);
    bench.advance(DAY);
    assert!(bench.calls.is_empty());
    assert!(bench.tokens_on_disk().is_some());
}

#[test]
fn every_part_of_the_origin_counts() {
    let changes: [fn(&mut SessionDefinition); 4] = [
        |definition| definition.start_url = "https://other.awsapps.com/start".to_owned(),
        |definition| definition.region = "eu-west-2".parse().unwrap(),
        |definition| definition.endpoints.oidc = "https://oidc.example.com".parse().unwrap(),
        |definition| definition.endpoints.portal = "https://portal.example.com".parse().unwrap(),
    ];
    for change in changes {
        let mut definition = definition();
        change(&mut definition);
        let mut bench = Bench::configured(configuration_of(definition), vec![Record::Tokens(tokens())]);
        let waiter = bench.ask_token(Duration::ZERO);
        assert_eq!(bench.problem(waiter).code, Code::InvalidConfig);
    }
}

#[test]
fn only_a_sign_in_binds_another_place_and_what_the_old_one_handed_out_goes() {
    let mut bench = moved();
    bench.login(by(StartedBy::Cli));
    assert_eq!(bench.made("RegisterClient"), 1, "the registration of the old place is not used");
    bench.reply("RegisterClient", Ok(Answer::Registered(registration())));
    let Call::StartDeviceAuthorization { registration: bound, .. } = bench.open("StartDeviceAuthorization").call else {
        panic!()
    };
    assert!(bound.for_sending_to(&oidc()).is_err());
    bench.reply("StartDeviceAuthorization", device());
    bench.advance(seconds(1));
    bench.reply("CreateToken (device code)", fresh(5));
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.access_token(waiter), secret("access-5"));
    let waiter = bench.ask_role("Dev");
    assert!(bench.is_waiting(waiter), "the old place's credentials are not served for the new one");
    let Call::GetRoleCredentials { access_token, .. } = bench.open("GetRoleCredentials").call else { panic!() };
    assert!(access_token.for_sending_to(&portal()).is_err());
    bench.reconfigure(configuration());
    assert_eq!(bench.problem(waiter).code, Code::InvalidConfig, "and now the old place is elsewhere");
}

#[test]
fn what_one_place_handed_out_is_not_served_for_another_although_nobody_is_signed_in() {
    let mut bench = Bench::new(vec![Record::Tokens(tokens()), Record::Client(client())]);
    bench.ask_role("Dev");
    let until = bench.now().wall.after(12 * HOUR);
    bench.reply("GetRoleCredentials", role_keys("KEY1", until));
    bench.login(LoginRequest { new_session: true, ..by(StartedBy::Cli) });
    bench.reply("Logout", Ok(Answer::LoggedOut));
    bench.reconfigure(elsewhere());
    let waiter = bench.ask_role("Dev");
    assert_eq!(bench.problem(waiter).code, Code::SignInRequired);
}

#[test]
fn a_change_during_a_refresh_does_not_lose_the_rotated_token() {
    let mut bench = Bench::signed_in();
    bench.advance_to_refresh();
    bench.reconfigure(elsewhere());
    bench.reply_refresh(fresh(2));
    assert_eq!(bench.tokens_on_disk().unwrap().tokens.refresh_token, Some(secret("refresh-2")));
    assert_eq!(bench.tokens_on_disk().unwrap().origin, origin());
    bench.reconfigure(configuration());
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.access_token(waiter), secret("access-2"));
}

#[test]
fn a_change_between_the_mark_and_the_call_sends_nothing_and_takes_the_mark_back() {
    let mut bench = Bench::signed_in();
    bench.hold_writes = true;
    while bench.writes.is_empty() {
        bench.advance_to_next();
    }
    bench.reconfigure(elsewhere());
    bench.release_writes();
    assert_eq!(bench.refreshes(), 0);
    assert_eq!(bench.tokens_on_disk().unwrap().refresh_sent_at, None);
}

#[test]
fn a_session_that_is_gone_from_the_configuration_keeps_its_tokens() {
    let mut bench = Bench::signed_in();
    bench.ask_role("Dev");
    let until = bench.now().wall.after(HOUR);
    bench.reply("GetRoleCredentials", role_keys("KEY1", until));
    bench.reconfigure(Configuration::default());
    assert!(bench.status().targets.is_empty(), "what is not served is not shown");
    let waiter = bench.ask(Request::Token {
        session: SessionQuery::Named(corp()),
        min_validity: Duration::ZERO,
        kind: TokenKind::Access,
    });
    assert_eq!(bench.problem(waiter).code, Code::UnknownSession);
    bench.advance(30 * MINUTE);
    assert_eq!(bench.refreshes(), 0);
    bench.reconfigure(configuration());
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.access_token(waiter), secret("access-1"));
}

#[test]
fn a_session_that_is_gone_from_the_configuration_can_still_be_signed_out() {
    let mut bench = Bench::signed_in();
    bench.reconfigure(Configuration::default());
    let waiter = bench.ask(Request::Logout { session: SessionQuery::Named(corp()) });
    let answer = bench.answer(waiter);
    assert!(matches!(answer, Ok(Response::LoggedOut(out)) if !out.revoked), "{answer:?}");
    assert_eq!((bench.tokens_on_disk(), bench.calls.len()), (None, 0));
    let waiter = bench.ask(Request::Logout { session: SessionQuery::Named(corp()) });
    assert_eq!(bench.problem(waiter).code, Code::UnknownSession);
}

#[test]
fn another_margin_counts_from_the_reload_on() {
    let mut bench = Bench::signed_in();
    let mut configuration = configuration();
    let settings = SessionSettings { refresh_margin: Some(10 * MINUTE), ..SessionSettings::default() };
    configuration.settings.sessions.insert(corp(), settings);
    bench.reconfigure(configuration);
    bench.advance_to_refresh();
    assert!(bench.remaining() <= 10 * MINUTE, "{:?}", bench.remaining());
}

#[test]
fn callers_who_wait_while_the_session_is_led_elsewhere_are_answered() {
    let mut bench = Bench::signed_in();
    let waiter = bench.ask_role("Dev");
    let up = bench.open("GetRoleCredentials");
    bench.reconfigure(elsewhere());
    assert_eq!(bench.problem(waiter).code, Code::InvalidConfig);
    let until = bench.now().wall.after(HOUR);
    bench.reply_to(&up, role_keys("LATE", until));
    assert!(bench.status().targets.is_empty());
}

#[test]
fn a_sign_in_that_waits_for_approval_ends_when_its_session_is_led_elsewhere() {
    let mut bench = Bench::new(vec![Record::Client(client())]);
    bench.login(by(StartedBy::Cli));
    bench.reply("StartDeviceAuthorization", device());
    bench.reconfigure(elsewhere());
    assert_eq!(bench.login_state().code, Some(Code::SignInCancelled));
    bench.advance(MINUTE);
    assert_eq!(bench.made("CreateToken (device code)"), 0);
}

#[test]
fn a_configuration_that_cannot_be_read_changes_nothing() {
    let mut bench = Bench::signed_in();
    let waiter = bench.ask(Request::Reload);
    let broken = Problem::new(Code::InvalidConfig, "config.toml:3: unknown key");
    bench.handle(Event::ConfigurationRead(Err(Box::new(broken.clone().into()))));
    assert_eq!(bench.problem(waiter), broken);
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.access_token(waiter), secret("access-1"));
}

#[test]
fn a_reload_says_what_changed_and_nothing_when_nothing_did() {
    let mut bench = Bench::signed_in();
    for (configuration, expected) in [(configuration(), vec![]), (elsewhere(), vec!["session corp".to_owned()])] {
        let waiter = bench.ask(Request::Reload);
        bench.handle(Event::ConfigurationRead(Ok(configuration)));
        let Ok(Response::Reloaded(reloaded)) = bench.answer(waiter) else { panic!() };
        assert_eq!(reloaded.changed, expected);
    }
}

#[test]
fn a_reload_names_the_settings_that_changed() {
    let mut bench = Bench::signed_in();
    let mut next = configuration();
    let mut reload = |next: &Configuration| {
        let waiter = bench.ask(Request::Reload);
        bench.handle(Event::ConfigurationRead(Ok(next.clone())));
        let Ok(Response::Reloaded(reloaded)) = bench.answer(waiter) else { panic!() };
        reloaded.changed
    };
    next.settings.audit = crate::settings::AuditMode::Required;
    assert_eq!(reload(&next), ["setting audit"]);
    next.settings.keep_warm = DAY;
    let margin = SessionSettings { refresh_margin: Some(10 * MINUTE), ..SessionSettings::default() };
    next.settings.sessions.insert(corp(), margin);
    assert_eq!(reload(&next), ["session corp", "setting keep_warm"]);
    next.settings.sessions.get_mut(&corp()).unwrap().line = 7;
    assert_eq!(reload(&next), [] as [&str; 0], "it stands somewhere else, and says the same");
}

#[test]
fn a_reload_that_is_asked_for_during_another_reads_once_more() {
    let mut bench = Bench::signed_in();
    let first = bench.ask(Request::Reload);
    // The file changes here, after the first reading began.
    let second = bench.ask(Request::Reload);
    let third = bench.ask(Request::Reload);
    assert_eq!(bench.reads, 1);
    bench.handle(Event::ConfigurationRead(Ok(configuration())));
    assert!(bench.answer(first).is_ok());
    assert!(bench.is_waiting(second) && bench.is_waiting(third));
    assert_eq!(bench.reads, 2);
    bench.handle(Event::ConfigurationRead(Ok(elsewhere())));
    for waiter in [second, third] {
        let Ok(Response::Reloaded(reloaded)) = bench.answer(waiter) else { panic!() };
        assert_eq!(reloaded.changed, ["session corp"]);
    }
    assert_eq!(bench.reads, 2);
    bench.handle(Event::ReloadWanted);
    bench.handle(Event::ReloadWanted);
    bench.handle(Event::ConfigurationRead(Ok(elsewhere())));
    assert_eq!(bench.reads, 4, "also without anybody who waits");
}

#[test]
fn a_reload_ends_the_pause_after_a_dead_network() {
    let mut bench = Bench::signed_in();
    bench.advance_to_refresh();
    bench.reply_refresh(throttled(Some(HOUR)));
    assert_eq!(bench.refreshes(), 1);
    bench.reconfigure(configuration());
    assert_eq!(bench.refreshes(), 2);
}

#[test]
fn a_reading_that_hangs_is_given_up_for_its_caller() {
    let mut bench = Bench::signed_in();
    let waiter = bench.ask(Request::Reload);
    bench.advance(seconds(26));
    assert_eq!(bench.problem(waiter).code, Code::Timeout);
}

#[test]
fn a_margin_that_changes_while_fresh_tokens_are_being_saved_counts_for_them_too() {
    let mut bench = Bench::signed_in();
    bench.advance_to_refresh();
    bench.hold_writes = true;
    bench.reply_refresh(fresh(2));
    let mut wider = configuration();
    let settings = SessionSettings { refresh_margin: Some(30 * MINUTE), ..SessionSettings::default() };
    wider.settings.sessions.insert(corp(), settings);
    bench.reconfigure(wider);
    bench.release_writes();
    bench.advance_to_refresh();
    assert!(bench.remaining() > 25 * MINUTE, "{:?}", bench.remaining());
}

#[test]
fn a_session_that_is_held_and_not_configured_any_more_is_shown_until_it_is_let_go() {
    let mut bench = Bench::signed_in();
    bench.reconfigure(Configuration::default());
    let session = bench.session();
    assert_eq!((session.session.as_str(), session.configured), ("corp", false));
    let waiter = bench.ask(Request::Logout { session: SessionQuery::Named(corp()) });
    assert!(bench.answer(waiter).is_ok());
    assert_eq!(bench.status().sessions, []);
}
