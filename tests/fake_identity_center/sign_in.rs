//! Registration, device authorization and polling, and what is refused on the way.

use std::time::Duration;

use serde_json::{Value, json};

use super::caller::{Client, bearer, get, post, send};
use super::{PATIENCE, START_URL};
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation, Outcome};

fn fake() -> FakeIdentityCenter {
    FakeIdentityCenter::start(FakeConfig::default())
}

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

#[test]
fn a_user_signs_in_by_device_code() {
    let fake = fake();
    let client = Client::register(&fake);
    let device = client.authorize(&fake);
    assert_eq!(device["expiresIn"], 600);
    assert_eq!(device["interval"], 1);
    let code = device["userCode"].as_str().unwrap();
    assert_eq!(device["verificationUriComplete"], format!("{}/device?user_code={code}", fake.url()));
    assert_eq!(fake.pending_user_codes(), [code]);
    assert_eq!(client.poll(&fake, &device["deviceCode"]).refusal(), (400, "AuthorizationPendingException"));

    assert!(fake.approve(code));
    assert!(!fake.approve(code), "a code is decided once");
    fake.advance_clock(Duration::from_secs(1));
    let tokens = client.poll(&fake, &device["deviceCode"]).json();
    assert_eq!((&tokens["tokenType"], &tokens["expiresIn"]), (&json!("Bearer"), &json!(3600)));
    assert!(bearer(&tokens).len() > 1024);
    assert!(tokens["refreshToken"].is_string());
    assert_eq!(get(&fake, bearer(&tokens), "/assignment/accounts").status, 200);
}

#[test]
fn a_registration_is_judged_by_its_metadata() {
    let fake = fake();
    let refusal_of = |changes: Value| {
        let mut body = json!({ "clientName": "name", "clientType": "public" });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::String(text) if text == "absent" => drop(body.as_object_mut().unwrap().remove(name)),
                _ => body[name] = value.clone(),
            }
        }
        let reply = post(&fake, "/client/register", &body);
        let (status, name) = reply.refusal();
        format!("{status} {name}")
    };
    let code_flow = json!({
        "grantTypes": ["authorization_code", "refresh_token"], "issuerUrl": START_URL,
        "redirectUris": ["http://127.0.0.1/oauth/callback"],
    });
    let but = |name: &str, value: Value| {
        let mut body = code_flow.clone();
        body[name] = value;
        body
    };
    assert_eq!(refusal_of(json!({})), "200 none");
    assert_eq!(refusal_of(code_flow.clone()), "200 none");
    assert_eq!(refusal_of(json!({ "clientName": "n".repeat(128) })), "200 none");
    for (body, refusal) in [
        (json!({ "clientName": "absent" }), "400 InvalidRequestException"),
        (json!({ "clientType": "absent" }), "400 InvalidRequestException"),
        (json!({ "scopes": null }), "400 InvalidRequestException"),
        (json!({ "client_name": "snake" }), "400 InvalidRequestException"),
        (json!({ "clientName": "" }), "400 InvalidClientMetadataException"),
        (json!({ "clientName": "ü" }), "400 InvalidClientMetadataException"),
        (json!({ "clientName": "n".repeat(129) }), "400 InvalidClientMetadataException"),
        (json!({ "clientType": "confidential" }), "400 InvalidClientMetadataException"),
        (json!({ "scopes": ["sso account"] }), "400 InvalidScopeException"),
        (json!({ "grantTypes": ["password"] }), "400 UnsupportedGrantTypeException"),
        (but("grantTypes", json!([DEVICE_CODE, "authorization_code"])), "400 InvalidClientMetadataException"),
        (json!({ "redirectUris": ["http://127.0.0.1/oauth/callback"] }), "400 InvalidRedirectUriException"),
        (but("redirectUris", json!("absent")), "400 InvalidRedirectUriException"),
        (but("redirectUris", json!(["http://127.0.0.1:8400/oauth/callback"])), "400 InvalidRedirectUriException"),
        (but("issuerUrl", json!("absent")), "400 InvalidRequestException"),
    ] {
        assert_eq!(refusal_of(body.clone()), refusal, "{body}");
    }
}

