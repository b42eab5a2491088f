//! Records that this agent may not replace.

use std::path::{Path, PathBuf};

use super::{last_error, saved, serves, warnings};
use crate::support::fake::{FakeConfig, FakeIdentityCenter};
use crate::support::sandbox::Sandbox;

fn tokens_of(sandbox: &Sandbox) -> PathBuf {
    let mut names = std::fs::read_dir(sandbox.state().join("records")).unwrap().map(|entry| entry.unwrap().path());
    names.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("tokens-")).unwrap()
}

/// Signs in and returns the record that was written, on a machine where nothing runs any more.
fn signed_in(service: &FakeIdentityCenter) -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(service);
    agent.kill();
    let record = tokens_of(&sandbox);
    (sandbox, record)
}

/// What is there stays there, byte for byte, and everything goes on in memory.
fn is_left_alone(service: &FakeIdentityCenter, sandbox: &Sandbox, record: &Path, says: &str) {
    let before = std::fs::read(record).unwrap();
    let agent = sandbox.start_agent();
    let status = agent.get("/v1/status");
    assert_eq!(status["sessions"][0]["state"], "signed_out", "{status:#}");
    assert!(warnings(&status).contains(says), "{status:#}");
    assert_eq!(status["warnings"][0]["file"], record.to_str().unwrap());
    assert!(sandbox.cli(&["status"]).expect_success().contains(says));
    agent.sign_in(service);
    serves(sandbox, &agent);
    let status = agent.get("/v1/status");
    assert!(!saved(&status) && last_error(&status).contains("left alone"), "{status:#}");
    assert_eq!(std::fs::read(record).unwrap(), before);
    // Once it is out of the way, as the remedy says, the sign-in of today is kept.
    std::fs::rename(record, sandbox.root().join("elsewhere")).unwrap();
    assert_eq!(agent.stop().code(), Some(0));
    let agent = sandbox.start_agent();
    serves(sandbox, &agent);
}

#[test]
fn a_record_of_a_newer_version_is_reported_and_left_alone() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let (sandbox, record) = signed_in(&service);
    let text = std::fs::read(&record).unwrap();
    let end = text.iter().position(|byte| *byte == b'\n').unwrap();
    let header = String::from_utf8(text[..end].to_vec()).unwrap();
    let newer = header.replacen("\"version\":1", "\"version\":99", 1);
    assert_ne!(newer, header);
    std::fs::write(&record, [newer.as_bytes(), &text[end..]].concat()).unwrap();
    is_left_alone(&service, &sandbox, &record, "format 99");
}

#[test]
fn a_record_of_another_key_is_reported_and_left_alone() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let (sandbox, record) = signed_in(&service);
    let (_elsewhere, other) = signed_in(&service);
    std::fs::copy(other, &record).unwrap();
    is_left_alone(&service, &sandbox, &record, "another key");
}
