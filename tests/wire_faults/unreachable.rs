//! Nothing leaves the machine: no connection, no name, no certificate that is trusted. It costs nothing but time.

use std::time::Duration;

use super::everybody_is_signed_in;
use crate::support::crowd::{at_once, seconds, sessions};
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation, Transport};
use crate::support::sandbox::{Sandbox, request};

/// A service over TLS and a sandbox that trusts it by a bundle of its own.
fn trusted(count: usize, config: FakeConfig) -> (FakeIdentityCenter, Sandbox) {
    let service = FakeIdentityCenter::start(FakeConfig { transport: Transport::Tls, ..config });
    let mut sandbox = Sandbox::new().at(service.url());
    let bundle = sandbox.write("bundle.pem", service.ca_pem().unwrap());
    sandbox.set("AWS_CA_BUNDLE", bundle.to_str().unwrap());
    sandbox.write_config(&sessions(count));
    (service, sandbox)
}

/// What can go wrong on the way, and what is said about it.
#[derive(Debug, Clone, Copy)]
enum Way {
    Unplugged,
    /// Somebody in between shows a certificate of their own.
    Intercepted,
}

impl Way {
    fn breaks(self, service: &FakeIdentityCenter, sandbox: &Sandbox) {
        match self {
            Self::Unplugged => service.go_offline(),
            Self::Intercepted => {
                let other =
                    FakeIdentityCenter::start(FakeConfig { transport: Transport::Tls, ..FakeConfig::default() });
                sandbox.write("bundle.pem", other.ca_pem().unwrap());
                // Connections from before would go on.
                service.go_offline();
                service.go_online();
            }
        }
    }

    fn is_mended(self, service: &FakeIdentityCenter, sandbox: &Sandbox) {
        match self {
            Self::Unplugged => service.go_online(),
            Self::Intercepted => drop(sandbox.write("bundle.pem", service.ca_pem().unwrap())),
        }
    }

    fn words(self) -> [&'static str; 2] {
        match self {
            Self::Unplugged => ["cannot connect", "check the network"],
            Self::Intercepted => ["no trusted connection", "AWS_CA_BUNDLE"],
        }
    }
}

#[test]
fn a_broken_way_is_told_with_what_helps_and_costs_no_sign_in() {
    for way in [Way::Unplugged, Way::Intercepted] {
        let (service, sandbox) = trusted(4, FakeConfig::default());
        let agent = sandbox.start_agent();
        agent.sign_in_to_all(&service, 3);
        let calls = service.all_calls().len();
        way.breaks(&service, &sandbox);
        let login = ["login", "s3", "--no-browser"];
        let again = ["login", "s1", "--force", "--no-browser"];
        for finished in [
            sandbox.shim(&["--profile", "p0", "--timeout", "4"]),
            sandbox.cli(&login),
            // The second waits for the pause of the first, and then tries.
            sandbox.cli(&again),
        ] {
            assert_eq!((finished.code, finished.stdout.as_str()), (Some(7), ""), "{way:?}: {finished:?}");
            for word in way.words() {
                assert!(finished.stderr.contains(word), "{way:?}: {}", finished.stderr);
            }
        }
        let logout = sandbox.cli(&["logout", "s2"]);
        assert!(logout.code == Some(0) && logout.stderr.contains("did not confirm"), "{way:?}: {logout:?}");
        agent.get("/v1/token?session=s0");
        assert_eq!(service.all_calls().len(), calls, "{way:?}: not a request left the machine");
        way.is_mended(&service, &sandbox);
        everybody_is_signed_in(&agent, &service, 2);
        sandbox.shim(&["--profile", "p0"]).expect_success();
        sandbox.cli(&["accounts", "s1"]).expect_success();
    }
}

#[test]
fn a_token_that_runs_out_behind_a_broken_way_is_refreshed_when_it_is_mended() {
    const LIFETIME: Duration = Duration::from_secs(6);
    for way in [Way::Unplugged, Way::Intercepted] {
        let (service, sandbox) = trusted(1, FakeConfig::with_tokens_of(LIFETIME));
        let agent = sandbox.start_agent();
        agent.sign_in_to_all(&service, 1);
        way.breaks(&service, &sandbox);
        let status = agent.wait_for_status("failing", |status| !status["sessions"][0]["last_error"].is_null());
        let message = status["sessions"][0]["last_error"]["message"].as_str().unwrap();
        assert!(way.words().iter().all(|word| message.contains(word)), "{way:?}: {message}");
        agent.wait_until(&service, seconds(&status["sessions"][0]["access_token_expires_at"]) + 1);
        let stderr = sandbox.shim(&["--profile", "p0", "--timeout", "4"]).failed_with(7);
        assert!(way.words().iter().all(|word| stderr.contains(word)), "{way:?}: {stderr}");
        way.is_mended(&service, &sandbox);
        sandbox.shim(&["--profile", "p0"]).expect_success();
        assert_eq!((service.refresh_token_reuses(), service.count(Operation::StartDeviceAuthorization)), (0, 1));
    }
}

/// How many calls of the agent did not leave the machine.
fn attempts(sandbox: &Sandbox) -> usize {
    sandbox.log().lines().filter(|line| line.contains("not answered")).count()
}

fn ask(sandbox: &Sandbox, number: usize) -> u16 {
    let roles = ["ReadOnly", "Administrator", "Other", "Another", "Yet.Another"];
    let path = format!("/v1/credentials?session=s0&account=111122223333&role={}&timeout=4", roles[number % 5]);
    request(&sandbox.socket(), "GET", &path, "").0
}

#[test]
fn sixty_callers_in_an_outage_are_one_attempt_in_each_pause() {
    let (service, sandbox) = trusted(1, FakeConfig::default());
    let agent = sandbox.start_agent();
    agent.sign_in_to_all(&service, 1);
    service.go_offline();
    let before = attempts(&sandbox);
    let answers = at_once(60, |number| ask(&sandbox, number));
    assert!(answers.iter().all(|status| *status == 503), "{answers:?}");
    // Five targets at once before it is known; then one in each pause, the shortest of which is a fifth of a second.
    let tried = attempts(&sandbox) - before;
    assert!((2..=5 + 20).contains(&tried), "{tried} attempts in four seconds");
    service.go_online();
    sandbox.shim(&["--profile", "p0"]).expect_success();
}
