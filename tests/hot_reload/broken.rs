//! An edit that cannot be read, or half of one, changes what `status` and the log say, and nothing else.

use serde_json::Value;

use super::{readings, wait_for_session, with_session};
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::{Agent, CORP, Sandbox};

const SETTINGS: &str = "home/.config/sso-agent/config.toml";

fn warned_of(agent: &Agent<'_>, words: &str) -> Value {
    let is_it = |warning: &Value| warning["message"].as_str().is_some_and(|message| message.contains(words));
    let status = agent.wait_for_status(&format!("warned of {words}"), |status| {
        status["warnings"].as_array().unwrap().iter().any(is_it)
    });
    status["warnings"].as_array().unwrap().iter().find(|warning| is_it(warning)).unwrap().clone()
}

fn not_warned(agent: &Agent<'_>) {
    agent.wait_for_status("no warnings", |status| status["warnings"].as_array().unwrap().is_empty());
}

#[test]
fn broken_settings_change_nothing_but_the_status_and_the_log() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let document = sandbox.shim(&["--profile", "dev"]).json();

    let path = sandbox.write(SETTINGS, "notifications = false\nkeep_warn = \"2h\"\n");
    let warning = warned_of(&agent, "keep_warm");
    assert_eq!((&warning["file"], &warning["line"]), (&path.display().to_string().into(), &2.into()), "{warning}");
    let table = sandbox.cli(&["status"]).expect_success();
    assert!(table.contains(&format!("{}:2: ", path.display())), "{table}");
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json(), document);
    // The same again, and again: the log says it once.
    for count in 0..5 {
        sandbox.write(SETTINGS, &format!("notifications = false\nkeep_warn = \"2h\"\n# {count}\n"));
    }
    sandbox.write(SETTINGS, "\n\n[storge]\n");
    assert_eq!(warned_of(&agent, "storge")["line"], 3);
    let log = sandbox.log();
    let said = |words: &str| log.lines().filter(|line| line.contains("was not read") && line.contains(words)).count();
    assert_eq!((said("keep_warn"), said("storge")), (1, 1), "{log}");

    sandbox.write(SETTINGS, "keep_warm = \"2h\"\n");
    not_warned(&agent);
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json(), document);
    assert_eq!(service.count(Operation::GetRoleCredentials), 1);
}

#[test]
fn a_half_written_aws_config_takes_nothing_away() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let document = sandbox.shim(&["--profile", "dev"]).json();
    let path = sandbox.home().join(".aws/config").display().to_string();

    for (broken, line) in [
        (CORP.replace("[sso-session corp]", "[sso-session corp"), 1),
        (CORP.replace("sso_region = eu", "sso_region eu"), 3),
        (CORP.replace("[profile dev]", "[profile dev"), 6),
    ] {
        sandbox.write_config(&broken);
        let warning = warned_of(&agent, "what was read before counts");
        assert_eq!((&warning["file"], &warning["line"]), (&path.clone().into(), &line.into()), "{warning}");
        assert_eq!(sandbox.shim(&["--profile", "dev"]).json(), document, "{broken}");
        assert_eq!(agent.get("/v1/status")["sessions"][0]["state"], "signed_in");
        // What is new in it is there all the same.
        sandbox.write_config(&format!("{}{broken}", with_session("more").replace(CORP, "")));
        wait_for_session(&agent, "more");
        assert_eq!(sandbox.shim(&["--profile", "dev"]).json(), document);
        sandbox.write_config(CORP);
        not_warned(&agent);
    }
    assert_eq!(service.count(Operation::GetRoleCredentials), 1);
}

#[test]
fn a_file_that_cannot_be_read_at_all_changes_nothing() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let document = sandbox.shim(&["--profile", "dev"]).json();
    let config = sandbox.home().join(".aws/config");
    let before = readings(&sandbox);
    std::fs::remove_file(&config).unwrap();
    std::fs::create_dir(&config).unwrap();
    let warning = warned_of(&agent, "is not a file");
    assert_eq!((&warning["file"], &warning["line"]), (&config.display().to_string().into(), &0.into()));
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json(), document);
    let stderr = sandbox.cli(&["reload"]).failed_with(5);
    assert!(stderr.contains("is not a file"), "{stderr}");
    std::fs::remove_dir(&config).unwrap();
    sandbox.write_config(CORP);
    not_warned(&agent);
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json(), document);
    assert!(readings(&sandbox) > before);
}
