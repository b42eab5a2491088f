//! From the start of the process to the first answer, and the reload, with a large AWS configuration and a key file.
//!
//! Elapsed time, so the fastest of some rounds counts: whatever else the machine does can only add to it.

use std::fmt::Write;
use std::time::Duration;

use super::process::now;
use super::report::{Budget, Report};
use super::support::fake::{FakeConfig, FakeIdentityCenter};
use super::support::sandbox::{CORP, Sandbox};

/// The reference is the same agent with one session and one profile.
pub(crate) fn measure(report: &mut Report) {
    let service = FakeIdentityCenter::start(FakeConfig { auto_approve: true, ..FakeConfig::default() });
    let (small_start, small_reload) = times(&service, 0);
    let (start, reload) = times(&service, PROFILES);
    let name = format!("start to first status, {PROFILES} profiles");
    report.line(&name, "ms", start, Some(small_start), Budget::AtMost(50.0));
    report.line(&format!("reload, {PROFILES} profiles"), "ms", reload, Some(small_reload), Budget::AtMost(20.0));
}

/// Milliseconds to start and to reload, signed in.
fn times(service: &FakeIdentityCenter, profiles: usize) -> (f64, f64) {
    let mut sandbox = Sandbox::with_session(service.url());
    sandbox.set("SSO_AGENT_LOG", "info");
    let text = config(profiles);
    sandbox.write_config(&text);
    sandbox.write("home/.config/sso-agent/config.toml", "[storage]\nkey = \"file\"\n");
    let agent = sandbox.start_agent();
    let (status, _) = agent.request("POST", "/v1/sessions/corp/login", r#"{"flow":"device","started_by":"cli"}"#);
    assert_eq!(status, 202);
    assert_eq!(agent.get("/v1/sessions/corp/login?wait=30")["state"], "signed_in");
    assert!(agent.stop().success());

    let start = fastest(|| {
        let begun = now();
        let agent = sandbox.start_agent();
        let status = agent.get("/v1/status");
        let elapsed = now().since(begun);
        assert_eq!(status["sessions"][0]["state"], "signed_in");
        assert!(agent.stop().success());
        elapsed
    });
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
    (start, reload)
}

fn fastest(act: impl FnMut() -> Duration) -> f64 {
    let rounds = std::iter::repeat_with(act).take(ROUNDS);
    rounds.min().map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

fn config(profiles: usize) -> String {
    let mut text = CORP.to_owned();
    for profile in 0..profiles {
        let _ = write!(text, "\n[profile account-{profile}]\nsso_session = corp\nsso_account_id = {profile:012}\n");
        let _ = write!(text, "sso_role_name = Developer\nregion = eu-west-1\noutput = json\n");
    }
    text
}

const PROFILES: usize = 5000;
const ROUNDS: usize = 9;
