//! `run`: the agent in the foreground.

use std::path::PathBuf;

use clap::Args;

use crate::agent::{self, RunOptions};
use crate::env::Env;
use crate::paths;
use crate::recorded::recorded_env;

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
}

/// Runs the command.
pub(super) fn run(options: Options, socket: Option<PathBuf>, env: &Env) -> Result<(), Failure> {
    let options = RunOptions { socket, config: options.config, log_json: options.log_json };
    // A service manager gives nothing of what the user's shell has; what is set here all the same wins.
    let env = recorded_env(&paths::state_dir(env)?, env)?;
    agent::run(options, &env).map_err(Failure::Agent)
}
