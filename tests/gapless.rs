//! Tokens that live for seconds, asked for all the time: never a gap, never anything that is over.

use std::time::Duration;

use crate::support::crowd::{at_once, seconds};
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::Sandbox;

/// A minute, and what the setting up takes.
const LONG: u64 = 60;

#[test]
fn for_a_minute_of_constant_requests_there_is_no_gap_and_nothing_expired() {
    let service = FakeIdentityCenter::start(FakeConfig {
        access_token_lifetime: Duration::from_secs(6),
        role_credentials_lifetime: Duration::from_secs(9),
        ..FakeConfig::default()
    });
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let end = service.now().seconds() + LONG;
    let served = at_once(3, |who| {
        let mut served = 0_u32;
        while service.now().seconds() < end {
            let (answer, expires) = match who {
                0 => {
                    let document = sandbox.shim(&["--profile", "dev"]).json();
                    (document["Version"] == 1, seconds(&document["Expiration"]))
                }
                1 => {
                    let document = agent.get("/v1/credentials?profile=dev");
                    // Slows the loop down to what one process leaves the others of this machine.
                    agent.get("/v1/status?wait=0");
                    (document["Version"] == 1, seconds(&document["Expiration"]))
                }
                _ => {
                    let token = agent.get("/v1/token?session=corp");
                    sandbox.cli(&["status", "--check"]).expect_success();
                    (token["token_type"] == "Bearer", seconds(&token["expires_at"]))
                }
            };
            // What is rounded down to the second must still lie ahead.
            assert!(answer && expires >= service.now().seconds(), "{who}: over at {expires}");
            served += 1;
        }
        served
    });
    assert!(served.iter().all(|served| *served > 60), "{served:?}");
    assert_eq!((service.refresh_token_reuses(), service.count(Operation::StartDeviceAuthorization)), (0, 1));
    let refreshes = service.count(Operation::CreateTokenRefresh);
    assert!((10..=30).contains(&refreshes), "about one in four seconds: {refreshes}");
    let fetches = service.count(Operation::GetRoleCredentials);
    assert!((8..=30).contains(&fetches), "about one in five seconds: {fetches}");
}
