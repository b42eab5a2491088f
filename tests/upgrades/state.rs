//! The state directory of every version there was, see `tests/fixtures`.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Known, Operation};
use crate::support::sandbox::Sandbox;

#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "elsewhere 127.77.7.7 is not this machine"))]
fn fixtures() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let entries = directory.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut fixtures: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    fixtures.sort();
    assert!(!fixtures.is_empty());
    fixtures
}

/// Version control keeps no permissions, and the agent insists on them.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::set_permissions(to, PermissionsExt::from_mode(0o700)).unwrap();
    for entry in from.read_dir().unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
            std::fs::set_permissions(&to, PermissionsExt::from_mode(0o600)).unwrap();
        }
    }
}

fn known(sign_in: &Value) -> Known {
    let text = |name: &str| sign_in[name].as_str().unwrap().to_owned();
    Known {
        start_url: text("start_url"),
        client_id: text("client_id"),
        client_secret: text("client_secret"),
        access_token: text("access_token"),
        refresh_token: text("refresh_token"),
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_agent_of_today_goes_on_with_the_state_of_every_version_before() {
    // The records name the service's address, so there is one at a time on this machine.
    let turn = File::create(std::env::temp_dir().join("sso-agent-test-state-fixture")).unwrap();
    flock(&turn, FlockOperation::LockExclusive).unwrap();
    for fixture in fixtures() {
        let service = FakeIdentityCenter::start_at("127.77.7.7:41977".parse().unwrap(), FakeConfig::default()).unwrap();
        let sign_ins = std::fs::read(fixture.join("sign-ins.json")).unwrap();
        let sign_ins: Vec<Value> = serde_json::from_slice(&sign_ins).unwrap();
        let sandbox = Sandbox::new().at(service.url());
        copy(&fixture.join("state"), &sandbox.state());
        let mut config = String::new();
        for sign_in in &sign_ins {
            service.know(&known(sign_in));
            let (session, url) = (sign_in["session"].as_str().unwrap(), sign_in["start_url"].as_str().unwrap());
            config.push_str(&format!("[sso-session {session}]\nsso_start_url = {url}\nsso_region = eu-west-1\n"));
        }
        sandbox.write_config(&config);
        goes_on(&service, &sandbox, &sign_ins);
    }
}

fn goes_on(service: &FakeIdentityCenter, sandbox: &Sandbox, sign_ins: &[Value]) {
    let secret = |session: &str, name: &str| {
        let sign_in = sign_ins.iter().find(|sign_in| sign_in["session"] == session).unwrap();
        sign_in[name].as_str().unwrap().to_owned()
    };
    let presented = |session: &str| {
        let token = secret(session, "refresh_token");
        service.calls(Operation::CreateTokenRefresh).iter().filter(|call| call.fields["refreshToken"] == token).count()
    };
    let credentials =
        |session: &str| sandbox.shim(&["--session", session, "--account", "111122223333", "--role", "ReadOnly"]).json();
    for life in ["the first", "the second"] {
        let agent = sandbox.start_agent();
        let status = agent.get("/v1/status");
        assert_eq!(status["warnings"], Value::Array(Vec::new()), "{life}: {status:#}");
        let lasting = agent.get("/v1/token?session=lasting");
        assert_eq!(lasting["access_token"], secret("lasting", "access_token"));
        for session in ["lasting", "expired", "marked"] {
            assert_eq!(credentials(session)["Version"], 1, "{life}: {session}");
        }
        let (code, problem) = agent.request("GET", "/v1/token?session=refused", "");
        assert_eq!(code, 401, "{problem}");
        assert!(problem.to_string().contains("the session is over"), "{problem}");
        let (expired, marked) = (presented("expired"), presented("marked"));
        assert_eq!((expired, marked, presented("lasting"), presented("refused")), (1, 1, 0, 0), "{life}");
        agent.kill();
    }
    assert_eq!((service.refresh_token_reuses(), service.count(Operation::RegisterClient)), (0, 0));
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 0);
}
