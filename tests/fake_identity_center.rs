//! The fake Identity Center is a tool of its own and is tested as such: over real connections, with the requests
//! that real clients were seen to send.

mod browser;
mod caller;
mod captures;
mod faults;
mod lifetimes;
mod portal;
mod sign_in;
mod transport;

use std::time::Duration;

/// Longer than anything here takes; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// The start URL of these tests.
const START_URL: &str = "https://example.awsapps.com/start";
