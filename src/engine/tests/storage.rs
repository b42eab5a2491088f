//! Without the key to what is stored, when it comes, and what people want done about it.

use super::*;
use crate::api::SessionState;
use crate::engine::Write;
use crate::store::{Awaited, Inventory, Loaded, Manage, ManageError, Protection};

fn awaited() -> Protection {
    let awaited =
        Awaited { message: "the keyring is locked".to_owned(), hint: "unlock it".to_owned(), sealed: [corp()].into() };
    Protection { key: "keyring", awaited: Some(awaited) }
}

fn available() -> Protection {
    Protection { key: "keyring", awaited: None }
}

/// An agent whose stored sign-in cannot be read.
fn sealed() -> Bench {
    let mut bench = Bench::new(Vec::new());
    bench.fail_writes = true;
    bench.handle(Event::Protected(awaited(), None));
    bench
}

fn sign_in(bench: &mut Bench) {
    bench.login(by(StartedBy::Cli));
    bench.reply("RegisterClient", Ok(Answer::Registered(registration())));
    bench.reply("StartDeviceAuthorization", device());
    while bench.flying("CreateToken (device code)").is_empty() {
        bench.advance_to_next();
    }
    bench.reply("CreateToken (device code)", fresh(7));
}

fn unsealed(bench: &mut Bench, records: Vec<Record>) {
    bench.fail_writes = false;
    for record in &records {
        bench.disk.insert((record.session().clone(), record.kind()), record.clone());
    }
    bench.handle(Event::Protected(available(), Some(Loaded { records, reports: Vec::new() })));
}

#[test]
fn a_stored_sign_in_without_its_key_is_said_with_what_helps_and_nobody_is_sent_to_sign_in() {
    let mut bench = sealed();
    for request in [
        credentials("Dev", None, None),
        Request::Token { session: SessionQuery::Only, min_validity: Duration::ZERO, kind: TokenKind::Access },
        Request::Accounts { session: SessionQuery::Only },
        Request::Refresh { session: SessionQuery::Only, force: false },
    ] {
        let waiter = bench.ask(request);
        let problem = bench.answers.remove(&waiter).expect("at once").unwrap_err();
        assert_eq!((problem.code, problem.status), (Code::Storage, 507));
        assert_eq!(problem.hint.as_deref(), Some("unlock it"));
        assert!(problem.retry_after.is_some() && problem.to_string().contains("the keyring is locked"), "{problem}");
    }
    let status = bench.status();
    assert!(!status.storage.available);
    assert_eq!(status.storage.hint.as_deref(), Some("unlock it"));
    assert_eq!(bench.session().state, SessionState::Sealed);
}

#[test]
fn when_the_key_comes_the_stored_sign_in_serves_without_a_new_one() {
    let mut bench = sealed();
    unsealed(&mut bench, vec![Record::Tokens(tokens()), Record::Client(client())]);
    assert_eq!(bench.session().state, SessionState::SignedIn);
    assert!(bench.status().storage.available && bench.status().storage.saved);
    let waiter = bench.ask(Request::Token {
        session: SessionQuery::Only,
        min_validity: Duration::ZERO,
        kind: TokenKind::Access,
    });
    assert!(bench.answers[&waiter].is_ok());
}

#[test]
fn a_sign_in_made_meanwhile_serves_unsaved_and_is_saved_over_the_stored_one_when_the_key_comes() {
    let mut bench = sealed();
    sign_in(&mut bench);
    assert_eq!(bench.session().state, SessionState::SignedIn);
    assert!(!bench.session().saved && !bench.status().storage.saved);
    let made_meanwhile = bench.state.sessions[&corp()].holding.as_ref().unwrap().record.tokens.clone();
    unsealed(&mut bench, vec![Record::Tokens(tokens()), Record::Client(client())]);
    assert_eq!(bench.tokens_on_disk().unwrap().tokens, made_meanwhile);
    assert!(bench.status().storage.saved);
}

