//! Every promise of the agent, played against the real thing or the closest there is. One binary, so it links once.

// `cfg(test)` says to the linter what the whole file is anyway: test code may unwrap.
#[cfg(test)]
mod architecture;
#[cfg(test)]
mod audit;
// It is looked at through /proc.
#[cfg(test)]
#[cfg(target_os = "linux")]
mod background;
#[cfg(test)]
mod browser_sign_in;
#[cfg(test)]
mod canary;
#[cfg(test)]
mod chaining;
#[cfg(test)]
mod completions;
#[cfg(test)]
mod configure;
#[cfg(test)]
mod console;
// The loopback addresses of macOS are one.
#[cfg(test)]
#[cfg(not(target_os = "macos"))]
mod containers;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod device_sign_in;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod exec;
#[cfg(test)]
mod fake_identity_center;
#[cfg(test)]
mod gapless;
#[cfg(test)]
mod hot_reload;
#[cfg(test)]
mod identities;
// The keyring of macOS has no bus of its own that a test could have.
#[cfg(test)]
#[cfg(not(target_os = "macos"))]
mod keyring;
#[cfg(test)]
mod lock;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod main_job;
#[cfg(test)]
mod manual;
// The desktop of macOS has no bus of its own that a test could have.
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod network;
#[cfg(test)]
#[cfg(not(target_os = "macos"))]
mod notifications;
#[cfg(test)]
#[cfg(not(target_os = "macos"))]
mod on_demand;
#[cfg(test)]
mod origin;
// Elsewhere than on Linux nobody tells which program asks.
#[cfg(test)]
mod packaging;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod policy;
#[cfg(test)]
mod real_clients;
#[cfg(test)]
mod serve;
#[cfg(test)]
#[cfg(not(target_os = "macos"))]
mod service;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod sso_cache;
#[cfg(test)]
mod stampede;
#[cfg(test)]
mod storage;
mod support;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod systemd;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod trouble;
#[cfg(test)]
mod unsaved;
#[cfg(test)]
mod upgrades;
#[cfg(test)]
mod watching;
#[cfg(test)]
mod wire_faults;
