//! The authorization-code grant with PKCE: the page, the way back, and what a code is worth.

use std::time::Duration;

use serde_json::{Value, json};

use super::START_URL;
use super::caller::{Client, Reply, bearer, get, post, send};
use crate::support::fake::{Exception, FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When};

const REDIRECT_URI: &str = "http://127.0.0.1:34567/oauth/callback";
/// Verifier and challenge of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn fake() -> FakeIdentityCenter {
    FakeIdentityCenter::start(FakeConfig { auto_approve: true, ..FakeConfig::default() })
}

fn register(fake: &FakeIdentityCenter) -> Client {
    let body = json!({
        "clientName": "name", "clientType": "public", "grantTypes": ["authorization_code", "refresh_token"],
        "issuerUrl": START_URL, "redirectUris": ["http://127.0.0.1/oauth/callback"], "scopes": ["sso:account:access"],
    });
    Client::of(&post(fake, "/client/register", &body).json())
}

/// The query of a good visit, with these parameters in the place of its own.
fn wish(client: &Client, changes: &[(&str, &str)]) -> String {
    let mut parameters = vec![
        ("response_type", "code"),
        ("client_id", &client.id),
        ("redirect_uri", REDIRECT_URI),
        ("state", "a-state"),
        ("code_challenge_method", "S256"),
        ("scopes", "sso:account:access"),
        ("code_challenge", CHALLENGE),
    ];
    for (name, value) in changes {
        parameters.retain(|(known, _)| known != name);
        parameters.push((name, value));
    }
    let encoded =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let pairs: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    format!("/authorize?{}", pairs.join("&"))
}

/// The query that the browser is sent back with.
fn sent_back(reply: &Reply) -> Vec<(String, String)> {
    assert_eq!(reply.status, 302, "{reply:?}");
    let (to, query) = reply.header("location").unwrap().split_once('?').unwrap();
    assert_eq!(to, REDIRECT_URI);
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    query.split('&').map(|pair| pair.split_once('=').unwrap()).map(|(n, v)| (decoded(n), decoded(v))).collect()
}

fn code(fake: &FakeIdentityCenter, client: &Client) -> String {
    let back = sent_back(&send(fake, "GET", &wish(client, &[]), &[], ""));
    assert_eq!((back[0].0.as_str(), back[1].1.as_str()), ("code", "a-state"));
    back[0].1.clone()
}

fn token_request(client: &Client, code: &str) -> Value {
    json!({
        "clientId": client.id, "clientSecret": client.secret, "grantType": "authorization_code", "code": code,
        "codeVerifier": VERIFIER, "redirectUri": REDIRECT_URI,
    })
}

fn redeem(fake: &FakeIdentityCenter, client: &Client, code: &str, changes: Value) -> Reply {
    let mut body = token_request(client, code);
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    post(fake, "/token", &body)
}

#[test]
fn a_user_signs_in_by_browser_and_goes_on_with_the_refresh_token() {
    let fake = fake();
    let client = register(&fake);
    let code = code(&fake, &client);
    let tokens = redeem(&fake, &client, &code, json!({})).json();
    assert_eq!((&tokens["tokenType"], &tokens["expiresIn"]), (&json!("Bearer"), &json!(3600)));
    assert_eq!(get(&fake, bearer(&tokens), "/assignment/accounts").status, 200);
    assert_eq!(client.refresh(&fake, &tokens["refreshToken"]).status, 200);
    assert_eq!(fake.sessions()[0].start_url, START_URL);
    assert_eq!(fake.calls(Operation::CreateTokenAuthorizationCode)[0].fields["redirectUri"], REDIRECT_URI);
    assert!(fake.issued_secrets().contains(&code));
}

#[test]
fn the_page_asks_and_its_buttons_answer() {
    let fake = FakeIdentityCenter::start(FakeConfig::default());
    let client = register(&fake);
    let target = wish(&client, &[]);
    let page = send(&fake, "GET", &target, &[], "");
    let text = String::from_utf8(page.body.clone()).unwrap();
    assert_eq!(page.status, 200);
    assert!(text.contains("<button id=allow>") && text.contains("<button id=deny>"), "{text}");

    let answer = |answer: &str| sent_back(&send(&fake, "POST", &format!("{target}&answer={answer}"), &[], ""));
    assert_eq!(answer("allow")[0].0, "code");
    assert_eq!(answer("deny")[0], ("error".to_owned(), "access_denied".to_owned()));
    assert_eq!(send(&fake, "GET", &format!("{target}&answer=allow"), &[], "").status, 302, "which is an error");
    assert_eq!(send(&fake, "PUT", &target, &[], "").status, 405);
    let hostile = ("server_error".to_owned(), "<script>alert(1)</script>\u{1b}[2J & more".to_owned());
    fake.configure(|config| config.authorize_error = Some(hostile.clone()));
    let back = sent_back(&send(&fake, "GET", &target, &[], ""));
    assert_eq!((&back[0].1, &back[1].1, back[2].1.as_str()), (&hostile.0, &hostile.1, "a-state"));
}

