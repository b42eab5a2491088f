//! Refresh tokens, access tokens and portal sessions, from their issue to their end.

use std::time::Duration;

use serde_json::json;

use super::START_URL;
use super::caller::{Client, bearer, get, send};
use crate::support::fake::{Ended, FakeConfig, FakeIdentityCenter, RefreshTokens, Registration, Tokens};

fn fake() -> FakeIdentityCenter {
    FakeIdentityCenter::start(FakeConfig::default())
}

#[test]
fn every_refresh_brings_a_successor_and_reuse_ends_the_session() {
    let fake = fake();
    let client = Client::register(&fake);
    let first = client.sign_in(&fake);
    let second = client.refresh(&fake, &first["refreshToken"]).json();
    assert_ne!(first["refreshToken"], second["refreshToken"]);
    assert_eq!(get(&fake, bearer(&first), "/assignment/accounts").status, 200, "a refresh ends no access token");
    assert_eq!(get(&fake, bearer(&second), "/assignment/accounts").status, 200);
    assert_eq!(fake.refresh_token_reuses(), 0);

    assert_eq!(client.refresh(&fake, &first["refreshToken"]).refusal(), (400, "InvalidGrantException"));
    assert_eq!(fake.refresh_token_reuses(), 1);
    assert_eq!(client.refresh(&fake, &second["refreshToken"]).refusal(), (400, "InvalidGrantException"));
    assert_eq!(get(&fake, bearer(&second), "/assignment/accounts").refusal(), (401, "UnauthorizedException"));
    let summary = &fake.sessions()[0];
    assert_eq!((summary.ended, summary.refreshes), (Some(Ended::RefreshTokenReused), 1));
    assert_eq!(summary.refresh_token.as_deref(), second["refreshToken"].as_str());
    assert_eq!(summary.access_token, bearer(&second));
}

#[test]
fn a_refresh_token_works_for_its_own_client_only() {
    let fake = fake();
    let (client, stranger) = (Client::register(&fake), Client::register(&fake));
    let tokens = client.sign_in(&fake);
    assert_eq!(stranger.refresh(&fake, &tokens["refreshToken"]).refusal(), (400, "InvalidGrantException"));
    assert_eq!(client.refresh(&fake, &json!("guessed")).refusal(), (400, "InvalidGrantException"));
    assert_eq!(client.refresh(&fake, &tokens["refreshToken"]).status, 200);
    fake.revoke_registrations();
    assert_eq!(client.refresh(&fake, &tokens["refreshToken"]).refusal(), (401, "InvalidClientException"));
}

#[test]
fn a_service_without_rotation_keeps_the_refresh_token() {
    let fake = fake();
    let client = Client::register(&fake);
    let tokens = client.sign_in(&fake);
    fake.configure(|config| config.refresh_tokens = RefreshTokens::Reusable);
    assert_eq!(client.refresh(&fake, &tokens["refreshToken"]).json()["refreshToken"], tokens["refreshToken"]);
    fake.configure(|config| config.refresh_tokens = RefreshTokens::Unmentioned);
    for _ in 0..2 {
        let refreshed = client.refresh(&fake, &tokens["refreshToken"]);
        assert_eq!((refreshed.status, refreshed.json().get("refreshToken")), (200, None));
    }
    assert_eq!(fake.refresh_token_reuses(), 0);
}

#[test]
fn an_access_token_expires_and_a_refresh_token_outlives_it() {
    let fake = fake();
    fake.configure(|config| config.access_token_lifetime = Duration::from_secs(60));
    let client = Client::register(&fake);
    let tokens = client.sign_in(&fake);
    assert_eq!(tokens["expiresIn"], 60);
    fake.advance_clock(Duration::from_secs(60));
    assert_eq!(get(&fake, bearer(&tokens), "/assignment/accounts").refusal(), (401, "UnauthorizedException"));
    let tokens = client.refresh(&fake, &tokens["refreshToken"]).json();
    assert_eq!(get(&fake, bearer(&tokens), "/assignment/accounts").status, 200);
    fake.expire_access_tokens();
    assert_eq!(get(&fake, bearer(&tokens), "/assignment/accounts").status, 401);
    assert_eq!(client.refresh(&fake, &tokens["refreshToken"]).status, 200);
}

