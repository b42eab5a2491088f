//! Answers that come when nobody wants them any more.

use super::*;
use crate::api::{LoginState, SessionState};

const POLL: &str = "CreateToken (device code)";
const REGISTER: &str = "RegisterClient";

/// A sign-in whose first poll is up.
fn polled() -> (Bench, OpenCall) {
    let mut bench = Bench::new(Vec::new());
    bench.login(by(StartedBy::Cli));
    bench.reply(REGISTER, Ok(Answer::Registered(registration())));
    bench.reply("StartDeviceAuthorization", device());
    while bench.flying(POLL).is_empty() {
        bench.advance_to_next();
    }
    let up = bench.open(POLL);
    (bench, up)
}

fn cancel(bench: &mut Bench) {
    bench.ask(Request::CancelLogin { session: SessionQuery::Only, attempt: None });
}

/// The token that is revoked by the only logout that is up.
fn revokes(bench: &Bench, token: &str) -> bool {
    match &bench.open("Logout").call {
        Call::Logout { access_token } => access_token.for_sending_to(&portal()).ok() == Some(&secret(token)),
        _ => false,
    }
}

#[test]
fn tokens_of_an_approval_that_came_after_a_cancel_or_a_sign_out_are_revoked() {
    for sign_out in [false, true] {
        let (mut bench, up) = polled();
        if sign_out {
            let waiter = bench.logout();
            assert!(bench.answer(waiter).is_ok(), "nobody waits for what may come");
        } else {
            cancel(&mut bench);
        }
        bench.reply_to(&up, fresh(1));
        assert!(revokes(&bench, "access-1"));
        bench.reply("Logout", Ok(Answer::LoggedOut));
        assert_eq!((bench.session().state, bench.tokens_on_disk()), (SessionState::SignedOut, None));
        assert!(bench.calls.is_empty());
    }
}

#[test]
fn tokens_of_an_approval_are_not_revoked_under_the_sign_in_that_took_its_place() {
    let (mut bench, up) = polled();
    cancel(&mut bench);
    let waiter = bench.login(by(StartedBy::Cli));
    bench.reply_to(&up, fresh(1));
    assert_eq!(bench.made("Logout"), 0, "it may be the same session at the portal");
    bench.reply("StartDeviceAuthorization", device());
    assert_eq!(bench.login_status(waiter).state, LoginState::Pending);
}

#[test]
fn tokens_of_an_approval_are_sent_to_where_they_came_from_or_nowhere() {
    let (mut bench, up) = polled();
    bench.reconfigure(elsewhere());
    bench.reply_to(&up, fresh(1));
    assert_eq!(bench.made("Logout"), 0);
    // A denial, and an approval that comes while the agent stops, bring nothing to revoke.
    let (mut bench, up) = polled();
    cancel(&mut bench);
    bench.reply_to(&up, refused(ErrorName::AccessDenied));
    assert_eq!(bench.made("Logout"), 0);
    let (mut bench, up) = polled();
    cancel(&mut bench);
    bench.handle(Event::Stop);
    bench.reply_to(&up, fresh(1));
    assert_eq!(bench.made("Logout"), 0);
}

#[test]
fn tokens_of_a_refresh_that_ends_after_the_sign_out_are_revoked_too() {
    let mut bench = Bench::signed_in();
    bench.advance_to_refresh();
    let up = bench.open("CreateToken (refresh token)");
    let waiter = bench.logout();
    bench.reply("Logout", Ok(Answer::LoggedOut));
    assert!(bench.answer(waiter).is_ok());
    bench.reply_to(&up, fresh(2));
    assert!(revokes(&bench, "access-2"));
    bench.reply("Logout", unauthorized());
    assert_eq!((bench.session().state, bench.tokens_on_disk()), (SessionState::SignedOut, None));
}

