//! Those who come to the callback and do not belong there, while a sign-in is under way (A§7).

use super::visitor::{Visitor, exchange};
use super::{Login, fake};
use crate::support::fake::Operation;
use crate::support::sandbox::Sandbox;

#[test]
fn a_stranger_neither_ends_nor_steals_a_sign_in() {
    let service = fake();
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    let login = Login::begin(&sandbox, &[]);
    let (authority, link) = (login.authority(), login.link());
    let mut browser = Visitor::default();
    let question = browser.open(&link);
    let state = question.url.split("&state=").nth(1).unwrap().split('&').next().unwrap();

    // Another user of the machine has read the link, and everything in it, from the browser's arguments.
    let mut thief = Visitor::default();
    let late = thief.open(&link);
    assert_eq!((late.status, late.url.as_str()), (410, link.as_str()));
    assert!(late.text().contains("This link was used already"), "{}", late.text());
    // They have the state, from wherever, and a code of their own.
    let theirs = browser.press_only(&question, "allow");
    assert!(theirs.contains(state));
    assert_eq!(thief.open(&theirs).status, 404);

    let cookie = browser.cookie_header();
    for (line, headers) in [
        ("GET /oauth/callback?error=access_denied HTTP/1.1".to_owned(), ""),
        (format!("GET /oauth/callback?error=access_denied&state={state} HTTP/1.1"), ""),
        (format!("GET /oauth/callback?error=access_denied&state={}x HTTP/1.1", &state[..31]), cookie.as_str()),
        (format!("POST /oauth/callback?error=access_denied&state={state} HTTP/1.1"), &cookie),
        (format!("HEAD /oauth/callback?error=access_denied&state={state} HTTP/1.1"), &cookie),
        (format!("GET /oauth/callback/?error=access_denied&state={state} HTTP/1.1"), &cookie),
        (format!("GET /callback?error=access_denied&state={state} HTTP/1.1"), &cookie),
        (format!("GET /oauth/callback?error=a&error=b&state={state} HTTP/1.1"), &cookie),
        ("GET / HTTP/1.0".to_owned(), ""),
        ("GET /favicon.ico HTTP/1.1".to_owned(), &cookie),
        ("\u{16}\u{3}\u{1}".to_owned(), ""),
        (String::new(), ""),
    ] {
        let request = format!("{line}\r\nHost: {authority}\r\n{headers}\r\n");
        let answer = exchange(&authority, &request).unwrap_or_default();
        let status = answer.split(' ').nth(1).unwrap_or("none");
        assert!(["404", "400", "none"].contains(&status), "{line}: {answer}");
        assert!(!answer.contains(state), "{line}: {answer}");
    }
    for host in ["localhost", "evil.example.com", "127.0.0.1"] {
        let line = format!("GET /oauth/callback?error=access_denied&state={state} HTTP/1.1");
        let answer = exchange(&authority, &format!("{line}\r\nHost: {host}\r\n{cookie}\r\n")).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{host}: {answer}");
    }
    // Somebody knocks at the port and says nothing, very often.
    let knocks: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(&authority).unwrap()).collect();
    assert_eq!(agent.get("/v1/sessions/corp/login")["state"], "pending");
    assert_eq!(service.count(Operation::CreateTokenAuthorizationCode), 0);

    let page = browser.press(&question, "allow").unwrap();
    drop(knocks);
    assert!(page.text().contains("You are signed in to session corp"), "{}", page.text());
    assert_eq!(login.end().0, Some(0));
}

#[test]
fn the_browser_that_opened_the_link_may_open_it_again() {
    let service = fake();
    let sandbox = Sandbox::with_session(service.url());
    let _agent = sandbox.start_agent();
    let login = Login::begin(&sandbox, &[]);
    let mut browser = Visitor::default();
    let first = browser.open(&login.link());
    let second = browser.open(&login.link());
    assert_eq!(first.url, second.url);
    assert!(browser.press(&second, "allow").unwrap().text().contains("You are signed in"));
    assert_eq!(login.end().0, Some(0));
}

#[test]
fn a_sign_in_of_another_session_in_the_same_browser_is_its_own() {
    let service = fake();
    let sandbox = Sandbox::new().at(service.url());
    sandbox.write_config(&crate::support::crowd::sessions(2));
    let agent = sandbox.start_agent();
    let logins = ["s0", "s1"].map(|session| Login::begin(&sandbox, &[session]));
    let mut browser = Visitor::default();
    let [first, second] = [0, 1].map(|index: usize| browser.open(&logins[index].link()));
    // What belongs to one is nothing to the other.
    let (_, of_first) =
        browser.press_only(&first, "allow").split_once("/oauth").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let mixed = format!("http://{}/oauth{of_first}", logins[1].authority());
    assert_eq!(browser.open(&mixed).status, 404);
    for (page, session) in [(&second, "s1"), (&first, "s0")] {
        let text = browser.press(page, "allow").unwrap().text();
        assert!(text.contains(&format!("You are signed in to session {session}.")), "{text}");
    }
    for login in logins {
        assert_eq!(login.end().0, Some(0));
    }
    assert_eq!(agent.get("/v1/status")["sessions"].as_array().unwrap().len(), 2);
}
