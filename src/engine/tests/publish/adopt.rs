//! A sign-in of the AWS CLI, taken over because somebody asked.

use super::*;

#[test]
fn a_sign_in_of_the_aws_cli_is_taken_over_when_asked() {
    let mut bench = Bench::new(Vec::new());
    let theirs = bench.theirs(1);
    bench.cache.lies.insert(corp(), Lies::Set(theirs));
    match bench.adopt() {
        Ok(Response::Adopted(adopted)) => assert!(adopted.adopted && adopted.session.renewable),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.tokens_on_disk().unwrap().origin, origin());
    bench.advance_to_refresh();
    assert!(bench.presents("their-refresh-1"));
    bench.reply_refresh(fresh(2));
    assert_eq!(bench.held(), secret("access-2"));
    assert!(bench.file().is_some_and(|set| set.access_token == secret("theirs-1")), "the file is not ours to change");
}

#[test]
fn an_expired_sign_in_is_taken_over_if_it_can_be_refreshed() {
    let mut bench = Bench::new(Vec::new());
    let expired = CachedSet { expires_at: bench.now().wall.before(HOUR), ..bench.theirs(1) };
    bench.cache.lies.insert(corp(), Lies::Set(expired));
    assert!(bench.adopt().is_ok());
    assert!(bench.presents("their-refresh-1"), "refreshed at once");
}

#[test]
fn a_sign_in_without_refresh_token_is_taken_over_as_one_that_ends() {
    let mut bench = Bench::new(Vec::new());
    let theirs = CachedSet { renewal: Renewal::None, ..bench.theirs(1) };
    bench.cache.lies.insert(corp(), Lies::Set(theirs));
    assert!(bench.adopt().is_ok());
    let session = bench.session();
    assert_eq!((session.renewable, session.state), (false, crate::api::SessionState::SignedIn));
    bench.advance(2 * HOUR);
    assert_eq!((bench.refreshes(), bench.session().state), (0, crate::api::SessionState::Ended));
}

#[test]
fn what_cannot_be_taken_over_is_said_with_the_file_and_what_helps() {
    type Change = fn(CachedSet) -> Option<Lies>;
    let cases: [(Change, &str); 8] = [
        (|_| None, "there is no such file"),
        (|_| Some(Lies::Garbage), "it holds no sign-in: no usable accessToken"),
        (
            |set| Some(Lies::Set(CachedSet { start_url: "https://o/start".into(), ..set })),
            "the file holds a sign-in at",
        ),
        (|set| Some(Lies::Set(CachedSet { region: "us-east-1".into(), ..set })), "in region us-east-1"),
        (|set| Some(Lies::Set(CachedSet { renewal: Renewal::Incomplete, ..set })), "without the client"),
        (
            |set| {
                let expires_at = set.expires_at.before(2 * HOUR);
                Some(Lies::Set(CachedSet { expires_at, renewal: Renewal::None, ..set }))
            },
            "and cannot be refreshed",
        ),
        (
            |set| {
                let Renewal::Whole(mut material) = set.renewal else { panic!() };
                material.registration_expires_at = set.expires_at.before(DAY);
                let (expires_at, renewal) = (set.expires_at.before(2 * HOUR), Renewal::Whole(material));
                Some(Lies::Set(CachedSet { expires_at, renewal, ..set }))
            },
            "and so has the client",
        ),
        (|_| Some(Lies::Half), "it is half a file"),
    ];
    for (change, words) in cases {
        let mut bench = Bench::new(Vec::new());
        if let Some(lies) = change(bench.theirs(1)) {
            bench.cache.lies.insert(corp(), lies);
        }
        let waiter = bench.ask(Request::Adopt { session: SessionQuery::Only });
        bench.advance(seconds(1));
        let problem = bench.problem(waiter);
        assert!(problem.to_string().contains(words), "{problem}");
        assert!(problem.to_string().contains("/home/user/.aws/sso/cache/x.json"), "{problem}");
        assert!(problem.hint.is_some_and(|hint| hint.contains("sso-agent login corp")));
        assert!(bench.tokens_on_disk().is_none());
    }
}

#[test]
fn a_better_sign_in_is_not_given_up() {
    let mut bench = Bench::signed_in();
    let theirs = bench.theirs(1);
    bench.cache.lies.insert(corp(), Lies::Set(theirs));
    match bench.adopt() {
        Ok(Response::Adopted(adopted)) => assert!(!adopted.adopted),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.held(), secret("access-1"));
}