#[test]
fn without_a_known_client_and_its_redirect_uri_nobody_is_sent_anywhere() {
    let fake = fake();
    let client = register(&fake);
    for change in [
        ("client_id", "nobody"),
        ("redirect_uri", "http://127.0.0.1/oauth/callback"),
        ("redirect_uri", "http://127.0.0.1:34567/oauth/other"),
        ("redirect_uri", "http://127.0.0.1:034567/oauth/callback"),
        ("redirect_uri", "http://127.0.0.1:99999/oauth/callback"),
        ("redirect_uri", "http://127.0.0.1:1@evil.example.com/oauth/callback"),
        ("redirect_uri", "http://localhost:34567/oauth/callback"),
        ("redirect_uri", "https://127.0.0.1:34567/oauth/callback"),
    ] {
        let reply = send(&fake, "GET", &wish(&client, &[change]), &[], "");
        assert_eq!((reply.status, reply.header("location")), (400, None), "{change:?}");
    }
    let twice = format!("{}&state=b", wish(&client, &[]));
    assert_eq!(send(&fake, "GET", &twice, &[], "").status, 400);
    let device = Client::register(&fake);
    assert_eq!(send(&fake, "GET", &wish(&device, &[]), &[], "").status, 400, "registered for the other flow");
    fake.advance_clock(Duration::from_secs(91 * 24 * 3600));
    assert_eq!(send(&fake, "GET", &wish(&client, &[]), &[], "").status, 400);
}

#[test]
fn a_wish_that_is_not_as_it_should_be_goes_back_as_an_error() {
    let fake = fake();
    let client = register(&fake);
    for (change, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
        (("scopes", "sso:account:access other:scope"), "invalid_scope"),
        (("scopes", ""), "invalid_scope"),
        (("state", ""), "invalid_request"),
        (("scope", "sso:account:access"), "invalid_request"),
    ] {
        let back = sent_back(&send(&fake, "GET", &wish(&client, &[change]), &[], ""));
        assert_eq!(back[0], ("error".to_owned(), error.to_owned()), "{change:?}");
    }
}

#[test]
fn a_code_is_worth_one_sign_in_to_its_own_client() {
    let fake = fake();
    let (client, other, device) = (register(&fake), register(&fake), Client::register(&fake));
    let invalid_grant = (400, "InvalidGrantException");
    let other_uri = json!({ "redirectUri": "http://127.0.0.1:34568/oauth/callback" });
    let other_verifier = json!({ "codeVerifier": VERIFIER.replace('d', "e") });
    for changes in [&other_uri, &other_verifier] {
        let code = code(&fake, &client);
        assert_eq!(redeem(&fake, &client, &code, changes.clone()).refusal(), invalid_grant, "{changes}");
        assert_eq!(redeem(&fake, &client, &code, json!({})).refusal(), invalid_grant, "it is used up");
    }
    let code_of_client = code(&fake, &client);
    assert_eq!(redeem(&fake, &other, &code_of_client, json!({})).refusal(), invalid_grant);
    assert_eq!(redeem(&fake, &device, &code_of_client, json!({})).refusal(), (400, "UnauthorizedClientException"));
    let short = json!({ "codeVerifier": "short" });
    assert_eq!(redeem(&fake, &client, &code_of_client, short).refusal(), (400, "InvalidRequestException"));
    assert_eq!(
        redeem(&fake, &client, &code_of_client, json!({ "state": "x" })).refusal(),
        (400, "InvalidRequestException")
    );
    assert_eq!(redeem(&fake, &client, &code_of_client, json!({})).status, 200);
    assert_eq!(redeem(&fake, &client, &code_of_client, json!({})).refusal(), invalid_grant);
    assert_eq!(redeem(&fake, &client, "made-up", json!({})).refusal(), invalid_grant);
    let late = code(&fake, &client);
    fake.advance_clock(Duration::from_secs(300));
    assert_eq!(redeem(&fake, &client, &late, json!({})).refusal(), invalid_grant);
}

#[test]
fn faults_strike_the_exchange_before_or_after_the_code_is_used_up() {
    let fake = fake();
    let client = register(&fake);
    for (when, then) in [(When::BeforeEffect, 200), (When::AfterEffect, 400)] {
        let code = code(&fake, &client);
        let operation = Operation::CreateTokenAuthorizationCode;
        fake.fault(operation, Fault::Exception(Exception::InternalServer), when, Times::Next(1));
        assert_eq!(redeem(&fake, &client, &code, json!({})).status, 500);
        assert_eq!(redeem(&fake, &client, &code, json!({})).status, then, "{when:?}");
    }
}

#[test]
fn only_a_known_issuer_url_is_registered_where_they_are_listed() {
    let fake = fake();
    fake.configure(|config| config.start_urls = vec!["https://other.awsapps.com/start".to_owned()]);
    let body = json!({
        "clientName": "name", "clientType": "public", "grantTypes": ["authorization_code", "refresh_token"],
        "issuerUrl": START_URL, "redirectUris": ["http://127.0.0.1/oauth/callback"],
    });
    assert_eq!(post(&fake, "/client/register", &body).refusal(), (400, "InvalidRequestException"));
}
