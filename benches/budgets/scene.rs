//! What is measured: the real agent, signed in to ten sessions of the fake Identity Center, with two hundred sets of
//! role credentials.

use std::fmt::Write;
use std::time::Duration;

use super::support::fake::{FakeAccount, FakeConfig, FakeIdentityCenter, Operation};
use super::support::sandbox::{Agent, SHIM, Sandbox};

/// The agent and what is around it.
pub(crate) struct Scene<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) service: &'a FakeIdentityCenter,
    pub(crate) agent: Agent<'a>,
}

impl Scene<'_> {
    /// Sets it up, acts, and takes it down.
    pub(crate) fn with(act: impl FnOnce(&Scene<'_>)) {
        let role_names: Vec<String> = (0..TARGETS_EACH).map(|role| format!("Role{role}")).collect();
        let mut roles: Vec<&str> = role_names.iter().map(String::as_str).collect();
        roles.push("Cold");
        let service = FakeIdentityCenter::start(FakeConfig {
            accounts: vec![FakeAccount::new(ACCOUNT, "Measured", &roles)],
            auto_approve: true,
            ..FakeConfig::default()
        });
        let mut config = String::new();
        for session in 0..SESSIONS {
            let start_url = format!("https://s{session}.awsapps.com/start");
            let _ = write!(config, "[sso-session s{session}]\nsso_start_url = {start_url}\nsso_region = eu-west-1\n");
            let _ = writeln!(config, "sso_registration_scopes = sso:account:access\n");
        }
        let mut sandbox = Sandbox::new().at(service.url());
        sandbox.set("SSO_AGENT_LOG", "info");
        sandbox.write_config(&config);
        let scene = Scene { sandbox: &sandbox, service: &service, agent: sandbox.start_agent() };
        scene.sign_in();
        scene.warm_up();
        act(&scene);
    }

    /// A file of the sandbox.
    pub(crate) fn path(&self, name: &str) -> String {
        self.sandbox.root().join(name).to_str().expect("the path is text").to_owned()
    }

    /// The agent's socket.
    pub(crate) fn socket(&self) -> String {
        self.sandbox.socket().to_str().expect("the path is text").to_owned()
    }

    /// Switches the audit log.
    pub(crate) fn set_audit(&self, mode: &str) {
        self.sandbox.write("home/.config/sso-agent/config.toml", &format!("audit = \"{mode}\"\n"));
        let (status, body) = self.agent.request("POST", "/v1/reload", "");
        assert_eq!(status, 200, "{body}");
        assert_eq!(self.agent.get("/v1/status")["audit"]["mode"], mode);
    }

    /// What the agent answers for the warm target.
    pub(crate) fn document(&self) -> String {
        let line = self.sandbox.command(SHIM).args(WARM_ARGUMENTS).output().expect("the shim can be started");
        assert!(line.status.success());
        String::from_utf8(line.stdout).expect("the document is text").trim_end().to_owned()
    }

    /// All begin, then all are waited for, because the service wants a second between two polls.
    fn sign_in(&self) {
        for session in 0..SESSIONS {
            let path = format!("/v1/sessions/s{session}/login");
            let (status, body) = self.agent.request("POST", &path, r#"{"flow":"device","started_by":"cli"}"#);
            assert_eq!(status, 202, "{body}");
        }
        for session in 0..SESSIONS {
            let state = self.agent.get(&format!("/v1/sessions/s{session}/login?wait=30"));
            assert_eq!(state["state"], "signed_in", "{state}");
        }
    }

    fn warm_up(&self) {
        for session in 0..SESSIONS {
            for role in 0..TARGETS_EACH {
                self.agent.get(&format!("/v1/credentials?session=s{session}&account={ACCOUNT}&role=Role{role}"));
            }
        }
        let calls = self.service.wait_for_answers(
            Operation::GetRoleCredentials,
            SESSIONS * TARGETS_EACH,
            Duration::from_secs(10),
        );
        assert!(calls.is_ok());
    }
}

/// The request for one of the targets.
pub(crate) const WARM: &str = "/v1/credentials?session=s0&account=111122223333&role=Role0";
/// The same, for the shim.
pub(crate) const WARM_ARGUMENTS: [&str; 6] = ["--session", "s0", "--account", ACCOUNT, "--role", "Role0"];
/// A target nobody has asked for.
pub(crate) const COLD: [&str; 6] = ["--session", "s0", "--account", ACCOUNT, "--role", "Cold"];
const ACCOUNT: &str = "111122223333";
const SESSIONS: usize = 10;
const TARGETS_EACH: usize = 20;
