//! Agents that nobody holds by the hand: started on demand, or by `start`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::fake::FakeIdentityCenter;
use super::sandbox::{AGENT, CORP, Finished, SHIM, Sandbox, request};

impl Sandbox {
    /// A home in which shim and command line start an agent on demand. The service's place is in the AWS config, since
    /// the environment does not reach such an agent.
    pub fn on_demand(service: &str) -> Self {
        let mut sandbox = Self::new();
        let services =
            format!("[services fake]\nsso =\n  endpoint_url = {service}\nsso_oidc =\n  endpoint_url = {service}\n");
        sandbox.write_config(&format!("{CORP}services = fake\n{services}"));
        sandbox.set("SSO_AGENT_AUTOSTART", "");
        // What was built under another umask is not started; that has a test of its own.
        std::fs::set_permissions(AGENT, PermissionsExt::from_mode(0o755)).expect("it is ours");
        sandbox
    }

    /// Shim and agent in a directory of their own below the root, as a package installs them.
    pub fn installed(&self, directory: &str) -> (PathBuf, PathBuf) {
        let directory = self.root().join(directory);
        std::fs::create_dir_all(&directory).expect("a directory can be made");
        let install = |built: &str| {
            let path = directory.join(Path::new(built).file_name().expect("it is a file"));
            // Not by us: a child of another test would inherit the file that is being written, and while it is open
            // for writing nobody can run it.
            Finished::of(self.command("cp").arg(built).arg(&path)).expect_success();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("it is ours");
            path
        };
        (install(AGENT), install(SHIM))
    }

    /// Signs in to `corp` with an agent that is started for that, and leaves it running.
    pub fn sign_in_on_demand(&self, service: &FakeIdentityCenter) -> Pid {
        service.approve_next(true);
        let finished = self.cli(&["login", "--flow", "device", "--no-browser"]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        service.approve_next(false);
        self.in_background().expect("an agent runs")
    }

    /// The agent's answer to `GET /v1/status`.
    pub fn status(&self) -> serde_json::Value {
        let (code, status) = request(&self.socket(), "GET", "/v1/status", "");
        assert_eq!(code, 200, "{status}");
        status
    }

    /// What the agents in the background have logged, as far as it is in the newest file.
    pub fn background_log(&self) -> String {
        std::fs::read_to_string(self.state().join("agent.log")).unwrap_or_default()
    }
}

/// Ends a process, and waits until it is gone.
pub fn kill(pid: Pid) {
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("it runs");
    rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL).expect("it is ours");
    let mut end = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut end, None)).expect("waiting works");
}
