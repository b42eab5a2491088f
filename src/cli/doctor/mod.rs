//! `doctor`: everything looked at, in the order a person would.
//!
//! Owns: which checks there are, their order, and the exit code. Refuses to change anything, to start an agent and to
//! send a secret anywhere. Invariants: a check that cannot be made is said to be skipped, with the reason; no value of a
//! key, password or token is printed; the worst that is wrong with one thing hides no check of another.

mod configuration;
mod machine;
mod network;
mod places;
mod profiles;
mod programs;
mod service;
mod sessions;
mod sheet;
mod storage;

use std::path::PathBuf;

use clap::Args;

use crate::api::Status;
use crate::client::ClientError;
use crate::paths::{self, SocketPath};

use super::context::{BRIEFLY, Context, read};
use super::failure::Failure;
use super::status::every_status;
use sheet::Sheet;

/// Check everything in the order a person would, each with what helps
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = EXIT)]
pub(super) struct Options {
    /// Leave out what needs the network
    #[arg(long)]
    offline: bool,
    /// Print the checks as a JSON array
    #[arg(long)]
    json: bool,
}

/// What several checks look at.
struct Facts {
    socket: SocketPath,
    state_dir: PathBuf,
    /// Whether a command that needs an agent starts one.
    autostart: bool,
    /// What the agent tells, or why it does not.
    agent: Result<Agent, ClientError>,
}

struct Agent {
    status: Status,
    version: Option<String>,
}

impl Facts {
    fn status(&self) -> Option<&Status> {
        self.agent.as_ref().ok().map(|agent| &agent.status)
    }
}

/// Runs the command.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    let socket = match context.agent.socket() {
        Some(socket) => socket.clone(),
        None => SocketPath::find(context.env, None)?,
    };
    let state_dir = paths::state_dir(context.env)?;
    let agent = match context.agent.send(&every_status(), BRIEFLY) {
        Ok(reply) => Ok(Agent { status: read(&reply)?, version: reply.agent_version }),
        Err(error) => Err(error),
    };
    let autostart = configuration::autostart(context.env);
    let facts = Facts { socket, state_dir, autostart, agent };
    let mut sheet = Sheet::new(options.json, context);
    sheet.group("Programs", context, |sheet, context| programs::look(&facts, sheet, context))?;
    sheet.group("Agent", context, |sheet, context| places::look(&facts, sheet, context))?;
    let work = sheet.group("Configuration", context, |sheet, context| configuration::look(&facts, sheet, context))?;
    sheet.group("Profiles", context, |sheet, context| profiles::look(&work, sheet, context))?;
    sheet.group("Storage", context, |sheet, context| storage::look(&facts, &work, sheet, context))?;
    sheet.group("Network", context, |sheet, context| network::look(&work, options.offline, sheet, context))?;
    sheet.group("Sessions", context, |sheet, context| sessions::look(&facts, sheet, context))?;
    sheet.group("This machine", context, |sheet, context| machine::look(&work, sheet, context))?;
    sheet.end(context)
}

const EXIT: &str = "\
Ends with 0 where nothing is wrong or only warnings are given. Else with the code of the first error, as any other \
command would: 4 the agent or its places, 5 the configuration, 7 the network, 8 locked, 9 storage.";

#[cfg(test)]
mod tests;
