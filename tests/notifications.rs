//! What the agent shows on the desktop, with a real bus and a desktop that remembers what it was given.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use dbus::Message;
use dbus::blocking::Connection;
use dbus::channel::Sender;
use sso_agent::desktop::{Button, Desktop, Notification, SystemDesktop};
use sso_agent::env::Env;

use crate::support::keyring::{Keyring, Wedge};
use crate::support::notifications::Screen;

fn desktop(bus: &str) -> (SystemDesktop, Receiver<Button>) {
    let (pressed, presses) = channel();
    let env = Env::from_iter([("DBUS_SESSION_BUS_ADDRESS", bus)]);
    let desktop = SystemDesktop::new(
        &env,
        Box::new(move |button| {
            let _ = pressed.send(button.clone());
        }),
    );
    (desktop, presses)
}

fn notification(about: &str) -> Notification {
    Notification {
        about: about.to_owned(),
        title: "Sign in to corp".to_owned(),
        body: "run: sso-agent login corp".to_owned(),
        stays: false,
        button: None,
    }
}

fn button() -> Button {
    Button { label: "Open".to_owned(), link: "https://example.com/device".to_owned(), browser: None }
}

#[test]
fn what_is_shown_is_text_and_stays_text() {
    let bus = Keyring::absent();
    let body = "a <b>&amp;</b>\n\u{1b}[31m\u{202e}".to_owned();
    let screen = Screen::start(&bus.address(), &["body", "body-markup"]);
    let (desktop, _) = desktop(&bus.address());
    desktop.show(Notification { body, ..notification("corp") });
    let shown = screen.wait_for(1).remove(0);
    assert_eq!((shown.app.as_str(), shown.title.as_str()), ("sso-agent", "Sign in to corp"));
    assert_eq!(shown.body, "a &lt;b&gt;&amp;amp;&lt;/b&gt;\u{fffd}\u{fffd}[31m\u{fffd}");
}

#[test]
fn a_desktop_without_markup_gets_the_text_as_it_is_and_one_without_text_gets_it_in_the_title() {
    let bus = Keyring::absent();
    let screen = Screen::start(&bus.address(), &["body"]);
    let (desktop, _) = desktop(&bus.address());
    let text = Notification { body: "a < b".to_owned(), button: Some(button()), ..notification("corp") };
    desktop.show(text.clone());
    let shown = screen.wait_for(1).remove(0);
    assert_eq!((shown.body.as_str(), shown.actions.len()), ("a < b", 0), "no buttons where there are none");
    let plain = Screen::start(&bus.address(), &[]);
    desktop.show(text);
    let shown = plain.wait_for(1).remove(0);
    assert_eq!((shown.title.as_str(), shown.body.as_str()), ("Sign in to corp: a < b", ""));
    assert_eq!(shown.replaces, 0, "another desktop's numbers mean nothing to this one");
}

#[test]
fn one_about_the_same_takes_its_place_and_one_about_something_else_does_not() {
    let bus = Keyring::absent();
    let screen = Screen::start(&bus.address(), &["body"]);
    let (desktop, _) = desktop(&bus.address());
    for about in ["corp", "lab", "corp"] {
        desktop.show(notification(about));
    }
    let replaced: Vec<u32> = screen.wait_for(3).iter().map(|shown| shown.replaces).collect();
    assert_eq!(replaced, [0, 0, 1]);
    desktop.withdraw("lab".to_owned());
    screen.wait_until_closed(2);
}

#[test]
fn a_pressed_button_is_told_and_a_press_that_somebody_else_makes_up_is_not() {
    let bus = Keyring::absent();
    let screen = Screen::start(&bus.address(), &["body", "actions"]);
    let (desktop, presses) = desktop(&bus.address());
    desktop.show(Notification { button: Some(button()), stays: true, ..notification("corp") });
    let shown = screen.wait_for(1).remove(0);
    assert_eq!((shown.actions, shown.timeout), (vec!["open".to_owned(), "Open".to_owned()], 0));
    let other = Connection::new_address(&bus.address()).unwrap();
    let (name, path) = ("org.freedesktop.Notifications", "/org/freedesktop/Notifications");
    // To everybody on the bus, and by name to each.
    for number in 0..20 {
        let mut forged = Message::new_signal(path, name, "ActionInvoked").unwrap().append2(shown.id, "open");
        if number > 0 {
            forged.set_destination(Some(format!(":1.{number}").into()));
        }
        other.send(forged).unwrap();
    }
    other.channel().flush();
    screen.press(shown.id, "default");
    screen.press(shown.id + 1, "open");
    assert_eq!(presses.try_recv().ok(), None);
    screen.press(shown.id, "open");
    assert_eq!(presses.recv_timeout(PATIENCE).unwrap(), button());
    desktop.withdraw("corp".to_owned());
    screen.wait_until_closed(shown.id);
    screen.press(shown.id, "open");
    // Something that is done after the press shows that nothing came of that.
    desktop.show(notification("corp"));
    screen.wait_for(2);
    assert_eq!(presses.try_recv().ok(), None);
}

#[test]
fn what_the_user_has_closed_is_not_replaced() {
    let bus = Keyring::absent();
    let screen = Screen::start(&bus.address(), &["body", "actions"]);
    let (desktop, _presses) = desktop(&bus.address());
    desktop.show(Notification { button: Some(button()), ..notification("corp") });
    screen.dismiss(screen.wait_for(1)[0].id);
    desktop.show(notification("corp"));
    assert_eq!(screen.wait_for(2)[1].replaces, 0);
}

#[test]
fn without_a_bus_or_with_one_that_hangs_nobody_waits() {
    let (nowhere, _) = desktop("unix:path=/nowhere/bus");
    let wedge = Wedge::new();
    let (stuck, _) = desktop(&wedge.address());
    for _ in 0..100 {
        nowhere.show(notification("corp"));
        stuck.show(notification("corp"));
        stuck.withdraw("corp".to_owned());
    }
    wedge.wait_for_victim();
}

const PATIENCE: Duration = Duration::from_secs(30);
