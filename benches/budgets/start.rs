//! From the start of the process to the first answers, and the reload, with a large AWS configuration and a key file.
//!
//! Elapsed time, so the fastest of some rounds counts: whatever else the machine does can only add to it.

use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;

use super::process::now;
use super::report::{Budget, Report};
use super::support::fake::{FakeConfig, FakeIdentityCenter};
use super::support::sandbox::{CORP, Sandbox};

/// The reference is the same agent with one session and one profile.
pub(crate) fn measure(report: &mut Report) {
    let service = FakeIdentityCenter::start(FakeConfig { auto_approve: true, ..FakeConfig::default() });
    let small = times(&service, 0, 1);
    let large = times(&service, PROFILES, SESSIONS);
    let what = format!("{PROFILES} profiles, {SESSIONS} sessions");
    let name = format!("start to first status, {what}");
    report.line(&name, "ms", large.status, Some(small.status), Budget::AtMost(50.0));
    let name = format!("to first credentials, {what}");
    report.line(&name, "ms", large.credentials, Some(small.credentials), Budget::None);
    report.line(&format!("reload, {what}"), "ms", large.reload, Some(small.reload), Budget::AtMost(20.0));
}

/// Milliseconds.
struct Times {
    /// From the start to the first answer.
    status: f64,
    /// From the start to the first credentials, which the service is asked for.
    credentials: f64,
    /// The reload.
    reload: f64,
}

/// Signed in to all sessions.
fn times(service: &FakeIdentityCenter, profiles: usize, sessions: usize) -> Times {
    let mut sandbox = Sandbox::with_session(service.url());
    sandbox.set("SSO_AGENT_LOG", "info");
    let text = config(profiles, sessions);
    sandbox.write_config(&text);
    sandbox.write("home/.config/sso-agent/config.toml", "[storage]\nkey = \"file\"\n");
    let agent = sandbox.start_agent();
    for session in 0..sessions {
        let path = format!("/v1/sessions/{}/login", name(session));
        let (status, body) = agent.request("POST", &path, r#"{"flow":"device","started_by":"cli"}"#);
        assert_eq!(status, 202, "{body}");
    }
    for session in 0..sessions {
        assert_eq!(agent.get(&format!("/v1/sessions/{}/login?wait=30", name(session)))["state"], "signed_in");
    }
    assert!(agent.stop().success());

    let start = |path: &str, expected: fn(&Value) -> bool| {
        fastest(|| {
            let begun = now();
            let agent = sandbox.start_agent();
            let answer = agent.get(path);
            let elapsed = now().since(begun);
            assert!(expected(&answer), "{answer}");
            assert!(agent.stop().success());
            elapsed
        })
    };
    let status = start("/v1/status", |status| {
        status["sessions"].as_array().is_some_and(|all| all.iter().all(|session| session["state"] == "signed_in"))
    });
    let credentials = start("/v1/credentials?profile=dev", |document| document["Version"] == 1);
    let agent = sandbox.start_agent();
    let mut round = 0;
    let reload = fastest(|| {
        round += 1;
        sandbox.write_config(&format!("{text}[profile added-{round}]\nregion = eu-west-1\n"));
        let begun = now();
        let (status, body) = agent.request("POST", "/v1/reload", "");
        let elapsed = now().since(begun);
        assert_eq!(status, 200, "{body}");
        elapsed
    });
    Times { status, credentials, reload }
}

fn fastest(act: impl FnMut() -> Duration) -> f64 {
    let rounds = std::iter::repeat_with(act).take(ROUNDS);
    rounds.min().map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

fn config(profiles: usize, sessions: usize) -> String {
    let mut text = CORP.to_owned();
    for session in 1..sessions {
        let name = name(session);
        let _ = write!(text, "\n[sso-session {name}]\nsso_start_url = https://{name}.awsapps.com/start\n");
        let _ = write!(text, "sso_region = eu-west-1\nsso_registration_scopes = sso:account:access\n");
    }
    for profile in 0..profiles {
        let session = name(profile % sessions);
        let _ =
            write!(text, "\n[profile account-{profile}]\nsso_session = {session}\nsso_account_id = {profile:012}\n");
        let _ = write!(text, "sso_role_name = Developer\nregion = eu-west-1\noutput = json\n");
    }
    text
}

fn name(session: usize) -> String {
    if session == 0 { "corp".to_owned() } else { format!("corp-{session}") }
}

const PROFILES: usize = 5000;
const SESSIONS: usize = 20;
const ROUNDS: usize = 9;
