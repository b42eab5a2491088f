//! A disk without a free byte.

use std::time::Duration;

use super::mounts::Mounts;
use super::{last_error, saved, serves, warnings};
use crate::support::crowd::seconds;
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::{AGENT, Finished, Sandbox};

const SMALL_DISK: &str = "mount -t tmpfs -o size=128k,mode=0700 tmpfs \"$STATE\"";

#[test]
fn a_disk_that_is_full_from_the_start_costs_nothing_but_the_restart() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let Some(mounts) = Mounts::with(&sandbox, SMALL_DISK) else { return };
    let ballast = mounts.fill();
    let agent = sandbox.start_agent_by(&mut mounts.agent(), &[]);
    let status = agent.get("/v1/status");
    assert!(status["storage"]["message"].as_str().unwrap().contains("No space left"), "{status:#}");
    assert!(status["storage"]["hint"].as_str().unwrap().contains("space"), "{status:#}");
    agent.sign_in(&service);
    serves(&sandbox, &agent);
    assert!(!saved(&agent.get("/v1/status")));
    assert!(sandbox.cli(&["status"]).expect_success().contains("No space left"));
    // It is locked all the same.
    let second = mounts.command("timeout").args(["30", AGENT, "run"]).output().unwrap();
    assert_eq!(second.status.code(), Some(4), "{second:?}");

    ballast.drop_it();
    agent.wait_for_status("saved", |status| saved(status) && status["storage"]["available"] == true);
    agent.kill();
    let agent = sandbox.start_agent_by(&mut mounts.agent(), &[]);
    serves(&sandbox, &agent);
    assert!(saved(&agent.get("/v1/status")));
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);
}

#[test]
fn an_agent_in_the_background_outlives_a_disk_that_has_no_room_for_its_log() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let Some(mounts) = Mounts::with(&sandbox, SMALL_DISK) else { return };
    let ballast = mounts.fill();
    let cli = |arguments: &[&str]| Finished::of(mounts.agent().args(arguments));
    assert_eq!(cli(&["start"]).code, Some(0));
    service.approve_next(true);
    assert_eq!(cli(&["login", "--flow", "device"]).code, Some(0));
    assert_eq!(cli(&["credentials", "--profile", "dev"]).json()["Version"], 1);
    ballast.drop_it();
    assert_eq!(cli(&["reload"]).code, Some(0));
    let log = std::fs::read_to_string(mounts.path(&sandbox.state().join("agent.log"))).unwrap();
    assert!(log.contains("lines of the log could not be written\n"), "{log}");
    assert_eq!(cli(&["stop"]).code, Some(0));
}

#[test]
fn a_limit_on_the_size_of_files_is_a_full_disk_and_not_the_end() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let mut command = sandbox.command("sh");
    command.args(["-c", "ulimit -S -f 0; exec \"$0\" \"$@\"", AGENT]);
    let agent = sandbox.start_agent_by(&mut command, &[]);
    agent.sign_in(&service);
    serves(&sandbox, &agent);
    let status = agent.get("/v1/status");
    assert!(!saved(&status) && status["storage"]["message"].as_str().unwrap().contains("File too large"), "{status:#}");
    let pid = rustix::process::Pid::from_raw(agent.pid().try_into().unwrap());
    let unlimited = rustix::process::Rlimit { current: None, maximum: None };
    rustix::process::prlimit(pid, rustix::process::Resource::Fsize, unlimited).unwrap();
    agent.wait_for_status("saved", saved);
    agent.kill();
    let agent = sandbox.start_agent();
    serves(&sandbox, &agent);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);
}

#[test]
fn a_disk_that_fills_up_is_reported_and_saved_to_when_there_is_room() {
    let service = FakeIdentityCenter::start(FakeConfig::with_tokens_of(Duration::from_secs(12)));
    let sandbox = Sandbox::with_session(service.url());
    let Some(mounts) = Mounts::with(&sandbox, SMALL_DISK) else { return };
    let agent = sandbox.start_agent_by(&mut mounts.agent(), &[]);
    agent.sign_in(&service);
    assert!(saved(&agent.get("/v1/status")));
    let expires = |status: &serde_json::Value| seconds(&status["sessions"][0]["access_token_expires_at"]);
    let before = expires(&agent.get("/v1/status"));
    let ballast = mounts.fill();
    // Without a mark on disk it waits until it must.
    let status = agent.wait_for_status("not marked", |status| !saved(status));
    assert!(last_error(&status).contains("not saved"), "{status:#}");
    serves(&sandbox, &agent);
    let status = agent.wait_for_status("refreshed", |status| expires(status) > before);
    assert!(!saved(&status), "{status:#}");
    let calls = service.calls(Operation::CreateTokenRefresh);
    assert!(calls[0].at.seconds() + 3 > before, "only when it gets late");
    serves(&sandbox, &agent);
    assert!(!sandbox.state().join("records").exists());
    let left: Vec<_> = std::fs::read_dir(mounts.path(&sandbox.state().join("records"))).unwrap().collect();
    assert_eq!(left.len(), 2, "what could not be written whole is not left lying: {left:?}");

    ballast.drop_it();
    let status = agent.wait_for_status("saved", saved);
    assert!(!warnings(&status).contains("could not be written"), "{status:#}");
    let expires_saved = expires(&status);
    agent.kill();
    let agent = sandbox.start_agent_by(&mut mounts.agent(), &[]);
    assert!(expires(&agent.get("/v1/status")) >= expires_saved);
    serves(&sandbox, &agent);
    assert_eq!((service.refresh_token_reuses(), service.count(Operation::StartDeviceAuthorization)), (0, 1));
}

#[test]
fn what_cannot_be_saved_is_tried_again_within_half_a_minute() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let Some(mounts) = Mounts::with(&sandbox, SMALL_DISK) else { return };
    let agent = sandbox.start_agent_by(&mut mounts.agent(), &[]);
    // There is a key by now, and no room for what it seals.
    agent.wait_for_status("there is a key", |status| status["storage"]["available"] == true);
    let ballast = mounts.fill();
    agent.sign_in(&service);
    serves(&sandbox, &agent);
    let status = agent.get("/v1/status");
    assert!(!saved(&status) && last_error(&status).contains("No space left"), "{status:#}");
    // Told to end now, it says what that costs.
    ballast.drop_it();
    agent.wait_for_status("saved", saved);
    agent.kill();
    let agent = sandbox.start_agent_by(&mut mounts.agent(), &[]);
    serves(&sandbox, &agent);
    let _ballast = mounts.fill();
    let (status, body) = agent.request("POST", "/v1/sessions/corp/login", FORCED);
    assert_eq!(status, 202, "{body}");
    assert!(service.approve(body["user_code"].as_str().unwrap()));
    assert_eq!(agent.end_of_sign_in("corp")["state"], "signed_in");
    assert!(!saved(&agent.get("/v1/status")));
    assert_eq!(agent.stop().code(), Some(9), "it says that something is lost");
}

const FORCED: &str = r#"{"flow":"device","started_by":"cli","force":true}"#;