#[test]
fn a_sign_out_while_a_sign_in_is_taken_over_is_the_last_word() {
    let mut bench = Bench::new(Vec::new());
    let theirs = bench.theirs(1);
    bench.cache.lies.insert(corp(), Lies::Set(theirs));
    bench.hold_writes = true;
    let adopting = bench.ask(Request::Adopt { session: SessionQuery::Only });
    bench.write_one();
    let leaving = bench.logout();
    bench.release_writes();
    match &bench.open("Logout").call {
        Call::Logout { access_token } => {
            assert_eq!(access_token.for_sending_to(&portal()).ok(), Some(&secret("theirs-1")), "that one is ended");
        }
        other => panic!("{other:?}"),
    }
    bench.reply("Logout", Ok(Answer::LoggedOut));
    assert!(bench.answer(adopting).is_err());
    assert!(bench.answer(leaving).is_ok());
    assert!(bench.tokens_on_disk().is_none());
    assert_eq!(bench.session().state, crate::api::SessionState::SignedOut);
}

/// A sign-in of the AWS CLI is on its way to disk, taken over during a sign-in of ours whose poll is up.
fn taking_over() -> (Bench, WaiterId) {
    let mut bench = Bench::new(vec![Record::Client(client())]);
    bench.login(by(StartedBy::Cli));
    bench.reply("StartDeviceAuthorization", device());
    bench.advance(seconds(2));
    let theirs = bench.theirs(1);
    bench.cache.lies.insert(corp(), Lies::Set(theirs));
    bench.hold_writes = true;
    let adopting = bench.ask(Request::Adopt { session: SessionQuery::Only });
    bench.write_one();
    assert!(bench.is_waiting(adopting), "on its way to disk");
    (bench, adopting)
}

#[test]
fn tokens_of_our_own_sign_in_that_come_while_another_is_taken_over_take_its_place_and_live_on() {
    let (mut bench, adopting) = taking_over();
    bench.reply("CreateToken (device code)", fresh(7));
    bench.release_writes();
    assert!(bench.answer(adopting).is_err());
    assert_eq!(bench.held(), secret("access-7"));
    assert_eq!(bench.tokens_on_disk().unwrap().tokens.access_token, secret("access-7"));
    bench.advance_to_refresh();
    assert!(bench.presents("refresh-7"), "it is refreshed as any other");
}

#[test]
fn who_wants_to_sign_in_while_a_sign_in_is_taken_over_gets_an_answer() {
    let mut bench = Bench::new(Vec::new());
    let theirs = bench.theirs(1);
    bench.cache.lies.insert(corp(), Lies::Set(theirs));
    bench.hold_writes = true;
    bench.ask(Request::Adopt { session: SessionQuery::Only });
    bench.write_one();
    let login = bench.login(by(StartedBy::Cli));
    assert_eq!(bench.problem(login).code, Code::Busy);
    bench.release_writes();
    assert_eq!(bench.held(), secret("theirs-1"));
}

#[test]
fn a_sign_in_can_be_cancelled_and_moved_away_from_while_another_is_taken_over() {
    for moved in [false, true] {
        let (mut bench, _) = taking_over();
        if moved {
            bench.reconfigure(elsewhere());
        } else {
            bench.ask(Request::CancelLogin { session: SessionQuery::Only, attempt: None });
        }
        assert_eq!(bench.login_state().state, crate::api::LoginState::Failed);
        bench.release_writes();
        assert!(bench.tokens_on_disk().is_some());
    }
}

#[test]
fn a_sign_in_that_a_request_had_started_is_over_when_another_is_taken_over() {
    let mut configuration = configuration();
    let settings = SessionSettings { sign_in: crate::settings::SignInMode::OnDemand, ..SessionSettings::default() };
    configuration.settings.sessions.insert(corp(), settings);
    let mut bench = Bench::configured(configuration, vec![Record::Client(client())]);
    let waiter = bench.ask_token(Duration::ZERO);
    bench.reply("StartDeviceAuthorization", device());
    let theirs = bench.theirs(1);
    bench.cache.lies.insert(corp(), Lies::Set(theirs));
    assert!(bench.adopt().is_ok());
    assert_eq!(bench.access_token(waiter), secret("theirs-1"));
    assert_eq!(bench.notices.last().unwrap().news, News::Over, "nothing to be approved any more");
    assert_eq!(bench.client_on_disk().unwrap().quiet, None, "a person has signed in");
}
