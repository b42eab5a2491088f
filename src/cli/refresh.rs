//! `refresh`: a new access token now.

use clap::Args;

use crate::api::{Request, SessionStatus};
use crate::ids::SessionName;
use crate::untrusted::shown;

use super::choice;
use super::context::{Context, NETWORK, read};
use super::failure::Failure;

/// Refresh the access token now (at most once a minute)
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Options {
    /// The session; else what AWS_PROFILE leads to, else the only one there is
    session: Option<SessionName>,
    /// Also present a refresh token that the service may have used up already
    #[arg(long)]
    force: bool,
    /// Print the agent's answer as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    let session = choice::session(options.session.as_ref(), context.env)?;
    let request = Request::Refresh { session, force: options.force };
    let reply = context.ask_slowly(&request, NETWORK, "refreshing the access token")?;
    if options.json {
        return context.print_body(&reply);
    }
    let status: SessionStatus = read(&reply)?;
    let token = match status.access_token_expires_at {
        Some(time) => format!("the access token lives {}", context.until(time)),
        None => "there is no access token".to_owned(),
    };
    context.say(&format!("{}: {token}", shown(&status.session)));
    Ok(())
}
