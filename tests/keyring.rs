//! The key in the platform's keyring, whatever the keyring does: the real gnome-keyring on a bus of the test's own.

mod gone;
mod locked;
mod open;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::support::crowd::sessions;
use crate::support::fake::{FakeConfig, FakeIdentityCenter};
use crate::support::keyring::Keyring;
use crate::support::sandbox::{Agent, Sandbox};

/// A home with the sessions `s0` and `s1`, on this bus.
fn home(service: &FakeIdentityCenter, bus: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write_config(&sessions(2));
    let mut sandbox = sandbox.at(service.url());
    sandbox.set("DBUS_SESSION_BUS_ADDRESS", bus);
    sandbox
}

/// A service, a keyring that is open, and a home whose session `s0` was signed in to with its key in the keyring; no
/// agent runs any more.
fn with_a_past() -> (FakeIdentityCenter, Keyring, Sandbox) {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let keyring = Keyring::unlocked();
    let sandbox = home(&service, &keyring.address());
    let agent = sandbox.start_agent();
    sign_in(&agent, &service, "s0");
    assert_eq!(wait_until_saved(&agent)["storage"]["key"], "keyring");
    assert!(agent.stop().success());
    assert_eq!(keyring.items().len(), 1);
    (service, keyring, sandbox)
}

fn sign_in(agent: &Agent<'_>, service: &FakeIdentityCenter, session: &str) {
    agent.begin_sign_in(service, session);
    let state = agent.end_of_sign_in(session);
    assert_eq!(state["state"], "signed_in", "{state}");
}

/// Waits until the key is there and everything is saved with it.
fn wait_until_saved(agent: &Agent<'_>) -> Value {
    agent
        .wait_for_status("saved", |status| status["storage"]["available"] == true && status["storage"]["saved"] == true)
}

/// What a session that cannot be read answers, to everybody who asks.
fn assert_sealed(sandbox: &Sandbox, agent: &Agent<'_>, remedy: &str) {
    let storage = &agent.get("/v1/status")["storage"];
    assert_eq!((&storage["key"], &storage["available"]), (&"keyring".into(), &false.into()), "{storage}");
    assert!(storage["hint"].as_str().unwrap().contains(remedy), "{storage}");
    let (status, problem) = agent.request("GET", "/v1/token?session=s0", "");
    assert_eq!((status, &problem["code"]), (507, &"storage".into()), "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains(remedy), "{problem}");
    assert!(problem["retry_after"].as_u64().is_some(), "{problem}");
    let shim = sandbox.shim(&["--profile", "p0", "--timeout", "1"]);
    assert_eq!((shim.code, shim.stdout.as_str()), (Some(9), ""), "{shim:?}");
    for command in [&["status"][..], &["storage", "status"]] {
        let shown = sandbox.cli(command).expect_success();
        assert!(shown.contains("login keyring") && shown.contains(remedy), "{shown}");
    }
}

/// `s1` is signed in to and served although nothing can be saved.
fn assert_memory_only(sandbox: &Sandbox, agent: &Agent<'_>, service: &FakeIdentityCenter) {
    sign_in(agent, service, "s1");
    let status = agent.get("/v1/status");
    let session = session(&status, "s1");
    assert_eq!((&session["state"], &session["saved"]), (&"signed_in".into(), &false.into()), "{status:#}");
    assert_eq!(status["storage"]["saved"], false);
    assert_eq!(sandbox.shim(&["--profile", "p1"]).json()["Version"], 1);
}

fn session<'a>(status: &'a Value, name: &str) -> &'a Value {
    let sessions = status["sessions"].as_array().unwrap();
    sessions.iter().find(|session| session["session"] == name).unwrap()
}

/// The next agent has what this one had: nobody signs in.
fn assert_both_survive(sandbox: &Sandbox, agent: Agent<'_>) {
    agent.kill();
    let _agent = sandbox.start_agent();
    for profile in ["p0", "p1"] {
        assert_eq!(sandbox.shim(&["--profile", profile]).json()["Version"], 1);
    }
}

/// All files below the state directory that decide what can be read, with their content.
fn stored(sandbox: &Sandbox) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    collect(&sandbox.state(), &sandbox.state(), &mut files);
    // Who holds it changes with every agent, and what was handed out is no matter of the key.
    files.remove("lock");
    files.remove("audit.log");
    files
}

fn collect(root: &Path, directory: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
}

fn key_record(sandbox: &Sandbox) -> Value {
    serde_json::from_slice(&stored(sandbox)["key.json"]).unwrap()
}
