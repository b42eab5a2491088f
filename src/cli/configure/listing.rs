//! All accounts and roles that the user has, from the agent.
//!
//! Owns: asking for many lists at a time, and asking again where the service wanted a pause. Invariant: the list is
//! whole, or there is none; an account that was taken away meanwhile is said.

use std::time::Duration;

use crate::api::{AccountEntry, Accounts, Code, Request, Roles, SessionQuery};
use crate::ids::{AccountId, Grant, RoleName, SessionName};

use super::super::context::{BRIEFLY, Context, NETWORK, read};
use super::super::failure::Failure;
use super::super::words;

/// A role in an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) account: AccountId,
    /// As it came.
    pub(super) account_name: Option<String>,
    pub(super) role: RoleName,
}

impl Target {
    pub(super) fn grant(&self) -> Grant {
        Grant::Role { account: self.account.clone(), role: self.role.clone() }
    }
}

/// Everything, sorted by account and role.
pub(super) fn all(session: &SessionName, context: &mut Context<'_>) -> Result<Vec<Target>, Failure> {
    context.progress("asking for the accounts");
    let targets = gather(session, context);
    context.progress_done();
    let mut targets = targets?;
    targets.sort_by(|one, other| (&one.account, &one.role).cmp(&(&other.account, &other.role)));
    targets.dedup_by_key(|target| target.grant());
    Ok(targets)
}

fn gather(session: &SessionName, context: &mut Context<'_>) -> Result<Vec<Target>, Failure> {
    let query = SessionQuery::Named(session.clone());
    let accounts = accounts(&query, context)?;
    let request = |entry: &AccountEntry| Request::Roles { session: query.clone(), account: entry.account_id.clone() };
    let mut left: Vec<&AccountEntry> = accounts.iter().collect();
    let mut targets = Vec::new();
    let mut fruitless = 0;
    while !left.is_empty() {
        let requests: Vec<Request> = left.iter().map(|entry| request(entry)).collect();
        let (mut again, mut failed) = (Vec::new(), None);
        let mut done = accounts.len() - left.len();
        context.ask_all(&requests, NETWORK, &mut |index, answer, context| {
            let entry = left[index];
            match answer.and_then(|reply| read::<Roles>(&reply)) {
                Ok(found) => {
                    done += 1;
                    context.progress(&format!("asking for the roles, account {done} of {}", accounts.len()));
                    let name = entry.account_name.as_ref().map(|name| name.raw().to_owned());
                    targets.extend(found.roles.into_iter().map(|role| Target {
                        account: role.account_id,
                        account_name: name.clone(),
                        role: role.role_name,
                    }));
                }
                Err(failure) => match failure.problem().map(|problem| problem.code) {
                    // Taken away since the list of accounts was made.
                    Some(Code::AccessDenied) => {
                        done += 1;
                        context.progress_done();
                        context.say(&format!("warning: no access to account {}", entry.account_id));
                    }
                    Some(Code::Throttled | Code::Unavailable | Code::Timeout | Code::Busy) => {
                        again.push((entry, failure));
                    }
                    _ => failed = Some(failure),
                },
            }
            failed.is_none()
        });
        if let Some(failure) = failed {
            return Err(failure);
        }
        // The agent makes the pauses; what it gives back after them is asked for again while there is any progress.
        fruitless = if again.len() == left.len() { fruitless + 1 } else { 0 };
        left = again.iter().map(|(entry, _)| *entry).collect();
        if let Some((_, failure)) = again.pop().filter(|_| fruitless > 0) {
            let pause = failure.problem().and_then(|problem| problem.retry_after).map(Duration::from_secs);
            match pause {
                Some(pause) if fruitless < MOST_FRUITLESS => {
                    context.progress(&format!("the service asks for a pause, going on in {}", words::duration(pause)));
                    context.agent.pause(pause);
                }
                None if fruitless < MOST_FRUITLESS => {}
                _ => return Err(failure),
            }
        }
    }
    Ok(targets)
}

/// The agent may not have read the configuration since the session was written into it.
fn accounts(query: &SessionQuery, context: &mut Context<'_>) -> Result<Vec<AccountEntry>, Failure> {
    let request = Request::Accounts { session: query.clone() };
    let found: Result<Accounts, Failure> = context.ask_for(&request, NETWORK);
    match found {
        Err(failure) if failure.problem().is_some_and(|problem| problem.code == Code::UnknownSession) => {
            context.ask(&Request::Reload, BRIEFLY)?;
            Ok(context.ask_for::<Accounts>(&request, NETWORK)?.accounts)
        }
        found => Ok(found?.accounts),
    }
}

const MOST_FRUITLESS: u32 = 3;
