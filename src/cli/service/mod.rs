//! `service`: the agent as a service of the user's own service manager.
//!
//! Owns: writing the units of this repository for the program at hand, having the manager take them, and recording the
//! environment the agent is to have. Refuses to know how the agent runs. Invariants: what somebody else has written or
//! edited is never changed without being told to; nothing is done for another user; without `--dry-run` nothing is only
//! half done silently; the sign-ins stay where they are.

mod control;
mod install;
mod launchd;
mod place;
mod seal;
mod status;
mod systemd;
mod trouble;
mod uninstall;

use std::path::Path;

use clap::{Args, Subcommand};

pub(super) use status::{Found, Verdict};
pub(super) use trouble::Trouble;

use super::context::Context;
use super::failure::Failure;

/// Have systemd or launchd run the agent: install, uninstall, status
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    Install(install::Options),
    Uninstall(uninstall::Options),
    Status(status::Options),
}

/// Runs the command; `socket` is the value of `--socket`.
pub(super) fn run(options: &Options, socket: Option<&Path>, context: &mut Context<'_>) -> Result<(), Failure> {
    refuse_sudo(context)?;
    match &options.command {
        Command::Install(options) => install::run(options, socket, context),
        Command::Uninstall(options) => uninstall::run(options, socket, context),
        Command::Status(options) => status::run(options, socket, context),
    }
}

/// The service is the user's: as root it would be root's, in root's home.
fn refuse_sudo(context: &Context<'_>) -> Result<(), Trouble> {
    let by = ["SUDO_USER", "SUDO_UID", "DOAS_USER"].iter().any(|name| context.env.get_os(name).is_some());
    if by && crate::paths::our_uid() == 0 { Err(Trouble::Sudo) } else { Ok(()) }
}
