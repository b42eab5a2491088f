//! How a sign-in by browser ends, and what the page says of it.

use std::thread;

use serde_json::json;

use super::visitor::{Page, Visitor};
use super::{Login, PATIENCE, fake, sign_in};
use crate::support::fake::{Ended, Exception, FakeIdentityCenter, Fault, Operation, Times, When, found_in};
use crate::support::sandbox::Sandbox;

const EXCHANGE: Operation = Operation::CreateTokenAuthorizationCode;

/// Opens the link in a browser of its own, and allows.
fn allowed(login: &Login) -> Page {
    let mut browser = Visitor::default();
    let question = browser.open(&login.link());
    browser.press(&question, "allow").unwrap()
}

#[test]
fn a_user_signs_in_in_the_browser() {
    let service = fake();
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    let login = Login::begin(&sandbox, &[]);
    let (event, link) = (login.event.clone(), login.link());
    let mut members: Vec<_> = event.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["authorization_url", "event", "expires_at", "flow", "session"]);
    assert_eq!((&event["event"], &event["flow"]), (&json!("verification"), &json!("browser")));
    let (authority, path) = super::visitor::split(&link);
    assert!(authority.starts_with("127.0.0.1:") && path.len() == 33, "short enough for any terminal: {link}");

    let mut browser = Visitor::default();
    let question = browser.open(&link);
    assert!(question.url.starts_with(&format!("{}/authorize?", service.url())), "{}", question.url);
    let page = browser.press(&question, "allow").unwrap();
    assert_eq!(page.status, 200);
    let text = page.text();
    assert!(text.contains("You are signed in to session corp. You can close this window."), "{text}");
    let (code, last, finished) = login.end();
    assert_eq!((code, &last["event"], &last["session"]), (Some(0), &json!("signed_in"), &json!("corp")));

    let registration = service.calls(Operation::RegisterClient)[0].fields.clone();
    assert_eq!(registration["grantTypes"], json!(["authorization_code", "refresh_token"]));
    assert_eq!(registration["redirectUris"], json!(["http://127.0.0.1/oauth/callback"]));
    assert_eq!(registration["issuerUrl"], "https://corp.awsapps.com/start");
    assert_eq!(registration["scopes"], json!(["sso:account:access"]));
    let exchange = service.calls(EXCHANGE)[0].fields.clone();
    assert_eq!(exchange["redirectUri"], format!("http://{authority}/oauth/callback"));
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);

    // Nothing that could be used to sign in, or was, is left behind or was said aloud.
    let query = question.url.split("&state=").nth(1).unwrap();
    let mut secrets = vec![path[1..].to_owned(), query.split('&').next().unwrap().to_owned()];
    secrets.extend(["code", "codeVerifier"].map(|name| exchange[name].as_str().unwrap().to_owned()));
    secrets.extend(browser.cookie_values().cloned());
    secrets.extend(service.issued_secrets());
    assert!(secrets.len() > 8 && secrets.iter().all(|secret| secret.len() >= 32), "{}", secrets.len());
    assert_eq!(found_in(sandbox.log().as_bytes(), &secrets), Vec::<String>::new(), "in the log");
    assert_eq!(found_in(finished.stderr.as_bytes(), &secrets), Vec::<String>::new());
    assert_eq!(found_in(page.html.as_bytes(), &secrets), Vec::<String>::new(), "on the page");
    drop(agent);
    let mut left = vec![sandbox.state()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if let Ok(bytes) = std::fs::read(&path) {
            assert_eq!(found_in(&bytes, &secrets), Vec::<String>::new(), "{}", path.display());
        }
    }
}

