//! `doctor` in homes that are in order and in homes that are not.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Transport};
use crate::support::proxy::{Manner, Proxy};
use crate::support::sandbox::{AGENT, CORP, Finished, SHIM, Sandbox};

const HOSTS: &[&str] = &["oidc.eu-west-1.amazonaws.com", "portal.sso.eu-west-1.amazonaws.com"];

/// What it found: the exit code, and all checks.
struct Found {
    code: Option<i32>,
    checks: Vec<Value>,
    text: String,
}

fn examine(sandbox: &Sandbox, arguments: &[&str]) -> Found {
    examine_in(sandbox, &[], arguments)
}

/// The same in a shell that has these variables too.
fn examine_in(sandbox: &Sandbox, variables: &[(&str, &str)], arguments: &[&str]) -> Found {
    let mut command = sandbox.command(AGENT);
    command.args(["doctor", "--json"]).args(arguments).envs(variables.iter().copied());
    let Finished { code, stdout, stderr } = Finished::of(&mut command);
    assert_eq!(stderr, "");
    Found { code, checks: serde_json::from_str(&stdout).expect("an array"), text: stdout }
}

impl Found {
    /// The one check of that name with that result, as `detail → remedy`.
    fn the(&self, check: &str, result: &str) -> String {
        let found = self.checks.iter().find(|found| found["check"] == check && found["result"] == result);
        let found = found.unwrap_or_else(|| panic!("no {check} that is {result}: {:#?}", self.checks));
        format!("{} → {}", found["detail"].as_str().unwrap(), found["remedy"].as_str().unwrap_or("nothing"))
    }

    fn errors(&self) -> Vec<&str> {
        let errors = self.checks.iter().filter(|check| check["result"] == "error");
        errors.map(|check| check["check"].as_str().unwrap()).collect()
    }
}

fn beside(program: &str) -> &str {
    Path::new(program).parent().and_then(Path::to_str).unwrap()
}

/// A home in which everything is as it should be.
fn in_order(service: &FakeIdentityCenter) -> Sandbox {
    let mut sandbox = Sandbox::with_session(service.url());
    sandbox.set("PATH", &format!("{}:/usr/bin:/bin", beside(AGENT)));
    let served = "[profile served]\ncredential_process = ";
    sandbox.write_config(&format!("{CORP}\n{served}{SHIM} --profile dev\n"));
    sandbox
}

#[test]
fn where_all_is_well_nothing_is_wrong() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = in_order(&service);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let found = examine(&sandbox, &[]);
    assert_eq!((found.code, found.errors()), (Some(0), vec![]), "{:#?}", found.checks);
    for check in [
        "command",
        "shim",
        "shim_on_path",
        "agent_version",
        "socket",
        "lock",
        "agent",
        "aws_config",
        "sessions",
        "profiles",
        "shim_paths",
        "saved",
        "endpoint",
        "clock",
        "session_state",
    ] {
        found.the(check, "ok");
    }
    // The key of this agent lies in a file.
    assert!(found.the("key", "warning").contains("no better than file permissions"));
    let text = sandbox.cli(&["doctor"]).expect_success();
    let headings: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with(' ')).collect();
    let [groups @ .., summary] = headings.as_slice() else { panic!("{text}") };
    assert_eq!(
        groups,
        ["Programs", "Agent", "Configuration", "Profiles", "Storage", "Network", "Sessions", "This machine"]
    );
    assert!(summary.contains(" checks: ") && summary.contains(" ok, 1 warning"), "{text}");
    assert!(!text.contains('\x1b') && text.is_ascii(), "{text}");
}

#[test]
fn without_an_agent_all_else_is_looked_at_and_offline_nobody_is_asked() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = in_order(&service);
    let on_demand = examine_in(&sandbox, &[("SSO_AGENT_AUTOSTART", "")], &["--offline"]);
    assert_eq!((on_demand.code, on_demand.errors()), (Some(0), vec![]), "{:#?}", on_demand.checks);
    assert!(on_demand.the("agent", "warning").contains("the first command that needs one starts it"));
    let found = examine(&sandbox, &["--offline"]);
    assert_eq!((found.code, found.errors()), (Some(4), vec!["agent"]), "{:#?}", found.checks);
    assert!(found.the("agent", "error").ends_with("→ sso-agent start"));
    assert!(found.the("session_state", "skipped").contains("no agent to ask"));
    found.the("network", "skipped");
    assert!(service.all_calls().is_empty());
    let online = examine(&sandbox, &[]);
    online.the("endpoint", "ok");
    assert!(!sandbox.socket().exists(), "it starts none");
}

