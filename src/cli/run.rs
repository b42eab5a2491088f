//! `run`: the agent in the foreground.

use std::path::PathBuf;

use clap::Args;

use crate::agent::{self, AgentError, RunOptions};
use crate::background;
use crate::env::Env;
use crate::paths;
use crate::recorded::recorded_env;
use crate::store::LockError;

use super::failure::Failure;

/// Run the agent in the foreground
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Options {
    /// The agent's settings, instead of ~/.config/sso-agent/config.toml
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Write the log as JSON, one object a line
    #[arg(long)]
    log_json: bool,
    /// What `start` runs: the log goes to the state directory, and a word to whoever waits
    #[arg(long, hide = true)]
    background: bool,
}

/// Runs the command.
pub(super) fn run(options: Options, socket: Option<PathBuf>, env: &Env) -> Result<(), Failure> {
    let Options { config, log_json, background } = options;
    // A service manager gives nothing of what the user's shell has; what is set here all the same wins.
    let env = recorded_env(&paths::state_dir(env)?, env)?;
    let ended = agent::run(RunOptions { socket, config, log_json, background }, &env);
    if let (true, Err(error)) = (background, &ended) {
        // Once it is ready, nobody hears it elsewhere.
        tracing::error!("{error}");
        if matches!(error, AgentError::Lock(LockError::Taken { .. })) {
            background::give_way();
        }
    }
    ended.map_err(Failure::Agent)
}