#[test]
fn a_request_that_is_not_json_by_post_is_refused() {
    let fake = fake();
    let json = [("Content-Type", "application/json")];
    let body = json!({ "clientName": "name", "clientType": "public" }).to_string();
    let refused =
        |method, headers: &[(&str, &str)], target, body: &str| send(&fake, method, target, headers, body).refusal().0;
    assert_eq!(refused("POST", &json, "/client/register", &body), 200);
    assert_eq!(refused("PUT", &json, "/client/register", &body), 404);
    assert_eq!(refused("POST", &json, "/client/unregister", &body), 404);
    assert_eq!(refused("POST", &[("Content-Type", "text/plain")], "/client/register", &body), 415);
    assert_eq!(refused("POST", &[], "/client/register", &body), 415);
    assert_eq!(refused("POST", &json, "/client/register", "[]"), 400);
    assert_eq!(refused("POST", &[json[0], ("Authorization", "AWS4-HMAC-SHA256 x")], "/client/register", &body), 400);
    assert_eq!(refused("POST", &json, "/token", "{\"grantType\":\"password\"}"), 400);
}

#[test]
fn a_client_that_is_unknown_wrong_or_expired_is_invalid() {
    let fake = fake();
    let client = Client::register(&fake);
    let device = client.authorize(&fake);
    let start = |id: &str, secret: &str| {
        post(&fake, "/device_authorization", &json!({ "clientId": id, "clientSecret": secret, "startUrl": START_URL }))
    };
    assert_eq!(start("nobody", &client.secret).refusal(), (401, "InvalidClientException"));
    assert_eq!(start(&client.id, "wrong").refusal(), (401, "InvalidClientException"));
    fake.advance_clock(Duration::from_secs(90 * 24 * 3600));
    assert_eq!(start(&client.id, &client.secret).refusal(), (401, "InvalidClientException"));
    assert_eq!(client.poll(&fake, &device["deviceCode"]).refusal(), (401, "InvalidClientException"));

    let client = Client::register(&fake);
    assert_eq!(start(&client.id, &client.secret).status, 200);
    fake.revoke_registrations();
    assert_eq!(start(&client.id, &client.secret).refusal(), (401, "InvalidClientException"));
    assert!(fake.registrations().is_empty());
}

#[test]
fn a_browser_client_may_not_use_the_device_flow() {
    let fake = fake();
    let body = json!({
        "clientName": "name", "clientType": "public", "grantTypes": ["authorization_code", "refresh_token"],
        "issuerUrl": START_URL, "redirectUris": ["http://127.0.0.1/oauth/callback"],
    });
    let registered = post(&fake, "/client/register", &body).json();
    assert_eq!(registered["authorizationEndpoint"], format!("{}/authorize", fake.url()));
    let client = Client::of(&registered);
    let body = json!({ "clientId": client.id, "clientSecret": client.secret, "startUrl": START_URL });
    assert_eq!(post(&fake, "/device_authorization", &body).refusal(), (400, "UnauthorizedClientException"));
}

#[test]
fn an_unknown_start_url_is_refused_where_the_known_ones_are_listed() {
    let fake = fake();
    fake.configure(|config| config.start_urls = vec!["https://other.awsapps.com/start".to_owned()]);
    let client = Client::register(&fake);
    let body = json!({ "clientId": client.id, "clientSecret": client.secret, "startUrl": START_URL });
    assert_eq!(post(&fake, "/device_authorization", &body).refusal(), (400, "InvalidRequestException"));
}

#[test]
fn polling_too_fast_makes_the_interval_longer_for_good() {
    let fake = fake();
    let client = Client::register(&fake);
    fake.configure(|config| config.interval = None);
    assert!(client.authorize(&fake).get("interval").is_none());
    // Long enough that the polls below come too early however slow the machine is.
    fake.configure(|config| config.interval = Some(600));
    fake.configure(|config| config.device_code_lifetime = Duration::from_secs(6000));
    let code = &client.authorize(&fake)["deviceCode"];

    assert_eq!(client.poll(&fake, code).refusal().1, "AuthorizationPendingException");
    assert_eq!(client.poll(&fake, code).refusal().1, "SlowDownException");
    fake.advance_clock(Duration::from_secs(605));
    assert_eq!(client.poll(&fake, code).refusal().1, "AuthorizationPendingException");
    fake.advance_clock(Duration::from_secs(302));
    assert_eq!(client.poll(&fake, code).refusal().1, "SlowDownException");
    fake.advance_clock(Duration::from_secs(610));
    assert_eq!(client.poll(&fake, code).refusal().1, "AuthorizationPendingException");
}

