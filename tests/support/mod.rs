//! What the tests stand on: the fake Identity Center, and what else a test needs around the agent.

#![expect(
    unreachable_pub,
    reason = "what a module offers is `pub` here as everywhere, though nothing outside can reach it"
)]

#[cfg(test)]
pub mod crowd;
pub mod fake;
#[cfg(test)]
pub mod keyring;
pub mod sandbox;
