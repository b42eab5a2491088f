//! The command line, as people and scripts use it: signing in by device code, and everything after.

mod after;
mod events;

use std::time::Duration;

use serde_json::Value;

use crate::support::fake::FakeIdentityCenter;
use crate::support::sandbox::{Finished, Sandbox};

const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `login` with these arguments and approves the code.
fn approved_login(sandbox: &Sandbox, service: &FakeIdentityCenter, arguments: &[&str]) -> Finished {
    let login = sandbox.spawn_cli(&[&["login"], arguments].concat());
    let code = service.wait_for_user_code(PATIENCE).unwrap();
    assert!(service.approve(&code));
    Finished::awaited(login)
}

/// The lines of `login --json`.
fn events(finished: &Finished) -> Vec<Value> {
    finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The names of an object's members, in order.
fn members(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}
