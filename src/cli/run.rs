//! `run`: the agent in the foreground.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::agent::{self, AgentError, RunOptions};
use crate::background;
use crate::env::Env;
use crate::logging::Format;
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
    #[command(flatten)]
    log: LogOptions,
    /// What `start` runs: the log goes to the state directory, and a word to whoever waits
    #[arg(long, hide = true)]
    background: bool,
}

/// How the log looks.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct LogOptions {
    /// How the log looks: json is one object a line
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// The same as --log-format json
    #[arg(long, hide = true)]
    log_json: bool,
}

impl LogOptions {
    pub(super) fn is_json(&self) -> bool {
        self.log_json || self.log_format == LogFormat::Json
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Runs the command.
pub(super) fn run(options: Options, socket: Option<PathBuf>, env: &Env) -> Result<(), Failure> {
    let Options { config, log, background } = options;
    let log_format = if log.is_json() { Format::Json } else { Format::Text };
    // A service manager gives nothing of what the user's shell has; what is set here all the same wins.
    let state_dir = paths::state_dir(env)?;
    let env = match recorded_env(&state_dir, env) {
        // The agent refuses a directory that is not fit, and says what helps.
        Err(_) if paths::check_private_directory(&state_dir).is_err() => env.clone(),
        recorded => recorded?,
    };
    let ended = agent::run(RunOptions { socket, config, log_format, background }, &env);
    if let (true, Err(error)) = (background, &ended) {
        // Once it is ready, nobody hears it elsewhere.
        tracing::error!("{error}");
        if matches!(error, AgentError::Lock(LockError::Taken { .. })) {
            background::give_way();
        }
    }
    ended.map_err(Failure::Agent)
}
