//! The port that the browser comes back to: there in time, gone in time, and the one that was asked for.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::visitor::Visitor;
use super::{Login, fake, sign_in};
use crate::support::sandbox::{Agent, Sandbox};

/// Waits until nobody listens there any more.
fn closes(agent: &Agent<'_>, authority: &str) {
    let deadline = (0..100).find(|_| {
        let refused = TcpStream::connect(authority).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
        refused || !agent.runs_for(Duration::from_millis(100))
    });
    assert!(deadline.is_some(), "somebody still listens on {authority}");
}

/// A port that nobody has, at the moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn with_port(port: u16) -> String {
    format!("[session.corp]\ncallback_port = {port}\n")
}

#[test]
fn nobody_listens_after_a_sign_in_that_is_over() {
    let service = fake();
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();

    // Cancelled while the user is at the service: who comes back finds nobody.
    let login = Login::begin(&sandbox, &[]);
    let authority = login.authority();
    let mut browser = Visitor::default();
    let question = browser.open(&login.link());
    kill_process(Pid::from_child(&login.child), Signal::INT).unwrap();
    let (code, last, finished) = login.end();
    assert_eq!((code, &last["code"]), (Some(3), &json!("sign_in_cancelled")), "{finished:?}");
    closes(&agent, &authority);
    assert!(browser.press(&question, "allow").is_err());

    // Given up by whoever asked.
    let login = Login::begin(&sandbox, &["--timeout", "1"]);
    let authority = login.authority();
    assert_ne!(login.end().0, Some(0));
    closes(&agent, &authority);

    // Replaced by one of the other flow.
    let login = Login::begin(&sandbox, &[]);
    let authority = login.authority();
    let body = r#"{"flow":"device","force":true,"started_by":"cli"}"#;
    assert_eq!(agent.request("POST", "/v1/sessions/corp/login", body).0, 202);
    closes(&agent, &authority);
    assert_eq!(agent.request("DELETE", "/v1/sessions/corp/login", "").0, 204);
    assert_ne!(login.end().0, Some(0));

    // Done.
    let login = Login::begin(&sandbox, &[]);
    let authority = login.authority();
    let question = browser.open(&login.link());
    assert!(browser.press(&question, "allow").unwrap().text().contains("You are signed in"));
    assert_eq!(login.end().0, Some(0));
    closes(&agent, &authority);
}

#[test]
fn the_agent_ends_while_a_browser_is_awaited() {
    let service = fake();
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    let login = Login::begin(&sandbox, &[]);
    let authority = login.authority();
    assert!(agent.stop().success());
    assert_eq!(TcpStream::connect(&authority).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_ne!(login.end().0, Some(0));
}

#[test]
fn a_port_that_was_asked_for_is_used_and_one_sign_in_after_another_has_it() {
    let service = fake();
    let sandbox = Sandbox::with_session(service.url());
    let port = free_port();
    sandbox.write("home/.config/sso-agent/config.toml", &with_port(port));
    let _agent = sandbox.start_agent();
    for _ in 0..2 {
        let page = sign_in(&sandbox, &["--force"]);
        assert!(page.url.starts_with(&format!("http://127.0.0.1:{port}/oauth/callback?")), "{}", page.url);
    }
}

#[test]
fn a_port_that_is_taken_is_said_with_what_to_do() {
    let service = fake();
    let sandbox = Sandbox::with_session(service.url());
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    sandbox.write("home/.config/sso-agent/config.toml", &with_port(port));
    let _agent = sandbox.start_agent();
    let login = sandbox.cli(&["login", "--flow", "browser", "--no-browser"]);
    assert_ne!(login.code, Some(0), "{login:?}");
    let expected = format!("port {port} on 127.0.0.1, where the browser is to come back to, is taken");
    assert!(login.stderr.contains(&expected), "{}", login.stderr);
    assert!(login.stderr.contains("callback_port"), "{}", login.stderr);
    drop(other);
    assert!(sign_in(&sandbox, &[]).text().contains("You are signed in"));
}