#[test]
fn a_sign_out_lets_go_of_what_cannot_be_read_and_the_key_does_not_bring_it_back() {
    let mut bench = sealed();
    bench.fail_writes = false;
    bench.disk.insert((corp(), RecordKind::Tokens), Record::Tokens(tokens()));
    let waiter = bench.ask(Request::Logout { session: SessionQuery::Only });
    let Ok(Response::LoggedOut(answer)) = &bench.answers[&waiter] else { panic!("{:?}", bench.answers[&waiter]) };
    assert!(answer.was_signed_in && !answer.revoked);
    assert_eq!(bench.tokens_on_disk(), None);
    assert_eq!(bench.session().state, SessionState::SignedOut);
    bench.handle(Event::ReloadWanted);
    bench.handle(Event::ConfigurationRead(Ok(configuration())));
    assert_eq!(bench.session().state, SessionState::SignedOut);
}

#[test]
fn a_sign_out_under_way_is_not_undone_by_the_key() {
    let mut bench = sealed();
    bench.fail_writes = false;
    bench.hold_writes = true;
    bench.ask(Request::Logout { session: SessionQuery::Only });
    unsealed(&mut bench, vec![Record::Tokens(tokens())]);
    bench.release_writes();
    assert_eq!(bench.session().state, SessionState::SignedOut);
    assert_eq!(bench.tokens_on_disk(), None);
}

#[test]
fn a_failed_deletion_that_nobody_ordered_does_not_delete_what_is_sealed() {
    let mut bench = sealed();
    let ticket = Ticket { session: corp(), era: 0, write: Write::SignedOut };
    let foreign = StoreError::Foreign { path: "/state/tokens".into() };
    bench.handle(Event::Stored(ticket, Err(foreign)));
    unsealed(&mut bench, vec![Record::Tokens(tokens()), Record::Client(client())]);
    bench.advance(seconds(60));
    assert_eq!(bench.session().state, SessionState::SignedIn);
    assert!(bench.tokens_on_disk().is_some());
}

#[test]
fn what_is_wanted_about_the_key_is_done_by_the_store_and_answered_once() {
    let mut bench = Bench::signed_in();
    let waiter = bench.ask(Request::MigrateStorage { to: "keyring".to_owned(), passphrase: None });
    let wanted = Manage::Migrate { to: crate::store::KeyPlace::Keyring, passphrase: None };
    assert_eq!(bench.managed, [(waiter, Some(wanted))]);
    bench.handle(Event::Protected(available(), None));
    bench.handle(Event::Managed(waiter, Ok(Inventory { records: 2, ..Inventory::default() })));
    let Ok(Response::Storage(report)) = &bench.answers[&waiter] else { panic!("{:?}", bench.answers[&waiter]) };
    assert_eq!((report.status.key.as_str(), report.records), ("keyring", 2));

    let refused = bench.ask(Request::UnlockStorage { passphrase: None });
    bench.handle(Event::Managed(refused, Err(ManageError::StillClosed("locked".to_owned(), "unlock".to_owned()))));
    assert_eq!(bench.answers[&refused].as_ref().unwrap_err().code, Code::Storage);

    let slow = bench.ask(Request::Storage);
    bench.advance(seconds(60));
    assert_eq!(bench.answers[&slow].as_ref().unwrap_err().code, Code::Timeout);
    bench.handle(Event::Managed(slow, Ok(Inventory::default())));

    let unknown = bench.ask(Request::MigrateStorage { to: "moon".to_owned(), passphrase: None });
    assert_eq!(bench.answers[&unknown].as_ref().unwrap_err().code, Code::InvalidRequest);
}

