//! `configure`: writes sessions and profiles into the AWS config.
//!
//! Owns: what is asked of people, and what is written. Refuses to know how the file is edited (`aws_config::writing`)
//! and replaced (`aws_config_file`). Invariant: the file is written once, at the end, or not at all; what somebody else
//! has written meanwhile is never lost, the edit is made again on what is there then.

mod check;
mod diff;
mod filter;
mod listing;
mod naming;
mod profiles;
mod session;
#[cfg(test)]
mod tests;
mod trouble;

use std::path::Path;

use clap::{Args, Subcommand};

pub(super) use diff::unified;
pub(super) use trouble::Trouble;

use crate::api::Request;
use crate::aws_config_file::{AwsConfigFile, Replaced};
use crate::client::ClientError;
use crate::paths::shell_word;

use super::context::{BRIEFLY, Context};
use super::failure::Failure;

/// Write sessions and profiles into the AWS config
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    Session(session::Options),
    Profiles(profiles::Options),
}

/// Runs the command.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    match &options.command {
        Command::Session(options) => session::run(options, context),
        Command::Profiles(options) => profiles::run(options, context),
    }
}

/// What has become of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edited {
    /// It says already what it should.
    NotNeeded,
    /// What would be written was shown.
    Shown,
    Written,
}

/// Makes an edit of the file, again if somebody else has changed it meanwhile.
fn edit<T>(
    path: &Path,
    dry_run: bool,
    context: &mut Context<'_>,
    make: impl Fn(&[u8]) -> Result<(Vec<u8>, T), Failure>,
) -> Result<(Edited, T), Failure> {
    for _ in 0..ATTEMPTS {
        let file = AwsConfigFile::read(path).map_err(Trouble::File)?;
        let (new, about) = make(file.bytes())?;
        if new == file.bytes() {
            return Ok((Edited::NotNeeded, about));
        }
        if dry_run {
            context.print_diff(&unified(&path.to_string_lossy(), file.bytes(), &new))?;
            return Ok((Edited::Shown, about));
        }
        if file.replace(&new).map_err(Trouble::File)? == Replaced::Done {
            if file.has_other_names() {
                let path = shell_word(path);
                context.say(&format!("warning: {path} had other names (hard links); they name the old file"));
            }
            return Ok((Edited::Written, about));
        }
    }
    Err(Trouble::Contended { path: path.to_owned() }.into())
}

/// Lets the agent read what was written, if one runs; whether it did.
fn tell_the_agent(context: &mut Context<'_>) -> Result<bool, Failure> {
    match context.ask(&Request::Reload, BRIEFLY) {
        Ok(_) => Ok(true),
        Err(Failure::Client(ClientError::NoAgent { .. })) => Ok(false),
        // What was written is written: that is no reason to fail.
        Err(failure) => {
            context.say(&format!("warning: the agent has not read the configuration again: {failure}"));
            Ok(true)
        }
    }
}

const ATTEMPTS: usize = 10;
