//! The services over TLS with a private CA.

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation, Transport};
use crate::support::sandbox::{CORP, Sandbox};

fn service() -> FakeIdentityCenter {
    FakeIdentityCenter::start(FakeConfig { transport: Transport::Tls, ..FakeConfig::default() })
}

#[test]
fn a_ca_bundle_is_trusted() {
    let service = service();
    let bundle = service.ca_pem_path().unwrap().display().to_string();
    // By the environment, or by the configuration.
    for by_file in [false, true] {
        let mut sandbox = Sandbox::with_session(service.url());
        if by_file {
            sandbox.write_config(&format!("{CORP}ca_bundle = {bundle}\n"));
        } else {
            sandbox.set("AWS_CA_BUNDLE", &bundle);
        }
        let agent = sandbox.start_agent();
        agent.sign_in(&service);
        assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    }
}

#[test]
fn without_the_bundle_nothing_is_sent_and_the_hint_names_the_variable() {
    let service = service();
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    let (status, problem) = agent.request("POST", "/v1/sessions/corp/login", r#"{"flow":"device"}"#);
    assert_eq!((status, &problem["code"]), (503, &"unavailable".into()), "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("AWS_CA_BUNDLE"), "{problem}");
    let stderr = sandbox.cli(&["login", "--no-browser"]).failed_with(7);
    assert!(stderr.contains("AWS_CA_BUNDLE"), "{stderr}");
    assert!(service.all_calls().is_empty());
}

#[test]
fn a_bundle_that_is_not_there_is_a_configuration_error() {
    let service = service();
    let mut sandbox = Sandbox::with_session(service.url());
    let missing = sandbox.root().join("no-such-bundle.pem").display().to_string();
    sandbox.set("AWS_CA_BUNDLE", &missing);
    let agent = sandbox.start_agent();
    let stderr = sandbox.cli(&["login", "--no-browser"]).failed_with(5);
    assert!(stderr.contains(&missing), "{stderr}");
    assert_eq!(service.count(Operation::RegisterClient), 0);
    // As soon as it is there, the agent goes on.
    std::fs::copy(service.ca_pem_path().unwrap(), &missing).unwrap();
    sandbox.cli(&["reload"]).expect_success();
    agent.sign_in(&service);
}
