//! Configuration that is wrong costs what is wrong with it, and never replaces one that was right.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::support::fake::{FakeConfig, FakeIdentityCenter};
use crate::support::sandbox::{CORP, Sandbox};

const CONFIG: &str = "home/.config/sso-agent/config.toml";

#[test]
fn a_broken_line_costs_that_line() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    sandbox.write_config(&format!(
        "{CORP}what is this\n[profile broken\nsso_session = corp\n[profile also]\nsso_session = corp\n"
    ));
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    let first = CORP.lines().count() + 1;
    let warnings = agent.get("/v1/status")["warnings"].clone();
    let file = sandbox.home().join(".aws/config").display().to_string();
    let named = |line: usize| {
        warnings.as_array().unwrap().iter().any(|warning| warning["file"] == file && warning["line"] == line)
    };
    assert!(named(first) && named(first + 1), "{warnings:#}");
    let table = sandbox.cli(&["status"]).expect_success();
    assert!(table.contains(&format!("{file}:{first}: ")), "{table}");
}

#[test]
fn a_session_without_a_region_is_refused_with_its_place() {
    let sandbox = Sandbox::new();
    sandbox.write_config(
        "[sso-session corp]\nsso_start_url = https://corp.awsapps.com/start\n\n[profile dev]\nsso_session = corp\n\
         sso_account_id = 111122223333\nsso_role_name = ReadOnly\n",
    );
    let agent = sandbox.start_agent();
    let place = format!("{}:1", sandbox.home().join(".aws/config").display());
    let stderr = sandbox.shim(&["--profile", "dev"]).failed_with(5);
    assert!(stderr.contains(&place) && stderr.contains("sso_region") && stderr.lines().count() == 1, "{stderr}");
    let stderr = sandbox.cli(&["login", "corp"]).failed_with(5);
    assert!(stderr.contains(&place) && stderr.contains("sso_region"), "{stderr}");
    let (status, problem) = agent.request("POST", "/v1/sessions/corp/login", "{}");
    assert_eq!((status, &problem["code"]), (422, &"invalid_config".into()));
}

#[test]
fn plain_http_is_for_this_machine_only() {
    let by_file = format!("{CORP}endpoint_url = http://example.com\n");
    for (config, variable) in [(by_file.as_str(), None), (CORP, Some("AWS_ENDPOINT_URL_SSO_OIDC"))] {
        let mut sandbox = Sandbox::new();
        sandbox.write_config(config);
        if let Some(variable) = variable {
            sandbox.set(variable, "http://example.com");
        }
        let agent = sandbox.start_agent();
        let (status, problem) = agent.request("POST", "/v1/sessions/corp/login", "{}");
        assert_eq!((status, &problem["code"]), (422, &"invalid_config".into()), "{problem}");
        let stderr = sandbox.shim(&["--profile", "dev"]).failed_with(5);
        assert!(stderr.contains("http") && stderr.lines().count() == 1, "{stderr}");
        assert!(stderr.contains(variable.unwrap_or("config:11")), "it names what says so: {stderr}");
    }
}

#[test]
fn settings_that_others_can_write_are_refused() {
    let sandbox = Sandbox::new();
    let path = sandbox.write(CONFIG, "");
    for mode in [0o666, 0o620] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let stderr = sandbox.run_in_vain(&[]).failed_with(5);
        assert!(stderr.contains(path.to_str().unwrap()) && stderr.contains("chmod go-w"), "{stderr}");
    }
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&path, Some(super::places::SOMEBODY), None).unwrap();
        assert!(sandbox.run_in_vain(&[]).failed_with(5).contains(path.to_str().unwrap()));
    }
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_one() {
    let sandbox = Sandbox::new();
    let path = sandbox.write(CONFIG, "\n[storge]\nkey = \"file\"\n");
    let stderr = sandbox.run_in_vain(&[]).failed_with(5);
    assert!(stderr.contains(&format!("{}:2", path.display())), "{stderr}");
    assert!(stderr.contains("storge") && stderr.contains("did you mean") && stderr.contains("storage"), "{stderr}");
}

#[test]
fn an_aws_config_that_cannot_be_read_is_not_an_empty_one() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.home().join(".aws/config")).unwrap();
    let stderr = sandbox.run_in_vain(&[]).failed_with(5);
    assert!(stderr.contains(".aws/config"), "{stderr}");
}

#[test]
fn a_reload_of_broken_settings_keeps_the_old_ones() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    sandbox.write(CONFIG, "keep_warm = \"2h\"\n");
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let path = sandbox.write(CONFIG, "keep_warn = \"2h\"\n");
    let stderr = sandbox.cli(&["reload"]).failed_with(5);
    assert!(stderr.contains(&format!("{}:1", path.display())) && stderr.contains("keep_warm"), "{stderr}");
    let (status, problem) = agent.request("POST", "/v1/reload", "");
    assert_eq!((status, &problem["code"]), (422, &"invalid_config".into()), "{problem}");
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);

    sandbox.write(CONFIG, "keep_warm = \"3h\"\n");
    sandbox.write_config(&CORP.replace("profile dev", "profile prod"));
    let reloaded = sandbox.cli(&["reload", "--json"]).json();
    assert!(reloaded["changed"].to_string().contains("prod"), "{reloaded}");
    assert_eq!(sandbox.shim(&["--profile", "prod"]).json()["Version"], 1);
    sandbox.shim(&["--profile", "dev"]).failed_with(5);
}

#[test]
fn sighup_reads_the_configuration_again() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    sandbox.write_config(&format!(
        "{CORP}[sso-session second]\nsso_start_url = https://b.awsapps.com/start\nsso_region = eu-west-1\n"
    ));
    agent.signal(Signal::HUP);
    let status = agent.wait_for_status("reloaded", |status| status["sessions"].as_array().unwrap().len() == 2);
    assert_eq!(status["sessions"][0]["state"], "signed_in", "{status:#}");
    assert_eq!(status["sessions"][1]["session"], "second");
}
