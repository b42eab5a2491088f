//! `status`: who is signed in, until when, and what is wrong.
//!
//! Owns: what is asked and kept of the answer, and the judgement of `--check`. Refuses to know secrets: the answer holds
//! none. Invariant: a state this version does not know is printed as it is named, and never counts as signed in by its
//! name.

mod page;
mod screen;
mod watch;

use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::api::{Request, SessionState, SessionStatus, Status};
use crate::client::Reply;
use crate::exit::Exit;
use crate::ids::SessionName;
use crate::time::{Timestamp, parse_duration};

use super::context::{BRIEFLY, Context, read};
use super::failure::Failure;

pub(super) use page::remedy;

/// Show sessions, expiries, what happens next and what went wrong
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Options {
    /// Only this session
    session: Option<SessionName>,
    /// Print the agent's answer as JSON
    #[arg(long)]
    json: bool,
    /// Print nothing and tell by the exit code: 0 signed in, 3 not, 4 no agent, 5 no session configured, 8 locked, 9
    /// signed in as far as is stored, but the key to that is awaited
    #[arg(long, conflicts_with = "json")]
    check: bool,
    /// With --check: how much of the access token's life must be left
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "check")]
    min_validity: Option<Duration>,
    /// Go on showing it as it changes, until Ctrl-C; with --json one object a line
    #[arg(long, short, conflicts_with = "check")]
    watch: bool,
}

/// The request for everything, now.
pub(super) const fn every_status() -> Request {
    Request::Status { wait: Duration::ZERO, after: None }
}

/// Runs the command.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    let reply = match context.ask(&every_status(), BRIEFLY) {
        Err(failure) if options.check && matches!(failure.exit(), Exit::NoAgent | Exit::Locked) => {
            return Err(Failure::Silent(failure.exit()));
        }
        reply => reply?,
    };
    if options.watch {
        return watch::run(options, reply, context);
    }
    if options.json && options.session.is_none() {
        return context.print_body(&reply);
    }
    let told = Told::read(&reply, options.session.as_ref())?;
    if options.json {
        return print_json(&reply, options.session.as_ref(), context);
    }
    let now = context.now().wall;
    if options.check {
        return match check(&told.status, options.session.is_some(), options.min_validity.unwrap_or_default(), now) {
            Exit::Success => Ok(()),
            exit => Err(Failure::Silent(exit)),
        };
    }
    let text = told.page(context, context.terminal.width).text();
    context.print(text)
}

/// What the agent told, as far as it was asked about.
struct Told {
    status: Status,
    words: StateWords,
}

impl Told {
    fn read(reply: &Reply, only: Option<&SessionName>) -> Result<Self, Failure> {
        let mut told = Self { status: read(reply)?, words: read(reply)? };
        // A locked agent names no session, so there is none to be picked out.
        if let Some(name) = only
            && !told.status.locked
        {
            keep_only(name, &mut told.status, &mut told.words)?;
        }
        Ok(told)
    }

    fn page<'p>(&'p self, context: &'p Context<'_>, columns: Option<usize>) -> page::Page<'p> {
        page::Page {
            status: &self.status,
            words: &self.words,
            now: context.now().wall,
            zone: &context.zone,
            colour: context.terminal.colour_out,
            columns,
        }
    }
}

/// The states by their names on the wire, also those this version has no variant for.
#[derive(Debug, Deserialize)]
struct StateWords {
    sessions: Vec<StateWord>,
}

#[derive(Debug, Deserialize)]
struct StateWord {
    session: String,
    state: String,
}

impl StateWords {
    fn of(&self, session: &str) -> &str {
        self.sessions.iter().find(|entry| entry.session == session).map_or("?", |entry| entry.state.as_str())
    }
}

fn keep_only(name: &SessionName, status: &mut Status, words: &mut StateWords) -> Result<(), Failure> {
    if !status.sessions.iter().any(|entry| entry.session == name.as_str()) {
        return Err(Failure::UnknownSession {
            name: name.as_str().to_owned(),
            known: status.sessions.iter().map(|entry| entry.session.clone()).collect(),
        });
    }
    status.sessions.retain(|entry| entry.session == name.as_str());
    status.targets.retain(|entry| entry.session == name.as_str());
    words.sessions.retain(|entry| entry.session == name.as_str());
    Ok(())
}

/// The answer as it came, or with one session only.
fn print_json(reply: &Reply, only: Option<&SessionName>, context: &mut Context<'_>) -> Result<(), Failure> {
    let Some(name) = only else { return context.print_body(reply) };
    let mut value: serde_json::Value = read(reply)?;
    for list in ["sessions", "targets"] {
        if let Some(entries) = value.get_mut(list).and_then(serde_json::Value::as_array_mut) {
            entries.retain(|entry| entry.get("session").and_then(serde_json::Value::as_str) == Some(name.as_str()));
        }
    }
    context.print_json(&value)
}

/// What `--check` says of the sessions in `status`. One that is gone from the configuration counts if it was named.
fn check(status: &Status, named: bool, min_validity: Duration, now: Timestamp) -> Exit {
    let counted = || status.sessions.iter().filter(|session| named || session.configured);
    let lives = |session: &SessionStatus| {
        !matches!(session.state, SessionState::SignedOut | SessionState::Ended)
            && session.access_token_expires_at.is_some_and(|end| end > now && end.since(now) >= min_validity)
    };
    if status.locked {
        Exit::Locked
    } else if counted().next().is_none() {
        Exit::Configuration
    } else if counted().all(lives) {
        Exit::Success
    } else if counted().any(|session| session.state == SessionState::Sealed) {
        // Before any sign-in: it may not be needed, and could not be saved.
        Exit::Storage
    } else {
        Exit::SignInRequired
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