#[test]
fn a_setting_that_names_another_place_than_the_one_decided_for_is_said_in_status() {
    use crate::settings::KeyKind;
    let mut bench = Bench::signed_in();
    let warnings = |bench: &mut Bench, wanted: KeyKind| {
        let mut configuration = configuration();
        configuration.settings.storage.key = wanted;
        configuration.settings.file = "/home/u/config.toml".into();
        bench.handle(Event::ReloadWanted);
        bench.handle(Event::ConfigurationRead(Ok(configuration)));
        bench.status().warnings
    };
    bench.handle(Event::Protected(available(), None));
    assert_eq!(warnings(&mut bench, KeyKind::Auto), []);
    assert_eq!(warnings(&mut bench, KeyKind::Keyring), []);
    let said = warnings(&mut bench, KeyKind::File);
    assert!(said[0].file.ends_with("config.toml") && said[0].message.contains("storage migrate --to file"), "{said:?}");
    let said = warnings(&mut bench, KeyKind::None);
    assert!(said[0].message.contains("until it is started again"), "{said:?}");
}

#[test]
fn a_sign_out_whose_caller_waited_long_enough_is_not_undone_by_the_key_either() {
    let mut bench = sealed();
    bench.fail_writes = false;
    bench.hold_writes = true;
    let waiter = bench.logout();
    bench.advance(seconds(30));
    assert_eq!(bench.problem(waiter).code, Code::Timeout);
    // The disk was busy reading this since before the sign-out.
    unsealed(&mut bench, vec![Record::Tokens(tokens())]);
    assert_eq!(bench.session().state, SessionState::SignedOut);
    bench.release_writes();
    assert_eq!((bench.session().state, bench.tokens_on_disk()), (SessionState::SignedOut, None));
}

#[test]
fn a_session_that_was_ended_for_a_new_one_is_not_brought_back_by_the_key() {
    let mut bench = sealed();
    sign_in(&mut bench);
    bench.hold_writes = true;
    bench.login(LoginRequest { new_session: true, ..by(StartedBy::Cli) });
    bench.reply("Logout", Ok(Answer::LoggedOut));
    unsealed(&mut bench, vec![Record::Tokens(tokens())]);
    assert_eq!(bench.session().state, SessionState::Pending);
    bench.release_writes();
    assert_eq!(bench.tokens_on_disk(), None);
}

#[test]
fn a_client_of_another_place_that_was_sealed_is_not_used_where_the_session_leads_now() {
    let mut bench = sealed();
    bench.reconfigure(elsewhere());
    // Makes a record of what programs do, in which there is no client yet.
    bench.login(by(StartedBy::Program));
    bench.reply("RegisterClient", Err(Failure::NotSent(NotSent::Connect("refused".to_owned()))));
    unsealed(&mut bench, vec![Record::Client(client())]);
    bench.advance(seconds(10));
    bench.login(by(StartedBy::Cli));
    assert_eq!((bench.made("StartDeviceAuthorization"), bench.made("RegisterClient")), (0, 2));
}

#[test]
fn what_was_handed_out_before_is_served_although_what_is_stored_cannot_be_read() {
    let mut bench = Bench::signed_in();
    bench.ask_role("Dev");
    let until = bench.now().wall.after(12 * HOUR);
    bench.reply("GetRoleCredentials", role_keys("KEY1", until));
    bench.fail_writes = true;
    bench.login(LoginRequest { new_session: true, ..by(StartedBy::Cli) });
    bench.reply("Logout", Ok(Answer::LoggedOut));
    // The record could not be deleted, and now the key is gone as well.
    bench.handle(Event::Protected(awaited(), None));
    bench.ask(Request::CancelLogin { session: SessionQuery::Only, attempt: None });
    let waiter = bench.ask_role("Dev");
    assert!(bench.answer(waiter).is_ok());
}

#[test]
fn a_sign_out_that_came_through_in_the_end_is_no_error_any_more() {
    let mut bench = Bench::signed_in();
    bench.fail_writes = true;
    bench.logout();
    assert_eq!(bench.session().last_error.unwrap().code, Code::Storage);
    bench.fail_writes = false;
    bench.advance(seconds(31));
    assert_eq!(bench.session().last_error, None);
    assert_eq!(bench.tokens_on_disk(), None);
}
