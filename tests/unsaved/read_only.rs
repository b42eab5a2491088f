//! A state directory that can be read and not written.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::mounts::Mounts;
use super::{saved, serves, warnings};
use crate::support::crowd::seconds;
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::{AGENT, Finished, Sandbox};

const READ_ONLY: &str = "mount --bind \"$STATE\" \"$STATE\"\nmount -o remount,ro,bind \"$STATE\"";

#[test]
fn what_is_stored_in_a_read_only_directory_is_served_and_refreshed_in_memory() {
    let service = FakeIdentityCenter::start(FakeConfig::with_tokens_of(Duration::from_secs(12)));
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    agent.kill();
    let Some(mounts) = Mounts::with(&sandbox, READ_ONLY) else { return };
    let agent = sandbox.start_agent_by(&mut mounts.agent(), &[]);
    let status = agent.get("/v1/status");
    assert_eq!(status["sessions"][0]["state"], "signed_in", "{status:#}");
    assert!(warnings(&status).contains("Read-only file system"), "{status:#}");
    serves(&sandbox, &agent);
    let second = Finished::of(mounts.command("timeout").args(["30", AGENT, "run"]));
    second.failed_with(4);
    let fresh = seconds(&status["sessions"][0]["access_token_expires_at"]);
    let status =
        agent.wait_for_status("refreshed", |status| seconds(&status["sessions"][0]["access_token_expires_at"]) > fresh);
    assert!(!saved(&status), "{status:#}");
    serves(&sandbox, &agent);

    mounts.remount("remount,rw,bind");
    agent.wait_for_status("saved", saved);
    // While it runs, too.
    mounts.remount("remount,ro,bind");
    agent.wait_for_status("not saved", |status| !saved(status));
    serves(&sandbox, &agent);
    mounts.remount("remount,rw,bind");
    agent.wait_for_status("saved", saved);
    agent.kill();
    drop(mounts);
    let agent = sandbox.start_agent();
    serves(&sandbox, &agent);
    assert_eq!((service.refresh_token_reuses(), service.count(Operation::StartDeviceAuthorization)), (0, 1));
}

#[test]
fn an_empty_directory_that_cannot_be_written_keeps_nothing_until_it_can() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let Some(mounts) = Mounts::with(&sandbox, READ_ONLY) else { return };
    let agent = sandbox.start_agent_by(&mut mounts.agent(), &[]);
    // There is not even a lock file, and there is one agent all the same.
    let second = || Finished::of(mounts.command("timeout").args(["30", AGENT, "run"])).failed_with(4);
    assert!(second().contains("another agent"));
    let status = agent.get("/v1/status");
    assert!(warnings(&status).contains("Read-only file system"), "{status:#}");
    assert_eq!(status["storage"]["available"], false, "{status:#}");
    agent.sign_in(&service);
    serves(&sandbox, &agent);
    assert!(!saved(&agent.get("/v1/status")));

    mounts.remount("remount,rw,bind");
    assert!(second().contains("another agent"));
    agent.wait_for_status("saved", saved);
    agent.kill();
    drop(mounts);
    let agent = sandbox.start_agent();
    serves(&sandbox, &agent);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);
}

#[test]
fn stop_finds_an_agent_that_could_not_write_who_it_is() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    // What it has written names a process that is no more.
    sandbox.start_agent().kill();
    let Some(mounts) = Mounts::with(&sandbox, READ_ONLY) else { return };
    let agent = sandbox.start_agent_by(&mut mounts.agent(), &[]);
    let stopped = Finished::of(mounts.agent().arg("stop"));
    assert!(stopped.code == Some(0) && stopped.stderr.contains(&agent.pid().to_string()), "{stopped:?}");
    assert_eq!(agent.wait().code(), Some(0));

    // Started there, with nowhere to log to.
    let started = Finished::of(mounts.agent().arg("start"));
    assert_eq!(started.code, Some(0), "{started:?}");
    assert_eq!(sandbox.status()["sessions"][0]["session"], "corp");
    let stopped = Finished::of(mounts.agent().arg("stop"));
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert!(!sandbox.socket().exists());
}

#[test]
fn a_place_for_the_socket_that_cannot_be_written_is_named() {
    let sandbox = Sandbox::new();
    let run = sandbox.socket().parent().unwrap().to_owned();
    std::fs::create_dir(&run).unwrap();
    std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o700)).unwrap();
    let script = READ_ONLY.replace("$STATE", run.to_str().unwrap());
    let Some(mounts) = Mounts::with(&sandbox, &script) else { return };
    let stderr = Finished::of(mounts.command("timeout").args(["30", AGENT, "run"])).failed_with(4);
    assert!(stderr.contains(run.to_str().unwrap()) && stderr.contains("Read-only file system"), "{stderr}");
}
