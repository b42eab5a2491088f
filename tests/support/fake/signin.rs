//! The sign-in service of the console: role credentials in, a sign-in token out, and the page that takes the token.
//!
//! Strict: credentials in a URL, credentials that were not issued here together, and a token used twice are refused.

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::answer::{Answer, Request};
use super::state::Service;

/// Sign-in tokens that nobody has used yet.
#[derive(Debug, Default)]
pub struct SigninTokens(Vec<String>);

/// `POST /federation`.
pub fn get_signin_token(service: &mut Service, request: &Request) -> Answer {
    let body = String::from_utf8_lossy(&request.body).into_owned();
    let members = form(&body);
    let member = |name: &str| members.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let type_is_right = request.header("content-type") == Some("application/x-www-form-urlencoded");
    if request.method != "POST" || !request.query().is_empty() || !type_is_right {
        return refuse("credentials belong into the body of a POST");
    }
    if member("Action") != Some("getSigninToken") || members.len() > 3 {
        return refuse("no such action");
    }
    if let Some(duration) = member("SessionDuration") {
        let allowed = |seconds: u64| (900..=43_200).contains(&seconds) && service.config.console_sessions;
        if !duration.parse().is_ok_and(allowed) {
            return refuse("no such SessionDuration for these credentials");
        }
    }
    let session: Value = serde_json::from_str(member("Session").unwrap_or_default()).unwrap_or_default();
    let part = |name: &str| session[name].as_str().unwrap_or_default().to_owned();
    let issued = service.mint.secrets().windows(2).any(|pair| *pair == [part("sessionKey"), part("sessionToken")]);
    if !issued || !part("sessionId").starts_with("ASIA") {
        return refuse("no such credentials");
    }
    let token = service.mint.signin_token();
    service.signin_tokens.0.push(token.clone());
    Answer::json(200, &json!({ "SigninToken": token }))
}

/// `GET /federation?Action=login`, which a browser visits.
pub fn login(service: &mut Service, request: &Request) -> Answer {
    let query = request.query();
    let parameter = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let token = parameter("SigninToken").unwrap_or_default();
    let known = service.signin_tokens.0.iter().position(|known| *known == token);
    match (parameter("Action").as_deref(), known, parameter("Destination")) {
        (Some("login"), Some(index), Some(destination)) => {
            service.signin_tokens.0.remove(index);
            let mut answer = Answer::html(302, "signed in");
            answer.headers.push(("Location".to_owned(), destination));
            answer
        }
        _ => refuse("this link does not sign in"),
    }
}

/// It answers people: with a page.
fn refuse(why: &str) -> Answer {
    Answer::html(400, &format!("<html><body><h1>Bad request</h1>{why}</body></html>"))
}

fn form(body: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs = body.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}
