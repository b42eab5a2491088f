//! `ssh-agent` for AWS IAM Identity Center: a per-user agent that signs in once, refreshes the access token before it
//! expires, and serves role credentials over a Unix socket.
//!
//! The library is built in floors; a module uses only floors below its own (a test reads the `use` lines):
//!
//! | floor | modules | may know |
//! | --- | --- | --- |
//! | 0 words | `secret` `untrusted` `ids` `time` `env` `panics` `paths` `exit` `holder` `api` `client` `launch` `shim` | nothing of tokio, TLS, clocks; all that the shim is built from |
//! | 1 facts | `identity_center` `aws_config` `doors` `settings` `schedule` `nearest` `shell_words` | pure values and rules, no I/O |
//! | 2 world | `alarm` `aws_config_file` `callback` `clock` `descriptors` `desktop` `log_file` `meter` `upstream` `store` `sso_cache` `watch` `source` `recorded` `whole_file` `service` | the network, the disk, the time: a trait beside the real thing |
//! | 3 heart | `engine` | owns every secret; a pure state machine and the loop that runs it |
//! | 4 doors | `server` `audit` `background` `listener` `signals` `hardening` `logging` `policy` `container` | talk to `engine::Handle` and nothing else |
//! | 5 house | `agent` `cli` | wiring, the order of shutdown, what people read |
//!
//! `fuzzing` is beside all floors: what the fuzzer drives, not part of a build.
//!
//! `docs/ARCHITECTURE.md` opens with the invariants.

// Floor 0: words.
pub mod api;
pub mod client;
pub mod env;
pub mod exit;
pub mod holder;
pub mod ids;
pub mod launch;
pub mod panics;
pub mod paths;
#[cfg(test)]
mod scratch;
pub mod secret;
pub mod shim;
pub mod time;
pub mod untrusted;

// Floor 1: facts.
#[cfg(feature = "agent")]
pub mod aws_config;
#[cfg(feature = "agent")]
pub mod doors;
#[cfg(feature = "agent")]
pub mod identity_center;
#[cfg(feature = "agent")]
pub mod nearest;
#[cfg(feature = "agent")]
pub mod schedule;
#[cfg(feature = "agent")]
pub mod settings;
#[cfg(feature = "agent")]
mod shell_words;

// Floor 2: world.
#[cfg(feature = "agent")]
pub mod alarm;
#[cfg(feature = "agent")]
pub mod aws_config_file;
#[cfg(feature = "agent")]
pub mod callback;
#[cfg(feature = "agent")]
pub mod clock;
#[cfg(feature = "agent")]
mod descriptors;
#[cfg(feature = "agent")]
pub mod desktop;
#[cfg(feature = "agent")]
mod log_file;
#[cfg(feature = "agent")]
pub mod meter;
#[cfg(feature = "agent")]
pub mod recorded;
#[cfg(feature = "agent")]
pub mod service;
#[cfg(feature = "agent")]
pub mod source;
#[cfg(feature = "agent")]
pub mod sso_cache;
#[cfg(feature = "agent")]
pub mod store;
#[cfg(feature = "agent")]
pub mod upstream;
#[cfg(feature = "agent")]
pub mod watch;
#[cfg(feature = "agent")]
mod whole_file;

// Floor 3: heart.
#[cfg(feature = "agent")]
pub mod engine;

// Floor 4: doors.
#[cfg(feature = "agent")]
pub mod audit;
#[cfg(feature = "agent")]
pub mod background;
#[cfg(feature = "agent")]
pub mod container;
#[cfg(feature = "agent")]
pub mod hardening;
#[cfg(feature = "agent")]
pub mod listener;
#[cfg(feature = "agent")]
pub mod logging;
#[cfg(feature = "agent")]
pub mod policy;
#[cfg(feature = "agent")]
pub mod server;
#[cfg(feature = "agent")]
pub mod signals;

// Floor 5: house.
#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "agent")]
pub mod cli;
#[cfg(all(feature = "agent", any(test, feature = "fuzzing")))]
pub mod fuzzing;
