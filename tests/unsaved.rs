//! A disk that is full, a directory that can only be read, records that are not ours to replace: each costs what a
//! restart would have kept, is said in `status`, is tried again, and costs nobody an answer.

mod foreign;
#[cfg(target_os = "linux")]
mod full_disk;
#[cfg(target_os = "linux")]
mod mounts;
#[cfg(target_os = "linux")]
mod read_only;

use serde_json::Value;

use crate::support::sandbox::{Agent, Sandbox};

/// Credentials by the way of programs, and the token.
fn serves(sandbox: &Sandbox, agent: &Agent<'_>) {
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    assert_eq!(agent.get("/v1/token?session=corp")["token_type"], "Bearer");
}

fn saved(status: &Value) -> bool {
    let (session, storage) = (&status["sessions"][0]["saved"], &status["storage"]["saved"]);
    assert_eq!(session, storage, "there is one session: {status:#}");
    session == true
}

fn last_error(status: &Value) -> String {
    let error = &status["sessions"][0]["last_error"];
    assert_eq!(error["code"], "storage", "{status:#}");
    error["message"].as_str().expect("a message").to_owned()
}

fn warnings(status: &Value) -> String {
    status["warnings"].to_string()
}