#[test]
fn places_that_others_can_enter_are_named_with_the_command_that_helps() {
    let sandbox = Sandbox::with_session("http://127.0.0.1:9");
    let open = |path: &Path| {
        std::fs::create_dir_all(path).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let directory = sandbox.socket().parent().unwrap().to_owned();
    open(&directory);
    open(&sandbox.state());
    let found = examine(&sandbox, &["--offline"]);
    assert_eq!(found.code, Some(4));
    for (check, path) in [("socket_directory", &directory), ("state_directory", &sandbox.state())] {
        let told = found.the(check, "error");
        assert!(told.contains("open to other users (mode 0755)"), "{told}");
        assert!(told.ends_with(&format!("→ chmod 700 {}", path.display())), "{told}");
    }
}

#[test]
fn what_cannot_be_read_is_named_with_file_and_line() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = in_order(&service);
    let _agent = sandbox.start_agent();
    let settings = sandbox.write("home/.config/sso-agent/config.toml", "notifications = false\nkeep_warn = \"1h\"\n");
    sandbox.write_config(&format!(
        "{CORP}nonsense\n[sso-session lab]\nsso_region = eu-west-1\n[profile p]\nsso_session = crop\n"
    ));
    let found = examine(&sandbox, &["--offline"]);
    assert_eq!(found.code, Some(5));
    let config = sandbox.home().join(".aws/config").display().to_string();
    let told = found.the("settings", "error");
    assert!(told.starts_with(&format!("{}:2: unknown key `keep_warn`", settings.display())), "{told}");
    assert!(told.ends_with("then: sso-agent reload"), "{told}");
    assert!(found.the("configuration_line", "warning").starts_with(&format!("{config}:11: ")));
    assert!(found.the("session", "error").starts_with(&format!("{config}:12: [sso-session lab] has no sso_start_url")));
    assert!(found.the("profile", "error").contains("did you mean corp?"));
    std::fs::set_permissions(&settings, std::fs::Permissions::from_mode(0o666)).unwrap();
    let told = examine(&sandbox, &["--offline"]).the("settings", "error");
    assert!(told.ends_with(&format!("→ chmod go-w {}", settings.display())), "{told}");
    std::fs::remove_file(sandbox.home().join(".aws/config")).unwrap();
    let told = examine(&sandbox, &["--offline"]).the("aws_config", "error");
    assert!(told.contains("is not there → aws configure sso"), "{told}");
}

#[test]
fn what_comes_before_us_is_found_and_no_key_is_shown() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = in_order(&service);
    let _agent = sandbox.start_agent();
    let gone = "[profile gone]\ncredential_process = /nowhere/sso-credential-process --profile dev\n";
    let relative = "[profile relative]\ncredential_process = sso-credential-process --profile dev\n";
    let config = std::fs::read_to_string(sandbox.home().join(".aws/config")).unwrap();
    sandbox.write_config(&format!("{config}{gone}{relative}"));
    let keys = "aws_access_key_id = AKIAEXAMPLEEXAMPLE00\naws_secret_access_key = very-hidden\n";
    sandbox.write("home/.aws/credentials", &format!("[default]\n{keys}[served]\n{keys}"));
    let shell = [
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLEEXAMPLE00"),
        ("AWS_SECRET_ACCESS_KEY", "very-hidden"),
        ("AWS_PROFILE", "sreved"),
    ];
    let found = examine_in(&sandbox, &shell, &["--offline"]);
    assert_eq!(found.code, Some(5));
    let told = found.the("shell_keys", "warning");
    assert!(told.ends_with("→ unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY"), "{told}");
    assert!(found.the("default_profile", "warning").contains(".aws/credentials:2: "));
    let told = found.the("shadowed_profiles", "warning");
    assert!(told.contains("profile served has aws_access_key_id at ") && told.contains(".aws/credentials:5"), "{told}");
    assert!(found.the("shim_paths", "error").starts_with("/nowhere/sso-credential-process of profile gone"));
    assert!(found.the("shim_paths", "warning").contains("profile relative"));
    assert!(found.the("shim_paths", "ok").contains("profile served"));
    assert!(found.the("chosen_profile", "error").ends_with("→ export AWS_PROFILE=served"));
    assert!(!found.text.contains("AKIAEXAMPLE") && !found.text.contains("very-hidden"), "{}", found.text);
}