#[test]
fn the_session_goes_on_with_the_registration_of_its_flow_and_a_restart_changes_nothing() {
    let service = fake();
    let sandbox = Sandbox::with_session(service.url());
    {
        let _agent = sandbox.start_agent();
        sign_in(&sandbox, &[]);
    }
    let _agent = sandbox.start_agent();
    // The agent finds out when it uses the token.
    service.expire_access_tokens();
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    let refreshed = service.wait_for_answers(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
    assert_eq!(refreshed[0].fields["clientId"], service.calls(EXCHANGE)[0].fields["clientId"]);
    assert_eq!((service.sessions()[0].refreshes, service.refresh_token_reuses()), (1, 0));
}

#[test]
fn each_flow_registers_once_and_is_used_again() {
    let service = fake();
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    sign_in(&sandbox, &[]);
    let device = |json: &str| {
        let (status, body) = agent.request("POST", "/v1/sessions/corp/login", json);
        assert_eq!(status, 202, "{body}");
        assert!(service.approve(body["user_code"].as_str().unwrap()));
        assert_eq!(agent.request("GET", "/v1/sessions/corp/login?wait=30", "").1["state"], "signed_in");
    };
    device(r#"{"flow":"device","force":true,"started_by":"cli"}"#);
    sign_in(&sandbox, &["--force"]);
    device(r#"{"flow":"device","force":true,"started_by":"cli"}"#);
    let clients: Vec<_> = service.sessions().into_iter().map(|session| session.client_id).collect();
    assert_eq!(service.count(Operation::RegisterClient), 2);
    assert_eq!((&clients[0], &clients[1]), (&clients[2], &clients[3]));
    assert_ne!(clients[0], clients[1], "a client is for one flow");
}

#[test]
fn who_denies_is_told_so_and_so_is_the_program() {
    let service = fake();
    let sandbox = Sandbox::with_session(service.url());
    let _agent = sandbox.start_agent();
    let login = Login::begin(&sandbox, &[]);
    let mut browser = Visitor::default();
    let question = browser.open(&login.link());
    let text = browser.press(&question, "deny").unwrap().text();
    assert!(text.contains("Sign-in failed The sign-in was denied."), "{text}");
    assert!(!text.contains("signed in to"), "{text}");
    let (code, last, finished) = login.end();
    assert_eq!((code, &last["code"]), (Some(3), &json!("sign_in_denied")), "{finished:?}");
    assert_eq!(service.count(EXCHANGE), 0);
}

#[test]
fn what_the_service_says_of_an_error_is_text_wherever_it_is_shown() {
    let service = fake();
    let sandbox = Sandbox::with_session(service.url());
    let _agent = sandbox.start_agent();
    let hostile = "</p><script>alert(1)</script>\u{1b}]52;c;eA==\u{7}\u{202e}\n[profile default]";
    for error in ["access_denied", "<img src=x onerror=alert(1)>\u{1b}[2J"] {
        service.configure(|config| config.authorize_error = Some((error.to_owned(), hostile.to_owned())));
        let login = Login::begin(&sandbox, &[]);
        let page = Visitor::default().open(&login.link());
        assert!(page.text().contains("Sign-in failed"), "{}", page.html);
        for forbidden in ["alert", "profile", "52;c", "<script", "<img", "\u{1b}", "\u{7}", "\u{202e}"] {
            assert!(!page.html.contains(forbidden), "{}", page.html);
        }
        let (code, last, finished) = login.end();
        assert!(matches!(code, Some(3 | 6)), "{finished:?}");
        let said = format!("{}{}", last["message"].as_str().unwrap(), finished.stderr);
        assert!(said.contains("<script>alert(1)</script>\u{fffd}]52;c"), "where it cannot do harm: {said}");
        assert!(!said.contains('\u{1b}') && !said.contains('\u{202e}') && !said.contains("\n[profile"), "{said:?}");
        assert!(!sandbox.log().contains("\u{1b}]52"));
    }
}

#[test]
fn the_page_tells_that_the_code_was_refused() {
    let service = fake();
    let sandbox = Sandbox::with_session(service.url());
    let _agent = sandbox.start_agent();
    service.fault(EXCHANGE, Fault::Exception(Exception::InvalidGrant), When::BeforeEffect, Times::Next(1));
    let login = Login::begin(&sandbox, &[]);
    let text = allowed(&login).text();
    assert!(text.contains("Sign-in failed") && !text.contains("You are signed in"), "{text}");
    let (code, last, finished) = login.end();
    assert_ne!(code, Some(0), "{finished:?}");
    assert_eq!(last["event"], "failed");
    assert_eq!(sandbox.cli(&["status", "--check"]).code, Some(3));
}

/// A sign-in whose first exchange is struck by a reset.
fn struck(when: When) -> (FakeIdentityCenter, Sandbox) {
    let service = fake();
    let sandbox = Sandbox::with_session(service.url());
    service.fault(EXCHANGE, Fault::Reset, when, Times::Next(1));
    (service, sandbox)
}

#[test]
fn a_code_that_was_lost_on_its_way_is_presented_again_and_the_page_waits_for_it() {
    let (service, sandbox) = struck(When::BeforeEffect);
    let _agent = sandbox.start_agent();
    let text = sign_in(&sandbox, &[]).text();
    assert!(text.contains("You are signed in"), "{text}");
    assert_eq!(service.count(EXCHANGE), 2);
}

#[test]
fn a_code_whose_tokens_were_lost_is_a_sign_in_that_failed_and_the_page_says_so() {
    let (service, sandbox) = struck(When::AfterEffect);
    let _agent = sandbox.start_agent();
    let login = Login::begin(&sandbox, &[]);
    let text = allowed(&login).text();
    assert!(text.contains("Sign-in failed") && !text.contains("You are signed in"), "{text}");
    assert_eq!(service.count(EXCHANGE), 2);
    assert_ne!(login.end().0, Some(0));
}

#[test]
fn tokens_that_come_after_a_cancel_are_revoked_and_the_page_says_that_nobody_waits() {
    let service = fake();
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    service.fault(EXCHANGE, Fault::Hold, When::AfterEffect, Times::UntilCleared);
    let login = Login::begin(&sandbox, &[]);
    let page = thread::scope(|scope| {
        let visit = scope.spawn(|| allowed(&login));
        service.wait_for_calls(EXCHANGE, 1, PATIENCE).unwrap();
        assert_eq!(agent.request("DELETE", "/v1/sessions/corp/login", "").0, 204);
        visit.join().unwrap()
    });
    assert_eq!(page.status, 410);
    assert!(page.text().contains("Nobody waits for this sign-in any more"), "{}", page.text());
    service.clear_faults();
    service.wait_for_answers(Operation::Logout, 1, PATIENCE).unwrap();
    assert_eq!(service.sessions()[0].ended, Some(Ended::LoggedOut));
    assert_eq!(login.end().0, Some(3));
}

#[test]
fn whoever_comes_back_twice_sees_one_sign_in() {
    let service = fake();
    let sandbox = Sandbox::with_session(service.url());
    let _agent = sandbox.start_agent();
    service.fault(EXCHANGE, Fault::Hold, When::BeforeEffect, Times::UntilCleared);
    let login = Login::begin(&sandbox, &[]);
    let mut browser = Visitor::default();
    let question = browser.open(&login.link());
    let back = browser.press_only(&question, "allow");
    // A double click is another answer of the service, with another code.
    let other = browser.press_only(&question, "allow");
    assert_ne!(back, other);
    let pages = thread::scope(|scope| {
        let visits = [&back, &other, &back].map(|url| {
            let mut browser = browser.clone();
            scope.spawn(move || browser.open(url))
        });
        service.wait_for_calls(EXCHANGE, 1, PATIENCE).unwrap();
        service.clear_faults();
        visits.map(|visit| visit.join().unwrap())
    });
    for page in pages {
        assert!(page.text().contains("You are signed in"), "{}", page.text());
    }
    assert_eq!(login.end().0, Some(0));
    assert!(browser.open(&back).text().contains("You are signed in"), "a reload tells the same, for a moment");
    assert_eq!(service.count(EXCHANGE), 1);
}
