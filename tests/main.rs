//! Every promise of the agent, played against the real thing or the closest there is. One binary, so it links once.

mod fake_identity_center;
mod support;
