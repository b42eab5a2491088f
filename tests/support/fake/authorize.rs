//! The authorization-code grant with PKCE: `/authorize`, where a browser comes with a client's wish and leaves with a
//! code, and what that code is worth.
//!
//! As strict as the rest: a parameter that is unknown, missing or there twice is refused. Invariant: a code yields one
//! sign-in, once, to the client, the redirect URI and the verifier it was made for.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ring::digest;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::answer::{Answer, Request};
use super::clock::ServiceTime;
use super::refusal::{Exception, Refusal};
use super::sessions::Tokens;
use super::state::{Registration, Service};

/// The codes there are.
#[derive(Debug, Default)]
pub struct Authorizations(Vec<Authorization>);

#[derive(Debug)]
struct Authorization {
    code: String,
    client_id: String,
    redirect_uri: String,
    challenge: String,
    start_url: String,
    expires_at: ServiceTime,
    used: bool,
}

/// What a client wishes, judged.
struct Wish {
    client: Registration,
    redirect_uri: String,
    state: String,
    challenge: String,
}

/// A browser visits `/authorize`. `GET` shows the page; `POST` with `answer=allow` or `answer=deny` is its two buttons.
pub fn visit(service: &mut Service, now: ServiceTime, request: &Request) -> Answer {
    let mut parameters = request.query();
    let answer = (request.method == "POST").then(|| taken(&mut parameters, "answer")).flatten();
    let wish = match judge(service, now, parameters) {
        Ok(wish) => wish,
        Err(Wrong::Page(text)) => return page(400, &format!("<p>{text}</p>")),
        Err(Wrong::Back { to, state, error, description }) => return back(&to, &state, Err((error, &description))),
    };
    if let Some((error, description)) = service.config.authorize_error.clone() {
        return back(&wish.redirect_uri, &wish.state, Err((&error, &description)));
    }
    let decision = if service.config.auto_approve { Some("allow") } else { answer.as_deref() };
    match (request.method.as_str(), decision) {
        ("GET" | "POST", Some("allow")) => {
            let code = issue(service, now, &wish);
            back(&wish.redirect_uri, &wish.state, Ok(&code))
        }
        ("POST", Some("deny")) => {
            back(&wish.redirect_uri, &wish.state, Err(("access_denied", "the user denied the request")))
        }
        ("GET", None) => {
            let action = request.target.replace('&', "&amp;");
            let button = |name: &str, text: &str| {
                format!(
                    "<form method=post action=\"{action}&amp;answer={name}\"><button id={name}>{text}</button></form>"
                )
            };
            let name = &wish.client.client_name;
            page(
                200,
                &format!(
                    "<p>Allow {name} to access your data?</p>{}{}",
                    button("allow", "Allow"),
                    button("deny", "Deny")
                ),
            )
        }
        _ => page(405, "<p>That is no answer.</p>"),
    }
}

/// `CreateToken` with a code.
pub fn redeem(
    service: &mut Service,
    now: ServiceTime,
    client: &Registration,
    code: &str,
    verifier: &str,
    redirect_uri: &str,
) -> Result<Tokens, Refusal> {
    let invalid = |text: &str| Err(Refusal::new(Exception::InvalidGrant, text));
    if !client.grants.authorization_code {
        let text = "not registered for the authorization-code grant";
        return Err(Refusal::new(Exception::UnauthorizedClient, text));
    }
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
        return Err(Refusal::new(Exception::InvalidRequest, "codeVerifier must have 43 to 128 unreserved characters"));
    }
    service.mint.know(verifier);
    let known = service.authorizations.0.iter_mut().find(|known| known.code == code);
    let Some(known) = known.filter(|known| known.client_id == client.client_id) else {
        return invalid("no such authorization code for this client");
    };
    if known.expires_at <= now {
        return invalid("the authorization code has expired");
    }
    // An attempt uses it up, whatever comes of it.
    if std::mem::replace(&mut known.used, true) {
        return invalid("the authorization code has been used");
    }
    if known.redirect_uri != redirect_uri {
        return invalid("redirectUri is not that of the authorization");
    }
    if challenge_of(verifier) != known.challenge {
        return invalid("codeVerifier does not match the challenge");
    }
    let start_url = known.start_url.clone();
    Ok(service.sign_in(now, client, Service::default_user(), &start_url))
}