#[test]
fn a_registration_that_comes_after_a_cancel_serves_the_next_sign_in() {
    let mut bench = Bench::new(Vec::new());
    bench.login(by(StartedBy::Cli));
    let up = bench.open(REGISTER);
    cancel(&mut bench);
    bench.reply_to(&up, Ok(Answer::Registered(registration())));
    assert_eq!(bench.client_on_disk().unwrap().registrations, [registration()]);
    assert_eq!(bench.login_state().code, Some(Code::SignInCancelled));
    bench.login(by(StartedBy::Cli));
    bench.open("StartDeviceAuthorization");
    assert_eq!(bench.made(REGISTER), 1, "the user sees no second new client");
}

#[test]
fn a_registration_that_comes_late_never_replaces_one_and_never_serves_another_place() {
    let mut bench = Bench::new(Vec::new());
    bench.login(by(StartedBy::Cli));
    let late = bench.open(REGISTER);
    cancel(&mut bench);
    bench.login(by(StartedBy::Cli));
    let next = bench.flying(REGISTER).into_iter().find(|up| up.flight != late.flight).unwrap();
    bench.reply_to(&next, Ok(Answer::Registered(registration())));
    let other = ClientRegistration { client_id: "client-2".to_owned(), ..registration() };
    bench.reply_to(&late, Ok(Answer::Registered(other)));
    assert_eq!(bench.client_on_disk().unwrap().registrations, [registration()]);

    let mut bench = Bench::new(Vec::new());
    bench.login(by(StartedBy::Cli));
    let late = bench.open(REGISTER);
    bench.reconfigure(elsewhere());
    bench.reply_to(&late, Ok(Answer::Registered(registration())));
    assert_eq!(bench.client_on_disk(), None);
}

#[test]
fn tokens_of_a_sign_in_that_is_being_saved_are_revoked_by_a_sign_out() {
    let (mut bench, up) = polled();
    bench.hold_writes = true;
    bench.reply_to(&up, fresh(1));
    let waiter = bench.logout();
    assert!(revokes(&bench, "access-1"));
    bench.reply("Logout", Ok(Answer::LoggedOut));
    bench.release_writes();
    let Ok(Response::LoggedOut(answer)) = bench.answer(waiter) else { panic!("signed out") };
    assert!(answer.was_signed_in && answer.revoked);
    assert_eq!((bench.session().state, bench.tokens_on_disk()), (SessionState::SignedOut, None));
}

#[test]
fn tokens_of_an_approval_are_revoked_also_if_the_session_ended_in_between() {
    let mut bench = Bench::new(vec![Record::Tokens(tokens()), Record::Client(client())]);
    bench.login(LoginRequest { force: true, ..by(StartedBy::Cli) });
    bench.reply("StartDeviceAuthorization", device());
    while bench.flying(POLL).is_empty() {
        bench.advance_to_next();
    }
    let up = bench.open(POLL);
    let session = bench.state.sessions.get_mut(&corp()).unwrap();
    session.holding = None;
    session.era += 1;
    cancel(&mut bench);
    bench.reply_to(&up, fresh(1));
    assert!(revokes(&bench, "access-1"));
    assert!(bench.state.sessions[&corp()].abandoned.is_empty(), "nothing is remembered for ever");
}

#[test]
fn a_new_session_that_was_cancelled_when_the_old_one_had_ended_leaves_no_dead_tokens() {
    for (answer, over) in [(Ok(Answer::LoggedOut), true), (lost(), false)] {
        let mut bench = Bench::new(vec![Record::Tokens(tokens()), Record::Client(client())]);
        bench.login(LoginRequest { new_session: true, ..by(StartedBy::Cli) });
        let up = bench.open("Logout");
        cancel(&mut bench);
        bench.reply_to(&up, answer);
        let waiter = bench.ask_token(Duration::ZERO);
        assert_eq!(bench.answer(waiter).is_err(), over);
        assert_eq!(bench.tokens_on_disk().is_none(), over);
    }
}
