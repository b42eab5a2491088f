//! Signing in with a browser, from the command line to the page that the browser shows in the end.

#[cfg(not(target_os = "macos"))]
mod chromium;
mod end;
mod ports;
// The driver and the browser are Debian's packages.
#[cfg(not(target_os = "macos"))]
mod real;
mod strangers;
mod visitor;

use std::io::Read;
use std::process::Child;
use std::time::Duration;

use serde_json::Value;

use crate::support::fake::{FakeConfig, FakeIdentityCenter};
use crate::support::sandbox::{Finished, Sandbox};
use visitor::{Page, Visitor};

const PATIENCE: Duration = Duration::from_secs(30);

/// A `login` that waits for the browser.
struct Login {
    child: Child,
    /// Its first event.
    event: Value,
}

impl Login {
    fn begin(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let usual = ["login", "--flow", "browser", "--no-browser", "--json"];
        let mut child = sandbox.spawn_cli(&[&usual, arguments].concat());
        let output = child.stdout.as_mut().unwrap();
        let mut line = Vec::new();
        // Not a byte more than the line: the rest is for whoever waits for the end.
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            if output.read(&mut byte).unwrap() == 0 {
                break;
            }
            line.push(byte[0]);
        }
        let event = serde_json::from_slice(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        Self { child, event }
    }

    /// The short link.
    fn link(&self) -> String {
        let link = self.event["authorization_url"].as_str();
        link.unwrap_or_else(|| panic!("no link: {}", self.event)).to_owned()
    }

    /// `127.0.0.1:PORT`.
    fn authority(&self) -> String {
        visitor::split(&self.link()).0.to_owned()
    }

    /// How it ends, with its last event.
    fn end(self) -> (Option<i32>, Value, Finished) {
        let finished = Finished::awaited(self.child);
        let last = finished.stdout.lines().last().unwrap_or_else(|| panic!("no second event: {finished:?}"));
        (finished.code, serde_json::from_str(last).unwrap(), finished)
    }
}

fn fake() -> FakeIdentityCenter {
    FakeIdentityCenter::start(FakeConfig::default())
}

/// Signs in from beginning to end, in a browser that approves: the page it shows in the end, and what `login` said.
pub(super) fn signed_in(sandbox: &Sandbox, arguments: &[&str]) -> (Page, Finished) {
    let login = Login::begin(sandbox, arguments);
    let mut browser = Visitor::default();
    let question = browser.open(&login.link());
    let page = browser.press(&question, "allow").unwrap();
    let (code, _, finished) = login.end();
    assert_eq!(code, Some(0), "{finished:?}");
    (page, finished)
}

/// The same, for the page.
fn sign_in(sandbox: &Sandbox, arguments: &[&str]) -> Page {
    signed_in(sandbox, arguments).0
}
