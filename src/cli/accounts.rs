//! `accounts`: where the user may work.

use clap::Args;

use crate::api::{Accounts, Request};
use crate::ids::SessionName;

use super::choice;
use super::context::{Context, NETWORK, read};
use super::failure::Failure;
use super::table::Table;

/// List the accounts you may use
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
    let reply = context.ask_slowly(&Request::Accounts { session }, NETWORK, "asking for the accounts")?;
    if options.json {
        return context.print_body(&reply);
    }
    let found: Accounts = read(&reply)?;
    if found.accounts.is_empty() {
        context.say("there are no accounts you may use");
        return Ok(());
    }
    let mut table = Table::new(&["ACCOUNT", "NAME", "EMAIL"]);
    for account in &found.accounts {
        let name = account.account_name.as_ref().map_or("", |name| name.raw());
        let email = account.email.as_ref().map_or("", |email| email.raw());
        table.texts(&[account.account_id.as_str(), name, email]);
    }
    let text = table.render(context.terminal.colour_out);
    context.print(text)
}
