//! The agent is stopped and started again, also from a program that was replaced meanwhile; those who wait notice nothing.

use std::path::PathBuf;
use std::process::Child;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When};
use crate::support::sandbox::{AGENT, Finished, SHIM, Sandbox};

const PATIENCE: Duration = Duration::from_secs(30);

/// Several callers of either kind, started now.
fn callers(sandbox: &Sandbox) -> Vec<Child> {
    let shims = (0..4).map(|_| sandbox.spawn_shim(&["--profile", "dev"]));
    shims.chain((0..3).map(|_| sandbox.spawn_cli(&["credentials", "--profile", "dev"]))).collect()
}

fn have_credentials(callers: Vec<Child>) {
    for caller in callers {
        assert_eq!(Finished::awaited(caller).json()["Version"], 1);
    }
}

#[test]
fn callers_that_wait_while_the_agent_is_restarted_get_credentials() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    service.fault(Operation::GetRoleCredentials, Fault::Hang, When::BeforeEffect, Times::UntilCleared);
    let waiting = callers(&sandbox);
    service.wait_for_calls(Operation::GetRoleCredentials, 1, PATIENCE).unwrap();
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait().code(), Some(0));
    service.clear_faults();
    let _agent = sandbox.start_agent();
    have_credentials(waiting);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);
}

#[test]
fn callers_that_come_while_the_agent_ends_get_credentials_from_the_next() {
    let service = FakeIdentityCenter::start(FakeConfig::with_tokens_of(Duration::from_secs(6)));
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    service.fault(Operation::CreateTokenRefresh, Fault::Hold, When::AfterEffect, Times::Next(1));
    service.wait_for_calls(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
    agent.signal(Signal::TERM);
    // The doors are closed, and it does not end before the refresh does.
    while std::os::unix::net::UnixStream::connect(sandbox.socket()).is_ok() {
        thread::yield_now();
    }
    let waiting = callers(&sandbox);
    // Longer than anybody waits for an agent that is dead.
    assert!(agent.runs_for(Duration::from_secs(6)), "it waits for the refresh");
    service.clear_faults();
    assert_eq!(agent.wait().code(), Some(0));
    let _agent = sandbox.start_agent();
    have_credentials(waiting);
    assert_eq!((service.refresh_token_reuses(), service.count(Operation::StartDeviceAuthorization)), (0, 1));
}

#[test]
fn a_program_that_was_replaced_while_it_ran_loses_nothing() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let installed = |program: &str, built: &str| -> PathBuf {
        let path = sandbox.root().join("bin").join(program);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // As a package manager does it: a new file in the place of the old one. Not written by us: a child of another
        // test would inherit it, and what is open for writing cannot be run.
        Finished::of(sandbox.command("cp").arg(built).arg(path.with_extension("new"))).expect_success();
        std::fs::rename(path.with_extension("new"), &path).unwrap();
        path
    };
    let (agent_path, shim_path) = (installed("sso-agent", AGENT), installed("sso-credential-process", SHIM));
    let agent = sandbox.start_agent_by(&mut sandbox.command(&agent_path), &[]);
    agent.sign_in(&service);
    let shim = || Finished::of(sandbox.command(&shim_path).args(["--profile", "dev"])).json();
    assert_eq!(shim()["Version"], 1);
    let pid = agent.pid();

    installed("sso-agent", AGENT);
    installed("sso-credential-process", SHIM);
    assert!(std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.to_string_lossy().contains("deleted")));
    assert_eq!(shim()["Version"], 1);
    assert_eq!(agent.get("/v1/status")["pid"], pid);
    // The package's script restarts it, and somebody waits.
    service.fault(Operation::ListAccounts, Fault::Hang, When::BeforeEffect, Times::UntilCleared);
    let waiting = sandbox.spawn_cli(&["accounts", "--json"]);
    service.wait_for_calls(Operation::ListAccounts, 1, PATIENCE).unwrap();
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait().code(), Some(0));
    service.clear_faults();
    let agent = sandbox.start_agent_by(&mut sandbox.command(&agent_path), &[]);
    assert_ne!(agent.pid(), pid);
    assert!(Finished::awaited(waiting).json()["accounts"].as_array().is_some_and(|accounts| !accounts.is_empty()));
    assert_eq!(shim()["Version"], 1);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);
}
