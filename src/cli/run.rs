//! `run`: the agent in the foreground.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::agent::{self, RunOptions};
use crate::env::Env;
use crate::logging::Format;
use crate::paths;
use crate::recorded::recorded_env;

use super::failure::Failure;

/// Run the agent in the foreground
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Options {
    /// The agent's settings, instead of ~/.config/sso-agent/config.toml
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// How the log looks: json is one object a line
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// The same as --log-format json
    #[arg(long, hide = true)]
    log_json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Runs the command.
pub(super) fn run(options: Options, socket: Option<PathBuf>, env: &Env) -> Result<(), Failure> {
    let log_format = match options.log_format {
        LogFormat::Text if !options.log_json => Format::Text,
        LogFormat::Text | LogFormat::Json => Format::Json,
    };
    let options = RunOptions { socket, config: options.config, log_format };
    // A service manager gives nothing of what the user's shell has; what is set here all the same wins.
    let env = recorded_env(&paths::state_dir(env)?, env)?;
    agent::run(options, &env).map_err(Failure::Agent)
}