#[test]
fn a_device_code_yields_one_token_to_its_own_client_in_its_time() {
    let fake = fake();
    fake.configure(|config| config.interval = Some(0));
    let (client, stranger) = (Client::register(&fake), Client::register(&fake));

    let used = client.authorize(&fake);
    assert!(fake.approve(used["userCode"].as_str().unwrap()));
    assert_eq!(stranger.poll(&fake, &used["deviceCode"]).refusal(), (400, "InvalidGrantException"));
    assert_eq!(client.poll(&fake, &used["deviceCode"]).status, 200);
    assert_eq!(client.poll(&fake, &used["deviceCode"]).refusal(), (400, "ExpiredTokenException"));

    let denied = client.authorize(&fake);
    assert!(fake.deny(denied["userCode"].as_str().unwrap()));
    assert_eq!(client.poll(&fake, &denied["deviceCode"]).refusal(), (400, "AccessDeniedException"));
    assert_eq!(client.poll(&fake, &denied["deviceCode"]).refusal(), (400, "AccessDeniedException"));

    let expired = client.authorize(&fake);
    fake.advance_clock(Duration::from_secs(600));
    assert!(!fake.approve(expired["userCode"].as_str().unwrap()));
    assert_eq!(client.poll(&fake, &expired["deviceCode"]).refusal(), (400, "ExpiredTokenException"));
    assert_eq!(client.poll(&fake, &json!("guessed")).refusal(), (400, "InvalidGrantException"));
}

#[test]
fn without_scopes_there_is_no_refresh_token_and_the_access_token_lives_as_long_as_the_session() {
    let fake = fake();
    fake.approve_next(true);
    let body = json!({ "clientName": "legacy", "clientType": "public" });
    let client = Client::of(&post(&fake, "/client/register", &body).json());
    let device = client.authorize(&fake);
    let tokens = client.poll(&fake, &device["deviceCode"]).json();
    assert_eq!(tokens["expiresIn"], 8 * 3600);
    assert!(tokens.get("refreshToken").is_none());
}

#[test]
fn a_person_can_approve_on_the_page() {
    let fake = fake();
    let client = Client::register(&fake);
    let device = client.authorize(&fake);
    let page = device["verificationUriComplete"].as_str().unwrap().strip_prefix(fake.url()).unwrap();
    let code = device["userCode"].as_str().unwrap();
    let shown = String::from_utf8(send(&fake, "GET", page, &[], "").body).unwrap();
    assert!(shown.contains(code), "{shown}");
    assert_eq!(fake.pending_user_codes(), [code], "looking is not approving");
    send(&fake, "POST", &format!("{page}&answer=allow"), &[], "");
    assert_eq!(client.poll(&fake, &device["deviceCode"]).status, 200);

    let device = client.authorize(&fake);
    let page = device["verificationUriComplete"].as_str().unwrap().strip_prefix(fake.url()).unwrap();
    send(&fake, "POST", &format!("{page}&answer=deny"), &[], "");
    assert_eq!(client.poll(&fake, &device["deviceCode"]).refusal().1, "AccessDeniedException");
    let hostile = send(&fake, "GET", "/device?user_code=%3Cscript%3E", &[], "");
    assert!(!String::from_utf8(hostile.body).unwrap().contains("<script>"));
}

#[test]
fn every_call_is_recorded_with_its_fields_and_outcome() {
    let fake = fake();
    let client = Client::register(&fake);
    let before = fake.now();
    std::thread::scope(|scope| {
        let polling = scope.spawn(|| {
            let device = client.authorize(&fake);
            client.poll(&fake, &device["deviceCode"]).status
        });
        let code = fake.wait_for_user_code(PATIENCE).unwrap();
        fake.approve(&code);
        let calls = fake.wait_for_calls(Operation::CreateTokenDeviceCode, 1, PATIENCE).unwrap();
        assert_eq!(calls[0].fields["clientSecret"], client.secret);
        assert!(calls[0].at >= before);
        polling.join().unwrap();
    });
    let answered = fake.wait_for_answers(Operation::CreateTokenDeviceCode, 1, PATIENCE).unwrap();
    assert!(matches!(answered[0].outcome, Outcome::Answered { .. }));
    assert_eq!(answered[0].request.header("content-type"), Some("application/json"));
    assert_eq!(fake.count(Operation::CreateTokenDeviceCode), 1);
    assert_eq!(fake.all_calls().len(), 3);
    let error = fake.wait_for_calls(Operation::Logout, 1, Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("Logout") && error.contains("RegisterClient"), "{error}");
}
