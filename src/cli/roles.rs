//! `roles`: what the user may be, in one account or in all.

use clap::Args;

use crate::api::{AccountEntry, Accounts, Code, Request, RoleEntry, Roles, SessionQuery};
use crate::ids::{AccountId, SessionName};

use super::choice;
use super::context::{Context, NETWORK, read};
use super::failure::Failure;
use super::table::Table;

/// List the roles you may take
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Options {
    /// The session; else what AWS_PROFILE leads to, else the only one there is
    session: Option<SessionName>,
    /// Only in this account, instead of in all
    #[arg(long, value_name = "ID")]
    account: Option<AccountId>,
    /// Print the agent's answer as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    let session = choice::session(options.session.as_ref(), context.env)?;
    let Some(account) = &options.account else {
        let found = of_all_accounts(&session, context);
        context.progress_done();
        let (accounts, roles) = found?;
        return if options.json { context.print_json(&Roles { roles }) } else { list(&accounts, &roles, context) };
    };
    let reply =
        context.ask_slowly(&Request::Roles { session, account: account.clone() }, NETWORK, "asking for the roles")?;
    if options.json {
        return context.print_body(&reply);
    }
    let found: Roles = read(&reply)?;
    list(&[], &found.roles, context)
}

fn of_all_accounts(
    session: &SessionQuery,
    context: &mut Context<'_>,
) -> Result<(Vec<AccountEntry>, Vec<RoleEntry>), Failure> {
    context.progress("asking for the accounts");
    let Accounts { accounts } = context.ask_for(&Request::Accounts { session: session.clone() }, NETWORK)?;
    let mut roles = Vec::new();
    for (done, entry) in accounts.iter().enumerate() {
        context.progress(&format!("asking for the roles, account {} of {}", done + 1, accounts.len()));
        let request = Request::Roles { session: session.clone(), account: entry.account_id.clone() };
        match context.ask_for::<Roles>(&request, NETWORK) {
            Ok(found) => roles.extend(found.roles),
            // An account that was taken away since the list was made has no roles for us.
            Err(failure) if failure.problem().is_some_and(|problem| problem.code == Code::AccessDenied) => {
                context.progress_done();
                context.say(&format!("warning: no access to account {}", entry.account_id));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok((accounts, roles))
}

fn list(accounts: &[AccountEntry], roles: &[RoleEntry], context: &mut Context<'_>) -> Result<(), Failure> {
    if roles.is_empty() {
        context.say("there are no roles you may take");
        return Ok(());
    }
    let mut table = if accounts.is_empty() {
        Table::new(&["ACCOUNT", "ROLE"])
    } else {
        Table::new(&["ACCOUNT", "ROLE", "ACCOUNT NAME"])
    };
    for role in roles {
        let account = accounts.iter().find(|account| account.account_id == role.account_id);
        let name = account.and_then(|account| account.account_name.as_ref()).map_or("", |name| name.raw());
        table.texts(&[role.account_id.as_str(), role.role_name.as_str(), name]);
    }
    let text = table.render(context.terminal.colour_out);
    context.print(text)
}