#[test]
fn no_token_outlives_the_session_cap_and_a_new_sign_in_begins_a_new_session() {
    let fake = fake();
    fake.configure(|config| config.session_cap = Duration::from_secs(5400));
    let client = Client::register(&fake);
    let tokens = client.sign_in(&fake);
    fake.advance_clock(Duration::from_secs(3000));
    let refreshed = client.refresh(&fake, &tokens["refreshToken"]).json();
    let left = refreshed["expiresIn"].as_u64().unwrap();
    assert!((1..=2400).contains(&left), "{left}");
    fake.advance_clock(Duration::from_secs(2400));
    assert_eq!(client.refresh(&fake, &refreshed["refreshToken"]).refusal(), (400, "InvalidGrantException"));
    assert_eq!(get(&fake, bearer(&refreshed), "/assignment/accounts").status, 401);
    assert_eq!(client.sign_in(&fake)["expiresIn"], 3600);
    assert_eq!(fake.sessions()[0].ended, Some(Ended::CapReached));
    assert_eq!(fake.sessions()[1].ended, None);
}

#[test]
fn signing_in_again_does_not_restart_the_session_but_logging_out_does() {
    let fake = fake();
    let client = Client::register(&fake);
    let first = client.sign_in(&fake);
    fake.advance_clock(Duration::from_secs(1800));
    let second = client.sign_in(&fake);
    assert_eq!(fake.sessions()[0].session_ends_at, fake.sessions()[1].session_ends_at);

    let log_out = |token: &str| send(&fake, "POST", "/logout", &[("x-amz-sso_bearer_token", token)], "").status;
    assert_eq!(log_out(bearer(&second)), 200);
    assert_eq!(log_out(bearer(&second)), 401);
    assert_eq!(get(&fake, bearer(&first), "/assignment/accounts").status, 401, "both hang on one portal session");
    assert_eq!(client.refresh(&fake, &first["refreshToken"]).refusal(), (400, "InvalidGrantException"));
    client.sign_in(&fake);
    let sessions = fake.sessions();
    assert_eq!(sessions[1].ended, Some(Ended::LoggedOut));
    assert!(sessions[2].session_ends_at.since(sessions[1].session_ends_at) >= Duration::from_secs(1800));
}

#[test]
fn two_users_of_one_start_url_have_two_sessions() {
    let fake = fake();
    let client = Client::register(&fake);
    let sign_in_as = |user: &str| {
        let device = client.authorize(&fake);
        assert!(fake.approve_as(device["userCode"].as_str().unwrap(), user));
        client.poll(&fake, &device["deviceCode"]).json()
    };
    let (work, home) = (sign_in_as("work"), sign_in_as("home"));
    send(&fake, "POST", "/logout", &[("x-amz-sso_bearer_token", bearer(&work))], "");
    assert_eq!(get(&fake, bearer(&home), "/assignment/accounts").status, 200);
    let users: Vec<_> = fake.sessions().into_iter().map(|session| (session.user, session.start_url)).collect();
    assert_eq!(users, [("work".to_owned(), START_URL.to_owned()), ("home".to_owned(), START_URL.to_owned())]);
}

#[test]
fn an_administrator_ends_the_sessions() {
    let fake = fake();
    let client = Client::register(&fake);
    let tokens = client.sign_in(&fake);
    fake.end_sessions();
    assert_eq!(client.refresh(&fake, &tokens["refreshToken"]).refusal(), (400, "InvalidGrantException"));
    assert_eq!(get(&fake, bearer(&tokens), "/assignment/accounts").status, 401);
    let refreshed = fake.sessions()[0].refresh_token.clone();
    assert_eq!(
        (fake.sessions()[0].ended, refreshed.as_deref()),
        (Some(Ended::Revoked), tokens["refreshToken"].as_str())
    );
}

#[test]
fn a_sign_in_made_elsewhere_is_as_good_as_one_made_here() {
    let fake = fake();
    let (Registration { client_id, client_secret, .. }, tokens) = fake.sign_in_directly(START_URL);
    let Tokens { access_token, refresh_token, .. } = tokens;
    assert_eq!(get(&fake, &access_token, "/assignment/accounts").status, 200);
    let client = Client { id: client_id.clone(), secret: client_secret };
    assert_eq!(client.refresh(&fake, &json!(refresh_token)).status, 200);
    assert_eq!(fake.sessions()[0].client_id, client_id);
    assert_eq!(fake.registrations()[0].client_name, "made-elsewhere");
}