#[test]
fn a_proxy_that_leads_nowhere_is_named_without_its_password() {
    let proxy = Proxy::start();
    let service = FakeIdentityCenter::start(FakeConfig { transport: Transport::TlsAs(HOSTS), ..FakeConfig::default() });
    proxy.leads(HOSTS, service.address());
    let mut sandbox = Sandbox::new();
    sandbox.write_config(CORP);
    sandbox.set("AWS_CA_BUNDLE", &service.ca_pem_path().unwrap().display().to_string());
    sandbox.set("HTTPS_PROXY", &proxy.url("user:hunter2@"));
    let _agent = sandbox.start_agent();
    let found = examine(&sandbox, &[]);
    assert_eq!(found.code, Some(0), "{:#?}", found.checks);
    assert!(found.the("proxy", "ok").contains(&proxy.url("***@")));
    assert!(found.the("endpoint", "ok").contains("certificate trusted"));
    proxy.behave(Manner::Refuse(407));
    let refused = examine(&sandbox, &[]);
    assert_eq!(refused.code, Some(7));
    assert!(refused.the("proxy", "error").contains("does not accept the user name and password"));
    let socks = [("HTTPS_PROXY", "socks5://user:hunter2@127.0.0.1:1080")];
    let unusable = examine_in(&sandbox, &socks, &[]);
    assert_eq!(unusable.code, Some(5));
    assert!(unusable.the("proxy", "error").contains("SOCKS"));
    for found in [found, refused, unusable] {
        assert!(!found.text.contains("hunter2"), "{}", found.text);
    }
}

#[test]
fn who_signed_a_certificate_that_is_not_trusted_is_named() {
    let tls = || FakeConfig { transport: Transport::Tls, ..FakeConfig::default() };
    let (service, other) = (FakeIdentityCenter::start(tls()), FakeIdentityCenter::start(tls()));
    let mut sandbox = Sandbox::with_session(service.url());
    sandbox.set("AWS_CA_BUNDLE", &other.ca_pem_path().unwrap().display().to_string());
    let _agent = sandbox.start_agent();
    let found = examine(&sandbox, &[]);
    assert_eq!(found.code, Some(7));
    let told = found.the("certificates", "error");
    assert!(
        told.contains("signed by Fake Identity Center CA") && told.contains("→ if that is your company's"),
        "{told}"
    );
    let found = examine_in(&sandbox, &[("AWS_CA_BUNDLE", "/nowhere/ca.pem")], &[]);
    assert!(found.the("certificates", "error").contains("/nowhere/ca.pem"));
    assert_eq!(found.code, Some(5));
}

#[test]
fn a_clock_that_is_wrong_is_told_by_how_much() {
    for (ahead, result, words, code) in [
        (0, "ok", "agrees with", 0),
        (180, "warning", "min behind AWS's; the agent reckons with that", 0),
        (-900, "error", "ahead of AWS's: AWS refuses", 7),
    ] {
        let service = FakeIdentityCenter::start(FakeConfig { clock_ahead_seconds: ahead, ..FakeConfig::default() });
        let sandbox = in_order(&service);
        let _agent = sandbox.start_agent();
        let found = examine(&sandbox, &[]);
        let told = found.the("clock", result);
        assert!(told.contains(words), "{told}");
        assert_eq!(found.code, Some(code));
    }
}

#[test]
fn a_key_that_is_awaited_and_a_session_in_need_are_said() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = in_order(&service);
    sandbox.write("home/.config/sso-agent/config.toml", "[storage]\nkey = \"passphrase\"\n");
    let _agent = sandbox.start_agent();
    let found = examine(&sandbox, &["--offline"]);
    assert_eq!(found.code, Some(9));
    let told = found.the("key", "error");
    assert!(told.contains("passphrase") && told.contains("storage unlock"), "{told}");
    assert!(found.the("session_state", "warning").ends_with("corp: nobody is signed in → sso-agent login corp"));
}

#[test]
fn what_lies_in_plain_text_is_said_plainly() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = in_order(&service);
    sandbox.write("home/.config/sso-agent/config.toml", "[session.corp]\npublish = \"full\"\n");
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    agent.wait_for_status("published", |status| status["sessions"][0]["publish"]["at"].is_string());
    let told = examine(&sandbox, &["--offline"]).the("published", "warning");
    assert!(told.contains("the access token and the refresh token lie as plain text in "), "{told}");
}
