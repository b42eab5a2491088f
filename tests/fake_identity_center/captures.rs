//! The requests of real clients, byte for byte as they were captured save for the secrets in them, are accepted,
//! and the answers have the shape that those clients were seen to understand.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use super::START_URL;
use super::caller::{Client, Line, Reply, bearer};
use crate::support::fake::{Exception, FakeAccount, FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When};

/// What a capture holds of one exchange.
struct Exchange {
    request: Value,
    response: Value,
}

fn exchanges(name: &str) -> Vec<Exchange> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(format!("{name}.json"));
    let capture: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let split =
        |exchange: &Value| Exchange { request: exchange["request"].clone(), response: exchange["response"].clone() };
    capture["exchanges"].as_array().unwrap().iter().map(split).collect()
}

fn first(name: &str) -> Exchange {
    exchanges(name).remove(0)
}

impl Exchange {
    /// Sends the captured request with other secrets in the place of the captured ones.
    fn replay(&self, fake: &FakeIdentityCenter, replaced: &[(&str, &str)]) -> Reply {
        let text = |value: &Value| {
            let quoted = |text: &str| format!("\"{text}\"");
            let whole = value.as_str().unwrap();
            let replaced_whole = replaced.iter().find(|(old, _)| *old == whole).map(|(_, new)| (*new).to_owned());
            replaced_whole.unwrap_or_else(|| {
                replaced.iter().fold(whole.to_owned(), |text, (old, new)| text.replace(&quoted(old), &quoted(new)))
            })
        };
        let body = text(&self.request["body"]);
        let mut bytes = format!("{} {} HTTP/1.1\r\n", text(&self.request["method"]), text(&self.request["target"]));
        for header in self.request["headers"].as_array().unwrap() {
            let (name, value) = (header[0].as_str().unwrap(), text(&header[1]));
            let value = if name == "Content-Length" { body.len().to_string() } else { value };
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        bytes.push_str(&format!("\r\n{body}"));
        Line::open(fake).ask(bytes.as_bytes()).unwrap()
    }

    /// Whether an answer is like the captured one: status, error header, content type, and the members of the body.
    fn assert_alike(&self, reply: &Reply) {
        let captured = |wanted: &str| {
            let headers = self.response["headers"].as_array().unwrap().iter();
            headers.filter(|header| header[0] == wanted).map(|header| header[1].as_str().unwrap().to_owned()).next()
        };
        assert_eq!(self.response["status"], reply.status);
        for name in ["Content-Type", "x-amzn-ErrorType"] {
            if let Some(value) = captured(name) {
                assert_eq!(reply.header(name), Some(value.as_str()));
            }
        }
        let body = self.response["body"].as_str().unwrap();
        if !body.is_empty() && body != "{}" {
            assert_eq!(members(&serde_json::from_str(body).unwrap()), members(&reply.json()));
        }
    }
}

/// The paths of all members that are not null; a list stands for its first item.
fn members(value: &Value) -> BTreeSet<String> {
    let below = |name: &str, value: &Value| {
        let inner = members(value).into_iter().map(|inner| format!("{name}.{inner}"));
        inner.chain([name.to_owned()]).collect::<BTreeSet<_>>()
    };
    match value {
        Value::Object(object) => {
            object.iter().filter(|(_, value)| !value.is_null()).flat_map(|(name, value)| below(name, value)).collect()
        }
        Value::Array(items) => items.first().map(members).unwrap_or_default(),
        _ => BTreeSet::new(),
    }
}

fn fake() -> FakeIdentityCenter {
    let account = FakeAccount::new("123456789012", "Main", &["Admin Role/+x", "ReadOnly"]);
    let accounts = vec![account, FakeAccount::new("210987654321", "Other", &[])];
    FakeIdentityCenter::start(FakeConfig { accounts, auto_approve: true, ..FakeConfig::default() })
}

#[test]
fn clients_register() {
    let fake = fake();
    for name in ["oidc-register-client-min", "oidc-register-client-scopes", "oidc-register-client-authcode"] {
        let capture = first(name);
        capture.assert_alike(&capture.replay(&fake, &[]));
    }
    assert_eq!(fake.registrations().len(), 3);
}

#[test]
fn clients_get_and_refresh_tokens() {
    let fake = fake();
    let client = Client::register(&fake);
    let known = [("cid", client.id.as_str()), ("csec", &client.secret)];
    let start = first("oidc-start-device-authorization");
    let device = start.replay(&fake, &known);
    start.assert_alike(&device);
    let device = device.json();
    let code = device["deviceCode"].as_str().unwrap();
    let poll = first("oidc-create-token-device");
    let tokens = poll.replay(&fake, &[known[0], known[1], ("dc", code)]);
    poll.assert_alike(&tokens);

    let mut tokens = tokens.json();
    for name in ["oidc-create-token-refresh", "oidc-create-token-refresh-with-scope"] {
        let capture = first(name);
        let reply = capture.replay(&fake, &[known[0], known[1], ("rt", tokens["refreshToken"].as_str().unwrap())]);
        capture.assert_alike(&reply);
        tokens = reply.json();
    }
}

#[test]
fn clients_without_scopes_get_a_token_of_the_old_kind() {
    let fake = fake();
    let registered = first("oidc-register-client-min").replay(&fake, &[]).json();
    let client = Client::of(&registered);
    let known = [("cid", client.id.as_str()), ("csec", &client.secret)];
    let device = first("oidc-start-device-authorization").replay(&fake, &known).json();
    let capture = first("oidc-create-token-device-legacy-norefresh");
    let reply = capture.replay(&fake, &[known[0], known[1], ("dc", device["deviceCode"].as_str().unwrap())]);
    capture.assert_alike(&reply);
    assert_eq!(reply.json()["expiresIn"], 28800);
}

#[test]
fn clients_use_the_portal() {
    let fake = fake();
    let token = fake.sign_in_directly(START_URL).1.access_token;
    fake.configure(|config| config.page_size = 1);
    let next = super::caller::get(&fake, &token, "/assignment/accounts").json()["nextToken"].clone();
    let next = next.as_str().unwrap().replace('/', "%2F").replace('+', "%2B");
    let accounts = "/assignment/accounts?max_result=100&next_token=n%2F1%3D";
    let theirs = format!("/assignment/accounts?max_result=100&next_token={next}");
    for name in ["sso-get-role-credentials", "sso-list-account-roles", "sso-list-accounts", "sso-logout"] {
        let capture = first(name);
        let reply = capture.replay(&fake, &[("at-SECRET", &token), (accounts, &theirs)]);
        assert_eq!(reply.status, 200, "{name}: {}", String::from_utf8_lossy(&reply.body));
        capture.assert_alike(&reply);
    }
    assert_eq!(fake.sessions()[0].ended, Some(crate::support::fake::Ended::LoggedOut));
}

#[test]
fn errors_are_written_as_clients_read_them() {
    let fake = fake();
    fake.approve_next(false);
    let client = Client::register(&fake);
    let known = [("cid", client.id.as_str()), ("csec", &client.secret)];
    let capture = first("oidc-error-InvalidClientException");
    capture.assert_alike(&capture.replay(&fake, &[]));
    let device = first("oidc-start-device-authorization").replay(&fake, &known).json();
    let capture = first("oidc-error-AuthorizationPendingException");
    capture.assert_alike(&capture.replay(&fake, &[known[0], known[1], ("dc", device["deviceCode"].as_str().unwrap())]));

    let token = fake.sign_in_directly(START_URL).1.access_token;
    let capture = first("sso-error-Forbidden-unmodeled");
    capture.assert_alike(&capture.replay(&fake, &[("at-SECRET", &token)]));
    let too_many = Fault::Exception(Exception::TooManyRequests);
    fake.fault(Operation::GetRoleCredentials, too_many, When::BeforeEffect, Times::Next(1));
    let capture = first("sso-error-TooManyRequestsException");
    capture.assert_alike(&capture.replay(&fake, &[("at-SECRET", &token)]));
}

/// The AWS CLI polls twice at once before it has shown anything, and is told to slow down; it gets there all the same.
#[test]
fn the_aws_cli_signs_in() {
    let fake = fake();
    fake.approve_next(false);
    let captured = exchanges("cli2-login-device-session");
    let client = Client::of(&captured[0].replay(&fake, &[]).json());
    let known = [("CID", client.id.as_str()), ("CSEC", &client.secret)];
    let device = captured[1].replay(&fake, &known).json();
    let known = [known[0], known[1], ("DC", device["deviceCode"].as_str().unwrap())];
    assert_eq!(captured[2].replay(&fake, &known).refusal().1, "AuthorizationPendingException");
    assert!(fake.approve(device["userCode"].as_str().unwrap()));
    fake.advance_clock(std::time::Duration::from_secs(1));
    let last = captured.last().unwrap();
    let reply = last.replay(&fake, &known);
    assert_eq!(reply.status, 200);
    assert!(bearer(&reply.json()).len() > 1024 && reply.json()["refreshToken"].is_string());
}
