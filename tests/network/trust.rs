//! Certificates that are not trusted, and bundles that are none.

use super::LOGIN;
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation, Transport};
use crate::support::sandbox::Sandbox;

fn service() -> FakeIdentityCenter {
    FakeIdentityCenter::start(FakeConfig { transport: Transport::Tls, ..FakeConfig::default() })
}

#[test]
fn whoever_signed_what_is_not_trusted_is_named() {
    let (service, other) = (service(), service());
    let mut sandbox = Sandbox::with_session(service.url());
    let bundle = other.ca_pem_path().unwrap().display().to_string();
    sandbox.set("AWS_CA_BUNDLE", &bundle);
    let _agent = sandbox.start_agent();
    let stderr = sandbox.cli(&LOGIN).failed_with(7);
    let words = format!("the certificate of localhost is signed by Fake Identity Center CA, which is not in {bundle}");
    assert!(stderr.contains(&words) && stderr.contains("set AWS_CA_BUNDLE for the agent"), "{stderr}");
    assert!(service.all_calls().is_empty());
}

#[test]
fn a_bundle_that_is_none_is_said_with_its_path_and_mended_without_a_restart() {
    let service = service();
    let mut sandbox = Sandbox::with_session(service.url());
    let bundle = sandbox.write("bundle.pem", "").display().to_string();
    sandbox.set("AWS_CA_BUNDLE", &bundle);
    let agent = sandbox.start_agent();
    let refused = |words: &str| {
        let stderr = sandbox.cli(&LOGIN).failed_with(5);
        assert!(stderr.contains(&bundle) && stderr.contains(words), "{stderr}");
    };
    refused("there is no PEM certificate");
    sandbox.write("bundle.pem", "this is no certificate\n");
    refused("there is no PEM certificate");
    sandbox.write("bundle.pem", "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n");
    refused("none of the certificates in it can be read");
    std::fs::remove_file(&bundle).unwrap();
    refused("No such file");
    std::fs::create_dir(&bundle).unwrap();
    refused("it is a directory");
    std::fs::remove_dir(&bundle).unwrap();
    assert_eq!(service.count(Operation::RegisterClient), 0);
    sandbox.write("bundle.pem", service.ca_pem().unwrap());
    agent.sign_in(&service);
}
