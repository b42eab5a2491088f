//! `adopt`: take over what `aws sso login` has left.

use clap::Args;

use crate::api::{Adopted, Request};
use crate::ids::SessionName;
use crate::untrusted::shown;

use super::choice;
use super::context::{Context, NETWORK, read};
use super::failure::Failure;

/// Take over a sign-in of `aws sso login` from ~/.aws/sso/cache
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Options {
    /// The session; else what AWS_PROFILE leads to, else the only one there is
    session: Option<SessionName>,
    /// Print the agent's answer as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    let session = choice::session(options.session.as_ref(), context.env)?;
    let reply = context.ask_slowly(&Request::Adopt { session }, NETWORK, "taking over the sign-in")?;
    if options.json {
        return context.print_body(&reply);
    }
    let Adopted { adopted, session } = read(&reply)?;
    let name = shown(&session.session).to_string();
    if !adopted {
        context.say(&format!("{name}: nothing was taken over, the agent holds a better sign-in"));
        return Ok(());
    }
    let how = if session.renewable {
        "it is renewed from now on; it is ours now, so sign out with: sso-agent logout"
    } else {
        "it came without a refresh token and cannot be renewed"
    };
    let until = match session.access_token_expires_at {
        Some(time) => format!(", the access token lives {}", context.until(time)),
        None => String::new(),
    };
    context.say(&format!("{name}: signed in{until}"));
    context.say(how);
    Ok(())
}
