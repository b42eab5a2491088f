//! What the tests stand on: the fake Identity Center, and what else a test needs around the agent.

#[cfg(test)]
pub mod crowd;
pub mod fake;
pub mod sandbox;
