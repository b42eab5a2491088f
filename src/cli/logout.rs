//! `logout`: end a session here and at the portal.

use clap::Args;
use serde::Serialize;

use crate::api::{LoggedOut, Request, SessionQuery, SessionState, Status};
use crate::ids::SessionName;
use crate::untrusted::shown;

use super::choice;
use super::context::{BRIEFLY, Context, NETWORK, read};
use super::failure::Failure;
use super::status::every_status;

/// Sign out: the tokens are forgotten here and revoked at the portal
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Options {
    /// The session; else what AWS_PROFILE leads to, else the only one there is
    session: Option<SessionName>,
    /// Every session that is signed in
    #[arg(long, conflicts_with = "session")]
    all: bool,
    /// Print the agent's answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct All {
    sessions: Vec<One>,
}

#[derive(Debug, Serialize)]
struct One {
    session: String,
    revoked: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    if options.all {
        return of_all(options.json, context);
    }
    let session = choice::session(options.session.as_ref(), context.env)?;
    let reply = context.ask_slowly(&Request::Logout { session }, NETWORK, "signing out")?;
    if options.json {
        return context.print_body(&reply);
    }
    let done: LoggedOut = read(&reply)?;
    tell(options.session.as_ref(), done, context);
    Ok(())
}

fn of_all(json: bool, context: &mut Context<'_>) -> Result<(), Failure> {
    let status: Status = context.ask_for(&every_status(), BRIEFLY)?;
    let mut all = All { sessions: Vec::new() };
    let mut first_failure = None;
    for entry in status.sessions.iter().filter(|entry| entry.state != SessionState::SignedOut) {
        let Ok(name) = entry.session.parse::<SessionName>() else { continue };
        let request = Request::Logout { session: SessionQuery::Named(name.clone()) };
        match context.ask_for::<LoggedOut>(&request, NETWORK) {
            Ok(done) => {
                if !json {
                    tell(Some(&name), done, context);
                }
                all.sessions.push(One { session: entry.session.clone(), revoked: done.revoked });
            }
            // One session that cannot be ended is no reason to keep the others.
            Err(failure) => {
                context.say(&format!("warning: {} is not signed out", shown(name.as_str())));
                first_failure.get_or_insert(failure);
            }
        }
    }
    if json {
        context.print_json(&all)?;
    } else if all.sessions.is_empty() && first_failure.is_none() {
        context.say("no session is signed in");
    }
    first_failure.map_or(Ok(()), Err)
}

fn tell(session: Option<&SessionName>, done: LoggedOut, context: &mut Context<'_>) {
    let with_name = |word: &str| session.map(|name| format!(" {word} {}", shown(name.as_str()))).unwrap_or_default();
    if !done.was_signed_in {
        context.say(&format!("nobody was signed in{}", with_name("to")));
        return;
    }
    context.say(&format!("signed out{}", with_name("of")));
    if !done.revoked {
        context.say("warning: the portal did not confirm it; over there the session may live until it ends by itself");
    }
}
