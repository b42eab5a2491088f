//! `reload`: let the agent read the configuration again.

use clap::Args;

use crate::api::{Reloaded, Request};
use crate::untrusted::shown;

use super::context::{BRIEFLY, Context, read};
use super::failure::Failure;
use super::words;

/// Read the configuration again
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Options {
    /// Print the agent's answer as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    let reply = context.ask(&Request::Reload, BRIEFLY)?;
    if options.json {
        return context.print_body(&reply);
    }
    let Reloaded { changed, warnings } = read(&reply)?;
    for change in &changed {
        context.say(&format!("changed: {}", shown(change)));
    }
    if changed.is_empty() {
        context.say("nothing has changed");
    }
    for warning in &warnings {
        context.say(&words::warning(warning, context.terminal.colour_err));
    }
    Ok(())
}
