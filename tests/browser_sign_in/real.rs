//! The same in a real browser: that its cookies, redirects and rules of what a page may do are as we think they are.

use rustix::process::{Pid, Signal, kill_process};

use super::chromium::Chromium;
use super::visitor::Visitor;
use super::{Login, fake};
use crate::support::sandbox::Sandbox;

#[test]
fn chromium_signs_in_and_shows_our_page() {
    let service = fake();
    // Another site than the one we listen on: 127.0.0.1 is one site, whatever the port.
    let url = service.url().replace("127.0.0.1", "localhost");
    let sandbox = Sandbox::with_session(&url);
    let _agent = sandbox.start_agent();
    let chromium = Chromium::start(&sandbox);

    let login = Login::begin(&sandbox, &[]);
    let authority = login.authority();
    chromium.open(&login.link());
    assert!(chromium.url().starts_with(&format!("{url}/authorize?")), "{}", chromium.url());
    chromium.press("#allow");
    let text = chromium.text("main.good");
    assert!(text.contains("You are signed in to session corp. You can close this window."), "{text}");
    assert!(chromium.url().starts_with(&format!("http://{authority}/oauth/callback?code=")), "{}", chromium.url());
    assert_eq!(chromium.title(), "Signed in - sso-agent");
    assert_eq!(login.end().0, Some(0));
    // The policy lets our own style through.
    chromium.prefer("light");
    assert_eq!(chromium.style("main", "background-color"), "rgba(255, 255, 255, 1)");
    chromium.keep_picture("done");
    chromium.prefer("dark");
    assert_eq!(chromium.style("main", "background-color"), "rgba(30, 35, 43, 1)");
    chromium.keep_picture("done-dark");
    chromium.prefer("light");

    let login = Login::begin(&sandbox, &["--force"]);
    chromium.open(&login.link());
    chromium.press("#deny");
    let text = chromium.text("main.bad");
    assert!(text.contains("The sign-in was denied."), "{text}");
    chromium.keep_picture("denied");
    assert_eq!(login.end().0, Some(3));

    // Somebody was quicker.
    let login = Login::begin(&sandbox, &["--force"]);
    Visitor::default().open(&login.link());
    chromium.open(&login.link());
    let text = chromium.text("main.bad");
    assert!(text.contains("This link was used already"), "{text}");
    chromium.keep_picture("used");
    kill_process(Pid::from_child(&login.child), Signal::INT).unwrap();
    assert_eq!(login.end().0, Some(3));
}

#[test]
fn chromium_without_the_cookie_is_a_stranger() {
    let service = fake();
    let sandbox = Sandbox::with_session(service.url());
    let _agent = sandbox.start_agent();
    let chromium = Chromium::start(&sandbox);
    let login = Login::begin(&sandbox, &[]);
    chromium.open(&login.link());
    // The fake is on the same host here, so these are the same cookies.
    chromium.forget_cookies();
    chromium.press("#allow");
    assert_eq!(chromium.text("h1"), "Nothing here");
    assert_eq!(service.sessions().len(), 0);
    kill_process(Pid::from_child(&login.child), Signal::INT).unwrap();
    assert_eq!(login.end().0, Some(3));
}