/// What is wrong, and who is told.
enum Wrong {
    /// The person: there is nowhere to send the browser.
    Page(&'static str),
    /// The client.
    Back { to: String, state: String, error: &'static str, description: String },
}

fn judge(service: &Service, now: ServiceTime, mut parameters: Vec<(String, String)>) -> Result<Wish, Wrong> {
    let mut names: Vec<_> = parameters.iter().map(|(name, _)| name.clone()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Wrong::Page("A parameter is there twice."));
    }
    let mut text = |name: &str| taken(&mut parameters, name).unwrap_or_default();
    let client_id = text("client_id");
    let client = service.client_of_id(now, &client_id).ok_or(Wrong::Page("There is no such client."))?;
    let redirect_uri = text("redirect_uri");
    if !client.redirect_uris.iter().any(|registered| is_with_port(&redirect_uri, registered)) {
        return Err(Wrong::Page("The redirect URI is not registered."));
    }
    let state = text("state");
    let wrong = |error: &'static str, description: String| {
        Err(Wrong::Back { to: redirect_uri.clone(), state: state.clone(), error, description })
    };
    if text("response_type") != "code" {
        return wrong("unsupported_response_type", "response_type must be code".to_owned());
    }
    if text("code_challenge_method") != "S256" {
        return wrong("invalid_request", "code_challenge_method must be S256".to_owned());
    }
    let challenge = text("code_challenge");
    if challenge.len() != 43 || URL_SAFE_NO_PAD.decode(&challenge).is_err() {
        return wrong("invalid_request", "code_challenge is none".to_owned());
    }
    let scopes = text("scopes");
    if let Some(scope) = scopes.split(' ').find(|scope| !client.scopes.iter().any(|known| known == scope)) {
        return wrong("invalid_scope", format!("{scope:?} is not a scope of this client"));
    }
    if state.is_empty() {
        return wrong("invalid_request", "state is missing".to_owned());
    }
    if let Some((name, _)) = parameters.first() {
        return wrong("invalid_request", format!("unexpected parameter {name:?}"));
    }
    Ok(Wish { client: client.clone(), redirect_uri, state, challenge })
}

fn issue(service: &mut Service, now: ServiceTime, wish: &Wish) -> String {
    let code = service.mint.authorization_code();
    service.mint.know(&wish.state);
    service.authorizations.0.push(Authorization {
        code: code.clone(),
        client_id: wish.client.client_id.clone(),
        redirect_uri: wish.redirect_uri.clone(),
        challenge: wish.challenge.clone(),
        start_url: wish.client.issuer_url.clone().unwrap_or_default(),
        expires_at: now.plus(service.config.authorization_code_lifetime),
        used: false,
    });
    code
}

/// `S256` of RFC 7636.
fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

/// Whether a URI is the registered one with a port (RFC 8252, 7.3).
fn is_with_port(uri: &str, registered: &str) -> bool {
    let split = |uri: &str| {
        let (authority, path) = uri.strip_prefix("http://")?.split_once('/')?;
        Some((authority.to_owned(), path.to_owned()))
    };
    let (Some((authority, path)), Some((host, registered_path))) = (split(uri), split(registered)) else {
        return false;
    };
    let port = authority.strip_prefix(&host).and_then(|rest| rest.strip_prefix(':'));
    path == registered_path
        && port.is_some_and(|port| port.parse::<u16>().is_ok_and(|number| number.to_string() == port))
}

fn taken(parameters: &mut Vec<(String, String)>, name: &str) -> Option<String> {
    let at = parameters.iter().position(|(candidate, _)| candidate == name)?;
    Some(parameters.remove(at).1)
}

/// Sends the browser back with a code, or with an error and its description.
fn back(to: &str, state: &str, outcome: Result<&str, (&str, &str)>) -> Answer {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let query = match outcome {
        Ok(code) => format!("code={}", encoded(code)),
        Err((error, description)) => format!("error={}&error_description={}", encoded(error), encoded(description)),
    };
    let mut answer = Answer::html(302, "");
    answer.headers.push(("Location".to_owned(), format!("{to}?{query}&state={}", encoded(state))));
    answer
}

fn page(status: u16, body: &str) -> Answer {
    Answer::html(status, &format!("<!doctype html><title>Fake Identity Center</title>{body}"))
}
