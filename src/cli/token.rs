//! `token`: the access token, for services that take bearer tokens.

use std::time::Duration;

use clap::Args;

use crate::api::{Request, Token, TokenKind};
use crate::ids::SessionName;
use crate::time::parse_duration;

use super::choice;
use super::context::{Context, NETWORK, read};
use super::failure::Failure;

/// Print the access token
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    /// The session; else what AWS_PROFILE leads to, else the only one there is
    session: Option<SessionName>,
    /// How long it must still live, if it can
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0")]
    min_validity: Duration,
    /// Which token
    #[arg(long, value_enum, default_value_t)]
    kind: Kind,
    /// Print the agent's answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    #[default]
    Access,
    /// Where the kind of session has one
    Id,
}

/// Runs the command.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    let kind = match options.kind {
        Kind::Access => TokenKind::Access,
        Kind::Id => TokenKind::Id,
    };
    let session = choice::session(options.session.as_ref(), context.env)?;
    let request = Request::Token { session, min_validity: options.min_validity, kind };
    let reply = context.ask_slowly(&request, NETWORK, "asking for the token")?;
    if options.json {
        return context.print_body(&reply);
    }
    let token: Token = read(&reply)?;
    let text = token.access_token.expose();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::Unsafe("a token with characters no token has"));
    }
    context.print(text)?;
    context.print("\n")
}
