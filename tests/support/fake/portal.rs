//! The portal: role credentials, accounts, roles, logout.
//!
//! Strict about methods, query names and the bearer header, whose name has underscores.

use serde_json::{Value, json};

use super::answer::{Answer, Request};
use super::clock::ServiceTime;
use super::config::FakeAccount;
use super::operation::Operation;
use super::refusal::{Exception, Refusal};
use super::state::Service;

/// Answers a request of the portal.
pub fn answer(
    service: &mut Service,
    now: ServiceTime,
    operation: Operation,
    request: &Request,
) -> Result<Answer, Refusal> {
    let method = if operation == Operation::Logout { "POST" } else { "GET" };
    if request.method != method {
        return Err(Refusal::new(Exception::UnknownOperation, format!("{} is not {method}", request.method)));
    }
    if request.header("authorization").is_some() {
        return Err(invalid("the portal takes its token from x-amz-sso_bearer_token alone"));
    }
    if !request.body.is_empty() {
        return Err(invalid("the portal takes no body"));
    }
    let query = Query::read(request, operation)?;
    service.admit_portal_call(now)?;
    let bearer = request.header(BEARER_HEADER).unwrap_or_default();
    service.sessions.authenticate(now, bearer)?;
    match operation {
        Operation::GetRoleCredentials => get_role_credentials(service, now, &query),
        Operation::ListAccounts => list_accounts(service, &query),
        Operation::ListAccountRoles => list_account_roles(service, &query),
        _ => {
            service.sessions.log_out(now, bearer)?;
            Ok(Answer::json(200, &json!({})))
        }
    }
}

fn get_role_credentials(service: &mut Service, now: ServiceTime, query: &Query) -> Result<Answer, Refusal> {
    let account = account(service, query.text("account_id")?)?;
    let role = query.text("role_name")?;
    if !account.roles.iter().any(|assigned| assigned == role) {
        return Err(Refusal::new(Exception::Forbidden, "No access"));
    }
    let expires_at = now.plus(service.config.role_credentials_lifetime);
    let issued = service.issue_credentials(expires_at);
    Ok(Answer::json(
        200,
        &json!({ "roleCredentials": {
            "accessKeyId": issued.access_key_id,
            "secretAccessKey": issued.secret_access_key,
            "sessionToken": issued.session_token,
            "expiration": expires_at.millis(),
        }}),
    ))
}

fn list_accounts(service: &Service, query: &Query) -> Result<Answer, Refusal> {
    let entry = |account: &FakeAccount| {
        let mut entry = json!({ "accountId": account.id });
        if let Some(name) = &account.name {
            entry["accountName"] = name.as_str().into();
        }
        if let Some(email) = &account.email {
            entry["emailAddress"] = email.as_str().into();
        }
        entry
    };
    let all: Vec<Value> = service.config.accounts.iter().map(entry).collect();
    let (page, next_token) = query.page(&all, service.config.page_size, "accounts")?;
    Ok(Answer::json(200, &json!({ "nextToken": next_token, "accountList": page })))
}

fn list_account_roles(service: &Service, query: &Query) -> Result<Answer, Refusal> {
    let account = account(service, query.text("account_id")?)?;
    let entry = |role: &String| json!({ "roleName": role, "accountId": account.id });
    let all: Vec<Value> = account.roles.iter().map(entry).collect();
    let (page, next_token) = query.page(&all, service.config.page_size, &account.id)?;
    Ok(Answer::json(200, &json!({ "nextToken": next_token, "roleList": page })))
}

fn account<'a>(service: &'a Service, id: &str) -> Result<&'a FakeAccount, Refusal> {
    let account = service.config.accounts.iter().find(|account| account.id == id);
    account.ok_or_else(|| Refusal::new(Exception::ResourceNotFound, format!("no account {id:?}")))
}

fn invalid(text: impl Into<String>) -> Refusal {
    Refusal::new(Exception::InvalidRequest, text)
}

/// The query of a portal request, with known names only.
struct Query {
    parameters: Vec<(String, String)>,
    max_result: usize,
}

impl Query {
    fn read(request: &Request, operation: Operation) -> Result<Self, Refusal> {
        let parameters = request.query();
        let known: &[&str] = match operation {
            Operation::GetRoleCredentials => &["role_name", "account_id"],
            Operation::ListAccounts => &["max_result", "next_token"],
            Operation::ListAccountRoles => &["max_result", "next_token", "account_id"],
            _ => &[],
        };
        for (index, (name, _)) in parameters.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(invalid(format!("unexpected parameter {name:?}")));
            }
            if parameters[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(invalid(format!("{name} is given twice")));
            }
        }
        let mut query = Self { parameters, max_result: MAX_RESULT };
        if let Ok(text) = query.text("max_result") {
            let wanted = text.parse().ok().filter(|wanted| (1..=MAX_RESULT).contains(wanted));
            query.max_result = wanted.ok_or_else(|| invalid(format!("max_result is not 1 to {MAX_RESULT}")))?;
        }
        // Required parameters are judged before the token, as a service that validates its input does.
        for name in known.iter().filter(|name| matches!(**name, "role_name" | "account_id")) {
            query.text(name)?;
        }
        Ok(query)
    }

    fn text(&self, name: &str) -> Result<&str, Refusal> {
        let value = self.parameters.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty()).ok_or_else(|| invalid(format!("{name} is missing")))
    }

    /// One page of a list, and the token of the next; a token is good for the list it was made for only.
    fn page<'a>(&self, all: &'a [Value], longest: usize, list: &str) -> Result<(&'a [Value], Option<String>), Refusal> {
        let start = match self.text("next_token") {
            Ok(token) => {
                let start = token.strip_prefix(&format!("FAKEpage/{list}+")).and_then(|start| start.parse().ok());
                start.filter(|start| *start < all.len()).ok_or_else(|| invalid("no such next_token"))?
            }
            Err(_) => 0,
        };
        let end = all.len().min(start + self.max_result.min(longest.max(1)));
        let next = (end < all.len()).then(|| format!("FAKEpage/{list}+{end}"));
        Ok((&all[start..end], next))
    }
}

const BEARER_HEADER: &str = "x-amz-sso_bearer_token";
const MAX_RESULT: usize = 100;
