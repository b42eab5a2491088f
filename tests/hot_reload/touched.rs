//! Only what really changed is touched: what was fetched stays, and nobody at AWS hears of an edit.

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::{CORP, Sandbox};

use super::{readings, wait_for_session};

fn more(name: &str) -> String {
    format!("[sso-session {name}]\nsso_start_url = https://{name}.awsapps.com/start\nsso_region = eu-west-1\n")
}

/// Nobody was asked for anything that was there already.
fn asked_once(service: &FakeIdentityCenter) {
    for (operation, times) in [
        (Operation::RegisterClient, 1),
        (Operation::StartDeviceAuthorization, 1),
        (Operation::CreateTokenRefresh, 0),
        (Operation::GetRoleCredentials, 1),
    ] {
        assert_eq!(service.count(operation), times, "{operation:?}");
    }
}

#[test]
fn what_is_not_about_a_session_costs_it_nothing() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let document = sandbox.shim(&["--profile", "dev"]).json();
    let colours = CORP.replace("region = eu-west-1\n", "region = eu-west-1\ncli_pager =\noutput = table\n");
    for (count, edit) in [
        format!("# a comment\n{CORP}"),
        colours.replace("sso_region = eu-west-1\ncli_pager =\noutput = table\n", "sso_region = eu-west-1\n"),
        CORP.replace("\nregion = eu-west-1", "\nregion = us-east-1"),
        format!("{CORP}[profile other]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = Admin\n"),
        format!("[services none]\n{CORP}[plugins]\ncli_legacy = x\n"),
    ]
    .iter()
    .enumerate()
    {
        let name = format!("s{count}");
        sandbox.write_config(&format!("{edit}{}", more(&name)));
        wait_for_session(&agent, &name);
        assert_eq!(sandbox.shim(&["--profile", "dev"]).json(), document, "{edit}");
    }
    sandbox.write("home/.config/sso-agent/config.toml", "keep_warm = \"2h\"\n[session.corp]\nflow = \"device\"\n");
    sandbox.write_config(&format!("{CORP}{}", more("last")));
    wait_for_session(&agent, "last");
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json(), document);
    asked_once(&service);
    assert!(readings(&sandbox) >= 5);
}

#[test]
fn another_start_url_or_region_ends_the_use_of_a_session_and_putting_it_back_begins_it_again() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let document = sandbox.shim(&["--profile", "dev"]).json();
    let last_error = |status: &serde_json::Value| status["sessions"][0]["last_error"]["code"].clone();
    for moved in [
        CORP.replace("https://corp.", "https://other."),
        CORP.replace("sso_region = eu-west-1", "sso_region = eu-central-1"),
    ] {
        sandbox.write_config(&moved);
        agent.wait_for_status("moved", |status| last_error(status) == "invalid_config");
        let stderr = sandbox.shim(&["--profile", "dev"]).failed_with(5);
        assert!(stderr.contains("corp"), "{stderr}");
        sandbox.write_config(CORP);
        agent.wait_for_status("back", |status| last_error(status).is_null());
        assert_eq!(sandbox.shim(&["--profile", "dev"]).json(), document);
    }
    asked_once(&service);
}
