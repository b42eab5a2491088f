//! What the tests stand on: the fake Identity Center, and what else a test needs around the agent.

#![expect(
    unreachable_pub,
    reason = "what a module offers is `pub` here as everywhere, though nothing outside can reach it"
)]

#[cfg(test)]
#[cfg(target_os = "linux")]
pub mod background;
#[cfg(test)]
pub mod crowd;
pub mod fake;
#[cfg(test)]
#[cfg(not(target_os = "macos"))]
pub mod keyring;
#[cfg(test)]
#[cfg(not(target_os = "macos"))]
pub mod notifications;
#[cfg(test)]
pub mod proxy;
pub mod sandbox;
pub mod simulation;
#[cfg(test)]
#[cfg(target_os = "linux")]
pub mod systemd;
#[cfg(test)]
pub mod terminal;
