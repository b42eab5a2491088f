//! `stop` and `restart`: the right process, in good order, and nobody else's.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::support::background::kill;
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When};
use crate::support::sandbox::{Finished, Sandbox};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn stop_returns_when_the_agent_has_ended_and_nothing_running_is_fine() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    for _ in 0..2 {
        let stopped = sandbox.cli(&["stop"]);
        assert_eq!((stopped.code, stopped.stderr.as_str()), (Some(0), "the agent is not running\n"));
        assert_eq!(sandbox.cli(&["start"]).code, Some(0));
        let pid = sandbox.in_background().unwrap();
        let stopped = sandbox.cli(&["stop"]);
        assert_eq!(stopped.code, Some(0));
        assert!(stopped.stderr.contains(&pid.as_raw_nonzero().to_string()), "{stopped:?}");
        assert_eq!(sandbox.in_background(), None);
        assert!(!sandbox.socket().exists(), "it has ended in good order");
    }
    assert_eq!(sandbox.cli(&["stop", "--json"]).json()["stopped"], false);
}

#[test]
fn stop_waits_for_a_refresh_under_way() {
    let service = FakeIdentityCenter::start(FakeConfig::with_tokens_of(Duration::from_secs(6)));
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    service.fault(Operation::CreateTokenRefresh, Fault::Hold, When::AfterEffect, Times::Next(1));
    service.wait_for_calls(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
    let stopping = sandbox.spawn_cli(&["stop"]);
    while std::os::unix::net::UnixStream::connect(sandbox.socket()).is_ok() {
        std::thread::yield_now();
    }
    assert!(agent.runs_for(Duration::from_secs(1)), "it waits for the refresh");
    service.clear_faults();
    assert_eq!(agent.wait().code(), Some(0));
    assert_eq!(Finished::awaited(stopping).code, Some(0));
    service.settle();
    let _agent = sandbox.start_agent();
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    assert_eq!(service.refresh_token_reuses(), 0);
}

#[test]
fn a_session_survives_a_restart_which_also_starts() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let restarted = sandbox.cli(&["restart"]);
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    let first = sandbox.in_background().unwrap();
    service.approve_next(true);
    assert_eq!(sandbox.cli(&["login", "--flow", "device"]).code, Some(0));
    let restarted = sandbox.cli(&["restart", "--json"]).json();
    let second = sandbox.in_background().unwrap();
    assert_ne!(second, first);
    assert_eq!((&restarted["started"], &restarted["pid"]), (&true.into(), &second.as_raw_nonzero().get().into()));
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);
}

#[test]
fn stop_ends_the_agent_on_the_socket_that_was_named_and_no_other() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = Sandbox::with_session(service.url());
    let ours = sandbox.start_agent();
    let (state, socket) = (sandbox.state(), sandbox.root().join("other/agent.sock"));
    sandbox.set("SSO_AGENT_STATE_DIR", sandbox.root().join("other-state").to_str().unwrap());
    sandbox.set("SSO_AGENT_SOCK", socket.to_str().unwrap());
    assert_eq!(sandbox.cli(&["start"]).code, Some(0));
    assert!(socket.exists());
    sandbox.set("SSO_AGENT_STATE_DIR", state.to_str().unwrap());
    let stopped = sandbox.cli(&["stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert!(!socket.exists(), "it has ended");
    assert!(ours.runs_for(Duration::from_millis(100)), "{stopped:?}");
}

/// A process that the system calls as it calls the agent, and that ends when it is dropped.
fn bystander(sandbox: &Sandbox) -> std::process::Child {
    let mut command = sandbox.command("sh");
    command.args(["-c", "printf sso-agent > /proc/self/comm; echo; read -r _"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    child
}

#[test]
fn a_number_that_was_used_again_is_nobodys_end() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    assert_eq!(sandbox.cli(&["start"]).code, Some(0));
    let pid = sandbox.in_background().unwrap();
    kill(pid);
    let mut bystander = bystander(&sandbox);
    let lock = sandbox.state().join("lock");
    let line = std::fs::read_to_string(&lock).unwrap();
    let (old, new) = (format!("\"pid\":{}", pid.as_raw_nonzero()), format!("\"pid\":{}", bystander.id()));
    assert!(line.contains(&old), "{line}");
    std::fs::write(&lock, line.replace(&old, &new)).unwrap();
    let stopped = sandbox.cli(&["stop"]);
    assert_eq!((stopped.code, stopped.stderr.as_str()), (Some(0), "the agent is not running\n"));
    assert_eq!(bystander.try_wait().unwrap(), None, "it lives");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn a_lock_that_somebody_else_holds_is_said_and_nobody_is_signalled() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    assert_eq!(sandbox.cli(&["start"]).code, Some(0));
    kill(sandbox.in_background().unwrap());
    // The line names a process that is no more.
    let file = File::open(sandbox.state().join("lock")).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    let stderr = sandbox.cli(&["stop"]).failed_with(4);
    assert!(stderr.contains("somebody holds") && stderr.contains("state/lock"), "{stderr}");
}
