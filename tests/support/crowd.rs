//! Many callers at once, and an agent that is not expected to start.

use std::process::{Child, Stdio};
use std::thread;

use serde_json::Value;

use super::fake::FakeIdentityCenter;
use super::sandbox::{AGENT, Agent, Finished, SHIM, Sandbox};

/// Does the same thing so many times at once; each is told its number.
pub fn at_once<T: Send>(count: usize, act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let act = &act;
    thread::scope(|scope| {
        let all: Vec<_> = (0..count).map(|number| scope.spawn(move || act(number))).collect();
        all.into_iter().map(|one| one.join().expect("it did not panic")).collect()
    })
}

/// A configuration of so many sessions `s0`, `s1`, ..., each with a start URL of its own and a profile `p0`, `p1`, ...
pub fn sessions(count: usize) -> String {
    (0..count)
        .map(|number| {
            format!(
                "[sso-session s{number}]\nsso_start_url = https://s{number}.awsapps.com/start\nsso_region = eu-west-1\n\
                 [profile p{number}]\nsso_session = s{number}\nsso_account_id = 111122223333\nsso_role_name = ReadOnly\n"
            )
        })
        .collect()
}

impl Sandbox {
    /// `run`, which is expected to fail; ended by force if it does not.
    pub fn run_in_vain(&self, arguments: &[&str]) -> Finished {
        let finished = Finished::of(self.command("timeout").arg("30").arg(AGENT).arg("run").args(arguments));
        assert_ne!(finished.code, Some(124), "the agent started although it should not: {finished:?}");
        finished
    }

    /// Starts the shim and does not wait for it.
    pub fn spawn_shim(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(SHIM);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the shim can be started")
    }

    /// Starts the command line and does not wait for it.
    pub fn spawn_cli(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(AGENT);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started")
    }
}

impl Finished {
    /// Waits for a program that was started before.
    pub fn awaited(child: Child) -> Self {
        Self::from(child.wait_with_output().expect("it is ours"))
    }

    /// Its standard error, if it ended with this code and printed no result.
    pub fn failed_with(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:?}");
        self.stderr
    }
}

impl Agent<'_> {
    /// Begins to sign in to a session, and approves it.
    pub fn begin_sign_in(&self, service: &FakeIdentityCenter, session: &str) {
        let path = format!("/v1/sessions/{session}/login");
        let (status, body) = self.request("POST", &path, r#"{"flow":"device","started_by":"cli"}"#);
        assert_eq!(status, 202, "{session}: {body}");
        assert!(service.approve(body["user_code"].as_str().expect("a code")), "{body}");
    }

    /// How a sign-in under way ends.
    pub fn end_of_sign_in(&self, session: &str) -> Value {
        loop {
            let state = self.get(&format!("/v1/sessions/{session}/login?wait=30"));
            if state["state"] != "pending" {
                return state;
            }
        }
    }

    /// Signs in to so many sessions `s0`, `s1`, ... at once.
    pub fn sign_in_to_all(&self, service: &FakeIdentityCenter, count: usize) {
        (0..count).for_each(|number| self.begin_sign_in(service, &format!("s{number}")));
        for number in 0..count {
            let state = self.end_of_sign_in(&format!("s{number}"));
            assert_eq!(state["state"], "signed_in", "{state}");
        }
    }

    /// Lets time pass by long polls until a moment on the service's clock, in seconds since the epoch.
    pub fn wait_until(&self, service: &FakeIdentityCenter, moment: u64) {
        while service.now().seconds() < moment {
            let status = self.get("/v1/status");
            self.get(&format!("/v1/status?wait=1&after={}", status["revision"]));
        }
    }
}

/// A time as the agent writes it, in seconds since the epoch.
pub fn seconds(time: &Value) -> u64 {
    let text = time.as_str().unwrap_or_else(|| panic!("{time} is not a time"));
    let time: sso_agent::time::Timestamp = text.parse().unwrap_or_else(|error| panic!("{text}: {error:?}"));
    u64::try_from(time.as_millis()).expect("times are after the epoch") / 1000
}
