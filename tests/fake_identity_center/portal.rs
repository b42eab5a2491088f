//! Role credentials, accounts and roles, page by page, and what is refused.

use std::collections::HashSet;
use std::time::Duration;

use super::START_URL;
use super::caller::{get, send};
use crate::support::fake::{FakeAccount, FakeConfig, FakeIdentityCenter};

fn signed_in(change: impl FnOnce(&mut FakeConfig)) -> (FakeIdentityCenter, String) {
    let mut config = FakeConfig::default();
    change(&mut config);
    let fake = FakeIdentityCenter::start(config);
    let token = fake.sign_in_directly(START_URL).1.access_token;
    (fake, token)
}

#[test]
fn role_credentials_look_like_real_ones_and_are_new_each_time() {
    let (fake, token) = signed_in(|config| config.role_credentials_lifetime = Duration::from_secs(900));
    let fetch = || {
        let before = fake.now().millis();
        let body = get(&fake, &token, "/federation/credentials?role_name=ReadOnly&account_id=111122223333").json();
        let set = body["roleCredentials"].clone();
        let expiration = set["expiration"].as_u64().unwrap();
        assert!((before + 900_000..=fake.now().millis() + 900_000).contains(&expiration));
        set
    };
    let (first, second) = (fetch(), fetch());
    let key = first["accessKeyId"].as_str().unwrap();
    assert!(key.starts_with("ASIA") && key.len() == 20, "{key}");
    assert!(key.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()), "{key}");
    assert_eq!(first["secretAccessKey"].as_str().unwrap().len(), 40);
    assert!(first["sessionToken"].as_str().unwrap().len() > 500);
    for name in ["accessKeyId", "secretAccessKey", "sessionToken"] {
        assert_ne!(first[name], second[name]);
    }
}

#[test]
fn roles_and_accounts_that_are_not_the_users_are_refused_differently() {
    let (fake, token) = signed_in(|_| {});
    let refusal = |target: &str| {
        let reply = get(&fake, &token, target);
        let (status, name) = reply.refusal();
        (status, name.to_owned(), reply.json()["message"].as_str().unwrap_or_default().to_owned())
    };
    let (status, name, message) = refusal("/federation/credentials?role_name=Other&account_id=111122223333");
    assert_eq!((status, name.as_str(), message.as_str()), (403, "ForbiddenException", "No access"));
    let (status, name, _) = refusal("/federation/credentials?role_name=ReadOnly&account_id=000000000000");
    assert_eq!((status, name.as_str()), (404, "ResourceNotFoundException"));
    assert_eq!(refusal("/assignment/roles?account_id=000000000000").0, 404);
    for target in [
        "/federation/credentials?account_id=111122223333",
        "/federation/credentials?role_name=ReadOnly",
        "/federation/credentials?roleName=ReadOnly&account_id=111122223333",
        "/federation/credentials?role_name=ReadOnly&account_id=111122223333&account_id=1",
        "/assignment/roles",
        "/assignment/accounts?max_results=10",
        "/assignment/accounts?max_result=0",
        "/assignment/accounts?max_result=101",
        "/assignment/accounts?next_token=guessed",
    ] {
        assert_eq!(refusal(target).0, 400, "{target}");
    }
}

#[test]
fn a_bearer_token_goes_into_its_own_header() {
    let (fake, token) = signed_in(|_| {});
    let with = |method: &str, target: &str, headers: &[(&str, &str)]| send(&fake, method, target, headers, "").status;
    let bearer = ("x-amz-sso_bearer_token", token.as_str());
    assert_eq!(with("GET", "/assignment/accounts", &[bearer]), 200);
    assert_eq!(with("GET", "/assignment/accounts", &[]), 401);
    assert_eq!(with("GET", "/assignment/accounts", &[("x-amz-sso-bearer-token", &token)]), 401);
    assert_eq!(with("GET", "/assignment/accounts", &[bearer, ("Authorization", "Bearer x")]), 400);
    assert_eq!(with("POST", "/assignment/accounts", &[bearer]), 404);
    assert_eq!(with("GET", "/logout", &[bearer]), 404);
    assert_eq!(send(&fake, "POST", "/logout", &[bearer], "{}").status, 400);
}

#[test]
fn lists_come_page_by_page() {
    let accounts: Vec<_> =
        (0..250).map(|n| FakeAccount::new(&format!("{n:012}"), "Name", &["R1", "R2", "R3"])).collect();
    let (fake, token) = signed_in(|config| config.accounts = accounts);
    let walk = |first: &str, list: &str, id: &str| {
        let (mut seen, mut pages, mut next) = (HashSet::new(), 0, None::<String>);
        loop {
            let target = match &next {
                Some(token) => {
                    let escaped = token.replace('/', "%2F").replace('+', "%2B");
                    format!("{first}&next_token={escaped}")
                }
                None => first.to_owned(),
            };
            let body = get(&fake, &token, &target).json();
            seen.extend(body[list].as_array().unwrap().iter().map(|entry| entry[id].as_str().unwrap().to_owned()));
            pages += 1;
            next = body["nextToken"].as_str().map(str::to_owned);
            if next.is_none() {
                return (seen.len(), pages);
            }
        }
    };
    assert_eq!(walk("/assignment/accounts?max_result=100", "accountList", "accountId"), (250, 3));
    fake.configure(|config| config.page_size = 2);
    assert_eq!(walk("/assignment/roles?account_id=000000000007", "roleList", "roleName"), (3, 2));
    assert_eq!(walk("/assignment/roles?account_id=000000000007&max_result=1", "roleList", "roleName"), (3, 3));
    let of_accounts = get(&fake, &token, "/assignment/accounts").json()["nextToken"].as_str().unwrap().to_owned();
    let escaped = of_accounts.replace('/', "%2F").replace('+', "%2B");
    let elsewhere = format!("/assignment/roles?account_id=000000000007&next_token={escaped}");
    assert_eq!(get(&fake, &token, &elsewhere).status, 400);
}

#[test]
fn names_and_addresses_may_be_missing() {
    let nameless = FakeAccount { id: "000000000001".to_owned(), name: None, email: None, roles: Vec::new() };
    let (fake, token) = signed_in(|config| config.accounts = vec![nameless]);
    let body = get(&fake, &token, "/assignment/accounts").json();
    assert_eq!(body["accountList"], serde_json::json!([{ "accountId": "000000000001" }]));
}

#[test]
fn too_many_calls_a_second_are_throttled() {
    let (fake, token) = signed_in(|config| config.portal_calls_per_second = Some(0));
    assert_eq!(get(&fake, &token, "/assignment/accounts").refusal(), (429, "TooManyRequestsException"));
    fake.configure(|config| config.portal_calls_per_second = Some(20));
    assert_eq!(get(&fake, &token, "/assignment/accounts").status, 200);
}

#[test]
fn every_secret_that_was_issued_is_remembered() {
    let (fake, token) = signed_in(|_| {});
    let body = get(&fake, &token, "/federation/credentials?role_name=ReadOnly&account_id=111122223333").json();
    let secrets = fake.issued_secrets();
    let summary = &fake.sessions()[0];
    let set = &body["roleCredentials"];
    for secret in [
        token.as_str(),
        summary.refresh_token.as_deref().unwrap(),
        &fake.registrations()[0].client_secret,
        set["secretAccessKey"].as_str().unwrap(),
        set["sessionToken"].as_str().unwrap(),
    ] {
        assert!(secrets.iter().any(|issued| issued == secret));
    }
    assert_eq!(secrets.iter().collect::<HashSet<_>>().len(), secrets.len());
    assert_eq!(fake.secrets_received(&secrets), [token]);
}
