//! A portal that answers, and only ever says no.

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When};
use crate::support::sandbox::Sandbox;

#[test]
fn a_portal_that_says_403_to_everything_costs_no_sign_in() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    for operation in
        [Operation::GetRoleCredentials, Operation::ListAccounts, Operation::ListAccountRoles, Operation::Logout]
    {
        service.fault(operation, Fault::status(403), When::BeforeEffect, Times::UntilCleared);
    }
    let stderr = sandbox.shim(&["--profile", "dev"]).failed_with(6);
    assert!(stderr.contains("403"), "{stderr}");
    for arguments in [["accounts"].as_slice(), &["roles", "--account", "111122223333"]] {
        let stderr = sandbox.cli(arguments).failed_with(6);
        assert!(stderr.contains("403"), "{stderr}");
    }
    let status = agent.get("/v1/status");
    assert_eq!(status["sessions"][0]["state"], "signed_in", "{status}");
}
