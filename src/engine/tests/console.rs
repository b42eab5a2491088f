//! The way into the console: credentials as for everybody, one exchange, and nothing to whom it does not belong.

use super::*;

fn ask(bench: &mut Bench, destination: Option<&str>) -> WaiterId {
    bench.ask(console("Dev", destination))
}

/// A visit whose credentials are there and whose exchange is up.
fn exchanging(bench: &mut Bench) -> WaiterId {
    let waiter = ask(bench, Some("s3"));
    let until = bench.now().wall.after(HOUR);
    bench.reply("GetRoleCredentials", role_keys("KEY1", until));
    assert!(bench.is_waiting(waiter));
    waiter
}

fn duration_asked(bench: &Bench) -> Option<Duration> {
    let call = bench.calls.iter().find_map(|open| match &open.call {
        Call::GetSigninToken { duration, .. } => Some(*duration),
        _ => None,
    });
    call.expect("an exchange is up")
}

fn signin_token() -> Result<Answer, Failure> {
    Ok(Answer::SigninToken(secret("signin-token")))
}

#[test]
fn a_way_into_the_console_is_made_of_the_roles_credentials() {
    let mut bench = Bench::signed_in();
    let waiter = exchanging(&mut bench);
    assert_eq!(duration_asked(&bench), Some(HOUR));
    bench.reply("getSigninToken", signin_token());
    let Ok(answer) = bench.answer(waiter) else { panic!("not let in") };
    let told = answer.hand_out().unwrap();
    assert_eq!((told.what.as_str(), told.key_id), ("console", Some("KEY1")));
    let Response::Console(access, ..) = answer else { panic!("{answer:?}") };
    assert_eq!(
        access.url.expose(),
        "https://signin.aws.amazon.com/federation?Action=login&Issuer=https%3A%2F%2Fcorp.awsapps.com%2Fstart\
         &Destination=https%3A%2F%2Fconsole.aws.amazon.com%2Fs3%2Fhome%3Fregion%3Deu-west-1&SigninToken=signin-token"
    );
    let again = bench.ask_role("Dev");
    assert_eq!(bench.access_key(again), "KEY1", "the set is kept for everybody");
}

#[test]
fn a_role_that_takes_no_length_is_asked_again_without_and_only_once() {
    let mut bench = Bench::signed_in();
    let waiter = exchanging(&mut bench);
    bench.reply("getSigninToken", refused(ErrorName::Unnamed));
    assert_eq!(duration_asked(&bench), None);
    bench.reply("getSigninToken", refused(ErrorName::Unnamed));
    assert_eq!(bench.problem(waiter).code, Code::Refused);
    assert_eq!((bench.made("getSigninToken"), bench.made("GetRoleCredentials")), (2, 1));
}

#[test]
fn a_destination_that_is_no_page_of_the_console_costs_no_call() {
    let mut bench = Bench::signed_in();
    let waiter = ask(&mut bench, Some("https://evil.example/"));
    let problem = bench.problem(waiter);
    assert_eq!(problem.code, Code::InvalidRequest);
    assert!(problem.detail.contains("https://console.aws.amazon.com/"), "{problem}");
    assert_eq!(bench.made("GetRoleCredentials"), 0);
}

#[test]
fn credentials_are_not_sent_where_only_the_configuration_says() {
    let signin: Option<Endpoint> = Some("https://evil.example".parse().unwrap());
    let configuration = configuration_of(SessionDefinition { signin, ..definition() });
    let mut bench = Bench::configured(configuration, vec![Record::Tokens(tokens())]);
    let waiter = ask(&mut bench, None);
    let until = bench.now().wall.after(HOUR);
    bench.reply("GetRoleCredentials", role_keys("KEY1", until));
    let problem = bench.problem(waiter);
    assert_eq!(problem.code, Code::InvalidConfig);
    assert!(problem.detail.contains("https://evil.example"), "{problem}");
    assert_eq!(bench.made("getSigninToken"), 0);
}

#[test]
fn who_signs_out_meanwhile_is_not_let_in() {
    let mut bench = Bench::signed_in();
    let waiter = exchanging(&mut bench);
    bench.logout();
    bench.reply("getSigninToken", signin_token());
    assert_eq!(bench.problem(waiter).code, Code::SignInRequired);
}

#[test]
fn nobody_waits_longer_than_forty_seconds_and_no_more_than_eight_at_once() {
    let mut bench = Bench::signed_in();
    let first = exchanging(&mut bench);
    let others: Vec<WaiterId> = (1..8).map(|_| ask(&mut bench, None)).collect();
    let ninth = ask(&mut bench, None);
    assert_eq!(bench.problem(ninth).code, Code::Busy);
    bench.advance(seconds(41));
    for waiter in others.into_iter().chain([first]) {
        assert_eq!(bench.problem(waiter).code, Code::Timeout);
    }
    for open in bench.calls.clone() {
        bench.reply_to(&open, signin_token());
    }
    let next = ask(&mut bench, None);
    assert!(bench.is_waiting(next), "there is room again");
}

#[test]
fn what_keeps_the_role_away_keeps_the_console_away() {
    let mut bench = Bench::signed_in();
    let waiter = ask(&mut bench, None);
    bench.reply("GetRoleCredentials", refused(ErrorName::Forbidden));
    assert_eq!(bench.problem(waiter).code, Code::AccessDenied);
    let mut nobody = Bench::new(Vec::new());
    let waiter = ask(&mut nobody, None);
    assert_eq!(nobody.problem(waiter).code, Code::SignInRequired);
}
