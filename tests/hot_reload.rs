//! An edit of the configuration counts without anybody saying so, costs only what it changes, and a broken one nothing.

mod broken;
mod edits;
mod touched;
#[cfg(target_os = "linux")]
mod untold;

use serde_json::Value;

use crate::support::sandbox::{Agent, CORP, Sandbox};

/// A configuration that has a session with this name beside `corp`.
fn with_session(name: &str) -> String {
    format!("{CORP}[sso-session {name}]\nsso_start_url = https://{name}.awsapps.com/start\nsso_region = eu-west-1\n")
}

/// Waits until the configuration of [`with_session`] counts.
fn wait_for_session(agent: &Agent<'_>, name: &str) -> Value {
    agent.wait_for_status(&format!("{name} is there"), |status| {
        status["sessions"].as_array().expect("it is a list").iter().any(|session| session["session"] == name)
    })
}

/// How often the agent has read its configuration since it started.
fn readings(sandbox: &Sandbox) -> usize {
    sandbox.log().lines().filter(|line| line.contains("configuration read")).count()
}
