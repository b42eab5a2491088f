//! How long a crash can cost the sign-in: from the service's answer to a refresh until the new tokens are on disk.
//!
//! It is measured and printed, not judged: the machine has other things to do.

use std::time::{Duration, Instant};

use sso_agent::store::Record;

use super::matrix::disk::{self, START_URL, aged, look, put};
use super::matrix::files::{Happened, Watch};
use super::matrix::say;
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation, stopwatch};
use crate::support::sandbox::{CORP, Sandbox};

#[test]
fn the_time_in_which_a_crash_loses_a_refresh_is_measured() {
    for (place, sandbox) in [("on disk", Sandbox::new()), ("in memory", Sandbox::in_memory())] {
        let service = FakeIdentityCenter::start(FakeConfig::default());
        sandbox.write_config(CORP);
        let mut sandbox = sandbox.at(service.url());
        sandbox.set("SSO_AGENT_LOG", "warn");
        let (client, tokens) = service.sign_in_directly(START_URL);
        disk::plant(&sandbox, &[Record::Tokens(disk::record_of(&service, &client, &tokens))]);
        let measured: Vec<_> = (0..REFRESHES).map(|number| refresh(&service, &sandbox, number)).collect();
        let mut written: Vec<_> = measured.iter().map(|(written, _)| *written).collect();
        let mut named: Vec<_> = measured.iter().map(|(_, named)| *named).collect();
        say(&format!(
            "\nfrom the answer to a refresh, state directory {place}, {REFRESHES} times: written {}, under its name {}\n",
            summary(&mut written),
            summary(&mut named)
        ));
    }
    let build = if cfg!(debug_assertions) { "without optimisation" } else { "as it is released" };
    say(&format!("(the agent was built {build})\n"));
}

/// From the answer until the new record was written, from when on a crash loses nothing, and until it had its name.
fn refresh(service: &FakeIdentityCenter, sandbox: &Sandbox, number: usize) -> (Duration, Duration) {
    let record = look(sandbox).tokens.expect("a record");
    put(sandbox, &Record::Tokens(aged(record, DUE, service)));
    let mut watch = Watch::on(&sandbox.state().join("records"));
    let agent = sandbox.launch_agent();
    // The mark, then the tokens.
    watch.wait_for(Happened::Renamed, 1);
    watch.wait_for(Happened::Written, 1);
    let written = stopwatch();
    watch.wait_for(Happened::Renamed, 1);
    let named = stopwatch();
    agent.kill();
    let calls = service.wait_for_answers(Operation::CreateTokenRefresh, number + 1, PATIENCE).unwrap();
    let answered = calls[number].ended.expect("it has been answered");
    let since = |moment: Instant| moment.saturating_duration_since(answered);
    (since(written), since(named))
}

fn summary(times: &mut [Duration]) -> String {
    times.sort_unstable();
    format!("median {:.1?}, longest {:.1?}", times[times.len() / 2], times[times.len() - 1])
}

const REFRESHES: usize = 25;
const PATIENCE: Duration = Duration::from_secs(30);
const DUE: Duration = Duration::from_secs(42 * 60);
